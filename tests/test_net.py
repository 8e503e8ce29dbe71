"""Real sockets on the loopback address: what compiled code sends and receives is what Python's own sockets see."""

import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import loop

from ultra.hot import net

HOST = "127.0.0.1"
TURNS = 200_000  # looks that a test allows itself; loopback needs one


@loop
def take(fd: int, packets: Any, wanted: int) -> int:
    """Look until something has come, or an error."""
    found = 0
    for _ in range(wanted):
        found = net.udp_receive(fd, packets)
        if found != 0:
            break
    return found


@loop
def give(fd: int, packets: Any, first: int, count: int) -> int:
    return net.udp_send(fd, packets, first, count)


@loop
def read(fd: int, buffer: Any, start: int, stop: int, wanted: int) -> int:
    found = 0
    for _ in range(wanted):
        found = net.tcp_receive(fd, buffer, start, stop)
        if found != 0:
            break
    return found


@loop
def write(fd: int, buffer: Any, start: int, stop: int) -> int:
    return net.tcp_send(fd, buffer, start, stop)


def udp() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind((HOST, 0))
    for option in (35, 40):  # SO_TIMESTAMPNS, SO_RXQ_OVFL
        opened.setsockopt(socket.SOL_SOCKET, option, 1)
    return opened


def put(packets: Any, k: int, body: bytes) -> None:
    packets.block[k * packets.stride : k * packets.stride + len(body)] = np.frombuffer(body, np.uint8)
    packets.lengths[k] = len(body)


def got(packets: Any, k: int) -> bytes:
    start = k * packets.stride
    return bytes(packets.block[start : start + int(packets.lengths[k])])


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two datagram sockets, the first connected to the second."""
    with udp() as first, udp() as second:
        first.connect(second.getsockname())
        yield first, second


@pytest.fixture
def stream() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a connection."""
    server = socket.create_server((HOST, 0))
    with server, socket.create_connection(server.getsockname()) as first, server.accept()[0] as second:
        yield first, second


@given(
    bodies=st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=12),
    rooms=st.integers(1, 5),
    batch=st.integers(1, 5),
)
def test_packets_arrive_as_a_queue_of_bytes(bodies: list[bytes], rooms: int, batch: int) -> None:
    with udp() as first, udp() as second:
        first.connect(second.getsockname())
        outgoing, incoming, twin = net.create(len(bodies), 64), net.create(rooms, 5), list(bodies)
        for k, body in enumerate(bodies):
            put(outgoing, k, body)
        for start in range(0, len(bodies), batch):
            count = min(batch, len(bodies) - start)
            assert give(first.fileno(), outgoing, start, count) == count
        while twin:
            found = take(second.fileno(), incoming, TURNS)
            assert 0 < found <= rooms
            for k in range(found):
                # Longer than its place: cut, and counted.
                assert got(incoming, k) == twin.pop(0)[:5] and incoming.times[k] > 0
                assert net.named(incoming.names[2 * k]) == first.getsockname()
            net.check(incoming)
        net.check(outgoing)
        assert take(second.fileno(), incoming, 1) == 0, "nothing left is not an error"
        assert incoming.cells[net.TRUNCATED] == sum(len(body) > 5 for body in bodies)
        assert incoming.cells[net.DROPPED] == 0


def test_a_packet_goes_where_its_name_says() -> None:
    with udp() as asker, udp() as server:
        packets = net.create(4)
        asker.sendto(b"who", server.getsockname())
        assert take(server.fileno(), packets, TURNS) == 1
        put(packets, 0, b"you")  # whom it came from is whom it goes to
        assert give(server.fileno(), packets, 0, 1) == 1
        assert asker.recvfrom(99) == (b"you", server.getsockname())


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 1), ("239.255.1.2", 65535), ("0.0.0.0", 0)])
def test_a_name_is_an_address_and_a_port(host: str, port: int) -> None:
    assert net.named(net.name(host, port)) == (host, port)


@pytest.mark.parametrize(("host", "port"), [("localhost", 1), ("1.2.3", 1), ("1.2.3.256", 1), ("1.2.3.4", 65536)])
def test_what_is_no_address_is_refused(host: str, port: int) -> None:
    with pytest.raises(ValueError, match="no IPv4 address"):
        net.name(host, port)


def test_what_the_kernel_drops_is_counted(pair: Any) -> None:
    first, second = pair
    second.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    packets, sent, seen = net.create(16), 0, 0
    for _ in range(40):
        sent += first.send(bytes(1000)) > 0
    while found := take(second.fileno(), packets, 10):
        seen += found
    assert 0 < seen < sent
    first.send(b"the count comes with the next packet")
    assert take(second.fileno(), packets, TURNS) == 1
    assert packets.cells[net.DROPPED] == sent - seen


def test_an_error_is_a_number(pair: Any) -> None:
    first, second = pair
    packets = net.create(1)
    put(packets, 0, b"x")
    second.close()
    give(first.fileno(), packets, 0, 1)
    assert take(first.fileno(), packets, TURNS) == -111, "ECONNREFUSED: nobody listens"
    assert take(10_000, packets, TURNS) == give(10_000, packets, 0, 1) == -9, "EBADF"
    assert take(first.fileno(), packets, 1) == 0, "said once"


def test_a_packet_that_can_not_leave_is_an_error(pair: Any) -> None:
    packets = net.create(8)
    for k in range(8):
        put(packets, k, bytes(1500))
    assert give(pair[0].fileno(), packets, 0, 8) == 8
    # A datagram that no path can carry: the first is refused, nothing is sent.
    large = net.create(1, net.DATAGRAM_MAX + 1)
    put(large, 0, bytes(net.DATAGRAM_MAX + 1))
    assert give(pair[0].fileno(), large, 0, 1) == -90, "EMSGSIZE"


def test_a_stream_is_bytes_then_nothing_then_closed(stream: Any) -> None:
    first, second = stream
    buffer = np.zeros(64, np.uint8)
    assert read(second.fileno(), buffer, 0, 64, 1) == 0, "nothing yet"
    buffer[:5] = np.frombuffer(b"hello", np.uint8)
    assert write(first.fileno(), buffer, 0, 5) == 5
    assert read(second.fileno(), buffer, 10, 13, TURNS) == 3 and bytes(buffer[10:13]) == b"hel"
    assert read(second.fileno(), buffer, 13, 64, TURNS) == 2 and bytes(buffer[10:15]) == b"hello"
    first.close()
    assert read(second.fileno(), buffer, 0, 64, TURNS) == net.CLOSED


def test_a_full_stream_takes_nothing_and_a_dead_one_is_closed(stream: Any) -> None:
    first, second = stream
    buffer, took = np.zeros(1 << 20, np.uint8), 0
    while found := write(first.fileno(), buffer, 0, len(buffer)):
        assert found > 0
        took += found
    assert took > 0
    second.close()  # with bytes unread: a reset
    assert read(first.fileno(), buffer, 0, 1, TURNS) == -104, "ECONNRESET"
    assert write(first.fileno(), buffer, 0, 1) == net.CLOSED
    assert read(10_000, buffer, 0, 1, TURNS) == write(10_000, buffer, 0, 1) == -9, "EBADF"


@pytest.mark.parametrize(("count", "stride"), [(0, 10), (1, 0), (1, 70_000)])
def test_a_block_has_room(count: int, stride: int) -> None:
    with pytest.raises(AssertionError):
        net.create(count, stride)
