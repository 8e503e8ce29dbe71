"""The request server of a MoldUDP64 feed: whoever lacks messages asks, and gets them by packets of his own.

A request is 20 bytes: session, first message, how many. The answer is as many packets as it takes, up to
`messages_max` messages, cut where the session ends; what is refused is counted and not answered.
Known bad case: it answers whoever asks, with more bytes than the question has: for networks that are one's own.
Source: Nasdaq MoldUDP64 protocol specification 1.00, "Retransmission".
"""

from typing import Final, NamedTuple

import numpy as np

from ..hot import hot, net
from ..hot.atomics import Cells
from . import mold_archive as archives
from . import moldudp64 as mold

FD, HIGH, LOW, MESSAGES_MAX = range(4)
REQUESTS, PACKETS, MESSAGES, MALFORMED, WRONG_SESSION, OUT_OF_RANGE, UNSENT, ERRORS = range(4, 12)
COUNTS: Final = {
    "requests": REQUESTS, "packets": PACKETS, "messages": MESSAGES, "malformed": MALFORMED,
    "wrong_session": WRONG_SESSION, "out_of_range": OUT_OF_RANGE, "unsent": UNSENT, "socket_errors": ERRORS,
}  # fmt: skip


class Server(NamedTuple):
    """One socket that answers."""

    questions: net.Packets
    answers: net.Packets
    cells: Cells  # int64[16]


def create(fd: int, session: str, *, messages_max: int = 4096, batch: int = 16) -> Server:
    """A server on a bound socket that does not block; it answers a request with at most `messages_max` messages."""
    assert messages_max > 0
    cells = np.zeros(16, np.int64)
    cells[FD], cells[MESSAGES_MAX] = fd, messages_max
    cells[HIGH], cells[LOW] = mold.session(session)
    return Server(net.create(batch, 64), net.create(batch), cells)


def counts(server: Server) -> dict[str, int]:
    """Every count by name."""
    return {name: int(server.cells[cell]) for name, cell in COUNTS.items()}


@hot
def serve(server: Server, archive: archives.Archive) -> int:
    """Answer the requests that have come; returns how many came, or -errno."""
    cells, questions = server.cells, server.questions
    count = net.udp_receive(cells[FD], questions)
    if count < 0:
        cells[ERRORS] += 1
        return count
    for k in range(count):
        cells[REQUESTS] += 1
        at = k * questions.stride
        if questions.lengths[k] != mold.HEADER:
            cells[MALFORMED] += 1
        elif (
            mold.session_high(questions.block, at) != cells[HIGH] or mold.session_low(questions.block, at) != cells[LOW]
        ):
            cells[WRONG_SESSION] += 1
        else:
            first, many = mold.sequence(questions.block, at), mold.count(questions.block, at)
            if first < 1 or first > archive.cells[archives.COUNT] or many < 1:
                cells[OUT_OF_RANGE] += 1
            else:
                end = min(first + min(many, cells[MESSAGES_MAX]), archive.cells[archives.COUNT] + 1)
                answer(server, archive, questions.names[2 * k], first, end)
    return count


@hot
def answer(server: Server, archive: archives.Archive, to: int, first: int, end: int) -> None:
    """Messages first .. end - 1 to whom they were asked by; what the socket has no room for is asked for again."""
    cells, answers = server.cells, server.answers
    while first < end:
        made = 0
        start = first
        while made < len(answers.lengths) and first < end:
            first = archives.pack(archive, answers, made, cells[HIGH], cells[LOW], first, end)
            answers.names[2 * made] = to
            made += 1
        sent = net.udp_send(cells[FD], answers, 0, made)
        cells[ERRORS] += sent < 0
        cells[PACKETS] += max(sent, 0)
        cells[MESSAGES] += first - start if sent == made else 0
        if sent < made:
            cells[UNSENT] += made - max(sent, 0)
            return
