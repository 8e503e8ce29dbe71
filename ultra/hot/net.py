"""Datagrams and streams straight from compiled code: many packets a system call, no object in between.

`udp_receive` is one recvmmsg into a block taken before: bytes, lengths, kernel receive times and senders lie in arrays.
The headers that the kernel reads (struct mmsghdr, 64 bytes) are rows of int64 as well, so this needs no C. The calls
go by their names in the C library, so a kernel bypass that is preloaded (Onload, VMA) takes them over; one with an
interface of its own is a function like `udp_receive`: whoever receives is given it, and never names it.
`create` leaves every header ready to receive; each call leaves it so again. `cold/multicast.py` opens the sockets.
Known bad case: the headers hold addresses, so a `Packets` must not be copied or shared between processes, only kept.
IPv4 only; Linux with 64 bits, little-endian. A socket that blocks is not waited for: nothing there is 0.
"""

import ctypes
import errno
import sys
from typing import Any, NamedTuple

import numpy as np
from numba import types

from . import hot, memory
from .atomics import Cells
from .instruction import I32, I64, byte_pointer, external, instruction

LIBC = ctypes.CDLL(None, use_errno=True)
DONT_WAIT, NO_SIGNAL = 0x40, 0x4000  # MSG_DONTWAIT, MSG_NOSIGNAL
CLOSED = -1
AGAIN, INTERRUPTED, BROKEN = -errno.EAGAIN, -errno.EINTR, -errno.EPIPE
STRIDE = 2048  # more than an Ethernet frame holds
DATAGRAM_MAX = 65_507  # bytes of a UDP datagram over IPv4

# Words of a header, and of the control block that comes with a packet.
NAME, NAME_BYTES, VECTOR, VECTORS, CONTROL, CONTROL_BYTES, PACKET_FLAGS, LENGTH, HEADER = range(9)
CONTROL_WORDS, SOCKADDR_BYTES = 8, 16
LOW = 0xFFFFFFFF
TRUNC = 0x20  # MSG_TRUNC of a packet: it was longer than its place
SOL_SOCKET = 1
STAMP, OVERFLOW = SOL_SOCKET | 35 << 32, SOL_SOCKET | 40 << 32  # SO_TIMESTAMPNS, SO_RXQ_OVFL: level and type

# Cells.
DROPPED, TRUNCATED = 0, 1


class Packets(NamedTuple):
    """A block of datagrams: what `udp_receive` fills, or what `udp_send` sends."""

    block: Any  # uint8[count * stride]: packet k begins at k * stride
    lengths: Cells  # int64[count], bytes
    times: Cells  # int64[count], ns since the epoch when the kernel got it (SO_TIMESTAMPNS); 0 = not asked for
    names: Cells  # int64[2 * count]: 2 * k is whom packet k came from or goes to (`name`); 0 = whom it is connected to
    headers: Cells  # int64[HEADER * count]: struct mmsghdr
    vectors: Cells  # int64[2 * count]: struct iovec
    controls: Cells  # int64[CONTROL_WORDS * count]
    cells: Cells  # int64[8]: DROPPED by the kernel since the socket was opened (SO_RXQ_OVFL); TRUNCATED, as received
    stride: int


def create(count: int, stride: int = STRIDE) -> Packets:
    """Room for `count` datagrams of at most `stride` bytes."""
    assert count > 0 and 0 < stride <= DATAGRAM_MAX + 5, "wanted room for datagrams"
    assert sys.byteorder == "little" and ctypes.sizeof(ctypes.c_void_p) == 8, "the layouts here are of such machines"
    block, names = memory.zeros(count * stride, np.uint8), np.zeros(2 * count, np.int64)
    headers, vectors = np.zeros(HEADER * count, np.int64), np.zeros(2 * count, np.int64)
    controls = np.zeros(CONTROL_WORDS * count, np.int64)
    vectors[0::2] = block.ctypes.data + np.arange(count) * stride
    vectors[1::2] = stride
    rows = headers.reshape(count, HEADER)
    rows[:, NAME] = names.ctypes.data + np.arange(count) * SOCKADDR_BYTES
    rows[:, NAME_BYTES] = SOCKADDR_BYTES
    rows[:, VECTOR] = vectors.ctypes.data + np.arange(count) * 16
    rows[:, VECTORS] = 1
    rows[:, CONTROL] = controls.ctypes.data + np.arange(count) * 8 * CONTROL_WORDS
    rows[:, CONTROL_BYTES] = 8 * CONTROL_WORDS
    lengths, times = np.zeros(count, np.int64), np.zeros(count, np.int64)
    return Packets(block, lengths, times, names, headers, vectors, controls, np.zeros(8, np.int64), stride)


def _system_call(symbol: str, result: Any, size: Any) -> Any:
    """`symbol(fd, &array[at], count, flags)` of the C library; what it returns, or -errno.

    Twin and machine code call the same function, so what a preload replaces is replaced for both."""
    function = getattr(LIBC, symbol)
    function.restype = ctypes.c_int if result is I32 else ctypes.c_ssize_t
    timed = symbol == "recvmmsg"  # its fifth argument: no timeout

    def meaning(fd: int, array: Any, at: int, count: int, flags: int) -> int:
        where = ctypes.c_void_p(array.ctypes.data + int(at) * array.itemsize)
        many = ctypes.c_uint(int(count)) if size is I32 else ctypes.c_size_t(int(count))
        got = int(function(int(fd), where, many, int(flags), *([None] * timed)))
        return got if got >= 0 else -ctypes.get_errno()

    @instruction(meaning)
    def call(typingctx: Any, fd: Any, array: Any, at: Any, count: Any, flags: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            where = byte_pointer(context, builder, signature.args[1], args[1], args[2])
            many = builder.trunc(args[3], I32) if size is I32 else args[3]
            values = [builder.trunc(args[0], I32), where, many, builder.trunc(args[4], I32)]
            values += [I64(0).inttoptr(where.type)] * timed
            got = builder.call(external(builder, result, [value.type for value in values], symbol), values)
            got = builder.sext(got, I64) if result is I32 else got
            cell = builder.call(external(builder, I32.as_pointer(), [], "__errno_location"), [])
            failure = builder.neg(builder.sext(builder.load(cell, typ=I32), I64))
            return builder.select(builder.icmp_signed("<", got, I64(0)), failure, got)

        return types.int64(types.int64, array, types.intp, types.int64, types.int64), codegen

    return call


receive_many, send_many = _system_call("recvmmsg", I32, I32), _system_call("sendmmsg", I32, I32)
receive, send = _system_call("recv", I64, I64), _system_call("send", I64, I64)


def name(host: str, port: int) -> int:
    """An IPv4 address and port as one int64 (the first half of struct sockaddr_in); ValueError if it is none."""
    numbers = [int(part) for part in host.split(".") if part.isdecimal()]
    if len(numbers) != 4 or host.count(".") != 3 or max(numbers) > 255 or not 0 <= port < 1 << 16:
        raise ValueError(f"{host}:{port} is no IPv4 address with a port")
    return int.from_bytes(b"\2\0" + port.to_bytes(2, "big") + bytes(numbers), "little", signed=True)


def named(value: int) -> tuple[str, int]:
    """The inverse of `name`."""
    raw = int(value).to_bytes(8, "little", signed=True)
    return ".".join(str(part) for part in raw[4:]), int.from_bytes(raw[2:4], "big")


@hot
def udp_receive(fd: int, packets: Packets) -> int:
    """Take what has come, as many as there is room for, into packets 0, 1, ...; returns how many, or -errno."""
    headers = packets.headers
    count = receive_many(fd, headers, 0, len(packets.lengths), DONT_WAIT)
    if count < 0:
        return 0 if count == AGAIN or count == INTERRUPTED else count
    for k in range(count):
        at = HEADER * k
        packets.lengths[k] = headers[at + LENGTH] & LOW
        packets.cells[TRUNCATED] += (headers[at + PACKET_FLAGS] & TRUNC) != 0
        packets.times[k] = 0
        if headers[at + CONTROL_BYTES] > 0:
            _control(packets, k, headers[at + CONTROL_BYTES] >> 3)
        headers[at + NAME_BYTES], headers[at + CONTROL_BYTES] = SOCKADDR_BYTES, 8 * CONTROL_WORDS
    return count


@hot
def _control(packets: Packets, k: int, words: int) -> None:
    """What the kernel says beside a packet: blocks of a length, level and type, and a value."""
    controls, at = packets.controls, CONTROL_WORDS * k
    end = at + words
    while at + 2 < end:
        what = controls[at + 1]
        if what == STAMP:
            packets.times[k] = controls[at + 2] * 1_000_000_000 + controls[at + 3]
        elif what == OVERFLOW:
            packets.cells[DROPPED] = controls[at + 2] & LOW
        at += max((controls[at] + 7) >> 3, 2)


@hot
def udp_send(fd: int, packets: Packets, first: int, count: int) -> int:
    """Send packets first .. first + count - 1 as their lengths and names say.

    Returns how many left: fewer, also 0, when the socket's buffer is full. -errno when the first can't be sent; the
    error of a later one comes with the next call."""
    headers = packets.headers
    for k in range(first, first + count):
        at = HEADER * k
        packets.vectors[2 * k + 1] = packets.lengths[k]
        headers[at + NAME_BYTES] = SOCKADDR_BYTES if packets.names[2 * k] != 0 else 0
        headers[at + CONTROL_BYTES] = 0
    sent = send_many(fd, headers, HEADER * first, count, DONT_WAIT | NO_SIGNAL)
    for k in range(first, first + count):
        at = HEADER * k
        packets.vectors[2 * k + 1] = packets.stride
        headers[at + NAME_BYTES], headers[at + CONTROL_BYTES] = SOCKADDR_BYTES, 8 * CONTROL_WORDS
    return 0 if sent == AGAIN or sent == INTERRUPTED else sent


@hot
def tcp_receive(fd: int, buffer: Any, start: int, stop: int) -> int:
    """Take what has come into `buffer[start:stop]` (uint8, start < stop).

    Returns how many bytes; 0 = none yet; CLOSED (-1) = no more will come; below that -errno."""
    got = receive(fd, buffer, start, stop - start, DONT_WAIT)
    if got == AGAIN or got == INTERRUPTED:
        return 0
    return CLOSED if got == 0 else got


@hot
def tcp_send(fd: int, buffer: Any, start: int, stop: int) -> int:
    """Hand `buffer[start:stop]` (uint8, start < stop) to the kernel.

    Returns how many bytes it took; 0 = its buffer is full; CLOSED (-1) = the connection is gone; below that -errno."""
    sent = send(fd, buffer, start, stop - start, DONT_WAIT | NO_SIGNAL)
    if sent == AGAIN or sent == INTERRUPTED:
        return 0
    return CLOSED if sent == BROKEN else sent


def check(packets: Packets) -> None:
    """The invariant, for tests: every header points into our arrays and is ready to receive."""
    count = len(packets.lengths)
    fresh = packets.headers.reshape(count, HEADER)
    assert (packets.vectors[1::2] == packets.stride).all()
    assert (packets.vectors[0::2] == packets.block.ctypes.data + np.arange(count) * packets.stride).all()
    assert (fresh[:, NAME_BYTES] & LOW == SOCKADDR_BYTES).all() and (fresh[:, VECTORS] == 1).all()
    assert (fresh[:, CONTROL_BYTES] == 8 * CONTROL_WORDS).all()
    assert (fresh[:, VECTOR] == packets.vectors.ctypes.data + np.arange(count) * 16).all()
    assert (packets.lengths >= 0).all() and (packets.lengths <= packets.stride).all()
