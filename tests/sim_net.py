"""A network with a JetStream on it, in memory, driven by dice and by a clock that somebody else turns.

The stream takes a message only behind the one that the message names (expected last sequence), and one whose id it
knows from the deduplication window gets the ack of the first (in this order, as the server does it). A link may lose a
message, deliver it twice or long after, lose the ack, and break with all that is under way: what was only buffered may
still arrive, late. A leader may be lost, and with it what it had not synced: nothing that was acked, where it syncs
always; else that too. Behind everybody's back a stream may be purged, or be a new one. `harm` says what of that befell
messages that somebody was told of: only then may an alarm be raised.
Known bad case: one server's view; replicas that answer with an older state than the leader's are not tried.
"""

import heapq
import random
from typing import Any, NamedTuple

from ultra.cold import shipment
from ultra.cold.shipment import Message, Seen

MS = 1_000_000
WINDOW_NS = 120 * MS  # of deduplication; two minutes in the real one
ROLLED_BACK, PURGED, DELETED = "rolled back", "purged", "deleted"


class LinkError(Exception):
    """Nobody answers."""


class Stored(NamedTuple):
    id: str
    payload: bytes


class Answer(NamedTuple):
    """What comes back to the one who sent a message; `code` is not 0 when it was refused."""

    message: Message
    sequence: int
    duplicate: bool
    code: int


class Net:
    """One stream, and the way to it."""

    def __init__(self, dice: random.Random, always: bool) -> None:
        self.dice, self._rand, self._always = dice, dice.random, always
        self.bad = True  # whether anything goes wrong
        self.stream: list[Stored] = []
        self.first = 1  # sequence of the first message that is still there
        self.synced = 0
        self.told = 0  # highest sequence that a client was told of
        self.harm: set[str] = set()
        self.down_until = 0
        self._ids: dict[str, tuple[int, int]] = {}
        self._links = 0
        self._wire: list[tuple[int, int, int, Any]] = []  # due, tie, link, message or answer
        self._tie = 0

    # ---- the client's side

    def connect(self, now: int) -> int:
        """A new link, numbered; LinkError when nobody is there."""
        if now < self.down_until or (self.bad and self._rand() < 0.1):
            raise LinkError
        self._links += 1
        return self._links

    def seen(self, link: int, now: int) -> Seen:
        """The stream as it is; LinkError when the link breaks over it."""
        if link != self._links or now < self.down_until or (self.bad and self._rand() < 0.05):
            raise LinkError
        self.told = max(self.told, self.last)
        tail = [stored.payload for stored in self.stream[max(self.first - 1, self.last - shipment.WINDOW_MAX) :]]
        return Seen(self.last, self.last - self.first + 1, tail)

    def send(self, link: int, message: Message, now: int) -> None:
        """Publish; the answer comes by `answers`, perhaps."""
        luck = self._rand() if self.bad else 1.0
        if luck < 0.04:
            return
        self._put(now + self._delay(), link, message)
        if luck < 0.10:  # a client's buffer, sent again after it came back
            self._put(now + self._delay() + int(self._rand() * 60 * MS), link, message)

    def answers(self, link: int, now: int) -> list[Answer]:
        """Let pass what is due; what of it comes back over this link."""
        found = []
        while self._wire and self._wire[0][0] <= now:
            _, _, over, what = heapq.heappop(self._wire)
            if isinstance(what, Message):
                answer = self._arrive(what, now)
                if answer is not None and not (self.bad and self._rand() < 0.05):
                    self._put(now + self._delay(), over, answer)
            elif over == link == self._links:
                self.told = max(self.told, what.sequence)
                found.append(what)
        return found

    def next_due(self) -> int:
        """When something arrives, -1 when nothing is under way."""
        return self._wire[0][0] if self._wire else -1

    def _put(self, due: int, link: int, what: Any) -> None:
        self._tie += 1
        heapq.heappush(self._wire, (due, self._tie, link, what))

    def _delay(self) -> int:
        if not self.bad:
            return MS // 10
        return int(self._rand() * (40 * MS if self._rand() < 0.1 else 2 * MS))

    # ---- the server

    @property
    def last(self) -> int:
        return len(self.stream)

    def _arrive(self, message: Message, now: int) -> Answer | None:
        if now < self.down_until:
            return None
        headers = message.headers
        id = headers[shipment.MESSAGE_ID]
        known = self._ids.get(id)
        if known is not None and now - known[1] < WINDOW_NS:
            return Answer(message, known[0], True, 0)
        expected = headers.get(shipment.EXPECTED_SEQUENCE)
        if expected is not None and int(expected) != self.last:
            return Answer(message, 0, False, self.dice.choice(shipment.WRONG_SEQUENCE))
        self.stream.append(Stored(id, message.payload))
        self._ids[id] = (self.last, now)
        if self._always or self._rand() < 0.2:
            self.synced = self.last
        return Answer(message, self.last, False, 0)

    # ---- what befalls it

    def cut(self) -> None:
        """The link breaks: no answer comes any more, and of what was under way any part still arrives."""
        self._links += 1
        kept = [each for each in self._wire if isinstance(each[3], Message) and self._rand() < 0.5]
        self._wire = [(due + int(self._rand() * 80 * MS), tie, 0, what) for due, tie, _, what in kept]
        heapq.heapify(self._wire)

    def lose_leader(self, now: int) -> None:
        """Whoever leads now has any beginning of the stream that has all that was synced."""
        left = self.dice.randint(self.synced, self.last)
        if left < self.told:
            self.harm.add(ROLLED_BACK)
        self._forget(left)
        self.first = min(self.first, self.last + 1)
        self.down_until = now + int(self._rand() * 200 * MS)
        self.cut()

    def purge(self) -> None:
        if self.first <= self.last:
            self.harm.add(PURGED)
        self.first = self.last + 1

    def delete(self) -> None:
        """Somebody made it anew, under the same name."""
        if self.told:
            self.harm.add(DELETED)
        self._forget(0)
        self.first = 1
        self.cut()

    def _forget(self, left: int) -> None:
        for stored in self.stream[left:]:
            self._ids.pop(stored.id, None)
        del self.stream[left:]
        self.synced, self.told = left, min(self.told, left)

    def calm(self) -> None:
        """From now on nothing goes wrong."""
        self.bad, self.down_until = False, 0
