"""A stream as JetStream keeps one, in memory: sequences from 1, expected sequences, a window of message ids."""

import json
from typing import Any, NamedTuple

from ultra.cold import shipment
from ultra.cold.shipment import Message, Seen


class Stored(NamedTuple):
    subject: str
    id: str
    payload: bytes


class RefusedError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Stream:
    """`publish` returns what an ack says. `ids` is cleared when the deduplication window passes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.messages: dict[int, Stored] = {}
        self.last = 0
        self.ids: dict[str, int] = {}

    def publish(self, message: Message) -> tuple[int, bool]:
        headers = message.headers
        if headers.get(shipment.EXPECTED_STREAM, self.name) != self.name:
            raise RefusedError(10060)
        id = headers.get(shipment.MESSAGE_ID, "")
        if id in self.ids:
            return self.ids[id], True
        if int(headers.get(shipment.EXPECTED_SEQUENCE, self.last)) != self.last:
            raise RefusedError(10071)
        self.last += 1
        self.messages[self.last] = Stored(message.subject, id, message.payload)
        if id:
            self.ids[id] = self.last
        return self.last, False

    def seen(self) -> Seen:
        return Seen(self.last, len(self.messages), self.payloads()[-shipment.WINDOW_MAX :])

    def roll_back(self, count: int) -> None:
        """Forget the last ones, ids and all, as a leader that did not sync."""
        for _ in range(min(count, self.last)):
            gone = self.messages.pop(self.last, None)
            if gone is not None:
                self.ids.pop(gone.id, None)
            self.last -= 1

    def purge(self) -> None:
        self.messages.clear()

    def payloads(self) -> list[bytes]:
        return [self.messages[at].payload for at in sorted(self.messages)]


def ack_of(name: str, answer: tuple[int, bool]) -> bytes:
    """As the server words it."""
    found: dict[str, Any] = {"stream": name, "seq": answer[0]}
    return json.dumps(found | ({"duplicate": True} if answer[1] else {})).encode()
