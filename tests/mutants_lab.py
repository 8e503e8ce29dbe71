"""The planted bugs of the lab, its indicators and its examples; as those of `mutants.py`."""

from mutant import Mutant

TAPE_BACK = "test_tape.py::test_a_tape_file_gives_back_what_was_written"
TAPE_FLIP = "test_tape.py::test_a_flipped_bit_anywhere_is_one_clear_error[False]"
TAPE_CUT = "test_tape.py::test_a_file_cut_anywhere_is_one_clear_error[False]"
TAPE_HOSTILE = (
    "test_tape.py::test_a_hostile_index_is_refused_before_memory_is_taken[more records than chunks hold-False]"
)
UPDATES = "test_lab_captures.py::test_a_book_follows_its_updates_and_is_empty_after_a_hole"
ON_THE_WAY = "test_lab_captures.py::test_nothing_is_crossed_inside_a_message"
OFF_TICK = "test_lab_captures.py::test_a_tick_that_does_not_fit_is_refused_and_a_symbol_chosen"
MBO_BOOK = "test_lab_dbn.py::test_the_book_is_that_of_a_c_m_and_r_and_volume_is_counted_once"
MBP_LEVELS = "test_lab_dbn.py::test_levels_are_those_of_the_last_record"
IN_VIEW = "test_lab_lobster.py::test_the_levels_in_view_are_those_of_every_row"
QUOTED = "test_lab_tables.py::test_levels_of_quotes_leave_the_quote"
BAR_END = "test_lab_tables.py::test_a_bar_is_stamped_at_its_end"
PIECE = "test_lab_check.py::test_a_piece_makes_the_book_of_the_whole"
BEST_SAID = "test_lab_check.py::test_what_is_wrong_with_a_capture_is_found_at_its_line[best differs]"
WRITTEN = "test_bar_csv.py::test_what_is_read_again_is_what_was_written"
TRIPS = "test_performance.py::test_the_fees_of_trips_and_of_what_is_open_are_those_of_all_fills"
FALLEN = "test_performance.py::test_drawdowns_are_those_found_point_by_point"
# Indicators: against their twins, or over ten million values.
TWIN = "test_indicators.py::test_every_indicator_is_what_its_window_says"
RESTART = "test_indicators.py::test_a_field_restarted_is_a_field_that_has_seen_nothing"
STILL = "test_indicators.py::test_a_window_that_stands_still_is_exactly_still"
ODD = "test_indicators.py::test_what_is_not_a_number_is_answered_with_nan_and_forgotten"
CANCEL = "test_indicators.py::test_a_small_spread_on_a_large_price_does_not_cancel"
# The example strategies: against their rules in plain Python.
BACK = "test_examples.py::test_a_reverter_is_on_the_other_side_until_it_is_back_or_hope_is_gone"
OUTSIDE = "test_examples.py::test_a_breakout_is_on_the_side_of_the_band_it_left_until_the_middle"
HEDGED = "test_examples.py::test_a_pair_is_held_in_the_ratio_that_the_filter_learned"
LEANS = "test_examples.py::test_a_maker_quotes_both_sides_moves_and_leans_and_keeps_its_bound"
STOIKOV = "test_examples.py::test_quotes_are_avellaneda_and_stoikovs_rounded_outwards"
MADE = "test_examples.py::test_made_bars_are_lawful_and_draws_are_normal"

LAB = (
    # Indicators: the queue of highs forgets too late, or keeps the wrong ones; a block that is not the window.
    Mutant("hot/indicators/extremes", "<= now - length:", "< now - length:", TWIN),
    Mutant("hot/indicators/extremes", "& mask] <= x:", "& mask] >= x:", TWIN),
    Mutant("hot/indicators/window", "        state.total = state.block\n", "        state.total = 0.0\n", TWIN),
    Mutant("hot/indicators/window", "((new - state.average) + (old - before))", "(2 * (new - state.average))", TWIN),
    Mutant("hot/indicators/window", "    if state.same >= state.seen:", "    if state.same < 0:", STILL),
    Mutant("hot/indicators/window", "state.block_anchor = x", "state.block_anchor = 0.0", CANCEL),
    Mutant("hot/indicators/pairs", " + dy * (a0 - x_before)", " + dy * (a - x_before)", TWIN),
    Mutant("hot/indicators/averages", "    if state.seen > slow - fast:", "    if state.seen > 0:", TWIN),
    Mutant("hot/indicators/flow", "if b >= state.bid else", "if b > state.bid else", TWIN),
    # What restarts remembers; what is not a number is.
    Mutant("hot/indicators/extremes", "        state.channel.seen = 0\n", "", RESTART),
    Mutant("hot/indicators/definition", "    return math.isfinite(value)", "    return True", ODD),
    # The lab: a fee that every piece of a fill pays whole; a drawdown that begins where it is seen.
    Mutant("lab/fills", "            fee -= paid\n", "", TRIPS),
    Mutant("lab/performance", "ts[np.maximum(begins - 1, 0)]", "ts[begins]", FALLEN),
    # Hope that is never given up; a band left twice; one leg on the wrong side; a quote that leans the wrong way.
    Mutant("strategies/reversion", " or away > params.stop", "", BACK),
    Mutant("strategies/breakout", "* state.side < 0.0", "* state.side > 0.0", OUTSIDE),
    Mutant("strategies/pairs", "target(orders, second, -np", "target(orders, second, np", HEDGED),
    Mutant("strategies/inventory_maker", "<= params.position_max", "<= 2 * params.position_max", LEANS),
    Mutant("strategies/inventory_maker", "middle - position /", "middle + position /", STOIKOV),
    Mutant("strategies/inventory_maker", "math.ceil(", "math.floor(", STOIKOV),
    # A day late is a close that nobody knew.
    Mutant("lab/bar_csv", "(np.asarray(ts) - interval_ns)", "np.asarray(ts)", WRITTEN),
    # Seeds that only change the order of the same draws.
    Mutant("lab/synthetic", "mix(mix(seed, SALT), number)", "mix(seed, number)", MADE),
    # A tape: a chunk is believed, or a file that was cut, or an index; a column is not put back together.
    Mutant("lab/ulc", 'if got != length or zlib.crc32(data) != int(chunk["crc"]):', "if got != length:", TAPE_FLIP),
    Mutant("lab/ulc", "or end != self.size:", "or end < 0:", TAPE_CUT),
    Mutant("lab/ulc", ' and int(chunks["count"].sum()) == self.records', "", TAPE_HOSTILE),
    Mutant("lab/ulc", '            values = values + found["ts_event"]\n', "            pass\n", TAPE_BACK),
    # A hole in a feed is not seen, or what goes away goes last; a price off the tick is taken for one on it.
    Mutant("lab/readers/feed", "whole = event.before_id == last\n", "whole = True\n", UPDATES),
    Mutant("lab/readers/feed", "whole = event.first_id <= last + 1\n", "whole = True\n", UPDATES),
    Mutant("lab/readers/feed", "for gone in (True, False):", "for gone in (False, True):", ON_THE_WAY),
    Mutant("lab/readers/feed", "held.get(best, 0)) != said:", "held.get(best, 0)) is None:", BEST_SAID),
    Mutant("lab/readers/scale", "        if rest:\n", "        if rest < 0:\n", OFF_TICK),
    # A fill that the cancel behind it repeats; what of a trade was no order; levels of a record that is over.
    Mutant("dbn", "    order.credit += lots\n", "", MBO_BOOK),
    Mutant("dbn", "    cells[TOOK_QTY] -= lots\n", "", MBO_BOOK),
    Mutant("dbn", "price == order.price and qty < order.open", "qty < order.open", MBO_BOOK),
    Mutant("dbn", "index, side, price) == 0:", "index, side, price) < 0:", MBP_LEVELS),
    # What comes into view, and what left it; a quote that moved; an interval; a level that is no more.
    Mutant("lab/readers/lobster", "held.keys[at] <= worst", "held.keys[at] < worst", IN_VIEW),
    Mutant("lab/readers/lobster", "excess > 0", "excess < 0", IN_VIEW),
    Mutant("lab/readers/ticks", "(before > 0) & (before != price)", "before < 0", QUOTED),
    Mutant("lab/readers/bars", "interval - 1 if", "0 if", BAR_END),
    Mutant("lab/cut", "                self._levels.pop(level, None)\n", "", PIECE),
)
