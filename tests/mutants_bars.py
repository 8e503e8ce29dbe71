"""The planted bugs of backtests over bars and of searches; as those of `mutants.py`."""

from mutant import Mutant

BAR_TWIN = "test_bars.py::test_instruments_that_share_cash_are_as_their_twin"
BAR_RULES = "test_bar_rules.py::test_a_bar_does_to_an_order_what_the_rules_say"
BAR_SHARE = "test_bar_rules.py::test_a_share_is_rounded_up_and_exact"
BAR_CARRIED = "test_bar_rules.py::test_a_position_that_the_cash_does_not_carry_is_refused"
BAR_EDGE = "test_bars.py::test_at_the_edge_of_int64_money_is_as_its_twin"
BAR_ROUNDS = "test_bar_results.py::test_a_round_is_won_or_lost_by_itself"
BAR_COURSE = "test_bar_results.py::test_figures_are_those_of_the_whole_course"
BAR_LATER = "test_bar_results.py::test_whatever_comes_later_nothing_before_it_changes"
BAR_APART = "test_bar_results.py::test_a_set_alone_is_as_in_a_grid_on_any_number_of_threads"
BAR_STOPPED = "test_optimize.py::test_a_search_that_was_stopped_goes_on_and_runs_nothing_twice"
BAR_LEDGER = "test_optimize.py::test_a_ledger_of_another_search_is_refused"
PURGED = "test_validate.py::test_folds_are_everything_once_and_keep_their_distance"
BAR_LABELS = "test_validate.py::test_no_label_that_is_trained_on_touches_the_test"
WALKED = "test_validate.py::test_a_walk_is_its_windows_run_by_hand"
DEFLATED = "test_overfit.py::test_the_published_example_of_a_deflated_sharpe_ratio"
BOOTSTRAP = "test_overfit.py::test_a_bootstrap_is_the_one_in_loops"

BARS_LAB = (
    # Bars: a fill at the close that nobody knew; a limit that is only touched; an order that meets the bar it was
    # decided at; a value that forgets its last price; a debt or a short that is free; a closed position still counted;
    # a fall that ends before it began; what a set left behind for the next.
    Mutant("lab/bar_rules", "first = bars.opened(bar)", "first = bar.price", BAR_RULES),
    Mutant("lab/bar_rules", "    if beyond > 0 or (", "    if beyond >= 0 or (", BAR_RULES),
    Mutant("lab/bar_rules", "max(first, limit) if side == BID else min(first, limit)", "limit", BAR_RULES),
    Mutant("lab/bar_rules", "times * rate - (-(amount", "times * rate + ((amount", BAR_SHARE),
    Mutant("lab/bar_rules", "max(cost, terms[accounts.LEAST_E9]) if cost >= 0 else cost", "cost", BAR_TWIN),
    Mutant("lab/bar_account", "order.since = order.met = ts", "order.since = order.met = ts - 1", BAR_TWIN),
    Mutant("lab/bar_account", "signed * view.last_price * worth", "signed * price * worth", BAR_TWIN),
    Mutant("lab/bar_account", "debt = max(-account.cash, 0)", "debt = 0", BAR_TWIN),
    Mutant("lab/bar_account", "            block.rounds[b, i] = 0\n", "", BAR_ROUNDS),
    Mutant("lab/bar_account", "gross += abs(held)", "gross += held", BAR_CARRIED),
    Mutant("lab/bar_account", "        account.peak_ts = before_ts\n", "        account.peak_ts = ts\n", BAR_COURSE),
    Mutant("lab/bar_account", "below + loss * loss", "below + loss", BAR_COURSE),
    Mutant("lab/bar_loop", "reach + qty > most", "reach > most", BAR_EDGE),
    Mutant("lab/bar_loop", "            at = np.int64(0)  # a hook", "            at += 1  # a hook", BAR_TWIN),
    Mutant("lab/bar_loop", "bar = bars[k]\n", "bar = bars[min(k + 1, len(bars) - 1)]\n", BAR_RULES),
    Mutant("lab/bar_loop", "decide(block, b, rules, bars[j])", "decide(block, b, rules, bars[-1])", BAR_LATER),
    Mutant(
        "lab/bars",
        "states = strategies.states(grid.loaded, sets",
        "states = strategies.states(grid.loaded, 1 + sets",
        BAR_APART,
    ),
    # Searches: a set that is run again, a ledger of another search, what is embargoed, purged or tested trained on; a
    # test with all the cash there was at first; luck that does not grow with the trials; runs that forget to wrap.
    Mutant("lab/optimize", "if ledger.get(key(each)) is None}", "}", BAR_STOPPED),
    Mutant("lab/ledger", "if known and known.get(name) != of[name]", "if False", BAR_LEDGER),
    Mutant("lab/folds", "(0, begin - purge)", "(0, begin)", PURGED),
    Mutant("lab/folds", "(end + behind, moments)", "(end, moments)", PURGED),
    Mutant("lab/folds", "until = ends[first:last].max()", "until = ends[last - 1]", BAR_LABELS),
    Mutant("lab/validate", "        cash_e9 = int(equity[-1])\n", "", WALKED),
    Mutant("lab/overfit", "(trials * math.e)", "trials", DEFLATED),
    Mutant("lab/overfit", "steps - began) % periods", "steps - began) % (periods + 1)", BOOTSTRAP),
)
