"""The exchange as a process: a trading floor with its sockets, its file, its day and its operator.

One loop: let clients in, work, write the log, speak. What was said is in the file (`ultra.venues.floor`), so a venue
that was killed is started again on the same folder: it does its log again and goes on, with the same books, the same
session of the feed and the same numbers for every client. Orders of clients stay meanwhile, as they would through a
lost link of ours, not of theirs.
Always: one venue a folder (a lock on it), and time never goes back, whatever the system's clock does.
Known bad case: with nothing to do it sleeps on its sockets, so the first message after a pause waits for the kernel.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..config_exchange import Exchange, password
from ..config_link import host_port
from ..hot import net
from ..hot import ring as rings
from ..venues import agents as traders
from ..venues import background as backgrounds
from ..venues import faults, itch_feed, mold_sender, mold_server
from ..venues import floor as floors
from ..wire import AUCTION, END_OF_DAY, ENTRY, HALTED, NONE, ON_CLOSE, ON_OPEN, SET_STATE, TRADING
from . import floor_assembly as assembly
from . import multicast
from .floor_assembly import ExchangeError
from .order_server import OrderServer
from .recording import Recording

ITEMS: Final = 4096  # at most, between two looks at the sockets
WAIT_MAX_S: Final = 0.02
MS: Final = 1_000_000
FAREWELL_S: Final = 5.0  # for whoever has not read everything yet
# Where the day is.
NEW, PRE_OPEN, OPEN, PRE_CLOSE, OVER = range(5)
PHASES: Final = ("new", "pre-open", "open", "pre-close", "over")


class House:
    """One venue. `turn` is called without pause by whoever runs it."""

    def __init__(self, exchange: Exchange, folder: Path, clock: Callable[[], int] = time.time_ns) -> None:
        """Open everything. ExchangeError, JournalError, OrderServerError, MulticastError."""
        assembly.check(exchange)
        self.exchange, self.folder, self._clock = exchange, folder, clock
        self.users, self.symbols = assembly.clients(exchange), list(exchange.instruments())
        self._opened = contextlib.ExitStack()
        self._faults = dict.fromkeys(("drop", "duplicate", "reorder", "delay"), 0)
        self.stopping = False
        try:
            self._start()
        except BaseException:
            self._opened.close()
            raise

    def _start(self) -> None:
        exchange = self.exchange
        self._opened.callback(os.close, _locked(self.folder))
        self._turn = assembly.build(exchange)  # compiled before the day begins
        self._now = self._clock()
        self.log = assembly.EntryLog(self.folder, exchange, self._now)
        self._opened.callback(self.log.close)
        meta = self.log.meta
        self.session, self.started = str(meta["session"]), int(meta["started"])
        self.floor = assembly.assemble(exchange, int(meta["midnight"]))
        if self.log.resumed:
            self.log.again(self.floor, self._turn)
            self._now = max(self._now, int(self.floor.cells[floors.TIME]))
        self.phase = self._reached()
        if self.phase == OVER:
            raise ExchangeError(f"{self.folder}: the day of this venue is over; start in another folder")
        assembly.wake(self.floor, exchange, self._now)
        self._open_sockets()
        self._recording = self._record()
        if self.phase == NEW:
            self._begin()

    # ---- sockets

    def _open_sockets(self) -> None:
        exchange, floor = self.exchange, self.floor
        self.lines = [self._line(text) for text in (exchange.feed_a, exchange.feed_b) if text]
        if not self.lines:
            raise ExchangeError("exchange.feed_a and feed_b: wanted one line of the feed at least")
        pairs = [(fd, net.name(host, port)) for fd, host, port in self.lines]
        self.sender = mold_sender.create(pairs, self.session, heartbeat_ns=exchange.heartbeat_ms * MS)
        # What was said before is asked for by whoever lacks it; a new packet shows that there is more.
        self.sender.cells[mold_sender.NEXT] = 1 + int(floor.archive.cells[0])
        self.request: multicast.Line | None = None
        if exchange.request:
            self.request = multicast.listen(*host_port(exchange.request))
            self._opened.callback(self.request.close)
        fd = -1 if self.request is None else self.request.fd
        self.resender = mold_server.create(fd, self.session)
        host, port = host_port(exchange.orders)
        self.server = OrderServer(
            floor.desk, self._passwords(), host=host or "127.0.0.1", port=port, session=self.session,
            links_max=exchange.client_max, login_ns=exchange.login_ms * MS, heartbeat_ns=exchange.heartbeat_ms * MS,
            silence_ns=exchange.silence_ms * MS, bank=floor.bank, owners=floor.owners, on_left=self._left,
        )  # fmt: skip
        self._opened.callback(self.server.close)
        self.orders = (host or "127.0.0.1", self.server.port)

    def _line(self, text: str) -> tuple[int, str, int]:
        """A socket for a line of the feed, and where to; not connected, so that nobody's absence is an error."""
        host, port = host_port(text)
        port = port or _free_port(host)
        if int(host.split(".")[0]) >= 224:
            line = multicast.speak(host, port, interface=self.exchange.interface or multicast.LOCAL)
            self._opened.callback(line.close)
            return line.fd, host, port
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        self._opened.callback(opened.close)
        return opened.fileno(), host, port

    def _passwords(self) -> list[tuple[str, str]]:
        """Each account's; one that nobody has said is made up and written down for its owner only."""
        found, made = [], {}
        path, accounts = self.folder / "passwords", self.exchange.accounts()
        kept = dict(line.split() for line in path.read_text().splitlines()) if path.exists() else {}
        for user in self.users:
            said = password(user, accounts[user]) or kept.get(user, "")
            if not said:
                said = made[user] = secrets.token_hex(5)
            found.append((user, said))
        if made:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "w") as out:
                out.writelines(f"{user} {said}\n" for user, said in (kept | made).items())
        return found

    def _record(self) -> Recording | None:
        given = assembly.recorded(self.exchange)
        if given is None:
            return None
        owner = list(self.exchange.accounts()).index(given.account)
        background = self.floor.background
        backgrounds.play(background, owner, self.symbols.index(given.instrument), self._now, given.speed_permille)
        if self.log.resumed:
            return None  # what it has entered stays; where it was in its file nobody knows
        return Recording(Path(given.file), given.instrument, background.feed)

    def addresses(self) -> dict[str, Any]:
        """Where everything is: `venue` is what `ultra run --venue` takes."""
        lines = [f"udp://{host}:{port}" for _, host, port in self.lines]
        found: dict[str, Any] = {"session": self.session, "accounts": self.users, "feed": lines}
        if self.request is not None:
            found["request"] = f"request://{self.request.host}:{self.request.port}"
        host, port = self.orders
        found["orders"] = [f"ouch://{user}@{host}:{port}" for user in self.users]
        parts = [*lines, *([found["request"]] if self.request is not None else []), *found["orders"][:1]]
        found["venue"] = ",".join(parts)
        return found

    # ---- the day

    def command(self, kind: int, **fields: int) -> None:
        """An item of the operator, done in the next turn."""
        ring = self.floor.commands
        cursor = int(ring.cells[rings.CURSOR])
        if cursor - int(ring.cells[rings.GATE]) == len(ring.slots):
            raise ExchangeError("too many commands at once")
        entry: Any = np.zeros(1, ENTRY)
        entry["kind"] = kind
        for name, value in fields.items():
            entry[name] = value
        ring.slots[cursor & (len(ring.slots) - 1)] = entry[0]
        ring.cells[rings.CURSOR] = cursor + 1

    def _left(self, owner: int) -> None:
        self.command(floors.LEFT, owner=owner)

    def set_state(self, symbols: list[str], state: int, flag: int = 0) -> None:
        """A trading state for these instruments."""
        for symbol in symbols:
            self.command(SET_STATE, instrument=self.symbols.index(symbol), aux=state, flag=flag)

    def _begin(self) -> None:
        self.command(floors.EVENT, aux=itch_feed.START_OF_MESSAGES)
        self.command(floors.DIRECTORY)
        self.command(floors.EVENT, aux=itch_feed.START_OF_HOURS)
        if self.exchange.pre_open_ms > 0:
            self.set_state(self.symbols, AUCTION, ON_OPEN)
            self.phase = PRE_OPEN
        else:
            self._open()

    def _open(self) -> None:
        self.set_state(self.symbols, TRADING)
        self.command(floors.EVENT, aux=itch_feed.START_OF_MARKET)
        self.phase = OPEN

    def _end(self) -> None:
        """The closing auction if there is one, then nothing trades and nothing outlives the day but what may."""
        if self.phase == PRE_CLOSE:
            self.set_state(self.symbols, TRADING)
        self.command(floors.EVENT, aux=itch_feed.END_OF_MARKET)
        self.set_state(self.symbols, HALTED)
        self.command(END_OF_DAY, instrument=NONE)
        self.command(floors.EVENT, aux=itch_feed.END_OF_HOURS)
        self.command(floors.EVENT, aux=itch_feed.END_OF_MESSAGES)
        self.phase = OVER

    def _reached(self) -> int:
        """Where a day that was done again has come to, by what was said last in public."""
        last = int(self.floor.cells[floors.LAST_EVENT])
        if last == itch_feed.START_OF_MARKET:
            closing = (self.floor.venue.listings.auction == ON_CLOSE).any()
            return PRE_CLOSE if bool(closing) else OPEN
        if last in (itch_feed.END_OF_MARKET, itch_feed.END_OF_HOURS, itch_feed.END_OF_MESSAGES):
            return OVER
        return PRE_OPEN if last == itch_feed.START_OF_HOURS else NEW

    def _pass(self) -> None:
        """The day goes on by itself."""
        exchange, since = self.exchange, (self._now - self.started) // MS
        if self.phase == PRE_OPEN and since >= exchange.pre_open_ms:
            self._open()
        elif self.phase == OPEN and exchange.trading_ms > 0:
            if since >= exchange.pre_open_ms + exchange.trading_ms:
                if exchange.pre_close_ms > 0:
                    self.set_state(self.symbols, AUCTION, ON_CLOSE)
                    self.phase = PRE_CLOSE
                else:
                    self._end()
        elif self.phase == PRE_CLOSE and since >= exchange.pre_open_ms + exchange.trading_ms + exchange.pre_close_ms:
            self._end()

    # ---- the loop

    def turn(self) -> bool:
        """Everything once; False when there was nothing to do."""
        self._now = max(self._now, self._clock())
        self._pass()
        if self._recording is not None:
            self._recording.fill()
        self.server.greet(self._now)
        done = self._turn(self.floor, self._now, ITEMS)
        self.log.write(self.floor)
        went = floors.speak(self.floor, self.sender, self.resender, self._now)
        if int(self.floor.cells[floors.FAILED]) > 0:
            self.server.part()
        if int(self.floor.cells[floors.FEED_FULL]) != 0:
            raise ExchangeError(
                f"the feed has said {int(self.floor.archive.cells[0])} messages, all that exchange.message_max = "
                f"{self.exchange.message_max} has room for: the day is over, a larger one needs another folder"
            )
        return bool(done or went)

    def wait(self, extra: list[int]) -> None:
        """Sleep until something comes, on a socket of ours or on one of `extra`, or an agent's time does."""
        due = int(self.floor.agents.rows.due.min()) if len(self.floor.agents.rows) else 1 << 62
        if self._recording is not None:
            due = min(due, self._clock() + MS)
        left = min(WAIT_MAX_S, max(0.0, (due - self._clock()) / 1e9))
        files = [*self.server.files(), *extra, *([self.request.fd] if self.request is not None else [])]
        if max(files) < 1024:
            select.select(files, [], [], left)
        else:
            poll = select.poll()
            for file in files:
                poll.register(file, select.POLLIN)
            poll.poll(left * 1000)

    def end(self) -> None:
        """End the day in good order: what is open is cancelled, everybody is told, and told that nothing follows."""
        if self.phase != OVER:
            self._end()
        until = time.monotonic() + FAREWELL_S
        while self.turn() and time.monotonic() < until:
            pass
        mold_sender.end(self.sender)
        while floors.speak(self.floor, self.sender, self.resender, self._now) and time.monotonic() < until:
            pass
        self.server.end_session(self._now)

    def close(self) -> None:
        """Close sockets and files, whatever is under way: the log has all that was said."""
        self._opened.close()

    # ---- what the operator may do

    def fault(self, what: str, permille: int, packets: int) -> None:
        """How bad the network of the feed is from now on; ValueError when that makes no sense."""
        wanted = self._faults | {what: permille}
        faults.set_faults(self.sender.faults, int(self.started), **wanted, packets=packets)
        self._faults = wanted

    def deafen(self, deaf: bool) -> None:
        """Whether requests for lost packets are left alone."""
        self.floor.cells[floors.DEAF] = int(deaf)

    def counts(self) -> dict[str, Any]:
        """Everything that was counted."""
        floor, cells = self.floor, self.floor.cells
        listings, venue_fees = floor.venue.listings, floor.venue.fees
        return {
            "phase": PHASES[self.phase],
            "items": int(cells[floors.ITEMS]),
            "entries": int(cells[floors.ENTERED]),
            "messages": int(floor.archive.cells[0]),
            "traded_lots": int(listings.traded.sum()) // 2,
            "clients": self.server.linked(),
            "logins": self.server.logins,
            "closed": dict(self.server.closed),
            "desk": self.server.counts(),
            "agents": {name: int(floor.agents.cells[cell]) for name, cell in traders.OUTCOMES.items()},
            "background": {name: int(floor.background.cells[cell]) for name, cell in backgrounds.OUTCOMES.items()},
            "feed": mold_sender.counts(self.sender) | faults.counts(self.sender.faults),
            "requests": mold_server.counts(self.resender),
            "logged_slots": self.log.slots,
            "fees": {name: int(venue_fees[k]) for k, name in enumerate(self.exchange.accounts())},
            "states": {symbol: int(listings[k].state) for k, symbol in enumerate(self.symbols)},
        }


def _locked(folder: Path) -> int:
    """The folder is ours while this process lives."""
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise ExchangeError(f"{folder}: another venue runs there; stop it, or choose another folder") from error
    return file


def _free_port(host: str) -> int:
    """A port that is free now, for a line that a script wants to listen on once it knows which."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("" if int(host.split(".")[0]) >= 224 else host, 0))
        return int(probe.getsockname()[1])
