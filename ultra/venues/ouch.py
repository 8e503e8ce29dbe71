"""Nasdaq OUCH 5.0: how orders are entered and answered, inside SoupBinTCP packets.

`INBOUND` (from the client) and `OUTBOUND` (from the venue) are the specification as data, see `layout`; the fast paths
are in `order_session` (writes orders), `order_replies` (reads answers) and their mirror at a venue, `order_desk` and
`order_entry`. An order is named by UserRefNum (u32), which a client counts strictly upwards for the day; a number that
does not increase is ignored, so what is sent twice acts once.
Known bad case: a recorded payload says nothing of its direction, and five letters mean one thing each way; `describe`
is told. Sources: Nasdaq OUCH 5.0 specification (2023); mass cancel and the order entry switches from later revisions,
not checked against recorded messages.
"""

from collections.abc import Mapping
from typing import Any, Final

from . import layout as layouts

_ORDER = "side:a1 qty:4 symbol:a8 price:8 tif:a1 display:a1"
_REPLACE = "qty:4 price:8 tif:a1 display:a1 iso:a1 clordid:a14 applen:2"
_ACCEPTED = f"{_ORDER} order:8 capacity:a1 iso:a1 cross:a1 state:a1 clordid:a14 applen:2"
INBOUND: Final[dict[str, tuple[str, str]]] = {
    "O": ("enter order", f"ref:4 {_ORDER} capacity:a1 iso:a1 cross:a1 clordid:a14 applen:2"),
    "U": ("replace order", f"old_ref:4 ref:4 {_REPLACE}"),
    "X": ("cancel order", "ref:4 qty:4"),
    "M": ("modify order", "ref:4 side:a1 qty:4"),
    "C": ("mass cancel", "ref:4 firm:a4 symbol:a8 applen:2"),
    "D": ("disable order entry", "ref:4 firm:a4 applen:2"),
    "E": ("enable order entry", "ref:4 firm:a4 applen:2"),
    "Q": ("account query", ""),
}
OUTBOUND: Final[dict[str, tuple[str, str]]] = {
    "S": ("system event", "ts:8 event:a1"),
    "A": ("accepted", f"ts:8 ref:4 {_ACCEPTED}"),
    "U": ("replaced", f"ts:8 old_ref:4 ref:4 {_ACCEPTED}"),
    "C": ("canceled", "ts:8 ref:4 qty:4 reason:a1"),
    "D": ("aiq canceled", "ts:8 ref:4 qty:4 reason:a1 prevented:4 price:8 liquidity:a1"),
    "E": ("executed", "ts:8 ref:4 qty:4 price:8 liquidity:a1 match:8 applen:2"),
    "B": ("broken trade", "ts:8 ref:4 match:8 reason:a1 clordid:a14"),
    "F": ("trade correction", "ts:8 ref:4 qty:4 price:8 liquidity:a1 match:8 reason:a1 clordid:a14"),
    "J": ("rejected", "ts:8 ref:4 reason:2 clordid:a14"),
    "P": ("cancel pending", "ts:8 ref:4"),
    "I": ("cancel reject", "ts:8 ref:4"),
    "T": ("priority update", "ts:8 ref:4 price:8 display:a1 order:8"),
    "M": ("modified", "ts:8 ref:4 side:a1 qty:4"),
    "R": ("restated", "ts:8 ref:4 reason:a1 applen:2"),
    "X": ("mass cancel response", "ts:8 ref:4 firm:a4 symbol:a8 applen:2"),
    "G": ("order entry disabled", "ts:8 ref:4 firm:a4 applen:2"),
    "K": ("order entry enabled", "ts:8 ref:4 firm:a4 applen:2"),
    "Q": ("account query response", "ts:8 next_ref:4"),
}
TAGS: Final[dict[int, tuple[str, str]]] = {
    1: ("secondary_ref", "8"), 2: ("firm", "a4"), 3: ("min_qty", "4"), 4: ("customer_type", "a1"),
    5: ("max_floor", "4"), 6: ("price_type", "a1"), 7: ("peg_offset", "4"), 9: ("discretion_price", "8"),
    10: ("discretion_peg_type", "a1"), 11: ("discretion_peg_offset", "4"), 12: ("post_only", "a1"),
    13: ("random_reserves", "4"), 14: ("route", "a4"), 15: ("expire_time", "4"), 16: ("trade_now", "a1"),
    17: ("handle_inst", "a1"), 18: ("bbo_weight", "a1"), 19: ("reference_price", "8"),
    20: ("reference_price_type", "a1"), 22: ("display_qty", "4"), 23: ("display_price", "8"),
}  # fmt: skip
FIRM, MIN_QTY, MAX_FLOOR, DISPLAY_QTY = 2, 3, 5, 22  # tags by name

IN, OUT = layouts.layout(INBOUND), layouts.layout(OUTBOUND)
MESSAGE_MAX: Final = 512  # bytes of a message with its appendage; longer ones are nobody's
PRICE_E9: Final = 100_000  # a price unit is 1/10000 of a dollar
MARKET: Final = 0x7FFFFFFF  # as a price: none, at the market
QTY_MAX: Final = 999_999  # shares of an order: less than a million
REF_MAX: Final = (1 << 32) - 1


def describe(body: bytes, *, outbound: bool) -> dict[str, Any]:
    """An OUCH message by name, of the venue (`outbound`) or of a client; layout.LayoutError if it is none."""
    return layouts.describe(OUTBOUND if outbound else INBOUND, TAGS, body)


def compose(message: Mapping[str, Any], *, outbound: bool) -> bytes:
    """The bytes of a message given by name; layout.LayoutError if a field is missing or does not fit."""
    return layouts.compose(OUTBOUND if outbound else INBOUND, TAGS, message)
