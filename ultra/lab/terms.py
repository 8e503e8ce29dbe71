"""What trading costs and how long it takes: fees, slippage, interest, latency. Small values that say their units.

Rates are decimals, exact: 0.1 of a basis point is 10^-5 of the value, not the float next to it. What the venue needs
is made of them here: int64 columns of `ultra.venues.account` and `ultra.venues.delay`.
Known bad case: one schedule for all instruments of a backtest; a tape of two venues has to be run twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import numpy as np

from ..venues import account as accounts
from ..venues import delay as delays

Number = Decimal | int | float | str
TIMES: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
RATE_MAX: Final = Decimal(10_000)  # basis points


class TermsError(ValueError):
    """Terms that can't be: names the one, its value, and what was wanted."""


@dataclass(frozen=True)
class Fees:
    """What fills cost: basis points of the value, and an amount a lot; less than 0 is a rebate.

    `minimum` is the least that a fill costs, if it is not rebated. Each fee is rounded down to 1e-9."""

    maker_bps: Number = 0
    taker_bps: Number = 0
    maker_per_lot: Number = 0
    taker_per_lot: Number = 0
    minimum: Number = 0


@dataclass(frozen=True)
class Slippage:
    """How much worse than the book says a taker trades: ticks, and basis points of the price (rounded up to a tick)."""

    ticks: int = 0
    bps: Number = 0


@dataclass(frozen=True)
class Interest:
    """What is borrowed, in percent a year: the value of short positions, and cash below 0. `margin_percent` of the
    gross value of positions must be covered by the equity: what falls short is reported, and nothing is closed."""

    borrow_percent: Number = 0
    debit_percent: Number = 0
    margin_percent: Number = 0


@dataclass(frozen=True)
class Latency:
    """Time to the venue (`order_ns`; other ones for sells and cancels if they are given) and back (`answer_ns`).

    `recorded` is int64[n, 3]: from that moment on, so many ns to the venue and back come on top. `jitter_ns` is the
    most of an even draw, from `seed`, on every way."""

    order_ns: int = 10_000
    answer_ns: int = 0
    sell_ns: int | None = None
    cancel_ns: int | None = None
    jitter_ns: int = 0
    seed: int = 0
    recorded: Any = None

    def delay(self) -> delays.Delay:
        """What the venue needs of it. TermsError."""
        sell = self.order_ns if self.sell_ns is None else self.sell_ns
        cancel = self.order_ns if self.cancel_ns is None else self.cancel_ns
        times = {"order_ns": self.order_ns, "sell_ns": sell, "cancel_ns": cancel, "answer_ns": self.answer_ns}
        for name, value in {**times, "jitter_ns": self.jitter_ns}.items():
            if not 0 <= value < 1 << 38:
                raise TermsError(f"latency {name} = {value}: wanted 0 to {1 << 38} ns")
        return delays.create(
            self.order_ns, sell, cancel, self.answer_ns, self.jitter_ns, self.seed, _recording(self.recorded)
        )

    def later(self, more_ns: int) -> "Latency":
        """The same with every way to the venue longer."""
        sell = None if self.sell_ns is None else self.sell_ns + more_ns
        cancel = None if self.cancel_ns is None else self.cancel_ns + more_ns
        return replace(self, order_ns=self.order_ns + more_ns, sell_ns=sell, cancel_ns=cancel)


def _recording(rows: Any) -> Any:
    if rows is None:
        return None
    rows = np.asarray(rows, np.int64)
    if rows.ndim != 2 or rows.shape[1] != 3 or (np.diff(rows[:, 0]) < 0).any() or (rows[:, 1:] < 0).any():
        raise TermsError("latency recorded: wanted int64[n, 3] of (ts, ns there, ns back), sorted by ts, none below 0")
    return rows


def of_feed(batches: Any, *, every_ns: int = 100_000_000, times: Number = 1) -> Any:
    """A recording for `Latency`: what market records took from the venue to us (ts_recv - ts_event), `times` as long
    on the way there and on the way back, the last one in each step of `every_ns`."""
    rows: list[tuple[int, int, int]] = []
    factor = Decimal(str(times))
    for batch in batches:
        took = np.maximum(batch["ts_recv"] - batch["ts_event"], 0)
        step = batch["ts_recv"] // every_ns
        last = np.flatnonzero(np.diff(step, append=step[-1:] + 1) > 0)
        for k in last.tolist():
            ns = int(int(took[k]) * factor)
            rows.append((max(int(batch["ts_recv"][k]), rows[-1][0] if rows else 0), ns, ns))
    return np.array(rows, np.int64).reshape(-1, 3)


def terms(fees: Fees, slippage: Slippage, interest: Interest) -> Any:
    """int64[TERMS] of an account. TermsError."""
    row = np.zeros(accounts.TERMS, np.int64)
    row[accounts.MAKER_RATE_E9] = _scaled("maker_bps", fees.maker_bps, 5)
    row[accounts.TAKER_RATE_E9] = _scaled("taker_bps", fees.taker_bps, 5)
    row[accounts.MAKER_LOT_E9] = _scaled("maker_per_lot", fees.maker_per_lot, 9)
    row[accounts.TAKER_LOT_E9] = _scaled("taker_per_lot", fees.taker_per_lot, 9)
    row[accounts.LEAST_E9] = _scaled("minimum", fees.minimum, 9, least=0)
    row[accounts.SLIP_TICKS] = _scaled("slippage ticks", slippage.ticks, 0, least=0)
    row[accounts.SLIP_RATE_E9] = _scaled("slippage bps", slippage.bps, 5, least=0)
    row[accounts.BORROW_PPM] = _scaled("borrow_percent", interest.borrow_percent, 4, least=0)
    row[accounts.DEBIT_PPM] = _scaled("debit_percent", interest.debit_percent, 4, least=0)
    row[accounts.MARGIN_PPM] = _scaled("margin_percent", interest.margin_percent, 4, least=0)
    return row


def _scaled(name: str, value: Number, digits: int, least: int | None = None) -> int:
    """A decimal as a whole number of 10^-digits."""
    try:
        exact = Decimal(str(value)).scaleb(digits)
    except InvalidOperation:
        raise TermsError(f"{name} = {value!r}: wanted a number") from None
    if not exact.is_finite() or exact != exact.to_integral_value():
        raise TermsError(f"{name} = {value!r}: wanted a number with at most {digits} decimals")
    if abs(exact) > RATE_MAX.scaleb(digits) or (least is not None and exact < least):
        raise TermsError(f"{name} = {value!r}: wanted {least if least is not None else -RATE_MAX} to {RATE_MAX}")
    return int(exact)


def money_e9(value: Number) -> int:
    """An amount in 1e-9 of the currency, exact. TermsError."""
    try:
        exact = Decimal(str(value)).scaleb(9)
        whole = int(exact)
    except (InvalidOperation, ValueError, OverflowError):
        raise TermsError(f"{value!r}: wanted an amount of money") from None
    if whole != exact or abs(whole) >= 1 << 62:
        raise TermsError(f"{value!r}: wanted an amount with at most 9 decimals, below {(1 << 62) // 10**9}")
    return whole


def nanoseconds(text: str) -> int:
    """`10us`, `1.5ms`, `250` (ns) as ns. TermsError."""
    unit = next((unit for unit in ("ns", "us", "ms", "s") if text.endswith(unit)), "")
    try:
        exact = Decimal(text.removesuffix(unit)) * TIMES.get(unit, 1)
        if exact == int(exact) >= 0:
            return int(exact)
    except (InvalidOperation, ValueError, OverflowError):
        pass
    raise TermsError(f"{text!r}: wanted a time as 250ns, 10us or 1.5ms")


def parsed(kind: Callable[..., Any], text: str, known: "Words") -> Any:
    """`maker=-0.5,taker=3` as a value of `kind`; `known` says which field a word is, and how it is read. TermsError."""
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        word, equals, value = part.partition("=")
        if not equals or word not in known:
            raise TermsError(f"{part!r}: wanted {', '.join(f'{key}=...' for key in known)}")
        name, read = known[word]
        try:
            found[name] = read(value)
        except ValueError as error:
            raise TermsError(f"{part!r}: {error}") from None
    return kind(**found)


NO_FEES: Final = Fees()
NO_SLIPPAGE: Final = Slippage()
NO_INTEREST: Final = Interest()
Words = Mapping[str, tuple[str, Callable[[str], Any]]]
FEE_WORDS: Final[Words] = {
    "maker": ("maker_bps", str), "taker": ("taker_bps", str), "maker_lot": ("maker_per_lot", str),
    "taker_lot": ("taker_per_lot", str), "minimum": ("minimum", str),
}  # fmt: skip
LATENCY_WORDS: Final[Words] = {
    "order": ("order_ns", nanoseconds), "answer": ("answer_ns", nanoseconds), "sell": ("sell_ns", nanoseconds),
    "cancel": ("cancel_ns", nanoseconds), "jitter": ("jitter_ns", nanoseconds), "seed": ("seed", int),
}  # fmt: skip


def fees_of(text: str) -> Fees:
    """`maker=-0.2,taker=0.5,minimum=0.01`: basis points, or `maker_lot`, `taker_lot` in money."""
    found: Fees = parsed(Fees, text, FEE_WORDS)
    return found


def latency_of(text: str) -> Latency:
    """`10us`, or `order=10us,answer=10us,sell=12us,cancel=8us,jitter=5us,seed=1`."""
    found: Latency = parsed(Latency, text if "=" in text else f"order={text}", LATENCY_WORDS)
    return found


SLIPPAGE_WORDS: Final[Words] = {"ticks": ("ticks", int), "bps": ("bps", str)}
INTEREST_WORDS: Final[Words] = {
    "borrow": ("borrow_percent", str), "debit": ("debit_percent", str), "margin": ("margin_percent", str),
}  # fmt: skip


def slippage_of(text: str) -> Slippage:
    """`ticks=1,bps=0.1`."""
    found: Slippage = parsed(Slippage, text, SLIPPAGE_WORDS)
    return found


def interest_of(text: str) -> Interest:
    """`borrow=3,debit=5.5,margin=25`, percent."""
    found: Interest = parsed(Interest, text, INTEREST_WORDS)
    return found
