"""The planted bugs of the lab, its indicators and its examples; as those of `mutants.py`."""

from mutant import Mutant

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
)
