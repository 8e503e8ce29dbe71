"""The sending end of a MoldUDP64 feed: packets out of the archive, the same on every line; heartbeats; the end.

A cursor over the archive: `NEXT` is the first message that no packet holds yet. A batch of packets goes to each line
as fast as its socket takes it, and the next batch is made when every line has all of the last one, so the lines never
differ in more than a batch. When there was nothing to send for `heartbeat_ns`, a heartbeat says which message is next;
after `end` it says that nothing more will come, once at once and then as a heartbeat would.
Known bad case: one line whose socket stays full stops the others. A feed would rather be late than have a gap.
"""

from typing import Final, NamedTuple

import numpy as np

from ..hot import hot, net
from ..hot.atomics import Cells
from . import faults as bad
from . import mold_archive as archives
from . import moldudp64 as mold

NEXT, BATCH, HIGH, LOW, HEARTBEAT_NS, SENT_AT, ENDING = range(7)
PACKETS, MESSAGES, HEARTBEATS, ENDS, FULL, ERRORS, LAST_ERROR = range(8, 15)
COUNTS: Final = {
    "packets": PACKETS, "messages": MESSAGES, "heartbeats": HEARTBEATS, "ends": ENDS, "socket_full": FULL,
    "socket_errors": ERRORS,
}  # fmt: skip
NOT_YET, ASKED, SAID = range(3)  # of ENDING


class Sender(NamedTuple):
    """One feed on one or two lines."""

    packets: net.Packets  # the batch
    fds: Cells  # int64[lines]: sockets that don't block
    names: Cells  # int64[lines]: where to (`net.name`); 0 = where the socket is connected to
    sent: Cells  # int64[lines]: packets of the batch that are out
    cells: Cells  # int64[16]
    faults: bad.Faults


def create(lines: list[tuple[int, int]], session: str, *, batch: int = 16, heartbeat_ns: int = 1_000_000_000) -> Sender:
    """A sender to `lines`, each a socket and where to; `batch` packets are made, and sent in one system call."""
    assert lines and heartbeat_ns > 0
    fds, names = (np.array(column, np.int64) for column in zip(*lines, strict=True))
    cells = np.zeros(16, np.int64)
    cells[NEXT], cells[HEARTBEAT_NS] = 1, heartbeat_ns
    cells[HIGH], cells[LOW] = mold.session(session)
    return Sender(net.create(batch), fds, names, np.zeros(len(fds), np.int64), cells, bad.create(len(fds)))


def end(sender: Sender) -> None:
    """No message will be added: say so once all are out."""
    sender.cells[ENDING] = max(int(sender.cells[ENDING]), ASKED)


def counts(sender: Sender) -> dict[str, int]:
    """Every count by name."""
    return {name: int(sender.cells[cell]) for name, cell in COUNTS.items()}


@hot
def send(sender: Sender, archive: archives.Archive, now: int) -> int:
    """Send what there is, at most one batch, or a heartbeat that is due (`now` in ns). Returns packets made."""
    cells = sender.cells
    if not flush(sender):
        return 0
    made = 0
    while made < len(sender.packets.lengths) and cells[NEXT] <= archive.cells[archives.COUNT]:
        end = archive.cells[archives.COUNT] + 1
        following = archives.pack(archive, sender.packets, made, cells[HIGH], cells[LOW], cells[NEXT], end)
        cells[MESSAGES] += following - cells[NEXT]
        cells[NEXT] = following
        made += 1
    cells[PACKETS] += made
    if made == 0:
        made = signal(sender, now)
    if made > 0:
        cells[SENT_AT], cells[BATCH] = now, made
        for line in range(len(sender.fds)):
            sender.sent[line] = 0
        flush(sender)
    return made


@hot
def signal(sender: Sender, now: int) -> int:
    """A heartbeat or the end, when it is time: one packet without messages. Returns how many were made."""
    cells, packets = sender.cells, sender.packets
    if cells[ENDING] != ASKED and now - cells[SENT_AT] < cells[HEARTBEAT_NS]:
        return 0
    ending = cells[ENDING] != NOT_YET
    mold.write_header(
        packets.block, 0, cells[HIGH], cells[LOW], cells[NEXT], mold.END_OF_SESSION if ending else mold.HEARTBEAT
    )
    packets.lengths[0] = mold.HEADER
    cells[ENDS if ending else HEARTBEATS] += 1
    if ending:
        cells[ENDING] = SAID
    return 1


@hot
def flush(sender: Sender) -> bool:
    """What is left of the batch, on every line. True when it is out."""
    cells, packets, done = sender.cells, sender.packets, True
    for line in range(len(sender.fds)):
        first = sender.sent[line]
        left = cells[BATCH] - first
        if left > 0:
            for k in range(first, cells[BATCH]):
                packets.names[2 * k] = sender.names[line]
            sent = bad.send(sender.faults, line, sender.fds[line], packets, first, left)
            if sent < 0:  # this packet can't be sent on this line: the others go on
                cells[ERRORS] += 1
                cells[LAST_ERROR] = -sent
                sent = 1
            cells[FULL] += sent < left
            sender.sent[line] += sent
            done = done and sent == left
    return done
