"""A feed by real sockets on the loopback address, with a bad network between: whole, in order, once; or it says so."""

import contextlib
import itertools
import socket
import time

import pytest
from itch_streams import stream
from mold_rig import SESSION, Rig

from ultra.hot import JIT
from ultra.hot import ring as rings
from ultra.venues import faults, itch
from ultra.venues import mold_archive as archives
from ultra.venues import mold_receiver as receivers
from ultra.venues import mold_sender as senders
from ultra.venues import mold_server as servers
from ultra.venues import mold_window as windows
from ultra.wire import FEED_STATE, LIVE, RECORD, STALE, SYNCING

MANY = 40_000 if JIT else 1_500


def test_a_feed_without_faults_is_live_and_asks_for_nothing() -> None:
    with Rig() as rig:
        rig.turn()
        assert rig.state == SYNCING and rig.said == [SYNCING]
        rig.add(MANY)
        rig.until(MANY)
        assert (rig.delivered, rig.wrong, rig.said) == (MANY, 0, [SYNCING, LIVE])
        counts = rig.counts
        assert counts["messages"] == counts["duplicates"] == MANY, "two lines"
        assert counts["gaps"] == counts["requests"] == counts["malformed"] == 0
        assert counts["first_a"] == MANY and counts["packets"] > 0
        windows.check(rig.receiver.window)


@pytest.mark.parametrize("lines", [1, 2])
@pytest.mark.parametrize(
    "permille",
    [{"drop": 10}, {"drop": 50}, {"drop": 50, "duplicate": 50, "reorder": 50, "delay": 20}, {"reorder": 300}],
    ids=str,
)
def test_a_bad_network_changes_nothing_but_the_counts(lines: int, permille: dict[str, int]) -> None:
    with Rig(lines=lines) as rig:
        rig.faults(7, **permille)
        sent = 0
        while sent < MANY:
            rig.add(100)
            sent += 100
            rig.turn()
        rig.turn(what=5, ns=10**9)  # a heartbeat tells of what was dropped last
        rig.until(MANY)
        rig.turn(20)
        assert (rig.delivered, rig.wrong) == (MANY, 0)
        assert rig.state == LIVE
        counts = rig.counts
        window = rig.receiver.window
        windows.check(window)
        if lines == 1 and faults.counts(rig.sender.faults)["dropped"] > 0:
            assert counts["gaps"] > 0 and counts["recovered"] > 0 and counts["requests"] > 0
            assert 0 < window.recovery.counts.sum() <= counts["missing"]
        assert counts["exhausted"] == counts["malformed"] == 0


def test_a_day_over_a_bad_network_is_the_same_records_as_from_its_file() -> None:
    count = 20_000 if JIT else 800
    raw = stream(3, count)
    direct, ring = itch.create(16, [], selective=False), rings.create(RECORD, 1 << 15)
    assert itch.decode(direct, raw, 0, len(raw), ring) == len(raw)
    expected = ring.slots[: ring.cells[rings.CURSOR]].copy()
    with Rig(lines=2, ring_records=1 << 15) as rig:
        rig.faults(9, drop=200, duplicate=50, reorder=100)
        rig.archive, rig.decoder = archives.over(raw, count + 1), itch.create(16, [], selective=False)
        while rig.receiver.window.cells[windows.DELIVERED] < rig.archive.cells[archives.COUNT]:
            rig.turn(what=8 | 7, ns=10**9)  # unread: the ring holds them all
            assert rig.now < 10**13
        found = rig.ring.slots[: rig.ring.cells[rings.CURSOR]]
        found = found[found.kind != FEED_STATE].copy()
        assert (found.ts_recv > 0).all()
        found.ts_recv = expected.ts_recv
        assert found.tolist() == expected.tolist()
        assert rig.counts["recovered"] > 0 and itch.errors(rig.decoder) == itch.errors(direct)


@pytest.mark.parametrize("records", [2, 8, 64])
def test_a_full_ring_stops_the_receiver_and_loses_nothing(records: int) -> None:
    with Rig(ring_records=records, lines=1) as rig:
        rig.faults(3, drop=30, reorder=100)
        rig.add(600)
        rig.until(600, turns=40_000)
        assert (rig.delivered, rig.wrong) == (600, 0)
        windows.check(rig.receiver.window)


def test_without_its_server_a_gap_makes_the_books_stale_and_asking_ends() -> None:
    with Rig(lines=1, server_up=False) as rig:
        rig.add(50)
        rig.turn(2)
        assert rig.state == LIVE
        rig.faults(1, drop=1000)
        rig.add(1)
        rig.turn(2)
        rig.faults(1)
        rig.add(1)
        rig.turn(2)
        assert rig.state == LIVE, "it may still be on its way"
        rig.turn(20)
        assert rig.state == SYNCING and rig.delivered == 50
        rig.turn(2_000)
        limits = rig.limits
        assert rig.state == STALE and rig.receiver.cells[receivers.WHY] == receivers.GAP
        assert rig.said == [SYNCING, LIVE, SYNCING, STALE]
        assert rig.counts["requests"] == limits.tries_max and rig.counts["exhausted"] == 1
        asked = rig.counts["requests"]
        rig.add(10)
        rig.turn(100)
        assert rig.counts["requests"] == asked and rig.delivered == 50, "what comes later is kept, not shown"
        rig.server_up = True
        receivers.retry(rig.receiver, rig.now)
        rig.until(62, turns=100)
        rig.turn(2)
        assert rig.state == LIVE and (rig.delivered, rig.wrong) == (62, 0)


def test_with_nobody_to_ask_a_gap_is_stale_after_its_wait() -> None:
    with Rig(lines=1) as rig:
        rig.receiver.fds[receivers.ASK] = -1
        rig.add(5)
        rig.turn(2)
        rig.faults(1, drop=1000)
        rig.add(1)
        rig.turn()
        rig.faults(1)
        rig.add(1)
        rig.turn(20)
        assert rig.state == STALE and rig.counts["requests"] == 0 and rig.counts["exhausted"] == 1


def test_each_try_waits_twice_as_long() -> None:
    with Rig(lines=1, server_up=False) as rig:
        rig.faults(1, drop=1000)
        rig.add(1)
        rig.turn()
        rig.faults(1)
        rig.add(1)
        asked_at, before = [], 0
        for _ in range(1_000):
            rig.turn()
            if rig.counts["requests"] > before:
                asked_at.append(rig.now)
            before = rig.counts["requests"]
        waits = [later - earlier for earlier, later in itertools.pairwise(asked_at)]
        assert waits == [200, 400, 800, 1_000, 1_000, 1_000, 1_000]


def test_silence_is_stale_and_a_heartbeat_ends_it() -> None:
    with Rig() as rig:
        rig.add(5)
        rig.turn(2)
        rig.turn(2, what=4, ns=6 * 10**9)
        assert rig.state == STALE and rig.receiver.cells[receivers.WHY] == receivers.SILENT
        rig.turn(2)
        assert rig.state == LIVE and rig.said == [SYNCING, LIVE, STALE, LIVE]
        assert rig.counts["heartbeats"] == 2, "on each line"


def test_after_the_end_of_the_session_silence_is_fine() -> None:

    with Rig(lines=1) as rig:
        rig.faults(5, drop=200)
        rig.add(500)
        senders.end(rig.sender)
        rig.until(500, turns=100)
        rig.turn(5, ns=2 * 10**9)
        rig.until(500, turns=100)
        rig.turn(3, what=4, ns=10**11)
        assert (rig.delivered, rig.wrong, rig.state) == (500, 0, LIVE)
        assert rig.receiver.cells[receivers.END_AT] == 501


def test_a_late_join_gets_the_session_from_its_first_message() -> None:
    early = MANY // 2
    with Rig(lines=1, capacity=256, session="") as rig:
        rig.add(early)
        for _ in range(early // 40 // rig.batch + 2):
            rig.turn(what=1)
        with contextlib.suppress(BlockingIOError):
            while rig.listen[0].socket.recv(4096):
                pass  # nobody was there to hear it
        rig.add(10)
        rig.turn(3)
        assert rig.said[0] == SYNCING and rig.state == SYNCING
        while rig.delivered < MANY:
            before = rig.delivered
            rig.add(min(20, MANY - int(rig.archive.cells[0])))
            rig.turn()
            assert rig.state != LIVE or rig.delivered == rig.archive.cells[0] or rig.delivered > before
            assert rig.now < 10**8
        rig.turn(3)
        assert (rig.delivered, rig.wrong, rig.state) == (MANY, 0, LIVE)
        assert rig.counts["recovered"] >= early and rig.counts["beyond"] > 0
        assert LIVE not in rig.said[:-1]


def test_another_session_is_an_outcome_and_a_restart_begins_it() -> None:

    with Rig(lines=1) as rig:
        rig.add(100)
        rig.turn(5)
        assert rig.state == LIVE
        again = senders.create([(rig.speak[0].fd, 0)], "2026112802")
        rig.sender, rig.server = again, servers.create(rig.answer.fd, "2026112802")
        rig.turn(3, ns=10**9)
        assert rig.state == LIVE and rig.counts["wrong_session"] == 4, "a stray packet is none"
        rig.turn(8, ns=10**9)
        assert rig.state == STALE and rig.receiver.cells[receivers.WHY] == receivers.NEW_SESSION
        assert rig.delivered == 100, "not one message of it"
        receivers.restart(rig.receiver)
        rig.expected[0] = 0
        rig.turn(3, ns=10**9)
        rig.add(5)
        rig.until(105, turns=200)
        rig.turn(2)
        assert rig.wrong == 0 and rig.state == LIVE and rig.delivered == 105
        windows.check(rig.receiver.window)


def test_what_is_no_packet_is_counted_and_skipped() -> None:
    with Rig(lines=1) as rig:
        rig.add(2)
        rig.turn(2)
        raw = rig.speak[0].socket
        good = SESSION.encode() + (3).to_bytes(8, "big")
        for bad in (b"x", good, good + b"\0\1", good + b"\0\1\0\5abc", good + b"\0\1\0\1ab", good + b"\0\0x"):
            raw.send(bad)
        raw.send(SESSION.encode() + bytes(8) + b"\0\1\0\0")
        raw.send(SESSION.encode() + b"\xff" * 8 + b"\0\1\0\0")
        rig.turn(3)
        assert rig.counts["malformed"] == 8 and rig.delivered == 2 and rig.state == LIVE
        assert rig.counts["gaps"] == 0


def test_a_record_carries_the_time_at_which_the_kernel_got_it() -> None:
    with Rig(lines=1) as rig:
        rig.add(3)
        before = time.time_ns()
        rig.turn(2)
        after = time.time_ns()
        stamps = rig.ring.slots.ts_recv[1:4].tolist()
        assert all(before - 10**9 < stamp < after + 10**9 for stamp in stamps)
        assert set(rig.ring.slots.ts_event[1:4].tolist()) == {1_000}


def test_the_first_copy_of_a_message_counts_whichever_line_it_comes_by() -> None:
    with Rig() as rig:
        rig.faults(11, drop=300)
        for _ in range(100):
            rig.add(7)
            rig.turn()
        rig.turn(3, ns=10**9)
        rig.until(700)
        counts = rig.counts
        assert (rig.delivered, rig.wrong) == (700, 0)
        assert counts["first_a"] + counts["first_b"] + counts["recovered"] == 700
        assert min(counts["first_a"], counts["first_b"], counts["recovered"]) > 0


def test_what_a_full_socket_drops_is_counted_by_its_line_and_asked_for() -> None:
    with Rig(lines=1) as rig:
        rig.listen[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        rig.add(2_000)
        rig.turn(4, what=1)
        rig.until(2_000)
        rig.add(1)  # the kernel's count comes with the next packet
        rig.until(2_001)
        assert (rig.delivered, rig.wrong) == (2_001, 0)
        assert rig.counts["kernel_dropped"] == rig.receiver.lines[receivers.KERNEL_DROPPED] > 0
        assert rig.counts["recovered"] > 0


def test_a_dead_socket_is_an_outcome_and_the_other_line_goes_on() -> None:
    with Rig() as rig:
        rig.receiver.fds[receivers.A] = 10_000
        rig.add(30)
        rig.until(30, turns=10)
        assert (rig.delivered, rig.wrong) == (30, 0) and rig.counts["socket_errors"] > 0
        assert rig.receiver.lines[receivers.LAST_ERROR] == 9, "EBADF"
