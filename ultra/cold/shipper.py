"""NATS, and all of it: no other file names it. A connection, as the shipper and whoever reads its streams need one.

`Line` speaks JetStream's JSON API over a connection that never reconnects by itself: what a client buffers while it is
down would be sent twice, and futures of the client may stay open for good. So whatever fails is a LineError, its
connection is of no use any more, and whoever used it opens another one and looks again. It has no window, no retry and
no deadline but that of a request: those are `shipment`'s.
Known bad case: a name server that hangs. Connecting is given up after a time limit, and tried again.
Source: NATS client protocol; JetStream API reference, ADR-1 and ADR-8 (nats-io/nats-architecture-and-design).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from . import berth, shipment
from .shipment import Message, Seen

CONNECT_S: Final = 2
REQUEST_S: Final = 2.0
PENDING_BYTES: Final = 64 << 20  # of the client; the window is far below
FETCH: Final = 256  # messages asked for at once
NOT_FOUND: Final = 10059


class LineError(Exception):
    """NATS can't be reached, or does not answer: says whom, and what happened. `code` is JetStream's own, or 0."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Place:
    """Servers, and how they know us. `stream` is what stood behind them, if anything did. A password is only ever read
    from a file."""

    servers: tuple[str, ...]
    stream: str = ""
    user: str = ""
    password: Path | None = None
    creds: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __str__(self) -> str:
        """For people."""
        return ",".join(server.rpartition("/")[2] for server in self.servers)


def place_of(text: str, *, user: str = "", **files: Path | None) -> Place:
    """nats://HOST[:PORT][,HOST...][/STREAM], also tls://; LineError when it is none."""
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise LineError("user and password do not belong into an address: --user NAME --password-file FILE, or --creds")
    hosts = [host for host in parts.netloc.split(",") if host]
    stream = parts.path.strip("/")
    if parts.scheme not in ("nats", "tls") or not hosts or (stream and not berth.STREAM_NAME.fullmatch(stream)):
        raise LineError(f"{text}: wanted nats://HOST[:PORT][,HOST[:PORT]...][/STREAM]")
    if (files.get("cert") is None) != (files.get("key") is None):
        raise LineError("--tls-cert and --tls-key belong together")
    if (user == "") != (files.get("password") is None):
        raise LineError("--user and --password-file belong together")
    return Place(tuple(f"{parts.scheme}://{host}" for host in hosts), stream, user, **files)


class Line:
    """One connection."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._nats: Any = None
        self._sent: dict[str, Message] = {}
        self._inbox = ""
        self.why = ""  # the last that was heard of an error

    @property
    def is_open(self) -> bool:
        """Whether it is of use."""
        return self._nats is not None and bool(self._nats.is_connected)

    @property
    def version(self) -> str:
        """Of the server at its other end."""
        found = self._nats.connected_server_version
        try:
            return f"{found.major}.{found.minor}.{found.patch}"
        except ValueError:
            return "unknown"

    @property
    def payload_max(self) -> int:
        """Bytes of a message, at most."""
        return int(self._nats.max_payload)

    async def open(self, changed: Callable[[], None] | None = None) -> None:
        """Connect; `changed` is called when the connection is gone."""
        try:
            import nats
        except ImportError as error:
            raise LineError("NATS needs nats-py: pip install 'ultra-engine[nats]'") from error

        async def on_error(error: Exception) -> None:
            self.why = str(error) or type(error).__name__

        async def on_closed() -> None:
            if changed is not None:
                changed()

        options: dict[str, Any] = {
            "servers": list(self.place.servers), "allow_reconnect": False, "connect_timeout": CONNECT_S,
            "error_cb": on_error, "closed_cb": on_closed, "disconnected_cb": on_closed, "name": "ultra",
            "pending_size": PENDING_BYTES, "max_reconnect_attempts": 1, "ping_interval": 5, "max_outstanding_pings": 2,
        }  # fmt: skip
        if self.place.creds is not None:
            options["user_credentials"] = str(self.place.creds)
        if self.place.password is not None:
            options |= {"user": self.place.user, "password": _secret(self.place.password)}
        if (context := _context(self.place)) is not None:
            options["tls"] = context
        try:
            self._nats = await asyncio.wait_for(nats.connect(**options), 2 * CONNECT_S * len(self.place.servers))
        except ImportError as error:
            raise LineError(f"--creds needs {error.name}: pip install 'nats-py[nkeys]'") from error
        except _errors() as error:
            raise LineError(f"{self.place}: {self.why or _said(error)}") from error

    async def close(self) -> None:
        """Hang up. What was sent and not answered may arrive or not."""
        if self._nats is not None:
            with contextlib.suppress(*_errors()):
                await self._nats.close()

    # ---- requests

    async def ask(self, subject: str, data: bytes, timeout_s: float = REQUEST_S) -> bytes:
        """One request, one answer."""
        try:
            found: bytes = (await self._nats.request(subject, data, timeout=timeout_s)).data
        except _errors() as error:
            raise LineError(f"{self.place}: {subject}: {_said(error)}") from error
        return found

    async def api(self, what: str, words: dict[str, Any] | None = None) -> dict[str, Any]:
        """One call of JetStream's; LineError with its code when it refuses."""
        said = await self.ask(f"$JS.API.{what}", json.dumps(words).encode() if words is not None else b"")
        try:
            found: dict[str, Any] = json.loads(said)
        except ValueError as error:
            raise LineError(f"{self.place}: {what}: {error}") from error
        if "error" in found:
            wrong = found["error"]
            raise LineError(f"{self.place}: {what}: {wrong.get('description')}", int(wrong.get("err_code", 0)))
        return found

    async def info(self, stream: str) -> dict[str, Any] | None:
        """A stream's settings and state; None when there is none."""
        try:
            return await self.api(f"STREAM.INFO.{stream}")
        except LineError as error:
            if error.code == NOT_FOUND:
                return None
            raise

    async def seen(self, stream: str, state: dict[str, Any]) -> Seen:
        """A stream as `shipment` wants to know it."""
        last, count = int(state["last_seq"]), int(state["messages"])
        if count != last or not last:
            return Seen(last, count, [])
        wanted = range(max(1, last - shipment.WINDOW_MAX + 1), last + 1)
        return Seen(last, count, list(await asyncio.gather(*(self.message(stream, number) for number in wanted))))

    async def message(self, stream: str, sequence: int) -> bytes:
        """One message of a stream."""
        found = await self.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence})
        return base64.b64decode(found["message"].get("data", ""))

    # ---- messages

    async def listen(self, answered: Callable[[Message, dict[str, Any]], None]) -> None:
        """Hear the acks of what is published: `answered` with the message, and what the server said."""
        self._inbox = self._nats.new_inbox()

        async def hear(answer: Any) -> None:
            message = self._sent.pop(answer.subject, None)
            if message is not None:
                answered(message, _words(answer))

        await self._nats.subscribe(f"{self._inbox}.*", cb=hear)

    async def publish(self, message: Message) -> None:
        """Hand it to the connection."""
        reply = f"{self._inbox}.{message.sequence}"
        self._sent[reply] = message
        try:
            await self._nats.publish(message.subject, message.payload, reply=reply, headers=message.headers)
        except _errors() as error:
            raise LineError(f"{self.place}: {_said(error)}") from error

    async def read(self, stream: str, start: int, stop: int, take: Callable[[int, bytes], None]) -> None:
        """Every message of a stream from `start` to below `stop`: pulled, in the order in which they come."""
        settings = {"ack_policy": "none", "deliver_policy": "by_start_sequence", "opt_start_seq": start,
                    "replay_policy": "instant", "inactive_threshold": 60_000_000_000, "max_deliver": 1}  # fmt: skip
        made = await self.api(f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": settings})
        following = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{made['name']}"
        inbox = self._nats.new_inbox()
        try:
            heard = await self._nats.subscribe(inbox, pending_bytes_limit=1 << 30, pending_msgs_limit=1 << 20)
            while start < stop:
                count = min(FETCH, stop - start)
                ask = {"batch": count, "expires": int(REQUEST_S * 1e9)}
                await self._nats.publish(following, json.dumps(ask).encode(), reply=inbox)
                for _ in range(count):
                    message = await heard.next_msg(timeout=2 * REQUEST_S)
                    if (message.headers or {}).get("Status"):
                        raise LineError(f"{self.place}: stream {stream}, from {start}: {_words(message)}")
                    take(_sequence(message.reply), message.data)
                    start += 1
            await heard.unsubscribe()
        except _errors() as error:
            raise LineError(f"{self.place}: {stream}: {_said(error)}") from error

    async def serve(self, subject: str, answer: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Answer requests, each in a task of its own; of several who serve a subject one gets it."""
        tasks: set[asyncio.Task[None]] = set()

        async def reply(request: Any) -> None:
            said = await answer(request.data)
            with contextlib.suppress(*_errors()):
                await request.respond(said)

        async def hear(request: Any) -> None:
            task = asyncio.create_task(reply(request))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        await self._nats.subscribe(subject, queue="ultra", cb=hear)
        await self._nats.flush()


def _errors() -> tuple[type[BaseException], ...]:
    """What a connection may raise."""
    import nats.errors

    return (nats.errors.Error, OSError, asyncio.TimeoutError, EOFError, ValueError)


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _words(answer: Any) -> dict[str, Any]:
    """What a server answered to a message; of one without words (nobody is there) the same shape."""
    status = (answer.headers or {}).get("Status", "")
    if status:
        said = str((answer.headers or {}).get("Description", "")) or "no answer"
        return {"error": {"code": int(status), "err_code": 0, "description": f"status {status}, {said}"}}
    try:
        found: dict[str, Any] = json.loads(answer.data)
    except ValueError:
        found = {"error": {"err_code": 0, "description": f"an answer that is no JSON: {answer.data[:60]!r}"}}
    return found


def _sequence(reply: str) -> int:
    """Of a delivered message, in the stream: $JS.ACK.[DOMAIN.HASH.]STREAM.CONSUMER.TIMES.SEQUENCE..."""
    words = reply.split(".")
    return int(words[7 if len(words) > 10 else 5])


def _secret(path: Path) -> str:
    """The first line of a file that nobody else may read."""
    try:
        if path.stat().st_mode & 0o077:
            raise LineError(f"{path}: others may read it: chmod 600")
        return path.read_text().partition("\n")[0].strip()
    except OSError as error:
        raise LineError(f"{path}: {error.strerror or error}") from error


def _context(place: Place) -> ssl.SSLContext | None:
    """Of a connection that is encrypted; both sides show a certificate if we have one."""
    if place.ca is None and place.cert is None and not place.servers[0].startswith("tls:"):
        return None
    try:
        context = ssl.create_default_context(cafile=str(place.ca) if place.ca is not None else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if place.cert is not None and place.key is not None:
            context.load_cert_chain(place.cert, place.key)
    except (OSError, ssl.SSLError) as error:
        raise LineError(f"{place.ca}, {place.cert}, {place.key}: {error}") from error
    return context
