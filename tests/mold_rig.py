"""A feed on the loopback address: an archive, a sender on two lines, a request server, and a receiver of all three.

Time is a number that the tests move on, so waits and back-offs happen when a test says so. A record's `order_id` is the
number of its message, so a stream that is whole reads 1, 2, 3, ...
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from loops import loop

from ultra.cold import multicast
from ultra.hot import net
from ultra.hot import ring as rings
from ultra.venues import faults as bad
from ultra.venues import itch
from ultra.venues import mold_archive as archives
from ultra.venues import mold_receiver as receivers
from ultra.venues import mold_sender as senders
from ultra.venues import mold_server as servers
from ultra.wire import FEED_STATE, RECORD

SESSION = "2026112801"
LOCATE = 7
HOST = multicast.LOCAL
LIMITS = receivers.Limits(wait_ns=100, backoff_ns=200, backoff_max_ns=1_000, silence_ns=10**10)
take = receivers.build(net.udp_receive, itch.decode_received)


@loop
def fill(archive: Any, scratch: Any, values: Any, count: int) -> int:
    """Add deletes whose order numbers are their message numbers."""
    number = 0
    for _ in range(count):
        values[0], values[1], values[2], values[3] = 68, 7, 0, 1_000
        values[4] = archive.cells[archives.COUNT] + 1
        number = archives.append(archive, scratch, 0, itch.pack(scratch, 0, values))
    return number


@loop
def step(sender: Any, server: Any, archive: Any, receiver: Any, decoder: Any, ring: Any, now: int, what: int) -> int:
    """One turn: bit 0 of `what`: the sender, bit 1: the server, bit 2: the receiver. Returns messages delivered."""
    if what & 1:
        senders.send(sender, archive, now)
    if what & 2:
        servers.serve(server, archive)
    return take(receiver, decoder, ring, now) if what & 4 else 0


@loop
def drain(ring: Any, states: Any, expected: Any) -> int:
    """Read the ring: how many market records were not the one that was due; FEED_STATE goes to `states`."""
    wrong = 0
    for _ in range(rings.ready(ring)):
        record = ring.slots[rings.polled(ring, 0)]
        if record.kind == FEED_STATE:
            states[states[0] % 15 + 1] = record.aux
            states[0] += 1
        else:
            expected[0] += 1
            if record.order_id != expected[0]:
                wrong += 1
        rings.release(ring, 1)
    return wrong


def decoder() -> Any:
    made = itch.create(4, [0], selective=True)
    made.locates[LOCATE] = 0
    return made


@dataclass
class Rig:
    limits: receivers.Limits = LIMITS
    messages_max: int = 200_000
    capacity: int = 1 << 12
    ring_records: int = 1 << 12
    batch: int = 16
    server_up: bool = True
    lines: int = 2
    session: str = SESSION
    now: int = 1_000
    wrong: int = 0
    asks: Any = None
    ends: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.archive = archives.create(self.messages_max, self.messages_max * 24)
        self.listen = [multicast.listen(HOST, 0) for _ in range(self.lines)]
        self.speak = [multicast.speak(HOST, line.port) for line in self.listen]
        self.answer = multicast.listen(HOST, 0)
        self.asks = multicast.speak(HOST, self.answer.port)
        self.ends = [*self.listen, *self.speak, self.answer, self.asks]
        self.sender = senders.create([(line.fd, 0) for line in self.speak], SESSION, batch=self.batch)
        self.server = servers.create(self.answer.fd, SESSION)
        fds = [*(line.fd for line in self.listen), *[-1] * (2 - self.lines), self.asks.fd]
        self.receiver = receivers.create(
            fds, self.session, limits=self.limits, capacity=self.capacity, batch=self.batch
        )
        self.decoder, self.ring = decoder(), rings.create(RECORD, self.ring_records)
        self.states, self.expected = np.zeros(16, np.int64), np.zeros(1, np.int64)
        self.scratch, self.values = np.zeros(64, np.uint8), np.zeros(itch.FIELD_MAX, np.int64)

    def close(self) -> None:
        for line in self.ends:
            line.close()

    def __enter__(self) -> "Rig":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, count: int) -> None:
        fill(self.archive, self.scratch, self.values, count)

    def turn(self, turns: int = 1, what: int = -1, ns: int = 10) -> None:
        """So many turns of `ns` each, of all who are up. Bit 3 of `what` leaves the ring unread."""
        what = (7 if self.server_up else 5) if what < 0 else what
        for _ in range(turns):
            self.now += ns
            step(self.sender, self.server, self.archive, self.receiver, self.decoder, self.ring, self.now, what)
            if not what & 8:
                self.wrong += drain(self.ring, self.states, self.expected)

    def until(self, messages: int, turns: int = 20_000, **how: int) -> None:
        """Turns until so many messages came, at most so many."""
        for _ in range(turns):
            if self.delivered >= messages:
                return
            self.turn(**how)

    @property
    def delivered(self) -> int:
        return int(self.expected[0])

    @property
    def state(self) -> int:
        return int(self.receiver.cells[receivers.STATE])

    @property
    def said(self) -> list[int]:
        """The states that the ring brought, in order; of the last fifteen."""
        return self.states[1 : 1 + min(int(self.states[0]), 15)].tolist()

    def faults(self, seed: int, **permille: int) -> None:
        bad.set_faults(self.sender.faults, seed, **permille)

    @property
    def counts(self) -> dict[str, int]:
        return receivers.outcomes(self.receiver)
