"""The trading floor is a function of its log: a seed gives the same bytes always, a log done again gives them again.

The feed is read by our own ITCH decoder and built into books by the engine's own book, which must show what the venue
shows; what clients are told is read by name.
"""

import zlib
from typing import Any

import floor_rig as rig
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itch_streams import bodies, fields_of
from loops import loop

from ultra.hot import JIT
from ultra.hot import book as books
from ultra.venues import agents as traders
from ultra.venues import background as backgrounds
from ultra.venues import floor as floors
from ultra.venues import itch_feed, matching, soupbin
from ultra.venues import link as links
from ultra.venues import mold_archive as archives
from ultra.venues import order_desk as desks
from ultra.venues.matching_state import SIDES
from ultra.wire import ADD, ASK, BID, EXECUTE, ON_OPEN, REPLACE, SET_STATE, TRADE, TRADING

MS = 1_000_000
SPAN = 300 * MS if JIT else 40 * MS


@loop
def build_book(book, records):
    refused = 0
    for k in range(len(records)):
        if records[k].kind <= REPLACE:
            outcome = books.apply(book, records[k])
            refused += outcome != books.OK and outcome < books.CROSSED  # an auction's book may cross
    return refused


def best(found: floors.Floor, instrument: int) -> list[int]:
    return [int(found.venue.ladder.sides[SIDES * instrument + side].price) for side in (BID, ASK)]


def agrees(found: floors.Floor) -> None:
    """Books built from the feed show what the venue shows."""
    book = books.create(2, 1 << 12, 1 << 8)
    assert build_book(book, rig.records(found)) == 0
    for s in range(4):
        ours, theirs = book.ladder.sides[s], found.venue.ladder.sides[SIDES * (s // 2) + s % 2]
        assert (int(ours.price), int(ours.levels)) == (int(theirs.price), int(theirs.levels))
    floors.check(found)


def stamp(found: floors.Floor) -> tuple[int, int]:
    """What was said in public and to each client, as two numbers."""
    private = b"".join(found.desk.store[k, : int(found.desk.accounts[k].end)].tobytes() for k in range(rig.CLIENTS))
    return zlib.crc32(rig.feed(found)), zlib.crc32(private)


def traded(seed: int = 1, until: int = SPAN, step: int = 10 * MS, **more: Any) -> tuple[floors.Floor, bytes]:
    """A floor on which agents have traded, and two clients with them."""
    found = rig.floor(seed, **more)
    rig.open_day(found)
    log = rig.run(found, rig.START + until // 2, step)
    rig.say(found, 0, rig.order(1, "B", 500, 1_010_000), rig.order(2, "S", 300, 1_002_000))
    rig.say(found, 1, rig.order(1, "S", 200, 990_000, tif="3"), dict(type="Q"))
    log += rig.run(found, rig.START + until // 2 + 1)
    rig.say(found, 0, dict(type="U", old_ref=2, ref=3, qty=100, price=1_003_000, tif="0", display="Y", iso="N",
                           clordid="moved"), dict(type="X", ref=1, qty=0))  # fmt: skip
    return found, log + rig.run(found, rig.START + until, step)


def test_the_same_seed_gives_the_same_bytes_in_every_mode() -> None:
    found, log = traded(until=40 * MS)
    assert stamp(found) == SAID
    assert stamp(traded(until=40 * MS)[0]) == SAID
    assert stamp(traded(seed=2, until=40 * MS)[0]) != SAID
    assert len(log) % floors.SLOT_BYTES == 0
    agrees(found)


SAID = (1680601783, 2209878034)


def test_neither_the_length_of_a_turn_nor_the_size_of_a_ring_changes_what_is_said() -> None:
    found = stamp(traded()[0])
    assert stamp(traded(step=SPAN)[0]) == found
    assert stamp(traded(step=3 * MS)[0]) == found
    assert stamp(traded(sizes=rig.Sizes(ring=8))[0]) == found
    assert stamp(traded(sizes=rig.Sizes(log=32))[0]) == found


@pytest.mark.parametrize("slots", [1 << 10, 32])
def test_a_log_done_again_gives_the_same_venue(slots: int) -> None:
    found, log = traded()
    other = rig.floor(99, rig.Sizes(log=slots))
    rig.again(other, log)
    assert stamp(other) == stamp(found)
    floors.check(other)
    assert np.array_equal(other.agents.own, found.agents.own)
    for name in ("live", "position", "made"):
        assert other.agents.rows[name].tolist() == found.agents.rows[name].tolist()
    assert other.desk.accounts.next_ref.tolist() == found.desk.accounts.next_ref.tolist()
    # And goes on: a number used before the end is used now.
    rig.say(other, 0, rig.order(1, "B", 5, 900_000), rig.order(9, "B", 5, 900_000))
    rig.run(other, int(other.cells[floors.TIME]) + 1)
    assert [message["ref"] for message in rig.told(other, 0) if message["type"] == "A"] == [1, 2, 9]
    assert int(other.desk.counts[desks.DUPLICATES]) == 1


def test_clients_trade_with_each_other_and_are_told() -> None:
    found = rig.floor(noise=False)
    rig.open_day(found)
    rig.say(found, 0, rig.order(1, "B", 100, 1_000_000), rig.order(2, "B", 10, 990_000, symbol="MSFT"))
    rig.run(found, rig.START)
    assert (best(found, 0), best(found, 1)) == ([1_000_000, -1], [990_000, -1])
    rig.say(found, 1, rig.order(1, "S", 60, 999_900), rig.order(1, "S", 60, 999_900), rig.order(2, "S", 7, 1_000_050))
    rig.run(found, rig.START + 5)
    ours, theirs = rig.told(found, 0), rig.told(found, 1)
    assert [message["type"] for message in ours] == ["A", "A", "E"]
    assert [message["type"] for message in theirs] == ["A", "E", "J"]
    assert (ours[2]["qty"], ours[2]["price"], ours[2]["liquidity"]) == (60, 1_000_000, "A")
    assert theirs[1]["match"] == ours[2]["match"] and theirs[1]["ts"] == rig.START - rig.MIDNIGHT
    assert theirs[2]["reason"] == matching.REASONS.index("bad_tick")
    kinds = [int(record.kind) for record in rig.records(found)]
    assert kinds.count(ADD) == 2 and kinds.count(EXECUTE) == 1
    agrees(found)


def test_who_leaves_takes_the_orders_along_unless_they_are_kept() -> None:
    found = rig.floor(noise=False)
    found.desk.accounts[1].keeps = 1
    rig.open_day(found)
    rig.say(found, 0, rig.order(1, "B", 100, 1_000_000))
    rig.say(found, 1, rig.order(1, "B", 50, 990_000))
    rig.run(found, rig.START)
    for owner in (0, 1):
        rig.command(found, floors.LEFT, owner=owner)
    rig.run(found, rig.START + 1)
    assert best(found, 0) == [990_000, -1]
    assert [message["type"] for message in rig.told(found, 0)] == ["A", "C"]
    assert [message["type"] for message in rig.told(found, 1)] == ["A"]
    agrees(found)


def test_an_auction_trades_at_one_price_in_one_message() -> None:
    found = rig.floor(noise=False)
    rig.command(found, floors.DIRECTORY)
    rig.auction(found, 0, ON_OPEN)
    rig.say(found, 0, rig.order(1, "B", 100, 1_002_000), rig.order(2, "B", 50, 1_000_000))
    rig.say(found, 1, rig.order(1, "S", 70, 999_000), rig.order(2, "S", 10, 1_010_000))
    rig.run(found, rig.START)
    assert [message["type"] for message in rig.told(found, 0)] == ["A", "A"]
    rig.command(found, SET_STATE, instrument=0, aux=TRADING)
    rig.run(found, rig.START + 1)
    prints = [record for record in rig.records(found) if record.kind == TRADE]
    assert [(int(record.qty), int(record.price)) for record in prints] == [(70, 1_002_000)]
    (cross,) = [body for body in bodies(np.frombuffer(rig.feed(found), np.uint8)) if body[0] == ord("Q")]
    assert fields_of(cross)["cross_type"] == ord("O")
    assert best(found, 0) == [1_002_000, 1_010_000]
    agrees(found)


def test_agents_wait_for_the_auction_and_stop_for_a_halt() -> None:
    found = rig.floor()
    rig.run(found, rig.START + 20 * MS)
    assert int(found.cells[floors.ITEMS]) == 0
    rig.auction(found, 0, ON_OPEN)
    rig.run(found, rig.START + 60 * MS)
    assert int(found.cells[floors.ITEMS]) > 10 and int(found.venue.listings[0].traded) == 0
    rig.command(found, SET_STATE, instrument=0, aux=TRADING)
    rig.run(found, rig.START + 60 * MS + 1)
    assert int(found.venue.listings[0].traded) > 0
    agrees(found)


def test_a_recording_trades_like_anybody() -> None:
    found = rig.floor(noise=False)
    rig.open_day(found)
    backgrounds.play(found.background, rig.BACKGROUND_OWNER, 1, rig.START + 10, 1000)
    rows = [(ADD, 5, BID, 1_000_000, 30, 0), (ADD, 6, ASK, 1_001_000, 20, 100), (EXECUTE, 6, 0, -1, 15, 200)]
    for kind, order_id, side, price, qty, ts in rows:
        rig.record(found, kind=kind, order_id=order_id, side=side, price=price, qty=qty, ts_event=ts)
    log = rig.run(found, rig.START + 100)
    assert best(found, 1) == [1_000_000, -1]
    log += rig.run(found, rig.START + 1000)
    assert best(found, 1) == [1_000_000, 1_001_000] and int(found.venue.listings[1].traded) == 30
    other = rig.floor(noise=False)
    rig.again(other, log)
    assert stamp(other) == stamp(found)
    agrees(found)


def test_a_feed_that_is_full_stops_the_floor_and_loses_nothing() -> None:
    found = rig.floor(sizes=rig.Sizes(messages=256))
    rig.open_day(found)
    for k in range(400):
        rig.TURN(found, rig.START + k * MS, 1000)
    assert int(found.cells[floors.FEED_FULL]) == 1 and int(found.archive.cells[archives.REFUSED]) == 0
    assert 256 - 66 <= int(found.archive.cells[archives.COUNT]) < 256
    agrees(found)


# ---- Any bytes, in any pieces.

REFS = st.integers(1, 6)
MESSAGES = st.one_of(
    st.builds(
        lambda ref, side, qty, price, symbol, tif, display: rig.order(
            ref, side, qty, price * 100, symbol, tif, display=display
        ),
        REFS, st.sampled_from("BSTX"), st.integers(0, 3), st.integers(9_998, 10_002),
        st.sampled_from(["AAPL", "MSFT", "NONE"]), st.sampled_from("03Z"), st.sampled_from("YNP"),
    ),
    st.builds(lambda ref, qty: dict(type="X", ref=ref, qty=qty), REFS, st.integers(0, 2)),
    st.builds(
        lambda old, ref, qty, price: dict(
            type="U", old_ref=old, ref=ref, qty=qty, price=price * 100, tif="0", display="Y", iso="N", clordid=""
        ),
        REFS, REFS, st.integers(0, 3), st.integers(9_998, 10_002),
    ),
    st.builds(lambda ref, symbol: dict(type="C", ref=ref, firm="", symbol=symbol), REFS, st.sampled_from(["", "AAPL"])),
    st.just(dict(type="Q")),
)  # fmt: skip
RAW = st.one_of(
    MESSAGES.map(lambda message: soupbin.framed("U", rig.ouch.compose(message, outbound=False))),
    MESSAGES.map(lambda message: soupbin.framed("U", rig.ouch.compose(message, outbound=False))),
    st.sampled_from([soupbin.framed("R"), soupbin.framed("+", b"hello"), soupbin.framed("U", b"O?"), b"\0\0", b"\xff"]),
)


@settings(max_examples=30 if JIT else 8)
@given(st.lists(st.tuples(st.integers(0, 1), RAW, st.integers(1, 60), st.integers(1, 3)), max_size=25))
def test_any_bytes_in_any_pieces_leave_a_whole_venue_and_a_log_that_gives_it(
    steps: list[tuple[int, bytes, int, int]],
) -> None:
    found = rig.floor(noise=False)
    rig.open_day(found)
    log, now = b"", rig.START
    for owner, raw, piece, items in steps:
        for at in range(0, len(raw), piece):
            if found.bank.cells[owner, links.FAULT] == 0:
                rig.hear(found, owner, raw[at : at + piece])
            now += 1
            rig.TURN(found, now, items)
            log += rig.logged(found)
    log += rig.run(found, now + 1)
    agrees(found)
    other = rig.floor(noise=False, sizes=rig.Sizes(ring=8))
    rig.again(other, log)
    assert stamp(other) == stamp(found)
    for owner in range(rig.CLIENTS):
        told = rig.told(found, owner)
        filled = [message for message in told if message["type"] == "E"]
        assert len({(message["ref"], message["match"]) for message in filled}) == len(filled)
        accepted = [message["ref"] for message in told if message["type"] in "AU"]
        assert len(accepted) == len(set(accepted)), "an order was taken twice"


@pytest.mark.skipif(JIT, reason="another model is another minute of compiling; the plain way says the same")
def test_a_latency_holds_entries_back_and_a_log_still_gives_the_venue() -> None:
    turn = floors.build(matching.load_models(latency="jitter"))

    def play(found: floors.Floor, until: int) -> bytes:
        log = b""
        for now in range(rig.START, until, MS):
            turn(found, now, 1000)
            log += rig.logged(found)
        return log

    found = rig.floor()
    rig.open_day(found)
    log = play(found, rig.START + 40 * MS)
    ts = rig.records(found).ts_event
    assert (np.diff(ts) >= 0).all() and len(ts) > 20
    rig.say(found, 0, rig.order(1, "B", 1, 600_000))
    now = rig.START + 50 * MS
    turn(found, now, 1000)
    assert rig.told(found, 0) == []
    turn(found, now + 1000 * MS, 0)
    (accepted,) = rig.told(found, 0)
    assert 5_000 <= accepted["ts"] + rig.MIDNIGHT - now < 5_000 + (1 << 14)
    log += rig.logged(found)
    other = rig.floor()
    other.cells[floors.REPLAYING] = 1
    other.log_bytes[: len(log)] = np.frombuffer(log, np.uint8)
    other.cells[floors.LOG_END] = len(log) // floors.SLOT_BYTES
    turn(other, 0, 1 << 30)
    other.cells[floors.REPLAYING] = 0
    other.cells[floors.LOG_END] = 0
    turn(other, now + 1000 * MS, 0)
    assert stamp(other) == stamp(found)


def test_every_outcome_of_the_agents_is_counted() -> None:
    found, _ = traded()
    counts = {name: int(found.agents.cells[cell]) for name, cell in traders.OUTCOMES.items()}
    assert counts["placed"] > 0 and counts["filled"] > 0 and counts["unknown"] == 0
    assert int(found.publisher.cells[itch_feed.DROPPED]) == 0
