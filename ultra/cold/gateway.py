"""Our end of an order session: opens the connection, logs in, and opens it again when it is lost.

The orders, their numbers and the place in the venue's sequence live in an `order_session.Session`, which outlives every
connection; the compiled `order_client.turn` does all that happens per order. This file only owns the socket: connects
without blocking, hands the socket's number over, and when the session says why the link must be closed, closes it and
waits before the next try, each time twice as long. While there is no session, new orders are refused at once.
Known bad case: a venue that refuses the login, or is in another session or at another message than we are, is not tried
again: `ended` says why, and a person must look.
"""

from __future__ import annotations

import errno
import select
import socket
from typing import Any, Final

import numpy as np

from ..hot import door
from ..venues import layout as layouts
from ..venues import link as links
from ..venues import order_client, soupbin
from ..venues import order_session as sessions
from ..wire import CLOSED

BACKOFF_FIRST_NS: Final = 100_000_000
BACKOFF_MAX_NS: Final = 10_000_000_000
CONNECT_NS: Final = 5_000_000_000
# What another try would not mend.
FINAL: Final = (links.LOGIN_REJECTED, links.SESSION_ENDED, links.OTHER_SESSION, links.OTHER_SEQUENCE)

_up, _down = door(sessions.up), door(sessions.down)
_want_all, _control, _flush = door(sessions.want_all), door(links.control), door(links.flush)
_state = door(sessions.wire_state)


def compile_doors() -> None:
    """Compile what is called rarely, or load it: not in the middle of a session."""
    session = sessions.create(1, 1, rate=1)
    _up(session, -1, 0)
    _want_all(session)
    _state(session)
    _control(session.link, soupbin.LOGOUT)
    _flush(session.link, 0)
    _down(session)


class GatewayError(Exception):
    """A session that can't be set up: names what is wrong with the login or the address."""


class Login:
    """Where a venue is, and who we are there; GatewayError if it can't be sent."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        self.host, self.port, self.user, self.password = host, port, user, password
        try:
            soupbin.login(user, password)
        except layouts.LayoutError as error:
            raise GatewayError(f"{host}:{port}: {error}") from error
        try:
            self.address: Any = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)[0][4]
        except OSError as error:
            raise GatewayError(f"{host}:{port} is no address: {error}; give an IPv4 address or a name") from error


class Gateway:
    """One session with one venue over any number of connections.

    `turn` is called without pause by whoever runs it; it never blocks. `now` is ns since the epoch by a clock that does
    not go back."""

    def __init__(
        self,
        session: sessions.Session,
        login: Login,
        *,
        backoff_first_ns: int = BACKOFF_FIRST_NS,
        backoff_max_ns: int = BACKOFF_MAX_NS,
        connect_ns: int = CONNECT_NS,
    ) -> None:
        self.session, self.login = session, login
        self.ended = ""  # why no further connection is tried
        self.losses: dict[str, int] = {}  # why connections ended, how often
        self._first, self._max, self._connect_ns = backoff_first_ns, backoff_max_ns, connect_ns
        self._backoff, self._retry_at, self._began = backoff_first_ns, 0, 0
        self._socket: socket.socket | None = None
        self._linked = False
        self._leaving = False

    def turn(self, requests: Any, replies: Any, now: int) -> int:
        """Carry requests to the venue and its replies back; returns OPEN, RECONCILING or CLOSED."""
        order_client.turn(self.session, requests, replies, now)
        self.tend(now)
        return self.state

    def tend(self, now: int) -> None:
        """Connect, or close what failed: all that is left to do when somebody else carries."""
        fault = int(self.session.link.cells[links.FAULT])
        if fault != links.NO_FAULT and self._linked:
            self._lose(fault, now)
        if not self._linked:
            self._connect(now)
        if int(self.session.cells[sessions.PHASE]) == sessions.UP:
            self._backoff = self._first

    @property
    def state(self) -> int:
        """OPEN, RECONCILING or CLOSED, as the session stands."""
        return int(_state(self.session)) if self._linked else CLOSED

    def cancel_all(self) -> int:
        """Ask for the cancellation of every order that is out; returns how many are. It holds over reconnects."""
        return int(_want_all(self.session))

    def logout(self, now: int) -> None:
        """Say goodbye and close; nothing is tried again."""
        if self._linked and int(self.session.cells[sessions.PHASE]) > sessions.LOGGING_IN:
            _control(self.session.link, soupbin.LOGOUT)
            _flush(self.session.link, now)
        self.close()

    def close(self) -> None:
        """End the connection, if there is one, and try no other. What is out stays out, and is settled by whoever
        connects with this session again."""
        self._leaving = True
        self._drop()
        self.ended = self.ended or "closed"

    def counts(self) -> dict[str, int]:
        """What happened so far, by name; only what did."""
        names = zip(sessions.COUNTERS, self.session.counts, strict=False)
        return {name: int(count) for name, count in names if int(count)}

    def _connect(self, now: int) -> None:
        """Begin a connection whose time has come, or see how it stands."""
        if self.ended:
            return
        if self._socket is None:
            if now < self._retry_at:
                return
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._socket.setblocking(False)
            self._began = now
            result = self._socket.connect_ex(self.login.address)
            if result not in (0, errno.EINPROGRESS):
                self._fail(f"connect: {errno.errorcode.get(result, str(result))}", now)
                return
        poller = select.poll()
        poller.register(self._socket, select.POLLOUT)
        if not poller.poll(0):
            if now - self._began >= self._connect_ns:
                self._fail("connect: timed out", now)
            return
        result = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if result:
            self._fail(f"connect: {errno.errorcode.get(result, str(result))}", now)
            return
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._begin(self._socket.fileno(), now)

    def _begin(self, fd: int, now: int) -> None:
        """A connection is there: the login is the first thing that leaves."""
        sequence = int(self.session.cells[sessions.SEQUENCE])
        raw = soupbin.login(self.login.user, self.login.password, "", sequence)
        link = self.session.link
        link.outbox[: len(raw)] = np.frombuffer(raw, np.uint8)
        link.cells[links.OUT_AT], link.cells[links.OUT_END] = 0, len(raw)
        _up(self.session, fd, now)
        self._linked = True

    def _lose(self, fault: int, now: int) -> None:
        if fault == links.FROM_START:
            self._drop()  # we only had to know where the day stands
            return
        if fault in FINAL:
            self.ended = links.FAULTS[fault]
        self._fail(links.FAULTS[fault], now)

    def _fail(self, reason: str, now: int) -> None:
        """A connection ended, or never began."""
        self.losses[reason] = self.losses.get(reason, 0) + 1
        self._drop()
        self._retry_at = now + self._backoff
        self._backoff = min(2 * self._backoff, self._max)

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        if self._linked:
            _down(self.session)
        self._linked = False
