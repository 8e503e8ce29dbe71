"""Why each fill came, and what it was worth later: sentences, tables, markouts.

A markout is what a fill had won a while after it: (middle then - its price) * lots for a buy, the other way for a
sell, before fees. At 0 it is half the spread that a resting order earns and a taker pays; how it falls from there is
what the market knew better (adverse selection). Sums are exact; means are over the fills that have that horizon.
Known bad case: a horizon that the data ends before, or at which a side was empty, is left out, and counted so.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..ops.svg import duration
from ..trial import MET, RULES, TOOK, TURN
from ..venues.markout import HORIZONS_NS
from ..wire import BID, NONE, decimal
from .fills import scale_of
from .performance import money

if TYPE_CHECKING:
    from .backtest import Result


class Horizon(NamedTuple):
    """What fills were worth so long after them."""

    after_ns: int
    fills: int  # that have this horizon
    mean_ticks: float  # over lots
    total: str  # in the currency, a decimal
    won: float  # share of fills that were worth more than 0


def horizons(result: "Result") -> list[Horizon]:
    """Markouts at 0, then at each horizon."""
    marks, fills = result.marks, result.fills
    own = fills[marks["number"]] if len(marks) else fills[:0]
    signs = np.where(own["side"] == BID, 1, -1)
    scale = scale_of(result.instruments)
    found = []
    for k, after in enumerate((0, *HORIZONS_NS)):
        twice = marks["before"] if k == 0 else marks["twice"][:, k - 1]
        known = twice != NONE
        ticks = signs[known] * (twice[known] - 2 * own["price"][known])  # twice
        lots = own["qty"][known]
        total = 0
        for index in range(len(scale)):
            mine = own["instrument"][known] == index
            won = int((ticks[mine] * lots[mine]).sum())
            total += won * int(scale[index, 0]) // (2 * int(scale[index, 1]))
        mean = float((ticks * lots).sum() / (2 * lots.sum())) if lots.sum() else 0.0
        share = float((ticks > 0).mean()) if len(ticks) else 0.0
        found.append(Horizon(after, int(known.sum()), mean, f"{money(total):f}", share))
    return found


def sentence(result: "Result", number: int) -> str:
    """One fill in words: what, when it was sent, behind how much it stood, what filled it and by which rule."""
    why = result.explained[number]
    known = result.instruments[int(why["instrument"])]
    price = decimal(int(why["price"]), known.tick_e9)
    what_it_was = f"{'bought' if why['side'] == BID else 'sold'} {int(why['qty']):,} lots of {known.symbol} at {price}"
    if result.data.kind == "bars":
        how = "taken at a bar's open" if why["rule"] == TOOK else "a bar traded through its price"
        return f"fill {number}: {what_it_was}; {how}, by an order of an earlier bar"
    words = [
        f"fill {number}: {what_it_was}",
        f"sent {duration(int(why['ts_event'] - why['sent_ts']))} before, "
        f"at the venue after {duration(int(why['arrived_ts'] - why['sent_ts']))}",
    ]
    if why["rule"] == TOOK:
        return "; ".join([*words, RULES[TOOK]])
    ahead = f"joined behind {int(why['ahead']):,} lots" if why["ahead"] != NONE else "nobody knows behind how many"
    by = f" at {decimal(int(why['by_price']), known.tick_e9)}" if why["by_price"] != NONE else ""
    order = f" of order {int(why['by_id'])}" if why["by_id"] > 0 else ""
    what = "shown" if why["rule"] == MET else "traded"
    words += [ahead, f"{RULES[int(why['rule'])]}: {int(why['by_qty']):,} {what}{by}{order}"]
    return "; ".join(words) + (f" (input {int(why['cause'])})" if why["cause"] != NONE else "")


def frame(result: "Result", pandas: Any) -> Any:
    """Every fill with its reason and its markouts, as a DataFrame: prices and money in the currency."""
    why, fills = result.explained, result.fills
    tick = np.array([k.tick_e9 / 1e9 for k in result.instruments] or [0.0])[why["instrument"]]
    table = pandas.DataFrame(
        {
            "ts": pandas.to_datetime(why["ts_event"], unit="ns", utc=True),
            "symbol": [result.instruments[k].symbol for k in why["instrument"]],
            "side": np.where(why["side"] == BID, "buy", "sell"),
            "price": why["price"] * tick,
            "qty": why["qty"],
            "fee": fills["fee_e9"] / 1e9,
            "took": why["took"] == 1,
            "rule": [RULES[int(rule)] for rule in why["rule"]],
            "ahead": why["ahead"],
            "sent_ns_before": why["ts_event"] - why["sent_ts"],
            "by_order": why["by_id"],
            "by_qty": why["by_qty"],
            "cause": why["cause"],
        }
    )
    signs = np.where(why["side"] == BID, 0.5, -0.5)
    for k, after in enumerate(HORIZONS_NS):
        column = np.full(len(why), np.nan)
        rows = result.marks["number"]
        twice = result.marks["twice"][:, k] if len(rows) else np.zeros(0)
        column[rows] = np.where(twice == NONE, np.nan, signs[rows] * (twice - 2.0 * why["price"][rows]) * tick[rows])
        table[f"markout_{duration(after).replace(' ', '')}"] = column
    return table


def by_rule(result: "Result") -> dict[str, int]:
    """How many fills each rule made."""
    rules, counts = np.unique(result.explained["rule"], return_counts=True)
    return {RULES[int(rule)]: int(count) for rule, count in zip(rules, counts, strict=True)}


def queue_of(result: "Result") -> dict[str, float]:
    """Of fills that came in turn: lots ahead when the order joined, and how long it waited, at the median."""
    turn = result.explained[result.explained["rule"] == TURN]
    if len(turn) == 0:
        return {}
    waited = turn["ts_event"] - turn["arrived_ts"]
    return {"ahead": float(np.median(turn["ahead"])), "waited_ns": float(np.median(waited))}
