"""The same examples on recorded data, which is not ours to give away: the daily closes of an index, two stocks that
belong together, and an hour of one stock's orders.

On bars: points won by holding one unit (of pairs: dollars by 100 shares of the first), with fills at the close after
the decision, because closes are all that there is. On the book: as `on_book`, at 10 us.
Known bad case: one history is one history; nothing here has an error bar.
"""

from pathlib import Path
from typing import Any

import numpy as np
import on_bars
import on_book

from ultra.lab.bars import Terms, run_bars
from ultra.lab.data import load
from ultra.lab.tape import Tape
from ultra.lab.terms import Fees
from ultra.strategies.breakout import Breakout
from ultra.strategies.golden_cross import GoldenCross
from ultra.strategies.pairs import Pairs
from ultra.strategies.reversion import Reversion
from ultra.wire import BAR

INDEX = Path("bars", "skfolio", "sp500_index.csv.gz")
STOCKS = Path("bars", "skfolio", "sp500_dataset.csv.gz")
ORDERS = Path("itch", "derived_AAPL_20120621_0930_1030.itch50.gz")
PAIR = ("XOM", "CVX")
COSTS = (0, 2, 5, 10)
CASH = 1_000_000
RULES: dict[str, list[tuple[str, type, dict[str, Any]]]] = {
    "golden_cross": [
        ("50 over 200, long or out", GoldenCross, {"fast": 50, "slow": 200, "lots": 1}),
        ("50 over 200, long or short", GoldenCross, {"fast": 50, "slow": 200, "lots": 1, "short": True}),
        ("20 over 50, long or out", GoldenCross, {"lots": 1}),
    ],
    "reversion": [("20 days, 2 deviations", Reversion, {"lots": 1})],
    "breakout": [
        ("20 days, 2 deviations", Breakout, {"lots": 1}),
        ("the same, long or out", Breakout, {"lots": 1, "short": False}),
    ],
    "pairs": [(f"{PAIR[0]} against {PAIR[1]}", Pairs, {"lots": 100})],
}


def needs(page: str) -> list[Path]:
    """The files that the figures of a page are of, under the folder of recorded data."""
    return [ORDERS] if page not in RULES else [STOCKS] if page == "pairs" else [INDEX]


def figures(page: str, folder: Path) -> str:
    """The figures of a page as Markdown."""
    if page not in RULES:
        study = next(study for study in on_book.STUDIES if study.page == page)
        results = [on_book.run(study, folder / ORDERS, 10_000, fees) for fees in (on_book.FREE, on_book.FEES)]
        return on_book.table({"10 us": [on_book.measured(*results)]})
    tape = pair(folder / STOCKS) if page == "pairs" else load(folder / INDEX)
    head = ["rule", "fills", "in the market", *(f"{cost} bp" if cost else "free" for cost in COSTS)]
    rows = [head, ["---"] * len(head)]
    for name, strategy, parameters in RULES[page]:
        found = [
            run_bars(strategy, tape, parameters, terms=Terms(cash=CASH, fees=Fees(taker_bps=cost))).figures
            for cost in COSTS
        ]
        cells = [f"{each['final_equity'][0] - CASH:+,.0f}" for each in found]
        rows.append([name, f"{found[0]['fill_count'][0]}", f"{100 * found[0]['time_in_market'][0]:.0f} %", *cells])
    if page != "pairs":
        closes = bars_of(tape)["price"]
        held = (int(closes[-1]) - int(closes[0])) * tape.instruments[0].tick_e9 / 1e9
        rows.append(["hold it", "1", "100 %", *[f"{held:+,.0f}"] * len(COSTS)])
    return on_bars.markdown(rows)


def bars_of(tape: Tape) -> Any:
    """Its bars alone."""
    records = tape.array()
    return records[records["kind"] == BAR]


def pair(path: Path) -> Tape:
    """Two stocks out of a file of many, at the moments at which both have a bar."""
    tape = load(path)
    symbols = [instrument.symbol for instrument in tape.instruments]
    chosen = [symbols.index(symbol) for symbol in PAIR]
    records = bars_of(tape)
    rows = np.array(records[np.isin(records["instrument"], chosen)])
    rows["instrument"] = np.where(rows["instrument"] == chosen[0], 0, 1)
    moments, counts = np.unique(rows["ts_event"], return_counts=True)
    rows = rows[np.isin(rows["ts_event"], moments[counts == 2])]
    rows = rows[np.lexsort((rows["instrument"], rows["ts_event"]))]
    return Tape.of(rows, [tape.instruments[k] for k in chosen], "bars", str(path))
