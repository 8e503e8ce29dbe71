"""The sending end: packets and requests against `struct`, the archive against a list, faults against their seed."""

import itertools
import socket
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra.cold import multicast
from ultra.hot import door, net
from ultra.venues import faults as bad
from ultra.venues import mold_archive as archives
from ultra.venues import mold_sender as senders
from ultra.venues import mold_server as servers
from ultra.venues import moldudp64 as mold

HOST = multicast.LOCAL
HEADER = struct.Struct(">10sQH")
append, judge, send, serve = door(archives.append), door(mold.judge), door(senders.send), door(servers.serve)


def packet(session: str, first: int, bodies: list[bytes], count: int | None = None) -> bytes:
    frames = b"".join(struct.pack(">H", len(body)) + body for body in bodies)
    return HEADER.pack(session.encode().ljust(10), first, len(bodies) if count is None else count) + frames


def parsed(raw: bytes) -> tuple[str, int, int, list[bytes]]:
    session, first, count = HEADER.unpack_from(raw)
    bodies, at = [], HEADER.size
    while at < len(raw):
        (length,) = struct.unpack_from(">H", raw, at)
        bodies.append(raw[at + 2 : at + 2 + length])
        at += 2 + length
    return session.decode().rstrip(), first, count, bodies


def filled(bodies: list[bytes], bytes_max: int = 1 << 16, messages_max: int = 1000) -> Any:
    archive = archives.create(messages_max, bytes_max)
    for number, body in enumerate(bodies, 1):
        assert append(archive, np.frombuffer(body + b"?", np.uint8), 0, len(body)) == number
    return archive


def heard(line: multicast.Line) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(line.socket.recv(4096))
        except BlockingIOError:
            return found


class Ends:
    """So many lines from a sender to us."""

    def __init__(self, lines: int = 1, **options: int) -> None:
        self.listen = [multicast.listen(HOST, 0) for _ in range(lines)]
        self.speak = [multicast.speak(HOST, line.port) for line in self.listen]
        self.sender = senders.create([(line.fd, 0) for line in self.speak], "S1", **options)

    def __enter__(self) -> "Ends":
        return self

    def __exit__(self, *_: object) -> None:
        for line in (*self.listen, *self.speak):
            line.close()


@pytest.mark.parametrize("text", ["", "A", "2026112801", "  x"])
def test_a_session_is_ten_bytes(text: str) -> None:
    assert mold.session_text(*mold.session(text)) == text.rstrip()


def test_a_session_that_is_longer_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 10"):
        mold.session("2026-11-28!")


@given(
    first=st.integers(0, (1 << 64) - 1),
    bodies=st.lists(st.binary(max_size=5), max_size=4),
    count=st.sampled_from((None, 0, 1, 3, 0xFFFF)),
    cut=st.integers(0, 30),
    more=st.binary(max_size=2),
)
def test_a_packet_is_what_it_says_or_malformed(first: int, bodies: Any, count: Any, cut: int, more: bytes) -> None:
    raw = packet("S", first, bodies, count)
    raw = (raw[: len(raw) - cut] if cut < 22 else raw) + more
    expected = mold.MALFORMED
    if len(raw) >= 20 and 1 <= first <= mold.SEQUENCE_MAX:
        many, at, found = int.from_bytes(raw[18:20], "big"), 20, 0
        while found < many and at + 2 <= len(raw):
            at += 2 + int.from_bytes(raw[at : at + 2], "big")
            found += 1
        if many in (0, 0xFFFF):
            expected = {0: mold.BEAT, 0xFFFF: mold.END}[many] if len(raw) == 20 else mold.MALFORMED
        elif found == many and at == len(raw):
            expected = mold.DATA
    padded = np.frombuffer(b"#" + raw + b"\0" * 40, np.uint8)
    assert judge(padded, 1, 1 + len(raw)) == expected


@given(bodies=st.lists(st.binary(max_size=12), min_size=1, max_size=20), room=st.integers(1, 60))
def test_an_archive_is_a_list_of_messages(bodies: list[bytes], room: int) -> None:
    archive, kept = archives.create(15, room), list[bytes]()
    for body in bodies:
        fits = len(kept) < 15 and sum(len(k) + 2 for k in kept) + len(body) + 2 <= room
        number = append(archive, np.frombuffer(body + b"?", np.uint8), 0, len(body))
        kept += [body] * fits
        assert number == (len(kept) if fits else 0)
        archives.check(archive)
    frames = archive.block[: archive.starts[len(kept)]].copy()
    assert bytes(frames) == packet("", 1, kept)[20:]
    again = archives.over(frames, 100)
    assert again.cells[archives.COUNT] == len(kept) and again.starts[: len(kept) + 1].tolist() == (
        archive.starts[: len(kept) + 1].tolist()
    )
    archives.check(again)


@pytest.mark.parametrize("frames", [b"\0", b"\0\5abc", b"\x7f\xff" + bytes(0x7FFF), b"\0\0" * 11])
def test_frames_that_are_no_session_are_refused(frames: bytes) -> None:
    with pytest.raises(ValueError, match="at byte"):
        archives.over(np.frombuffer(frames, np.uint8), 10)


def test_a_message_too_long_for_a_packet_is_refused() -> None:
    archive = archives.create(10, 1 << 16)
    scratch = np.zeros(2000, np.uint8)
    assert append(archive, scratch, 0, archives.MESSAGE_MAX + 1) == 0 and archive.cells[archives.REFUSED] == 1
    assert append(archive, scratch, 0, archives.MESSAGE_MAX) == 1


@given(
    sizes=st.lists(st.integers(0, 1378), min_size=1, max_size=40),
    lines=st.integers(1, 2),
    batch=st.sampled_from((1, 3)),
)
def test_a_sender_sends_the_archive_in_full_packets_on_every_line(sizes: list[int], lines: int, batch: int) -> None:
    bodies = [bytes([k]) * size for k, size in enumerate(sizes)]
    archive = filled(bodies)
    with Ends(lines, batch=batch) as ends:
        copies = [list[bytes]() for _ in ends.listen]
        for _ in range(100):
            send(ends.sender, archive, 1)
            for copy, line in zip(copies, ends.listen, strict=True):
                copy += heard(line)
            net.check(ends.sender.packets)
        for copy in copies:
            found, following = list[bytes](), 1
            for raw in copy:
                session, first, count, inside = parsed(raw)
                assert (session, first, count) == ("S1", following, len(inside)) and len(raw) <= mold.PAYLOAD_MAX
                found, following = found + inside, following + count
            assert found == bodies
            for raw, later in itertools.pairwise(copy):
                assert len(raw) + 2 + len(parsed(later)[3][0]) > mold.PAYLOAD_MAX, "one more would have fitted"
        assert senders.counts(ends.sender)["messages"] == len(bodies)


def test_heartbeats_when_there_is_nothing_else_and_the_end_again_and_again() -> None:
    archive = filled([b"one"])
    with Ends(heartbeat_ns=100) as ends:
        at = {1: 1, 50: 0, 100: 0, 101: 1, 150: 0, 201: 1, 202: 0}
        assert {now: send(ends.sender, archive, now) for now in at} == at
        beat = packet("S1", 2, [])
        assert heard(ends.listen[0]) == [packet("S1", 1, [b"one"]), beat, beat]
        append(archive, np.frombuffer(b"two", np.uint8), 0, 3)
        senders.end(ends.sender)
        for now in (203, 204, 205, 304, 305):
            send(ends.sender, archive, now)
        ended = packet("S1", 3, [], 0xFFFF)
        assert heard(ends.listen[0]) == [packet("S1", 2, [b"two"]), ended, ended]
        senders.end(ends.sender)
        assert senders.counts(ends.sender) | {"socket_full": 0, "socket_errors": 0} == {
            "packets": 2, "messages": 2, "heartbeats": 2, "ends": 2, "socket_full": 0, "socket_errors": 0,
        }  # fmt: skip


def test_a_line_that_fails_does_not_stop_the_other() -> None:
    archive = filled([b"m"] * 10)
    with Ends(2) as ends:
        ends.sender.fds[0] = 10_000
        send(ends.sender, archive, 1)
        assert len(heard(ends.listen[1])) == 1
        assert senders.counts(ends.sender)["socket_errors"] == 1
        assert ends.sender.cells[senders.LAST_ERROR] == 9, "EBADF"


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_a_request_is_answered_to_whom_it_came_from(count: int) -> None:
    bodies = [bytes([k]) * 300 for k in range(100)]
    archive = filled(bodies)
    answer = multicast.listen(HOST, 0)
    askers = [multicast.speak(HOST, answer.port) for _ in range(2)]
    try:
        server = servers.create(answer.fd, "S1", messages_max=20, batch=2)
        for asker, first in zip(askers, (5, 95), strict=True):
            asker.socket.send(packet("S1", first, [], count))
        assert serve(server, archive) == 2
        for asker, first in zip(askers, (5, 95), strict=True):
            answers = [parsed(raw) for raw in heard(asker)]
            end = min(first + min(count, 20), 101)
            assert [body for _, _, _, inside in answers for body in inside] == bodies[first - 1 : end - 1]
            assert answers[0][:2] == ("S1", first)
        counts = servers.counts(server)
        assert counts["requests"] == 2 and counts["unsent"] == 0
    finally:
        for line in (answer, *askers):
            line.close()


def test_a_request_that_makes_no_sense_is_counted_and_not_answered() -> None:
    archive = filled([b"x"] * 10)
    answer = multicast.listen(HOST, 0)
    asker = multicast.speak(HOST, answer.port)
    try:
        server = servers.create(answer.fd, "S1")
        wrong = [packet("S1", 0, [], 1), packet("S1", 11, [], 1), packet("S1", 1, [], 0), packet("S1", 1 << 63, [], 1)]
        for raw in (*wrong, packet("S2", 1, [], 1), b"", b"?" * 19, b"?" * 21, b"?" * 500):
            asker.socket.send(raw)
        while serve(server, archive):
            pass
        counts = servers.counts(server)
        assert counts["out_of_range"] == 4 and counts["wrong_session"] == 1 and counts["malformed"] == 4
        assert heard(asker) == [] and counts["packets"] == 0
        server.cells[servers.FD] = 10_000
        assert serve(server, archive) == -9 and servers.counts(server)["socket_errors"] == 1
    finally:
        answer.close()
        asker.close()


# ---- Faults. ----


@loop
def through(faults: Any, line: int, fd: int, packets: Any, count: int) -> int:
    return bad.send(faults, line, fd, packets, 0, count)


def passed_on(seed: int, line: int = 0, count: int = 400, **permille: int) -> tuple[list[int], dict[str, int]]:
    """The numbers of the packets as they arrived, of `count` sent one at a time."""
    listen = multicast.listen(HOST, 0)
    speak = multicast.speak(HOST, listen.port)
    try:
        faults, packets, found = bad.create(2), net.create(1), list[int]()
        bad.set_faults(faults, seed, **permille)
        for number in range(count):
            packets.block[:2] = divmod(number, 256)
            packets.lengths[0] = 2
            assert through(faults, line, speak.fd, packets, 1) == 1
            found += [int.from_bytes(raw, "big") for raw in heard(listen)]
            bad.check(faults)
        return found, bad.counts(faults)
    finally:
        listen.close()
        speak.close()


def test_the_same_seed_is_the_same_network_and_another_line_another() -> None:
    permille = {"drop": 100, "duplicate": 100, "reorder": 100, "delay": 100}
    first = passed_on(5, **permille)
    assert passed_on(5, **permille) == first
    assert passed_on(6, **permille) != first and passed_on(5, 1, **permille) != first


def test_each_fault_does_what_it_is_called_and_is_counted() -> None:
    everything = list(range(400))
    found, counts = passed_on(1, drop=250)
    assert found == sorted(set(found)) and len(found) == 400 - counts["dropped"] and 50 < counts["dropped"] < 150
    found, counts = passed_on(1, duplicate=250)
    assert sorted(set(found)) == everything
    assert len(found) == 400 + counts["duplicated"] and 50 < counts["duplicated"] < 150
    found, counts = passed_on(1, reorder=250)
    assert found != sorted(found) and len(found) == len(set(found)) and 50 < counts["reordered"] < 150
    # Held until the next packet that is not held: never far from its place.
    assert max(abs(place - number) for place, number in enumerate(found)) < 10 and len(found) > 390
    found, counts = passed_on(1, delay=50, packets=20)
    places = {number: place for place, number in enumerate(found)}
    late = [number for number in found if places[number] - number >= 15]
    assert len(late) > 5 and counts["delayed"] >= len(late)
    assert passed_on(1)[0] == everything


@pytest.mark.parametrize("permille", [{"drop": -1}, {"drop": 600, "reorder": 600}, {"delay": 1, "packets": 0}])
def test_faults_are_permille(permille: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="permille"):
        bad.set_faults(bad.create(1), 1, **permille)


# ---- Sockets. ----


def test_a_group_is_joined_and_heard() -> None:
    group = "239.255.77.1"
    try:
        first = multicast.listen(group, 0)
        second = multicast.listen(group, first.port)
        speak = multicast.speak(group, first.port)
        other = multicast.speak("239.255.77.2", first.port)
    except multicast.MulticastError as error:
        pytest.skip(f"the kernel refuses multicast on the loopback interface: {error}")
    try:
        archive = filled([b"to everybody"])
        sender = senders.create([(speak.fd, 0)], "S1")
        other.socket.send(b"another group")
        send(sender, archive, 1)
        assert heard(first) == heard(second) == [packet("S1", 1, [b"to everybody"])]
    finally:
        for line in (first, second, speak, other):
            line.close()


def test_a_group_can_be_heard_from_one_source_only() -> None:
    group = "239.255.77.3"
    try:
        ours = multicast.listen(group, 0, source="127.0.0.1")
        theirs = multicast.listen(group, ours.port, source="127.9.9.9")
        speak = multicast.speak(group, ours.port)
    except multicast.MulticastError as error:
        pytest.skip(f"the kernel refuses multicast on the loopback interface: {error}")
    try:
        speak.socket.send(b"x")
        assert (heard(ours), heard(theirs)) == ([b"x"], [])
    finally:
        for line in (ours, theirs, speak):
            line.close()


def test_a_socket_that_can_not_be_had_says_which_and_why() -> None:
    taken = multicast.listen(HOST, 0)
    try:
        with pytest.raises(multicast.MulticastError, match=rf"{HOST}:{taken.port}.*in use.*is the port taken"):
            multicast.listen(HOST, taken.port)
    finally:
        taken.close()
    with pytest.raises(multicast.MulticastError, match="names are not looked up"):
        multicast.listen("localhost", 0)
    with pytest.raises(multicast.MulticastError, match="65535"):
        multicast.speak(HOST, 70_000)
    with pytest.raises(multicast.MulticastError, match="does that interface have this address"):
        multicast.listen("239.255.77.4", 0, interface="192.0.2.77")


class Unprivileged(socket.socket):
    """What a socket grants to somebody without CAP_NET_ADMIN."""

    def setsockopt(self, level: Any, option: Any, *value: Any) -> None:
        if option in (multicast.SO_RCVBUFFORCE, multicast.SO_BUSY_POLL):
            raise PermissionError(1, "Operation not permitted")
        super().setsockopt(level, option, *value)


def test_what_the_kernel_does_not_grant_is_noted_with_the_way_to_get_it() -> None:
    with Unprivileged(socket.AF_INET, socket.SOCK_DGRAM) as refused:
        line = multicast.Line(refused)
        multicast._buffer(line, 1 << 30)
        multicast._busy_poll(line, 50)
    assert "net.core.rmem_max=1073741824" in line.notes[0] and "net.core.busy_read=50" in line.notes[1]


def test_a_line_knows_its_own_address_and_has_no_number_once_closed() -> None:
    line = multicast.listen(HOST, 0, busy_poll_us=50)
    assert line.host == HOST and line.port > 0 and line.fd > 0
    line.close()
    assert line.fd == -1
