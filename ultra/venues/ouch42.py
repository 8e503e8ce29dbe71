"""Nasdaq OUCH 4.2, codec only: the protocol that OUCH 5.0 replaced, still spoken by venues derived from it.

An order is named by a token of 14 characters; prices have 32 bits. `describe` and `compose` are lossless; `IN` and
`OUT` serve `layout.whole`, `unpack` and `pack` in compiled code.
Known bad case: no session is built on it here, so tokens are not mapped to handles. Source: OUCH 4.2 specification.
"""

from collections.abc import Mapping
from typing import Any, Final

from . import layout as layouts

_TERMS = "side:a1 shares:4 stock:a8 price:4 tif:4 firm:a4 display:a1"
_ECHO = f"token:a14 {_TERMS} ref:8 capacity:a1 iso:a1 min_qty:4 cross:a1 state:a1"
INBOUND: Final[dict[str, tuple[str, str]]] = {
    "O": ("enter order", f"token:a14 {_TERMS} capacity:a1 iso:a1 min_qty:4 cross:a1 customer:a1"),
    "U": ("replace order", "old_token:a14 token:a14 shares:4 price:4 tif:4 display:a1 iso:a1 min_qty:4"),
    "X": ("cancel order", "token:a14 shares:4"),
    "M": ("modify order", "token:a14 side:a1 shares:4"),
    "N": ("trade now", "token:a14"),
}
OUTBOUND: Final[dict[str, tuple[str, str]]] = {
    "S": ("system event", "ts:8 event:a1"),
    "A": ("accepted", f"ts:8 {_ECHO} bbo_weight:a1"),
    "U": ("replaced", f"ts:8 {_ECHO} old_token:a14 bbo_weight:a1"),
    "C": ("canceled", "ts:8 token:a14 shares:4 reason:a1"),
    "D": ("aiq canceled", "ts:8 token:a14 shares:4 reason:a1 prevented:4 price:4 liquidity:a1"),
    "E": ("executed", "ts:8 token:a14 shares:4 price:4 liquidity:a1 match:8"),
    "G": (
        "executed with reference",
        "ts:8 token:a14 shares:4 price:4 liquidity:a1 match:8 reference:4 reference_type:a1",
    ),
    "F": ("trade correction", "ts:8 token:a14 shares:4 price:4 liquidity:a1 match:8 reason:a1"),
    "B": ("broken trade", "ts:8 token:a14 match:8 reason:a1"),
    "J": ("rejected", "ts:8 token:a14 reason:a1"),
    "P": ("cancel pending", "ts:8 token:a14"),
    "I": ("cancel reject", "ts:8 token:a14"),
    "T": ("priority update", "ts:8 token:a14 price:4 display:a1 ref:8"),
    "M": ("modified", "ts:8 token:a14 side:a1 shares:4"),
    "N": ("trade now", "ts:8 token:a14"),
}

IN, OUT = layouts.layout(INBOUND), layouts.layout(OUTBOUND)


def describe(body: bytes, *, outbound: bool) -> dict[str, Any]:
    """An OUCH 4.2 message by name, of the venue (`outbound`) or of a client; layout.LayoutError if it is none."""
    return layouts.describe(OUTBOUND if outbound else INBOUND, {}, body)


def compose(message: Mapping[str, Any], *, outbound: bool) -> bytes:
    """The bytes of a message given by name; layout.LayoutError if a field is missing or does not fit."""
    return layouts.compose(OUTBOUND if outbound else INBOUND, {}, message)
