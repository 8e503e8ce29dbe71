"""A venue's end of order sessions: accepts connections, lets accounts in, closes what misbehaves.

`order_serving.attend_all` serves all accounts in one compiled call; this file owns the sockets and everything that is
rare: accepting, the login with its deadline, closing with a reason that is counted. A stranger may send one login of 49
bytes and nothing else, within `login_ns`; there are never more connections than places. A login of an account that is
linked takes the link over: the old one may be half dead, and its silence would lock the client out.
Known bad case: passwords travel as plain text, as the protocol has it; it is for private networks and loopback.
"""

from __future__ import annotations

import hmac
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from ..hot import door
from ..venues import link as links
from ..venues import order_desk as desks
from ..venues import order_serving, soupbin
from ..venues.order_serving import NOBODY, STRANGER

IN_BYTES: Final = 1 << 14
OUT_BYTES: Final = 256
ACCEPT_NS: Final = 1_000_000  # how often new connections are looked for
BACKLOG: Final = 64

_pull, _flush, _up, _down = door(links.pull), door(links.flush), door(links.up), door(links.down)
_attach, _detach, _packet = door(desks.attach), door(desks.detach), door(soupbin.packet)
_number = door(soupbin.number)


def warm(desk: desks.Desk, link: links.Link) -> None:
    """Compile what a login and its end need, on a desk and a link that nobody uses: none of it waits in the day."""
    _up(link, -1, 0)
    _pull(link, 0)
    _flush(link, 0)
    _packet(link.inbox, 0, 0, 1)
    _number(link.inbox, 0, 1)
    _attach(desk, 0, 0)
    _detach(desk, 0)
    _down(link)


class OrderServerError(Exception):
    """The port can't be listened on, or an account can't be one: says which and why."""


class OrderServer:
    """Listens on one port for the accounts of one desk; account k logs in as `users[k]` with its password."""

    def __init__(
        self,
        desk: desks.Desk,
        users: Sequence[tuple[str, str]],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        session: str = "ULTRA",
        links_max: int = 64,
        login_ns: int = 5_000_000_000,
        heartbeat_ns: int = 1_000_000_000,
        silence_ns: int = 15_000_000_000,
        bank: Any = None,
        owners: Any = None,
        on_left: Callable[[int], None] | None = None,
    ) -> None:
        """Whoever serves the connections in a loop of its own gives their `bank` and `owners` (int64[links_max]), calls
        `greet` and `part` in place of `turn`, and is told by `on_left` of an account whose link is gone, which the desk
        is then not."""
        if len(users) != len(desk.accounts):
            raise OrderServerError(f"{len(users)} users for a desk of {len(desk.accounts)} accounts")
        if not 0 < len(session) <= soupbin.SESSION_BYTES:
            raise OrderServerError(f"session name {session!r} must have 1 to {soupbin.SESSION_BYTES} characters")
        self.desk, self.session = desk, session
        self.login_ns, self.heartbeat_ns, self.silence_ns = login_ns, heartbeat_ns, silence_ns
        self.closed: dict[str, int] = {}  # why connections ended, how often
        self.logins = 0
        self._users = {user: (index, password) for index, (user, password) in enumerate(users)}
        self._on_left = on_left
        self._bank = links.bank(links_max, IN_BYTES, OUT_BYTES) if bank is None else bank
        self._links = [links.Link(*(part[k] for part in self._bank)) for k in range(links_max)]
        self._owners: Any = np.full(links_max, NOBODY, np.int64) if owners is None else owners
        self._sockets: list[socket.socket | None] = [None] * links_max
        self._since = [0] * links_max
        self._strangers = 0
        self._looked = 0
        try:
            self._listener = socket.create_server((host, port), backlog=BACKLOG)
        except OSError as error:
            raise OrderServerError(f"{host}:{port}: {error.strerror}; is another server on this port?") from error
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])

    def turn(self, entries: Any, reports: Any, now: int) -> None:
        """Serve everybody once: clients' messages to `entries`, the engine's `reports` to clients. Never blocks.

        `now` is ns since the epoch by a clock that does not go back."""
        self.greet(now)
        failed = order_serving.attend_all(
            self.desk, self._bank, self._owners, entries, reports, now, self.heartbeat_ns, self.silence_ns
        )
        if failed > 0:
            self.part()

    def greet(self, now: int) -> None:
        """Let in whoever comes and logs in."""
        if now - self._looked >= ACCEPT_NS or now < self._looked:
            self._looked = now
            self._accept(now)
        if self._strangers > 0:
            self._greet(now)

    def part(self) -> None:
        """Close the links of accounts that failed."""
        for index, link in enumerate(self._links):
            if self._owners[index] >= 0 and int(link.cells[links.FAULT]) != links.NO_FAULT:
                self._close(index, links.FAULTS[int(link.cells[links.FAULT])])

    def disconnect(self, user: str) -> bool:
        """Close the connection of an account; False when it has none, or there is no such account."""
        owner, _ = self._users.get(user, (NOBODY, ""))
        found = np.flatnonzero(self._owners == owner).tolist() if owner >= 0 else []
        for index in found:
            self._close(index, "disconnected by the operator")
        return bool(found)

    def files(self) -> list[int]:
        """Numbers of the sockets on which something may come."""
        return [self._listener.fileno(), *(each.fileno() for each in self._sockets if each is not None)]

    def linked(self) -> int:
        """How many accounts are logged in."""
        return int((self._owners >= 0).sum())

    def counts(self) -> dict[str, int]:
        """What the desk counted so far, by name; only what it did."""
        names = zip(desks.COUNTERS, self.desk.counts, strict=False)
        return {name: int(count) for name, count in names if int(count)}

    def end_session(self, now: int) -> None:
        """Tell everybody who has got everything that nothing more comes, and close."""
        for index, connection in enumerate(self._sockets):
            if connection is not None and self._owners[index] >= 0:
                account, cells = self.desk.accounts[self._owners[index]], self._links[index].cells
                if account.sent == account.end and cells[links.OUT_AT] == cells[links.OUT_END]:
                    self._write(index, soupbin.framed("Z"), now)
                self._close(index, links.FAULTS[links.SESSION_ENDED])

    def close(self) -> None:
        """Close every connection and the port. Accounts are treated as when their links are lost."""
        for index, connection in enumerate(self._sockets):
            if connection is not None:
                self._close(index, "server closed")
        self._listener.close()

    def _accept(self, now: int) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # the peer is gone already, or there are no more descriptors: it is tried again
                self._count(f"accept: {error.strerror}")
                return
            places = np.flatnonzero(self._owners == NOBODY)
            if len(places) == 0:
                connection.close()
                self._count("too many connections")
                continue
            index = int(places[0])
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[index], self._since[index] = connection, now
            self._owners[index] = STRANGER
            self._strangers += 1
            _up(self._links[index], connection.fileno(), now)

    def _greet(self, now: int) -> None:
        """Strangers: a login, in time, or the door."""
        for index in np.flatnonzero(self._owners == STRANGER).tolist():
            link = self._links[index]
            _pull(link, now)
            cells = link.cells
            length = int(
                _packet(
                    link.inbox, int(cells[links.IN_AT]), int(cells[links.IN_END]), soupbin.LOGIN_BYTES - soupbin.HEAD
                )
            )
            if length == soupbin.LOGIN_BYTES and int(link.inbox[2]) == soupbin.LOGIN:
                self._log_in(index, now)
            elif length != soupbin.INCOMPLETE:
                self._close(index, "no login")
            elif int(cells[links.FAULT]) != links.NO_FAULT:
                self._close(index, "left before login")
            elif now - self._since[index] >= self.login_ns:
                self._close(index, "login too late")

    def _log_in(self, index: int, now: int) -> None:
        link = self._links[index]
        raw: bytes = link.inbox[: soupbin.LOGIN_BYTES].tobytes()
        told = soupbin.describe(raw, outbound=False)
        owner, password = self._users.get(told["user"], (NOBODY, ""))
        same = hmac.compare_digest(password.encode(), str(told["password"]).encode())
        sequence = int(_number(link.inbox, soupbin.LOGIN_BYTES - soupbin.SEQUENCE_BYTES, soupbin.SEQUENCE_BYTES))
        if owner == NOBODY or not same:
            self._refuse(index, soupbin.NOT_AUTHORISED, now)
            return
        if str(told["session"]).strip() not in ("", self.session) or sequence == soupbin.BAD:
            self._refuse(index, soupbin.NO_SESSION, now)
            return
        for other in np.flatnonzero(self._owners == owner).tolist():
            self._close(other, links.FAULTS[links.PUSHED_OUT])
        link.cells[links.IN_AT] = soupbin.LOGIN_BYTES
        self._write(index, soupbin.accepted(self.session, int(_attach(self.desk, owner, sequence))), now)
        self._owners[index] = owner
        self._strangers -= 1
        self.logins += 1

    def _refuse(self, index: int, reason: str, now: int) -> None:
        self._write(index, soupbin.framed("J", reason.encode()), now)
        self._close(index, "login refused")

    def _write(self, index: int, raw: bytes, now: int) -> None:
        """A packet of our own, on a link with nothing under way."""
        link = self._links[index]
        link.outbox[: len(raw)] = np.frombuffer(raw, np.uint8)
        link.cells[links.OUT_AT], link.cells[links.OUT_END] = 0, len(raw)
        _flush(link, now)

    def _close(self, index: int, reason: str) -> None:
        connection, owner = self._sockets[index], int(self._owners[index])
        if connection is not None:
            connection.close()
        self._sockets[index], self._owners[index] = None, NOBODY
        _down(self._links[index])
        if owner == STRANGER:
            self._strangers -= 1
        elif owner >= 0 and self._on_left is not None:
            self._on_left(owner)
        elif owner >= 0:
            _detach(self.desk, owner)
        self._count(reason)

    def _count(self, reason: str) -> None:
        self.closed[reason] = self.closed.get(reason, 0) + 1
