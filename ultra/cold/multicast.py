"""Sockets for market data: datagrams by multicast or unicast, opened with what the hot path needs of them.

None blocks, none is inherited; a receiving one has kernel receive times and the count of packets dropped (`hot/net.py`
reads both), and a receive buffer as large as asked for, or a note that says why not. The socket object must be kept as
long as its number is used.
Known bad case: busy polling beyond the system's default, and a buffer beyond `net.core.rmem_max`, need CAP_NET_ADMIN.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass, field
from typing import Final

# Linux's numbers, where Python's socket module has no name for them.
SO_TIMESTAMPNS: Final = 35
SO_RXQ_OVFL: Final = 40
SO_BUSY_POLL: Final = 46
SO_RCVBUFFORCE: Final = 33
IP_ADD_SOURCE_MEMBERSHIP: Final = 39
IP_MULTICAST_ALL: Final = 49
BUFFER_BYTES: Final = 1 << 23
LOCAL: Final = "127.0.0.1"


class MulticastError(Exception):
    """A socket could not be opened as asked: names the address, the kernel's reason, and what to do."""


@dataclass
class Line:
    """One open socket; `fd` is what hot code is given. `notes` says what the kernel did not grant."""

    socket: socket.socket
    notes: list[str] = field(default_factory=list)

    @property
    def fd(self) -> int:
        """Its number; -1 once closed."""
        return self.socket.fileno()

    @property
    def host(self) -> str:
        """Our own address."""
        return str(self.socket.getsockname()[0])

    @property
    def port(self) -> int:
        """Our own port."""
        return int(self.socket.getsockname()[1])

    def close(self) -> None:
        """Close it; hot code must not use its number any more."""
        self.socket.close()


def listen(
    host: str,
    port: int,
    *,
    interface: str = LOCAL,
    source: str = "",
    buffer_bytes: int = BUFFER_BYTES,
    busy_poll_us: int = 0,
) -> Line:
    """A socket that receives what is sent to `host`:`port`: a multicast group, joined on `interface`, or an address
    of ours. `source`: only of this sender (IGMPv3). `busy_poll_us`: the kernel polls the card so long before it gives
    up, 0 = not at all. Port 0 takes a free one."""
    group = _address(host).is_multicast
    line = _open(host, port)
    try:
        if group:
            # Several receivers of one group on one machine. Not of an address: they would share its packets out.
            line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        line.socket.bind((host, port))
        if group:
            _join(line, host, interface, source)
        _told(line)
        _buffer(line, buffer_bytes)
        if busy_poll_us > 0:
            _busy_poll(line, busy_poll_us)
    except OSError as error:
        line.close()
        what = f"joining it on {interface}: does that interface have this address?" if group else "is the port taken?"
        raise MulticastError(f"can't receive from {host}:{port}: {error.strerror or error} ({what})") from error
    return line


def speak(host: str, port: int, *, interface: str = LOCAL, ttl: int = 1, loopback: bool = True) -> Line:
    """A socket connected to `host`:`port`, a multicast group or one machine, to send to; also to ask a request server.

    A group's packets leave by `interface`, cross `ttl` - 1 routers, and come to receivers on this machine too if
    `loopback`."""
    group = _address(host).is_multicast
    line = _open(host, port)
    try:
        if group:
            option = line.socket.setsockopt
            option(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
            option(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
            option(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, int(loopback))
        _told(line)
        line.socket.connect((host, port))
        _buffer(line, BUFFER_BYTES)
    except OSError as error:
        line.close()
        raise MulticastError(
            f"can't send to {host}:{port} by {interface}: {error.strerror or error} (is there a route?)"
        ) from error
    return line


def _open(host: str, port: int) -> Line:
    if not 0 <= port < 1 << 16:
        raise MulticastError(f"{host}:{port}: a port is 0 to 65535")
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    return Line(opened)


def _address(host: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(host)
    except ValueError as error:
        raise MulticastError(f"{host!r} is no IPv4 address: give its four numbers, names are not looked up") from error


def _join(line: Line, group: str, interface: str, source: str) -> None:
    parts = (socket.inet_aton(group), socket.inet_aton(interface))
    # Without this, packets of groups that other sockets have joined come here too.
    line.socket.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
    if source:
        request = parts[0] + parts[1] + socket.inet_aton(source)
        line.socket.setsockopt(socket.IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, request)
    else:
        line.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", *parts))


def _told(line: Line) -> None:
    """With each packet comes when the kernel got it, and how many it has dropped."""
    line.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    line.socket.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)


def _buffer(line: Line, wanted: int) -> None:
    """The kernel counts its own overhead too, so it says twice what it was asked for."""
    try:
        line.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, wanted)
    except PermissionError:
        line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
    granted = line.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    if granted < wanted:
        line.notes.append(
            f"receive buffer {granted} bytes instead of {wanted}: sysctl -w net.core.rmem_max={wanted} as root"
        )


def _busy_poll(line: Line, wanted_us: int) -> None:
    try:
        line.socket.setsockopt(socket.SOL_SOCKET, SO_BUSY_POLL, wanted_us)
    except PermissionError:
        line.notes.append(f"no busy polling for {wanted_us} us: sysctl -w net.core.busy_read={wanted_us} as root")
