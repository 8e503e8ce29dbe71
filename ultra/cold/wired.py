"""`ultra run --venue`: an engine on a venue's packets and on a session with it, its inputs journaled beside it.

Order of things: sockets open, code compiled, the journal's process started; then the feed is followed until its books
are whole; only then does the session log in, and only when it and the venue agree on every order do new ones leave.
The loop (`ultra.wired`) never waits for this file: it comes back when nothing was there for a while, and is seen to.
At the end no new order leaves, open ones are cancelled, their answers awaited, and a last hash is journaled.

A fresh run on an account that traded before is told by the venue of all that happened there: its position is right.
Known bad case: while Python looks after things (some ten microseconds, a few times a second under load) packets wait in
the kernel.
"""

import datetime
import sys
import time
import zoneinfo
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from .. import config_link as link_words
from .. import inline, strategy, wired
from ..config import Config
from ..hot import clock
from ..hot import engine as engines
from ..hot import histogram as histograms
from ..hot import ring as rings
from ..hot.outbox import REQUESTS_MAX
from ..venues import mold_receiver as receivers
from ..venues import mold_window as windows
from ..venues import order_session as sessions
from ..venues.matching_tape import REASONS
from ..wire import CLOSED, HALT, LIVE, NONE, OPEN, TIMER
from . import assembly, multicast
from .drive import NOTHING, Drive, Outcome, RunError, check_core, described, quiet, taps_of
from .gateway import Gateway, Login, compile_doors
from .live import drained_by_sigterm
from .summary import service_ns

IDLE_S: Final = 0.00005
END_S: Final = 3.0  # that the answers to the last cancels are waited for
LATE_TIMER_NS: Final = 1_000_000  # a timer that no market record brought fires so much later
FEED_STATES: Final = {0: "live", 1: "syncing", 2: "stale"}
SESSION_STATES: Final = {0: "open", 1: "reconciling", 2: "closed"}


class Wired:
    """One run on one venue, in this thread."""

    def __init__(
        self,
        config: Config,
        loaded: strategy.Loaded,
        folder: Path,
        *,
        seconds: float | None = None,
        progress: Callable[[dict[str, int]], None] | None = None,
        started: float = 0.0,
    ) -> None:
        self._config = config = of_today(checked(config))
        self._seconds, self._progress, self._started = seconds, progress, started or time.perf_counter()
        check_core(config.engine.core, "engine.core")
        link = config.link
        host, port = link_words.host_port(link.orders)
        login = Login(host, port, link_words.user(link.orders), link_words.password(link))
        self._lines = lines_of(config)
        session = session_of(config)
        feed = receivers.create([line.fd if line else -1 for line in self._lines], limits=limits_of(config))
        ends = wired.create(feed, assembly.decoder_of(config), session, config.engine.reply_ring_records)
        taps = taps_of(config, folder)
        try:
            machine = assembly.assemble(config, loaded, [tap.ring for tap in taps], ends)
        except BaseException:
            for tap in taps:
                tap.abandon()
            raise
        self._about = described(config, loaded, link.feed, 0)
        self.outcome = Outcome(machine, folder, link.feed)
        self._drive = Drive(machine, taps, self.outcome, self._turn)
        backoff_ns = link.reconnect_ms * 1_000_000
        self._gateway = Gateway(session, login, backoff_first_ns=backoff_ns, backoff_max_ns=100 * backoff_ns)
        self._wire, self._run = ends, machine.run
        self._ns_per_tick = clock.calibrate()
        self._spins = config.host.wait == "spin"
        self._stopping = self._trading = False
        self._begun = self._reported = 0.0
        self._next = self._retry_at = 0
        self._said = [-1, -1]

    def play(self) -> Outcome:
        """Until the venue's day ends, `seconds` are over, or SIGTERM; then in good order. RunError, JournalError; a
        venue that is gone for good is in the outcome."""
        drive, outcome = self._drive, self.outcome
        try:
            clock.set_wall(self._wire.wall, self._ns_per_tick)
            self._compile()
            wired.define_now(self._run, 0)
            compile_doors()
            with quiet(self._config.engine.core), drained_by_sigterm(self._stop):
                drive.begin(self._about)
                self._begun = time.perf_counter()
                outcome.startup_s = self._begun - self._started
                while not self._stopping:
                    drive.pump(NOTHING, 0, 0)
                self._end()
                outcome.wall_s = time.perf_counter() - self._begun
        except BaseException:
            drive.abandon()
            raise
        finally:
            self._close()
        drive.close()
        outcome.venue = self._report()
        return outcome

    def _compile(self) -> None:
        """With the feed's sockets out of reach: the first inputs are then that the feed is not whole and the session is
        closed, and limits come before the market."""
        fds = self._wire.feed.fds.copy()
        self._wire.feed.fds[:] = NONE
        assembly.compile_loop(self._drive.machine)
        self._wire.feed.fds[:] = fds

    def _stop(self) -> None:
        self._stopping = self.outcome.drained = True

    def _now(self) -> int:
        clock.set_wall(self._wire.wall, self._ns_per_tick)
        self._wire.cells[wired.NOW] = max(int(self._wire.cells[wired.NOW]), int(self._wire.wall[clock.TIME_NS]))
        return int(self._wire.cells[wired.NOW])

    def _turn(self, drive: Drive) -> None:
        """Whenever the loop comes back."""
        now = self._now()
        self._watch_feed(now)
        if self._trading:
            self._gateway.tend(now)
            if self._gateway.ended and not self._stopping:
                self._lost()
        if int(drive.run.cells[inline.STOPPED_FOR]) == inline.NEED_BYTES:  # nothing may wait when a state is hashed
            self._fire(now)
        self._alarm()
        self._show()
        taken = int(drive.run.cells[inline.NEXT])
        if taken == self._next and not self._spins:
            time.sleep(IDLE_S)
        self._next = taken
        if self._seconds is not None and self._begun and time.perf_counter() - self._begun >= self._seconds:
            self._stopping = True

    def _watch_feed(self, now: int) -> None:
        """Log in once the books are whole; ask again, after a while, for what nobody answered."""
        feed = self._wire.feed
        state = int(feed.cells[receivers.STATE])
        if state == LIVE and not self._trading:
            self._define()
            self._trading = True
        why = int(feed.cells[receivers.WHY])
        if why == receivers.NEW_SESSION and not self._stopping:
            self._stopping = True
            self.outcome.source_error = f"{self._config.link.feed}: the venue began another session; start again for it"
        elif why == receivers.GAP and now >= self._retry_at:
            self._retry_at = now + self._config.link.feed_silence_ms * 1_000_000
            receivers.retry(feed, now)
        end = int(feed.cells[receivers.END_AT])
        if end and int(feed.window.cells[windows.NEXT]) == end:
            self._stopping = True

    def _define(self) -> None:
        """What the venue calls our instruments, before it tells of orders of them."""
        for index in range(int(self._run.engine.cells[engines.INSTRUMENTS])):
            wired.define_now(self._run, index)

    def _lost(self) -> None:
        """No further connection is tried."""
        if not self._gateway.counts().get("accepted") and self._gateway.ended == "login rejected":
            orders = self._config.link.orders
            raise RunError(
                f"{orders}: the venue refuses the login: check the user, the password "
                f"({link_words.PASSWORD} or link.password_file), and that nobody else is logged in"
            )
        self._stopping = True
        self.outcome.source_error = f"{self._config.link.orders}: {self._gateway.ended}; no other connection is tried"

    def _fire(self, now: int) -> None:
        """A timer that is due while the market is silent."""
        cells = self._run.cells
        every, due = int(cells[inline.TIMER_NS]), int(cells[inline.TIMER_AT])
        if every > 0 and 0 < due <= now - LATE_TIMER_NS and not self._stopping:
            assembly.command(self._run, kind=TIMER, ts_event=due, ts_recv=now)
            cells[inline.TIMER_AT] = (now // every + 1) * every

    def _alarm(self) -> None:
        """One line on stderr whenever feed or session change their state."""
        feed = self._wire.feed
        found = [int(feed.cells[receivers.STATE]), self._gateway.state if self._trading else CLOSED]
        if found[0] != self._said[0]:
            more = ""
            if found[0] != LIVE:
                counts = feed.window.cells
                first = int(counts[windows.NEXT])
                lacking = int(counts[windows.HIGHEST]) - first - int(counts[windows.HELD])
                why = receivers.REASONS[int(feed.cells[receivers.WHY])]
                more = f" ({why or 'not whole yet'}: message {first}, {lacking} missing); no new order leaves"
            print(f"ultra: the feed is {FEED_STATES[found[0]]}{more}", file=sys.stderr, flush=True)
        if found[1] != self._said[1]:
            more = "" if found[1] == OPEN else "; no new order leaves"
            print(f"ultra: the session is {SESSION_STATES[found[1]]}{more}", file=sys.stderr, flush=True)
        self._said = found

    def _show(self) -> None:
        now = time.perf_counter()
        if self._progress is None or now - self._reported < 0.25:
            return
        self._reported = now
        messages, memory = int(self._wire.decoder.cells[0]), int(self._run.cells[inline.NEXT])
        self._progress({"messages": messages, "memory": memory, "local": self._drive.durable})

    def _end(self) -> None:
        """No new order; cancel what is open and wait for the answers; then nothing more comes."""
        drive, session, cells = self._drive, self._wire.session, self._run.cells
        now = self._now()
        assembly.command(self._run, kind=HALT, ts_event=now, ts_recv=now, aux=1)
        drive.pump(NOTHING, 0, 0)
        if self._config.link.cancel_at_end:
            self._gateway.cancel_all()
        until = time.perf_counter() + END_S
        while int(session.cells[sessions.LIVE_ROWS]) and self._gateway.state != CLOSED and time.perf_counter() < until:
            drive.pump(NOTHING, 0, 0)
        self.outcome.venue["open_orders"] = int(session.cells[sessions.LIVE_ROWS])
        self._gateway.logout(self._now())
        self._wire.feed.fds[:] = NONE
        while int(cells[inline.NEXT]) != self._next or rings_wait(self._run):
            drive.pump(NOTHING, 0, 0)
        drive.finish()

    def _close(self) -> None:
        self._gateway.close()
        for line in self._lines:
            if line is not None:
                line.close()

    def _report(self) -> dict[str, Any]:
        feed, gateway = self._wire.feed, self._gateway
        found = {
            "feed": {name: count for name, count in receivers.outcomes(feed).items() if count},
            "feed_state": FEED_STATES[int(feed.cells[receivers.STATE])],
            "session": gateway.counts(),
            "losses": gateway.losses,
            "notes": [note for line in self._lines if line is not None for note in line.notes],
            **self.outcome.venue,
        }
        if histograms.count(self._wire.inside):
            found["inside_ns"] = service_ns(self._wire.inside)
        if histograms.count(feed.window.recovery):
            recovery = feed.window.recovery
            found["recovery_ns"] = {f"p{p:g}": int(histograms.percentile(recovery, p)) for p in (50.0, 99.0)}
            found["recovery_ns"]["max"] = int(recovery.largest[0])
        return found


def rings_wait(run: inline.Run) -> bool:
    """Whether something that came in is not yet numbered."""
    found = [ring.cells for ring in (run.feed, run.venue.replies, run.commands)]
    return any(int(cells[rings.CURSOR]) != int(cells[rings.GATE]) for cells in found)


def checked(config: Config) -> Config:
    """RunError unless a run over the wire can do what this configuration says."""
    for key, text in (("feed", config.link.feed), ("orders", config.link.orders)):
        if not text:
            raise RunError(f'link.{key} = "": a venue needs both, an address of its feed and one of its order entry')
    if config.journal.market_data == "reference":
        raise RunError('journal.market_data = "reference": a feed can\'t be read again; set it to "full"')
    if config.host.preset != "inline":
        raise RunError(f'host.preset = "{config.host.preset}": a run on a venue is one thread, "inline"')
    return config


def of_today(config: Config) -> Config:
    """The day of the session, when none is set: today in New York. The journal must say which it was."""
    if config.feed.date:
        return config
    today = datetime.datetime.now(zoneinfo.ZoneInfo("America/New_York")).date()
    return replace(config, feed=replace(config.feed, date=today.isoformat()))


def limits_of(config: Config) -> receivers.Limits:
    """The patience of a feed."""
    link, ms = config.link, 1_000_000
    return receivers.Limits(
        wait_ns=max(link.gap_wait_ms * ms, 1), backoff_ns=link.request_retry_ms * ms, tries_max=link.request_max,
        silence_ns=link.feed_silence_ms * ms,
    )  # fmt: skip


def lines_of(config: Config) -> list[multicast.Line | None]:
    """The sockets of the feed: line A, line B, and the one that asks."""
    link = config.link
    interface = link.interface or multicast.LOCAL
    found: list[multicast.Line | None] = [None, None, None]
    for k, text in enumerate((link.feed, link.feed_b)):
        if text:
            host, port = link_words.host_port(text)
            found[k] = multicast.listen(
                host, port, interface=interface, buffer_bytes=link.receive_buffer_bytes, busy_poll_us=link.busy_poll_us
            )
    if link.request:
        host, port = link_words.host_port(link.request)
        found[2] = multicast.speak(host, port, interface=interface)
    return found


def session_of(config: Config) -> sessions.Session:
    """The session's state, before any connection."""
    link, sizes = config.link, config.engine
    session = sessions.create(
        sizes.instrument_max,
        sizes.own_order_max + REQUESTS_MAX,
        rate=link.order_rate_max_per_s,
        whole_day=True,
        ts_base=assembly.midnight_ns(config.feed.date),
        silence_ns=link.session_silence_ms * 1_000_000,
    )
    sessions.explain(session, REASONS)
    return session
