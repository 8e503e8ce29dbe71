"""The operator's desk of a running engine: a socket on which commands come in, and their answers go out.

A line of JSON is a command, a line of JSON its answer. The socket lies beside the session's shared memory under the
session's name, and only the same user (or root) may talk: the kernel says who it is. There is no thread: the desk looks
when the loop comes back, puts what it heard into the ring of commands, and the next call of the loop begins with them.
So a command is numbered and in the journal's ring before it has an effect, and the answer that the engine wrote is
journaled behind it as an ACK.

Invariant: an id is done once. Whoever sends it again gets the first answer; with other words under it, a refusal.
Known bad case: answers are remembered for the last REMEMBERED ids; an older one would be done again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ..hot import engine as engines
from ..hot import ring as rings
from ..hot import risk as risks
from ..wire import ACK, KILL, TAKE_ALL_BACK
from . import assembly, shared
from .answers import Entry, ack_of, answer, words_of
from .assembly import Machine
from .command import Command, CommandError, parse, record_of, said

LINE_BYTES_MAX: Final = 4096
CLIENTS_MAX: Final = 32
EVENTS_MAX: Final = 4  # seen to at a time, so that nobody keeps the engine waiting
OUT_BYTES_MAX: Final = 1 << 16
AT_ONCE_MAX: Final = 32  # commands under way; the engine keeps twice as many answers
REMEMBERED: Final = 1 << 16
PREFIX: Final = "ultra-desk."


class DeskError(shared.SharedError):
    """No desk can be opened, or there is none to talk to: says which session, what was found, and what to do."""


class Client:
    """One connection: what it sent short of a line, and what it has not read yet."""

    def __init__(self, link: socket.socket, uid: int) -> None:
        self.link, self.uid = link, uid
        self.heard, self.unsent = b"", b""


def path_of(session: str) -> Path:
    """The socket of a session."""
    return shared.folder() / f"{PREFIX}{session}"


class Desk:
    """What a run hears from its operators. `durable` says below which sequence all is on disk, `replicated` below which
    it is in a stream as well (-1: nothing ships it)."""

    def __init__(
        self, machine: Machine, session: str, durable: Callable[[], int], known: dict[str, Entry] | None = None,
        replicated: Callable[[], int] = lambda: -1,
    ) -> None:  # fmt: skip
        self._machine, self._run, self._durable, self._replicated = machine, machine.run, durable, replicated
        self._known = known if known is not None else {}
        self._asked: deque[Entry] = deque()  # put in, not answered by the engine yet
        self._acks: list[dict[str, int]] = []  # answers that are not journaled yet
        self._waiting: list[Entry] = []  # answered, and somebody waits until it is on disk
        self._again: list[Entry] = []  # all are to be taken back, and some did not fit into the ring
        self._seen = int(machine.run.engine.cells[engines.COMMANDS])
        self._recall()
        self._clients: dict[int, Client] = {}
        self._open = True
        self._lost = ""  # why nothing more is said to be on disk
        self.path = path_of(session)
        self._listener = _listen(self.path)
        self._poll = select.epoll()
        self._poll.register(self._listener.fileno(), select.EPOLLIN)

    def answer(self) -> None:
        """Pass on what the engine answered, and what is on disk by now. Called when the loop comes back."""
        if self._asked:
            self._collect()
        if self._waiting:
            self._answer_durable()

    def turn(self) -> None:
        """Put in what is to be journaled of the answers, then what is new. Called before the loop is, and only then:
        nothing may stand in the ring when a state is hashed."""
        self._put_acks()
        for handle, events in self._poll.poll(0, EVENTS_MAX):
            if handle == self._listener.fileno():
                self._accept()
            elif handle in self._clients:
                self._serve(self._clients[handle], events)
        if self._again and self._open:
            self._repeat()

    def lose(self, why: str) -> None:
        """The journal failed and the run goes on: who waits for the disk is told how far it is, and waits no longer."""
        self._lost = why
        for entry in self._waiting:
            for client, _, repeated in entry.waiting:
                self._say(client, self._answer(entry, repeated))
            entry.waiting = []
        self._waiting = []

    def stop(self) -> None:
        """The run ends: nothing new is taken, the last answers go into the journal. Called while the loop goes on."""
        self._open = False
        self.answer()
        self._put_acks()

    def close(self) -> None:
        """Everything is on disk, or never will be: answer who still waits, and go."""
        for entry in [*self._waiting, *self._asked]:
            for client, _, repeated in entry.waiting:
                self._say(client, self._answer(entry, repeated))
        for client in list(self._clients.values()):
            self._drop(client)
        self._poll.close()
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    # ---- from the engine

    def _recall(self) -> None:
        """The answers that an engine gave before it was brought back, where the journal has none."""
        rows = {int(row.price): row for row in self._run.engine.acks if row.kind == ACK}
        for entry in self._known.values():
            if entry.ack is None and entry.sequence in rows:
                entry.ack = ack_of(rows[entry.sequence])

    def _collect(self) -> None:
        engine = self._run.engine
        while self._asked and self._seen < int(engine.cells[engines.COMMANDS]):
            row = engine.acks[self._seen % engines.ACKS]
            self._seen += 1
            entry = self._asked.popleft()
            ack = ack_of(row)
            fields = {name: int(row[name]) for name in ("instrument", "ts_event", "order_id", "price", "qty", "aux")}
            self._acks.append({"kind": ACK, "ts_recv": time.time_ns(), **fields})
            if entry.ack is None:
                entry.ack = ack
                self._settle(entry)
            if ack.reason == risks.NO_ROOM and entry.words[0] in (KILL, TAKE_ALL_BACK):
                self._again.append(entry)

    def _put_acks(self) -> None:
        for fields in self._acks:
            assembly.command(self._run, **fields)
        self._acks = []

    def _settle(self, entry: Entry) -> None:
        """Answer those who need not wait for the disk."""
        later = []
        for client, level, repeated in entry.waiting:
            if level == "memory" or self._lost:
                self._say(client, self._answer(entry, repeated))
            else:
                later.append((client, level, repeated))
        entry.waiting = later
        if later:
            self._waiting.append(entry)

    def _answer_durable(self) -> None:
        reach, left = {"memory": 1 << 62, "local": self._durable()}, []
        if any(level == "replicated" for entry in self._waiting for _, level, _ in entry.waiting):
            reach["replicated"] = min(reach["local"], self._replicated())
        for entry in self._waiting:
            later = []
            for client, level, repeated in entry.waiting:
                if entry.ack is not None and entry.ack.sequence < reach[level]:
                    self._say(client, self._answer(entry, repeated))
                else:
                    later.append((client, level, repeated))
            entry.waiting = later
            if later:
                left.append(entry)
        self._waiting = left

    def _answer(self, entry: Entry, repeated: bool) -> dict[str, Any]:
        ack = entry.ack
        if ack is None:
            return {"ok": False, "id": entry.id, "error": "the run ended before the engine answered"}
        level = "local" if ack.sequence < self._durable() else "memory"
        if level == "local" and ack.sequence < self._replicated():
            level = "replicated"
        note = {"note": f"the journal failed: {self._lost}"} if self._lost and level == "memory" else {}
        return answer(entry.id, ack, level, repeated) | note

    def _repeat(self) -> None:
        """Take back what did not fit before, now that there is room."""
        output = self._run.engine.output.cells
        if self._asked or int(output[rings.CURSOR]) != int(output[rings.GATE]):
            return
        entry = self._again.pop()
        assert entry.command is not None
        self._put(entry, entry.command)

    # ---- from the operators

    def _accept(self) -> None:
        try:
            link, _ = self._listener.accept()
        except OSError:
            return  # it went away again
        link.setblocking(False)
        _, uid, _ = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        client = Client(link, uid)
        self._clients[link.fileno()] = client
        self._poll.register(link.fileno(), select.EPOLLIN)
        if uid not in (os.geteuid(), 0):
            self._refuse(client, f"user {uid} may not command an engine of user {os.geteuid()}")
        elif len(self._clients) > CLIENTS_MAX:
            self._refuse(client, f"{CLIENTS_MAX} others talk already: try again")

    def _refuse(self, client: Client, why: str) -> None:
        self._say(client, {"ok": False, "error": why})
        if client.link.fileno() >= 0:
            self._drop(client)

    def _drop(self, client: Client) -> None:
        handle = client.link.fileno()
        if self._clients.pop(handle, None) is not None:
            self._poll.unregister(handle)
            client.link.close()

    def _serve(self, client: Client, events: int) -> None:
        if events & select.EPOLLOUT:
            self._say(client, None)
        if client.link.fileno() < 0 or not events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            return
        try:
            data = client.link.recv(LINE_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        *lines, client.heard = (client.heard + data).split(b"\n")
        for line in lines:
            self._take(client, line)
        if len(client.heard) > LINE_BYTES_MAX:
            self._refuse(client, f"a line of more than {LINE_BYTES_MAX} bytes")

    def _take(self, client: Client, line: bytes) -> None:
        """One command: answered at once when it is refused or was answered before, else when the engine has."""
        id = ""
        try:
            command = parse(line.decode("utf-8", "replace"))
            id = command.id
            if not self._open:
                raise CommandError("the run has ended")
            if command.wait != "memory" and not self._machine.config.journal.sync:
                raise CommandError(f"wait = {command.wait}: journal.sync = false, nothing is ever said to be on disk")
            if command.wait == "replicated" and self._replicated() < 0:
                raise CommandError("wait = replicated: nothing ships this journal (ultra ship)")
            entry = self._known.get(id)
            if entry is None:
                if command.wait != "memory" and self._lost:
                    raise CommandError(f"wait = {command.wait}: the journal failed ({self._lost}); only memory is left")
                if len(self._asked) >= AT_ONCE_MAX:
                    raise CommandError(f"{AT_ONCE_MAX} commands are under way: send it again, under the same id")
                entry = self._enter(command, client.uid)
                repeated = False
            else:
                if entry.words != words_of(record_of(command, self._machine, entry.instrument)):
                    raise CommandError(f"id = {id!r}: was another command; a new one needs a new id")
                if entry.ack is None and entry.sequence >= 0:
                    raise CommandError(f"id = {id!r}: was taken as input {entry.sequence}; its answer is not known")
                repeated = True
        except CommandError as error:
            self._say(client, {"ok": False, "id": id, "error": str(error)})
            return
        entry.waiting.append((client, command.wait, repeated))
        if entry.ack is not None:
            self._settle(entry)

    def _enter(self, command: Command, uid: int) -> Entry:
        """Put a new one into the sequence."""
        fields = record_of(command, self._machine)
        entry = Entry(command.id, words_of(fields))
        entry.command = Command(command.name, command.id, f"{command.who} (uid {uid})", command.why, "", fields)
        self._put(entry, entry.command)
        if len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[command.id] = entry
        return entry

    def _put(self, entry: Entry, command: Command) -> None:
        now = int(self._run.engine.cells[engines.NOW])
        for fields in [*said(command), command.fields]:
            assembly.command(self._run, ts_event=now, ts_recv=time.time_ns(), **fields)
        self._asked.append(entry)

    def _say(self, client: Client, words: dict[str, Any] | None) -> None:
        """Send a line, and what is left of earlier ones; what the client does not read waits, up to a limit."""
        if client.link.fileno() < 0:
            return
        if words is not None:
            client.unsent += json.dumps(words).encode() + b"\n"
        try:
            client.unsent = client.unsent[client.link.send(client.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        if len(client.unsent) > OUT_BYTES_MAX:
            self._drop(client)
            return
        wanted = select.EPOLLIN | (select.EPOLLOUT if client.unsent else 0)
        if client.link.fileno() in self._clients:
            self._poll.modify(client.link.fileno(), wanted)


def _listen(path: Path) -> socket.socket:
    """A socket under this name, whole from its first moment. What dead runs left goes; DeskError when one lives."""
    for left in path.parent.glob(PREFIX + "*"):
        if not _alive(left):
            left.unlink(missing_ok=True)
        elif left == path:
            raise DeskError(f"session {path.name.removeprefix(PREFIX)}: another run listens at {path}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    before = os.umask(0o177)
    try:
        new.unlink(missing_ok=True)
        listener.bind(str(new))
        listener.listen(CLIENTS_MAX)
        os.rename(new, path)
    except OSError as error:
        listener.close()
        raise DeskError(
            f"session {path.name.removeprefix(PREFIX)}: no socket at {path} ({error.strerror or error}); "
            "a shorter name, or another ULTRA_SHM_DIR, may help"
        ) from error
    finally:
        os.umask(before)
    return listener


def _alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as link:
        try:
            link.connect(str(path))
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True
