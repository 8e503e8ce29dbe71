"""The planted bugs of the lab, its indicators and its examples; as those of `mutants.py`."""

from mutant import Mutant

AS_RUN = "test_backtest.py::test_a_backtest_is_the_run[ultra.strategies.maker:MarketMaker]"
INTEREST = "test_trial.py::test_interest_keeps_what_is_less_than_a_unit[1-5400]"
COURSE = "test_trial.py::test_a_course_is_on_an_even_grid_however_long"
BOTH_ENDS = "test_trial.py::test_an_estimate_takes_lots_from_both_ends[model0-<lambda>]"
WAY = "test_trial.py::test_a_way_takes_its_base_and_what_was_recorded_last"
LATER = "test_trial.py::test_a_markout_is_what_a_search_of_the_day_finds"
IN_TURN = "test_venues_of_choice.py::test_an_order_of_ours_is_met_in_its_turn_and_who_stood_behind_it_is_not"
LARGER = "test_venues_of_choice.py::test_an_order_made_larger_walks_the_book_and_the_strategy_never_knows"
FUTURE = "test_lookahead.py::test_a_series_is_changed_behind_the_cut_only"
TRIPS = "test_performance.py::test_the_fees_of_trips_and_of_what_is_open_are_those_of_all_fills"
FALLEN = "test_performance.py::test_drawdowns_are_those_found_point_by_point"
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
WRITTEN = "test_bar_csv.py::test_what_is_read_again_is_what_was_written"
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

SCANNED = "test_lab_captures.py::test_the_scanner_says_what_the_reader_says"
TWICE_IN_ONE = "test_lab_captures.py::test_a_strange_line_is_read_as_the_reader_reads_it[False-6]"
BEST_SAID = "test_lab_check.py::test_what_is_wrong_with_a_capture_is_found_at_its_line[best differs]"
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
    Mutant("lab/bar_csv", "(np.asarray(ts) + 1 - interval_ns)", "np.asarray(ts)", WRITTEN),
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
    # A backtest: a request or an answer late; interest that forgets; points off their grid; a place that is
    # another's; a horizon too soon; a size that the strategy hears of; a future that is left as it was.
    Mutant("trial", "max(cells[ARRIVED], wanted)", "max(cells[ARRIVED], wanted + 1_000_000)", AS_RUN),
    Mutant("trial", "if waits and arrival(run) <= now:", "if waits and arrival(run) < now - 100_000:", AS_RUN),
    Mutant("account", "cells[left] = rest % YEAR_MS", "cells[left] = 0", INTEREST),
    Mutant("account", "if points[k].ts % step == 0:", "if k % 2 == 0:", COURSE),
    Mutant("estimate", "ahead - (lost - after)", "ahead - lost", BOTH_ENDS),
    Mutant("delay", "rows[cells[ROW] + 1, TS] <= ts", "rows[cells[ROW] + 1, TS] < ts", WAY),
    Mutant("markout", "if row.ts + HORIZONS_NS[k] > ts:", "if row.ts + HORIZONS_NS[k] >= ts:", LATER),
    Mutant("impact", "ladder.levels[level].qty if level >= 0 else 0", "0", IN_TURN),
    Mutant("trial", "joined.lots // multiple - joined.told", "joined.lots - joined.told", LARGER),
    Mutant("lab/lookahead", "        return place\n", "        return length\n", FUTURE),
    Mutant(
        "binance",
        "    if not same and cells[DIFFERS]",
        "    if not same and cells[FILLED] < 0 and cells[DIFFERS]",
        BEST_SAID,
    ),
    # The scanner of plain lines: a hole is passed, a price that stands twice, a line of another symbol.
    Mutant("binance", "and about[NUMBERED] != before:", "and before < 0:", SCANNED),
    Mutant("binance", "        if listed[at, 1] == price:\n", "        if price < 0:\n", TWICE_IN_ONE),
    Mutant("binance", "if k == length and (", "if k >= 0 and (", SCANNED),
)
