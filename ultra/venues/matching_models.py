"""What one may change of the exchange without touching it: who of a level trades, what that costs, how long it takes.

Each is a plain hot function, found by name (`fifo`) or as `package.module:function`, and compiled into the engine, so
an exchange with other rules runs at the same speed. A queue function is asked once an order, first to last: of the
`wanted` lots that the `total` lots from this order to the end of the level must give, how many does this one give?
The engine holds the answer between what would leave too much for those behind and what the order has, so that no
function can lose or make a lot. It must not have a state of its own; `draw` is a number of DRAW_BITS bits that looks
random and is the same in every replay. Known bad case: two functions that read different globals of the same name.
"""

import importlib
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, NamedTuple

from .. import cache
from ..hot import JIT, hot

DRAW_BITS: Final = 24  # a draw times the lots of any level fits int64
TAKER_FEE, MAKER_REBATE = 30, 20  # of a lot, in ticks of 1/10000: what US venues charge and give back
LATENCY_NS, JITTER_BITS = 5_000, 14


class ModelError(Exception):
    """A model that can't be found: names it, and says which there are."""


class Models(NamedTuple):
    """The functions of one exchange, and the key of their code."""

    queue: Callable[[int, int, int, int], int]
    fee: Callable[[int, int, bool], int]
    latency: Callable[[int], int]
    key: str


@hot
def fifo(shown: int, wanted: int, total: int, draw: int) -> int:
    """Price-time priority: the first gives all it has."""
    return wanted


@hot
def pro_rata(shown: int, wanted: int, total: int, draw: int) -> int:
    """In proportion to size; what does not divide goes to those who came first."""
    return (wanted * shown + total - 1) // total


@hot
def probabilistic(shown: int, wanted: int, total: int, draw: int) -> int:
    """All or nothing, with the probability that a lot of this level trades: a queue whose order nobody knows."""
    return wanted if draw * total < wanted << DRAW_BITS else 0


@hot
def no_fee(price: int, qty: int, took: bool) -> int:
    """Nothing."""
    return 0


@hot
def maker_taker(price: int, qty: int, took: bool) -> int:
    """Who takes pays, who rested gets some of it back; in the money of price x qty."""
    return qty * TAKER_FEE if took else -qty * MAKER_REBATE


@hot
def no_latency(draw: int) -> int:
    """An entry takes effect when it is sent."""
    return 0


@hot
def jitter(draw: int) -> int:
    """LATENCY_NS and up to 2^JITTER_BITS ns more, evenly."""
    return LATENCY_NS + (draw >> (DRAW_BITS - JITTER_BITS))


QUEUES: Final[dict[str, Any]] = {"fifo": fifo, "pro-rata": pro_rata, "probabilistic": probabilistic}
FEES: Final[dict[str, Any]] = {"none": no_fee, "maker-taker": maker_taker}
LATENCIES: Final[dict[str, Any]] = {"none": no_latency, "jitter": jitter}


def load(queue: Any = "fifo", fee: Any = "none", latency: Any = "none") -> Models:
    """Models by name, as `package.module:function`, or as functions; ModelError when one is not there."""
    share, cost = _find("queue", queue, QUEUES), _find("fee", fee, FEES)
    delay = _find("latency", latency, LATENCIES)
    return Models(share, cost, delay, cache.fingerprint(share, cost, delay))


def _find(kind: str, wanted: Any, known: dict[str, Any]) -> Any:
    if isinstance(wanted, str):
        where, _, name = wanted.rpartition(":")
        if not where and wanted in known:
            return known[wanted]
        if not where:
            raise ModelError(f"{kind} model {wanted!r}: there are {', '.join(known)}; or package.module:function")
        try:
            wanted = getattr(importlib.import_module(where), name)
        except (ImportError, AttributeError) as error:
            raise ModelError(f"{kind} model {where}:{name}: {error}") from error
    if not callable(wanted):
        raise ModelError(f"{kind} model {wanted!r} is not a function")
    return hot(wanted) if JIT and isinstance(wanted, FunctionType) else wanted
