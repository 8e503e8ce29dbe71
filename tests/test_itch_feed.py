"""What a venue says in public: every record written as ITCH comes back from our decoder, and every byte is accounted.

The layout of `itch.LAYOUT` reads each message again, field by field, so a byte in the wrong place shows even where the
decoder does not look.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from itch_streams import bodies, fields_of
from loops import loop

from ultra.hot import memory
from ultra.hot import ring as rings
from ultra.venues import itch, itch_feed
from ultra.wire import (
    ADD,
    AUCTION,
    CANCEL,
    DELETE,
    EXECUTE,
    HALTED,
    INSTRUMENT,
    NONE,
    NOT_PRINTABLE,
    ON_CLOSE,
    ON_OPEN,
    PAUSED,
    QUOTE_ONLY,
    RECORD,
    REPLACE,
    STATUS,
    TIMER,
    TRADE,
    TRADING,
    symbol_to_int,
)

SYMBOLS = [symbol_to_int(name) for name in ("A", "ULTRA", "EIGHTCHR")]
BASE = 10**18
STATES = {TRADING: TRADING, HALTED: HALTED, PAUSED: PAUSED, AUCTION: QUOTE_ONLY, QUOTE_ONLY: QUOTE_ONLY}


@loop
def write(publisher, records, buffer):
    at = itch_feed.event(publisher, itch_feed.START_OF_MESSAGES, publisher.cells[itch_feed.TS_BASE], buffer, 0)
    for k in range(len(records)):
        at = itch_feed.write(publisher, records[k], buffer, at)
    return at


@loop
def cross(publisher, records, auction, buffer):
    itch_feed.will_cross(publisher, 1, auction)
    itch_feed.will_cross(publisher, 3, auction)
    at = itch_feed.write(publisher, records[0], buffer, 0)
    return itch_feed.write(publisher, records[1], buffer, at)


def said(records: Any) -> tuple[itch_feed.Publisher, Any]:
    """A publisher, and the bytes of these records; what lies behind them was full of ones before."""
    publisher = itch_feed.create(SYMBOLS, [100, 1, 10], BASE)
    buffer = np.full((len(records) + 2) * itch_feed.ROOM, 255, np.uint8)
    return publisher, buffer[: write(publisher, records, buffer)]


def record(kind: int, **fields: int) -> dict[str, int]:
    return dict(kind=kind, price=NONE, aux=NONE, order_id=NONE) | fields


def made(rows: list[dict[str, int]]) -> Any:
    found = memory.zeros(len(rows), RECORD)
    for k, row in enumerate(rows):
        for name, value in row.items():
            found[k][name] = value
    return found


SHARES = st.integers(1, itch_feed.SHARES_MAX)
PRICES = st.integers(0, itch_feed.PRICE_MAX)
IDS = st.integers(0, (1 << 63) - 1)
SIDES = st.integers(0, 1)
RECORDS = st.one_of(
    st.builds(lambda i, q, p, s: record(ADD, order_id=i, qty=q, price=p, side=s), IDS, SHARES, PRICES, SIDES),
    st.builds(lambda i, q, m: record(EXECUTE, order_id=i, qty=q, aux=m), IDS, SHARES, IDS),
    st.builds(
        lambda i, q, m, p, f: record(EXECUTE, order_id=i, qty=q, aux=m, price=p, flag=f),
        IDS, SHARES, IDS, PRICES, st.sampled_from([0, NOT_PRINTABLE]),
    ),
    st.builds(lambda i, q: record(CANCEL, order_id=i, qty=q), IDS, SHARES),
    st.builds(lambda i: record(DELETE, order_id=i), IDS),
    st.builds(lambda i, n, q, p: record(REPLACE, order_id=i, aux=n, qty=q, price=p), IDS, IDS, SHARES, PRICES),
    st.builds(lambda q, p, m: record(TRADE, qty=q, price=p, aux=m), SHARES, PRICES, IDS),
    st.builds(lambda state: record(STATUS, aux=state), st.sampled_from(list(STATES))),
)  # fmt: skip
PLACED = st.lists(st.tuples(RECORDS, st.integers(0, 2), st.integers(0, (1 << 48) - 1)), min_size=1, max_size=30)


@given(PLACED)
def test_what_is_said_is_what_a_decoder_hears(placed: list[tuple[dict[str, int], int, int]]) -> None:
    rows = [row | dict(instrument=instrument, ts_event=BASE + ts) for row, instrument, ts in placed]
    publisher, raw = said(made(rows))
    decoder = itch.create(3, SYMBOLS, selective=False, ts_base=BASE)
    decoder.locates[1:4] = range(3)
    ring = rings.create(RECORD, 64)
    assert itch.decode(decoder, raw, 0, len(raw), ring) == len(raw)
    heard = ring.slots[: int(ring.cells[rings.CURSOR])]
    assert len(heard) == len(rows)
    for row, found in zip(rows, heard, strict=True):
        wanted = row | dict(ts_recv=row["ts_event"])
        if row["kind"] == STATUS:
            wanted["aux"] = STATES[row["aux"]]
        elif row["kind"] == DELETE:
            wanted["qty"] = 0
        assert {name: int(found[name]) for name in wanted} == wanted
    assert itch.counts(decoder) == itch.counts(decoder._replace(by_type=publisher.by_type))
    assert int(publisher.cells[itch_feed.MESSAGES]) == len(rows) + 1


def test_every_field_of_every_message_is_as_the_layout_says() -> None:
    at = dict(instrument=1, ts_event=BASE + 0x0102030405)
    rows = [
        record(INSTRUMENT), record(STATUS, aux=HALTED), record(ADD, order_id=9, side=1, qty=7, price=100),
        record(EXECUTE, order_id=9, qty=2, aux=5, price=101, flag=NOT_PRINTABLE), record(TRADE, qty=3, price=4, aux=6),
        record(TIMER),
    ]  # fmt: skip
    publisher, raw = said(made([row | at for row in rows]))
    event, *found = [fields_of(body) for body in bodies(raw)]
    assert event == dict(type=ord("S"), locate=0, tracking=0, ts=0, event=ord("O"))
    assert len(found) == 5 and int(publisher.cells[itch_feed.DROPPED]) == 1
    stock = int.from_bytes(b"ULTRA   ", "big")
    for fields in found:
        assert (fields.pop("locate"), fields.pop("tracking"), fields.pop("ts")) == (2, 0, 0x0102030405)
        assert fields.pop("stock", stock) == stock
    text = dict(type="R", market_category="Q", financial_status="N", round_lots_only="N", issue_class="C",
                issue_subtype="Z ", authenticity="P", short_sale_threshold="N", ipo="N", luld_tier="1", etp="N",
                inverse="N")  # fmt: skip
    letters = {name: int.from_bytes(value.encode(), "big") for name, value in text.items()}
    assert found[0] == letters | dict(round_lot=1, etp_leverage=0)
    assert found[1] == dict(type=ord("H"), state=ord("H"), reserved=32, reason=0x20202020)
    assert found[2] == dict(type=ord("A"), ref=9, side=ord("S"), shares=7, price=100)
    assert found[3] == dict(type=ord("C"), ref=9, shares=2, match=5, printable=ord("N"), price=101)
    assert found[4] == dict(type=ord("P"), ref=0, side=ord("B"), shares=3, price=4, match=6)


@pytest.mark.parametrize(("auction", "letter"), [(ON_OPEN, "O"), (ON_CLOSE, "C"), (0, "H")])
def test_what_trades_in_an_auction_is_a_cross(auction: int, letter: str) -> None:
    publisher = itch_feed.create(SYMBOLS, [1, 1, 1], BASE)
    buffer = np.full(3 * itch_feed.ROOM, 255, np.uint8)
    at = dict(instrument=1, ts_event=BASE + 5)
    rows = [record(STATUS, aux=AUCTION) | at, record(TRADE, qty=1 << 40, price=1_000_000, aux=77) | at]
    _, body = bodies(buffer[: cross(publisher, made(rows), auction, buffer)])
    assert fields_of(body) == dict(
        type=ord("Q"), locate=2, tracking=0, ts=5, shares=1 << 40, stock=int.from_bytes(b"ULTRA   ", "big"),
        price=1_000_000, match=77, cross_type=ord(letter),
    )  # fmt: skip
