"""Named steps at which a process can be told to die: every place where a kill -9 leaves something half done.

    ULTRA_DIE_AT=journal.sync.before:17            there for the seventeenth time, this process ends as by kill -9
    ULTRA_DIE_AT=journal.sync.before:17:FILE,...   once only: it makes FILE first, and who finds FILE there goes on

All processes of a run inherit the variable, and a step belongs to one kind of them, so one line kills any of them in
the middle of a run, and a file for each order says whether it came to that. `ultra chaos --steps` draws such lines from
a seed, and tests/test_labels.py does. Always true: without the variable a step costs one look at an empty dict. No step
is in hot code: what the loop itself does in between is tried by tests/test_comeback.py.
Known bad case: a count is of one process. One that was started again counts from its own start.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "ULTRA_DIE_AT"
ENGINE, FEED, VENUE, JOURNAL = "engine", "feed", "venue", "journal"
FOLLOWER, PROJECTOR, SHIPPER = "follower", "projector", "shipper"
# Each step, whose it is, and what is true there.
STEPS: Final[dict[str, tuple[str, str]]] = {
    "engine.pump.before": (ENGINE, "inputs wait, and none of them has a number"),
    "engine.pump.after": (ENGINE, "they are published to the journal's ring, and nobody was told"),
    "engine.checkpoint.before": (ENGINE, "a state is about to be hashed"),
    "engine.checkpoint.after": (ENGINE, "its hash is in the ring of commands only"),
    "engine.bury.after": (ENGINE, "come back: what the dead one published is on disk, nothing is rebuilt"),
    "engine.back.before": (ENGINE, "come back: rebuilt and rehearsed, the private ends still in its hands"),
    "engine.back.after": (ENGINE, "come back: the real ends are in its hands"),
    "engine.end.before": (ENGINE, "all is answered, the last hash is not there"),
    "engine.end.after": (ENGINE, "the last hash is in the journal, the result was not told"),
    "feed.send.before": (FEED, "bytes were read, no record of them is in the fan"),
    "feed.send.after": (FEED, "their records are in the fan, and it did not say that it turns"),
    "feed.end.before": (FEED, "the file is through, and nobody knows how many records it had"),
    "feed.end.after": (FEED, "all know it"),
    "venue.serve.before": (VENUE, "requests may wait"),
    "venue.serve.after": (VENUE, "they are answered"),
    "journal.begin.mid": (JOURNAL, "a new journal has a superblock and no segment"),
    "journal.append.before": (JOURNAL, "records are in the ring, and none of this frame in the file"),
    "journal.append.mid": (JOURNAL, "the frame's header is in the file, its records are not"),
    "journal.append.after": (JOURNAL, "the frame is in the file, its slots are not given back"),
    "journal.pwrite.mid": (JOURNAL, "half of a write is done"),
    "journal.sync.before": (JOURNAL, "frames are written, and not synced"),
    "journal.sync.after": (JOURNAL, "they are on disk, and nobody was told"),
    "journal.mark.before": (JOURNAL, "the superblock says so, the engine does not know"),
    "journal.mark.after": (JOURNAL, "the engine knows"),
    "journal.block.before": (JOURNAL, "a superblock is about to be written"),
    "journal.block.mid": (JOURNAL, "half of it is"),
    "journal.block.after": (JOURNAL, "all of it is, unsynced"),
    "journal.block.kept": (JOURNAL, "it is on disk; the next one goes into the other slot"),
    "journal.roll.before": (JOURNAL, "a segment is full, and not sealed"),
    "journal.roll.mid": (JOURNAL, "it is sealed, the next one is not there"),
    "journal.roll.after": (JOURNAL, "the next one has its header and no frame"),
    "journal.resume.before": (JOURNAL, "what the dead writer tore is still there"),
    "journal.resume.mid": (JOURNAL, "it is cut, and nothing is written again"),
    "journal.resume.after": (JOURNAL, "its tail is written again and on disk"),
    "journal.settle.before": (JOURNAL, "all is quiet, and the last frames say nothing of themselves"),
    "journal.settle.after": (JOURNAL, "it is said that they are durable"),
    "journal.close.before": (JOURNAL, "the engine has ended, the last segment is open"),
    "journal.close.after": (JOURNAL, "all is on disk and closed, the process has not ended"),
    "image.write.mid": (FOLLOWER, "half of a snapshot is in a hidden file"),
    "image.sync.before": (FOLLOWER, "all of it is, unsynced"),
    "image.rename.before": (FOLLOWER, "it is on disk, without its name"),
    "image.rename.after": (FOLLOWER, "it has its name, which is not on disk"),
    "retention.mark.before": (FOLLOWER, "what stands for the segments that are to go is not there yet"),
    "retention.mark.after": (FOLLOWER, "it is, and so are they"),
    "retention.unlink.mid": (FOLLOWER, "one of them is gone"),
    "projection.commit.before": (PROJECTOR, "rows are made, none is in the database"),
    "projection.commit.mid": (PROJECTOR, "they are, in a transaction that is open"),
    "projection.commit.after": (PROJECTOR, "they are committed"),
    "ship.publish.before": (SHIPPER, "a message is made, and not sent"),
    "ship.publish.after": (SHIPPER, "it is in the socket, and nobody has acked it"),
    "ship.ack.before": (SHIPPER, "the stream has it, and its ack is not counted"),
    "ship.ack.after": (SHIPPER, "it is counted, and not written down"),
    "ship.bill.before": (SHIPPER, "how far the stream is, is about to be written down"),
    "ship.bill.after": (SHIPPER, "it is"),
}


class LabelError(ValueError):
    """An order to die names no step, or is none: says which, and what would be one."""


class Order:
    """To die at a step, the `count`th time that this process comes there; once in all if it has a file."""

    def __init__(self, count: int, path: str) -> None:
        self.left = count
        self._path = path

    def is_due(self) -> bool:
        """Count once more; whether it is to be now."""
        self.left -= 1
        if self.left != 0:
            return False
        if not self._path:
            return True
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return False
        return True


_orders: dict[str, list[Order]] = {}


def arm(text: str) -> None:
    """Take these orders in place of all others; LabelError when they are none."""
    found: dict[str, list[Order]] = {}
    for order in filter(None, text.split(",")):
        step, _, rest = order.partition(":")
        count, _, path = rest.partition(":")
        if step not in STEPS:
            raise LabelError(f"{VARIABLE} names {step!r}, and there is no such step; there are {', '.join(STEPS)}")
        if not (count.isascii() and count.isdigit() and int(count) > 0):
            raise LabelError(f"{VARIABLE}: {order!r} is no order; wanted STEP:COUNT, as journal.sync.before:17")
        found.setdefault(step, []).append(Order(int(count), path))
    _orders.clear()
    _orders.update(found)


def at(step: str) -> None:
    """Here is this step: die, if it was ordered."""
    if _orders and is_due(step):
        die()


def is_due(step: str) -> bool:
    """Whether to die in the middle of what comes now. The caller does half of it, and calls `die`."""
    due = False
    for order in _orders.get(step, ()):
        due = order.is_due() or due
    return due


def die() -> None:
    """As by kill -9: nothing is flushed, nobody is told."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # it has not arrived yet; nothing more is done


arm(os.environ.get(VARIABLE, ""))
