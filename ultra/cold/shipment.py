"""The shipper's head: which inputs of the journal go into the stream next, and whether they may. No I/O, no clock.

Whoever drives it (`shipper` a real server, the tests a simulated one) goes through three states:

    LOOK   not before `due`, connect, read the stream, call `look`. It begins an epoch and returns the input from which
           the journal is to be read, or says by `state` LOOK that it is to be looked again; if it fails, call `lost`.
    SHIP   `put` what the journal holds behind that, in order, while there is `room`; send whatever `take` returns;
           report each answer by `acked` or `refused`, in any order; call `tick` at `due`; now and then `check`.
    STOP   `alarm` and `why` say what is wrong. Nothing is sent any more; somebody has to look.

The stream itself says what was shipped: an epoch begins behind its last message, which is compared with the journal,
and each message names the stream sequence that it must follow on. Any doubt (an ack that is late or of another
sequence, a refusal, a lost connection) ends the epoch, and the next one looks again.
Messages of an older epoch may still be on their way then, up to WINDOW_MAX of them. One that gets in between is void:
whoever reads leaves out what is of a lower epoch than a message before it. And the first WINDOW_MAX messages of an
epoch go one at a time, so nothing of its own can follow on what is void. Hence what is valid in the stream is a
beginning of the journal, without a hole or a repetition, whoever else writes and whatever the network does.
Known bad case: the stream loses what it acked (a power cut of a server that does not sync). That is seen when the next
message is refused, when `check` is called, or at the next start by the cursor; what was lost is then only here.
"""

from __future__ import annotations

import collections
from typing import Any, Final, NamedTuple

import numpy as np

from ..wire import RECORD
from . import parcel as parcels
from .parcel import Parcel
from .segment import MARK, META, RECORDS

LOOK: Final = 0
SHIP: Final = 1
STOP: Final = 2

# Alarms. What to do on each: docs/replication.md.
FENCED: Final = "fenced"  # another shipper writes this stream, of a later epoch
OTHER: Final = "another journal"  # the stream is of another one
FOREIGN: Final = "foreign message"  # the stream ends with something that is no message of a shipper
AHEAD: Final = "stream ahead"  # the stream holds inputs that the journal has lost
FORK: Final = "fork"  # stream and journal hold different records of the same inputs
ROLLED_BACK: Final = "rolled back"  # the stream has lost what it had acked
PURGED: Final = "purged"  # messages are missing in the stream
HOLE: Final = "hole"  # the journal no longer has what the stream needs next

WINDOW_MAX: Final = 16  # no shipper has more under way: part of the format, since a new epoch trusts in it
WRONG_SEQUENCE: Final = (10071, 10164)  # codes of "wrong last sequence"; old servers and new ones
MESSAGE_ID: Final = "Nats-Msg-Id"
EXPECTED_SEQUENCE: Final = "Nats-Expected-Last-Sequence"
EXPECTED_STREAM: Final = "Nats-Expected-Stream"
FOREVER: Final = 1 << 62


class Limits(NamedTuple):
    """What a shipper allows itself. Times in ns."""

    records_max: int = 2048  # of a stretch, for each partition; while it is live, what comes in `linger_ns`
    window: int = WINDOW_MAX  # messages under way
    linger_ns: int = 1_000_000  # so long a stretch waits to become full
    ack_ns: int = 2_000_000_000  # an ack that is not there by then is a lost one
    retry_ns: int = 50_000_000  # pause before the next epoch; twice that after each that came to nothing
    retry_max_ns: int = 2_000_000_000
    doubt_ns: int = 5_000_000_000  # a stream that is behind what it acked may catch up: a leader that is new
    partitions: int = 1  # 1 to 8
    packed: bool = False  # by zstd


class Seen(NamedTuple):
    """A stream as it was found: sequence of its last message, how many it has, and the bytes of the last WINDOW_MAX of
    them (fewer if it has fewer), the oldest first."""

    last: int
    messages: int
    tail: list[bytes]


class Message(NamedTuple):
    """What is to be published, and the stream sequence that its ack must have."""

    subject: str
    headers: dict[str, str]
    payload: bytes
    sequence: int
    epoch: int


class Cursor(NamedTuple):
    """How far the stream certainly was: inputs below `through`, with the message `sequence`. For the next start."""

    through: int = 0
    sequence: int = 0


class _Sent:
    """A message under way: `through` is what is shipped once it is there."""

    def __init__(self, deadline: int, through: int) -> None:
        self.deadline, self.through, self.is_acked = deadline, through, False


class Shipment:
    """One journal on its way into one stream."""

    def __init__(
        self, journal_id: bytes, stream: str, meta: bytes, writer: int, *, limits: Limits | None = None,
        cursor: Cursor | None = None, resend: bool = False,
    ) -> None:  # fmt: skip
        """`meta` is the payload of the journal's first frame, `writer` a random number of this process, `cursor` what
        an earlier one left. With `resend` a stream that lost its end is filled up again, once."""
        self.journal_id, self.stream, self.writer = journal_id, stream, writer
        self.limits = limits or Limits()
        self.state, self.alarm, self.why = LOOK, "", ""
        self.epoch = 0
        self.cursor = cursor or Cursor()  # acked, all before it too
        self.counts = dict.fromkeys(
            ("epochs", "messages", "records", "bytes", "acks", "dup_acks", "stalls", "refusals", "resyncs", "fenced",
             "alarms"), 0,
        )  # fmt: skip
        assert 1 <= self.limits.partitions <= parcels.PARTITIONS_MAX and 1 <= self.limits.window <= WINDOW_MAX
        self._meta, self._resend = meta, resend
        self._highest = self.cursor.sequence  # acked in any order
        self._retry_at, self._pause = -FOREVER, self.limits.retry_ns
        self._witnesses: list[Parcel] = []  # the parts of the stream's last stretch that were seen
        self._doubted_at = FOREVER  # since when the stream is behind what it acked
        self._forget()

    def _forget(self) -> None:
        """Nothing is under way, nothing waits."""
        self._sent: dict[int, _Sent] = {}
        self._ready: collections.deque[tuple[str, str, Parcel]] = collections.deque()
        self._rows: collections.deque[Any] = collections.deque()
        self._waiting = 0  # records in `_rows`
        self._since = FOREVER  # when the oldest of them came
        self._cut = self._known = 0  # inputs below are in stretches; inputs below are in them or in `_rows`
        self._sequence = 0  # of the message that was sent last
        self._alone = 0  # up to this sequence one message at a time
        self._proof: Parcel | None = None  # the stream's last message, until the journal has confirmed it
        self._begun = 0  # where the journal begins, if that is behind its first input

    # ---- the stream

    def look(self, seen: Seen, reach: int, now: int) -> int:
        """Begin an epoch: the stream was found so, and the journal knows all inputs below `reach`. Returns the input
        from which it is to be read; when that is of no use any more, `state` is STOP."""
        assert self.state == LOOK
        last = self._judged(seen, reach, now)
        if self._retry_at > now or self.state == STOP:
            return 0
        self._doubted_at = FOREVER
        self.epoch = max(self.epoch, last.epoch if last is not None else 0) + 1
        self.counts["resyncs"] += self.counts["epochs"] > 0
        self.counts["epochs"] += 1
        self._forget()
        self.state, self._sequence = SHIP, seen.last
        self._alone = max(self._highest, seen.last) + WINDOW_MAX
        self._highest = max(self._highest, seen.last)
        if last is None:
            self._add(META, [("run", self._meta)], 0, 0, 1, 0)
        else:
            # Its inputs are read again, to be compared, and to send those of its stretch that are not there.
            self._proof = last if last.kind != META else None
            self._cut = self._known = last.first if self._proof is not None else last.through
            if last.is_last_part and self._proof is None:
                self._confirm(last.through, seen.last)
        return self._known

    def check(self, seen: Seen, least: int = FOREVER, now: int = 0) -> None:
        """Now and then: the stream must still hold all that it acked. `least` is `highest` as it was when it was asked,
        since acks may overtake the answer; `tail` is not looked at."""
        least = min(least, self._highest)
        if self.state == SHIP and not self._is_purged(seen) and seen.last < least:
            self._end(f"message {least} was acked, and {seen.last} is its last", now)

    @property
    def highest(self) -> int:
        """The highest sequence that the stream ever acked."""
        return self._highest

    def lost(self, why: str, now: int) -> None:
        """The connection is gone, or was never there, or the stream could not be read."""
        if self.state != STOP:
            self._end(why, now)

    # ---- the journal

    @property
    def room(self) -> int:
        """How many records more it takes for now. All of the stream's last stretch, whatever limits it was cut by: none
        of what waits can go before that is compared."""
        if self.state != SHIP:
            return 0
        room = 2 * self.limits.window * self.limits.records_max - self._waiting
        return room if self._proof is None else max(room, 1)

    def put(self, start: int, records: Any, through: int, now: int) -> None:
        """What the journal holds of the inputs from `start` to below `through`; behind what was put before, or over."""
        if self.state != SHIP or through <= self._known:
            return
        last = self._proof
        if last is not None and self._known < start <= last.through and last.is_last_part:
            # What is shipped may be retired here; the rest of the stretch is proof enough.
            self._known = self._begun = start
        if start > self._known:
            self._stop(HOLE, f"the journal holds inputs from {start}, and the stream is to go on with {self._known}")
            return
        if len(records) and int(records["sequence"][0]) < self._known:
            records = records[int(np.searchsorted(records["sequence"], self._known)) :]
        if len(records):
            self._rows.append(records)
            self._waiting += len(records)
        self._since = min(self._since, now)
        self._known = through
        self._settle_proof(now)

    # ---- the messages

    def take(self, now: int, flush: bool = False) -> Message | None:
        """The next message to publish, None when there is none for now. With `flush` nothing lingers."""
        if not self._may_send:
            return None
        if not self._ready and self._proof is None and self._known > self._cut:
            full = self._waiting >= self.limits.records_max * self.limits.partitions
            if full or flush or now - self._since >= self.limits.linger_ns:
                self._cut_stretch(now)
        if not self._ready:
            return None
        subject, part_id, parcel = self._ready.popleft()
        payload = parcels.encode(parcel, self.limits.packed)
        headers = {
            MESSAGE_ID: f"{self.journal_id.hex()}:{part_id}",
            EXPECTED_SEQUENCE: str(self._sequence),
            EXPECTED_STREAM: self.stream,
        }
        self._sequence += 1
        through = parcel.through if parcel.is_last_part else -1  # nothing of a stretch counts before its last part
        self._sent[self._sequence] = _Sent(now + self.limits.ack_ns, through)
        for name, more in (("messages", 1), ("records", parcel.count), ("bytes", len(payload))):
            self.counts[name] += more
        return Message(subject, headers, payload, self._sequence, self.epoch)

    @property
    def _may_send(self) -> bool:
        if self.state != SHIP or not self._sent:
            return self.state == SHIP
        return next(iter(self._sent)) > self._alone and len(self._sent) < self.limits.window

    def acked(self, message: Message, sequence: int, duplicate: bool, now: int) -> None:
        """The server says that the message is in the stream, at this sequence; `duplicate`: that it was before."""
        sent = self._awaited(message)
        if sent is None:
            return
        self.counts["dup_acks"] += duplicate
        if sequence != message.sequence:
            self._end(f"message {message.sequence} was acked as {sequence}", now)
            return
        self.counts["acks"] += 1
        self._pause = self.limits.retry_ns
        sent.is_acked = True
        self._highest = max(self._highest, sequence)
        while self._sent:
            oldest = next(iter(self._sent))
            if not self._sent[oldest].is_acked:
                break
            reached = self._sent.pop(oldest).through
            if reached >= 0:
                self._confirm(reached, oldest)

    def refused(self, message: Message, code: int, why: str, now: int) -> None:
        """The server does not take the message; `code` is JetStream's own, 0 when it has none."""
        if self._awaited(message) is None:
            return
        self.counts["refusals"] += 1
        what = "another message is there" if code in WRONG_SEQUENCE else why
        self._end(f"message {message.sequence} was refused: {what} ({code})", now)

    def _awaited(self, message: Message) -> _Sent | None:
        """What an answer is about; None when it comes again, or the epoch is over: the stream was read since."""
        sent = self._sent.get(message.sequence) if self.state == SHIP and message.epoch == self.epoch else None
        return None if sent is None or sent.is_acked else sent

    # ---- time

    def due(self) -> int:
        """When to call `tick`, or in state LOOK to look; FOREVER when nothing waits for a time."""
        if self.state == LOOK:
            return self._retry_at
        if self.state == STOP:
            return FOREVER
        may = self._known > self._cut and self._proof is None and self._may_send
        lingers = self._since + self.limits.linger_ns if may else FOREVER
        return min(lingers, next(iter(self._sent.values())).deadline if self._sent else FOREVER)

    def tick(self, now: int) -> None:
        """Whoever did not answer in time will not be waited for."""
        if self.state == SHIP and self._sent and next(iter(self._sent.values())).deadline <= now:
            self.counts["stalls"] += 1
            self._end(f"no ack of message {next(iter(self._sent))} within {self.limits.ack_ns // 10**6} ms", now)

    # ---- what it says of itself

    @property
    def under_way(self) -> int:
        """Messages that were sent and not acked."""
        return len(self._sent)

    @property
    def is_drained(self) -> bool:
        """Whether all that was put is acked."""
        settled = self._proof is None and self._known == self._cut
        return self.state == SHIP and settled and not self._sent and not self._ready

    def check_self(self) -> None:
        """What always holds."""
        assert self._waiting == sum(map(len, self._rows)) and len(self._sent) <= self.limits.window
        assert self._cut <= self._known and self.cursor.sequence <= self._highest
        assert (self.state == STOP) == bool(self.alarm)
        assert list(self._sent) == sorted(self._sent) and self._sequence >= max(self._sent, default=0)
        if self.state == SHIP:
            assert self.cursor.through <= self._known or self._proof is not None

    # ---- inside

    def _judged(self, seen: Seen, reach: int, now: int) -> Parcel | None:
        """The stream's last valid message, None when it is empty. STOP when this is no stream to go on with."""
        if self._resend:
            self.cursor, self._highest = Cursor(), 0
        self._resend = False
        if self._is_purged(seen):
            return None
        if seen.last < self._highest:
            self._doubt(f"message {self._highest} was acked, and {seen.last} is its last", now)
            return None
        if not seen.messages:
            return None
        last: Parcel | None = None
        found: list[Parcel] = []
        try:
            for payload in seen.tail:
                found.append(parcels.decode(payload))
                last = found[-1] if last is None or found[-1].epoch >= last.epoch else last
        except parcels.ParcelError as error:
            self._stop(FOREIGN, f"among the last of its {seen.last} messages: {error}")
            return None
        assert last is not None
        self._witnesses = [one for one in found if _stretch_of(one) == _stretch_of(last)]
        if last.journal_id != self.journal_id:
            self._stop(OTHER, f"it holds journal {last.journal_id.hex()}, this one is {self.journal_id.hex()}")
        elif self.epoch and last.writer != self.writer and last.epoch > self.epoch:
            self.counts["fenced"] += 1
            self._stop(FENCED, f"another shipper writes it, epoch {last.epoch}; ours is {self.epoch}")
        elif last.through > reach:
            self._stop(AHEAD, f"it holds inputs below {last.through}, the journal those below {reach}")
        elif last.through < self.cursor.through:
            self._doubt(f"inputs below {self.cursor.through} were acked, and it has those below {last.through}", now)
        elif last.kind == META and last.body != self._meta:
            self._stop(FORK, "it describes another run than the journal does")
        return last

    def _is_purged(self, seen: Seen) -> bool:
        if seen.messages != seen.last:
            self._stop(PURGED, f"of {seen.last} messages {seen.messages} are left")
        return self.state == STOP

    def _doubt(self, why: str, now: int) -> None:
        """It is behind what it acked: look again, and if that lasts, it is an alarm."""
        self._doubted_at = min(self._doubted_at, now)
        if now - self._doubted_at >= self.limits.doubt_ns:
            self._stop(ROLLED_BACK, why)
        else:
            self._end(why, now)

    def _confirm(self, through: int, sequence: int) -> None:
        self._highest = max(self._highest, sequence)
        if sequence > self.cursor.sequence:
            self.cursor = Cursor(max(self.cursor.through, through), sequence)

    def _settle_proof(self, now: int) -> None:
        """Once the journal's records of the stream's last stretch are all here: compare, and send its missing parts."""
        last = self._proof
        if last is None or self._known < last.through:
            return
        # Of what the journal has nothing there is a MARK, one part that is empty.
        parts = parcels.split(self._taken(last.through), last.partitions) or [("run", b"")]
        if self._begun > last.first:
            rests = [parcels.behind(one.body, self._begun) for one in self._witnesses]
            agrees, parts = all(not rest or rest in (body for _, body in parts) for rest in rests), []
        else:
            agrees = len(parts) == last.parts and all(parts[one.part][1] == one.body for one in self._witnesses)
        if not agrees:
            self._stop(FORK, f"inputs {last.first} to {last.through - 1} are others in the journal")
            return
        if last.is_last_part:  # not before: what it holds could be other inputs than ours
            self._confirm(last.through, self._sequence)
        self._proof = None
        self._add(RECORDS, parts, last.first, last.through, last.partitions, last.part + 1)
        self._cut = last.through
        self._since = now if self._known > self._cut else FOREVER

    def _cut_stretch(self, now: int) -> None:
        """Make parcels of what waits. Behind the journal the ends of stretches are the same whoever cuts them."""
        most, through = self.limits.records_max * self.limits.partitions, self._known
        if self._waiting > most:
            through = self._sequence_at(most)
            aligned = through // most * most
            through = aligned if aligned > self._cut else through
        records = self._taken(through)
        parts = parcels.split(records, self.limits.partitions)
        self._add(RECORDS if parts else MARK, parts or [("run", b"")], self._cut, through, self.limits.partitions, 0)
        self._cut = through
        self._since = now if self._known > self._cut else FOREVER

    def _sequence_at(self, count: int) -> int:
        """Sequence of the record behind so many that wait."""
        for rows in self._rows:
            if count < len(rows):
                return int(rows["sequence"][count])
            count -= len(rows)
        return self._known

    def _taken(self, through: int) -> Any:
        """The waiting records below `through`, which no longer wait."""
        found = []
        while self._rows and int(self._rows[0]["sequence"][0]) < through:
            rows = self._rows.popleft()
            count = int(np.searchsorted(rows["sequence"], through))
            if count < len(rows):
                self._rows.appendleft(rows[count:])
            found.append(rows[:count].view(np.ndarray).view(np.int64))
            self._waiting -= count
        return np.concatenate(found).view(RECORD) if found else np.zeros(0, RECORD)

    def _add(
        self, kind: int, parts: list[tuple[str, bytes]], first: int, through: int, partitions: int, begin: int
    ) -> None:
        """Make ready these parts of a stretch, from `begin` on."""
        size = RECORD.itemsize if kind == RECORDS else FOREVER
        for part, (where, body) in enumerate(parts):
            if part >= begin:
                parcel = Parcel(kind, part, len(parts), self.journal_id, self.writer, self.epoch, first, through,
                                len(body) // size, partitions, body)  # fmt: skip
                subject = f"{subject_of(self.journal_id)}.{where}"
                name = "run" if kind == META else f"{first}.{part}"
                # Whoever cuts otherwise must not be taken for a repetition, nor be told so.
                self._ready.append((subject, f"{name}.{self.epoch}.{self.writer:x}", parcel))

    def _end(self, why: str, now: int) -> None:
        """The epoch is over: what is under way may arrive or not, the next look shows."""
        self._forget()
        self.state, self.why = LOOK, why
        self._retry_at = now + self._pause
        self._pause = min(2 * self._pause, self.limits.retry_max_ns)

    def _stop(self, alarm: str, why: str) -> None:
        self._forget()
        self.counts["alarms"] += 1
        self.state, self.alarm, self.why = STOP, alarm, f"stream {self.stream}: {why}"


def _stretch_of(one: Parcel) -> tuple[int, int, int, int, int]:
    """What is the same in all parts of a stretch."""
    return (one.kind, one.first, one.through, one.parts, one.partitions)


def subject_of(journal_id: bytes) -> str:
    """What all subjects of a journal begin with."""
    return f"ultra.{journal_id.hex()}"
