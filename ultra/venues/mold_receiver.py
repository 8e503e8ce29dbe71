"""A MoldUDP64 feed: every message once, in order, out of two lines that lose packets and a server that has them all.

Whichever copy of a message comes first counts (A/B arbitration), early ones wait in the window, and what is missing is
asked for: after `wait_ns`, in case it was only late, then again with twice the wait, `tries_max` times at most. What
comes in order is decoded where it lies. The state says whether the books that are built of it are whole: SYNCING until
the first time that nothing is missing, and while something is; LIVE; STALE once nobody will fill the gap, the lines are
silent, or the sender began another session. It goes into the ring as a FEED_STATE record, behind what came before it.
A late join is a gap from message 1 on; the server has the whole session.

`build` is given `receive`, so a kernel bypass takes the place of `net.udp_receive`, and `decode`; time is an argument.
Nothing is lost when the ring is full: the packets wait here, then in the kernel. Every outcome is counted (`OUTCOMES`).
Known bad case: while a gap is younger than `wait_ns` the state is still LIVE: the book is whole, only late. Of two
copies of a message that differ either may be delivered, but one only. A server that answers wrongly is believed: the
request socket is connected to it, and that is all that is checked. A sender that begins again under the same session
only repeats itself, to us: it has to take another name, as the protocol wants.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from ..hot import hot, net, rare
from ..hot import ring as rings
from ..hot.atomics import Cells
from ..wire import FEED_STATE, LIVE, NONE, STALE, SYNCING
from . import mold_window as windows
from . import moldudp64 as mold

# Lines. The last is the socket that is connected to the request server.
A, B, ASK = range(3)
LINES: Final = 3
# Cells of a line, `line * LINE_CELLS +` one of these.
FIRST, PACKETS_OF, KERNEL_DROPPED, LAST_ERROR = range(4)
LINE_CELLS: Final = 8

# Cells: the batch at hand (packet INDEX of COUNT, and how far we are in it), the session, the state, the gap.
COUNT, INDEX, LINE, OPEN, POSITION, STOP, SEQUENCE, LEFT = range(8)
HIGH, LOW, KNOWN, HEARD, END_AT = range(8, 13)
STATE, SAID, WHY, HEARD_AT = range(13, 17)
DUE_AT, TRIES, ASKED_FROM, ASKED_TO, STRANGERS = range(17, 22)
# What happened.
PACKETS, HEARTBEATS, MALFORMED, WRONG_SESSION, REQUESTS, RECOVERED, LATE, EXHAUSTED, ERRORS, UNSENT = range(22, 32)
CELLS: Final = 40
OUTCOMES: Final = {
    "packets": PACKETS, "heartbeats": HEARTBEATS, "malformed": MALFORMED, "wrong_session": WRONG_SESSION,
    "requests": REQUESTS, "recovered": RECOVERED, "late": LATE, "exhausted": EXHAUSTED, "socket_errors": ERRORS,
    "unsent": UNSENT,
}  # fmt: skip
WINDOW_OUTCOMES: Final = {
    "messages": windows.DELIVERED, "duplicates": windows.DUPLICATES, "gaps": windows.GAPS, "missing": windows.MISSING,
    "beyond": windows.BEYOND, "too_long": windows.TOO_LONG,
}  # fmt: skip

# Why it is STALE.
FINE, GAP, SILENT, NEW_SESSION = range(4)
REASONS: Final = ("", "gap", "silent", "new_session")


class Limits(NamedTuple):
    """What a receiver bears."""

    wait_ns: int = 200_000  # a gap this young is only a packet that was overtaken, or waits on the other line
    backoff_ns: int = 2_000_000  # from asking to asking again, doubled each time
    backoff_max_ns: int = 200_000_000
    tries_max: int = 8  # without any progress
    ask_messages_max: int = 512  # in one request
    asks_max: int = 8  # requests at a time
    silence_ns: int = 3_000_000_000  # heartbeats come every second
    strangers_max: int = 8  # packets of another session with none of ours between them


class Receiver(NamedTuple):
    """One feed."""

    window: windows.Window
    packets: net.Packets  # the batch at hand
    asks: net.Packets  # requests on their way
    fds: Cells  # int64[LINES]: sockets that don't block; -1 = there is none
    lines: Cells  # int64[LINES * LINE_CELLS]
    cells: Cells  # int64[CELLS]
    limits: Limits


def create(
    fds: list[int],
    session: str = "",
    *,
    limits: Limits = Limits(),  # noqa: B008 - it can't change
    capacity: int = 1 << 14,
    stride: int = 64,
    batch: int = 64,
) -> Receiver:
    """A receiver of the sockets A, B and ASK (-1 = there is none; `ultra.cold.multicast` opens them).

    `session` empty: that of the first packet. The window keeps `capacity` early messages of up to `stride` - 2 bytes;
    `batch` packets are taken in one system call."""
    assert len(fds) == LINES and limits.asks_max > 0 and 0 < limits.ask_messages_max <= mold.COUNT_MAX
    assert min(limits.wait_ns, limits.backoff_ns, limits.silence_ns, limits.strangers_max) > 0
    lines, cells = np.zeros(LINES * LINE_CELLS, np.int64), np.zeros(CELLS, np.int64)
    asks = net.create(limits.asks_max, mold.HEADER)
    window = windows.create(capacity, stride)
    receiver = Receiver(window, net.create(batch), asks, np.array(fds, np.int64), lines, cells, Limits(*limits))
    restart(receiver, session)
    return receiver


def restart(receiver: Receiver, session: str = "") -> None:
    """Begin a session with its message 1: after NEW_SESSION, with fresh books behind the ring. Counts go on."""
    cells, window = receiver.cells, receiver.window
    cells[:PACKETS] = 0
    cells[KNOWN] = session != ""
    cells[HIGH], cells[LOW] = mold.session(session)
    cells[STATE], cells[SAID] = SYNCING, NONE
    window.lengths[:] = window.since[:] = 0
    window.cells[windows.DUPLICATES] += window.cells[windows.HELD]  # they will not be delivered
    window.cells[windows.HELD] = 0
    window.cells[windows.NEXT] = window.cells[windows.HIGHEST] = 1


def retry(receiver: Receiver, now: int) -> None:
    """Ask again for what nobody answered: the limits begin anew."""
    receiver.cells[TRIES], receiver.cells[DUE_AT] = 0, now


def outcomes(receiver: Receiver) -> dict[str, int]:
    """Every count by name."""
    found = {name: int(receiver.window.cells[cell]) for name, cell in WINDOW_OUTCOMES.items()}
    found |= {name: int(receiver.cells[cell]) for name, cell in OUTCOMES.items()}
    found["kernel_dropped"] = sum(int(receiver.lines[k * LINE_CELLS + KERNEL_DROPPED]) for k in range(LINES))
    return found | {"first_" + "ab"[k]: int(receiver.lines[k * LINE_CELLS + FIRST]) for k in (A, B)}


def build(receive: Callable[..., int], decode: Callable[..., int]) -> Callable[..., int]:
    """`take` with these hot functions in it.

    `receive(fd, packets)` fills packets and says how many, as `net.udp_receive`; `decode(decoder, buffer, at, stop,
    ring, received_ns)` turns whole frames into records until the ring is full and says how far it came."""

    @hot
    def take(receiver: Receiver, decoder: Any, ring: rings.Ring, now: int) -> int:
        """Take what has come on every line, once each; then ask for what is missing, and say the state.

        `now` in ns, > 0, never less than before. Returns how many messages were delivered into the ring."""
        cells = receiver.cells
        before = receiver.window.cells[windows.DELIVERED]
        if cells[HEARD_AT] == 0:
            cells[HEARD_AT] = now  # silence counts from here
        if cells[SAID] == NONE:  # before the first message
            settle(receiver, ring, now)
        if cells[SAID] == NONE:
            return 0
        line, room = -1, True
        while room and line < LINES:  # the rest of the last batch first; one call, because the decoder is inlined in it
            if line >= 0 and receiver.fds[line] >= 0:
                begin(receiver, line)
                took(receiver, receive(receiver.fds[line], receiver.packets))
            room = work(receiver, decoder, ring, now)
            line += 1
        if room:
            ask(receiver, now)
        settle(receiver, ring, now)
        return receiver.window.cells[windows.DELIVERED] - before

    @hot
    def work(receiver: Receiver, decoder: Any, ring: rings.Ring, now: int) -> bool:
        """The rest of the batch. False when the ring is full."""
        cells = receiver.cells
        room = True
        while room and cells[INDEX] < cells[COUNT]:
            if cells[OPEN] != 0 or opened(receiver, now):
                room = deliver(receiver, decoder, ring, now)
            if room:
                cells[OPEN] = 0
                cells[INDEX] += 1
        return room and (receiver.window.cells[windows.HELD] == 0 or drain(receiver, decoder, ring))

    @hot
    def deliver(receiver: Receiver, decoder: Any, ring: rings.Ring, now: int) -> bool:
        """The open packet, straight into the ring, and the early messages that were waiting for it."""
        cells, window, packets = receiver.cells, receiver.window, receiver.packets
        # Messages held here may come before the rest of this packet if the ring was full in between.
        if window.cells[windows.HELD] != 0 and not drain(receiver, decoder, ring):
            return False
        catch_up(receiver)
        at, stop = cells[POSITION], cells[STOP]
        if at == stop:
            return True
        reached = decode(decoder, packets.block, at, stop, ring, packets.times[cells[INDEX]])
        count = cells[LEFT] if reached == stop else mold.messages_between(packets.block, at, reached)
        known = window.cells[windows.DUPLICATES]
        windows.passed(window, count, now)
        first_copies(receiver, cells[SEQUENCE], count - (window.cells[windows.DUPLICATES] - known))
        cells[SEQUENCE] += count
        cells[LEFT] -= count
        cells[POSITION] = reached
        return reached == stop and (window.cells[windows.HELD] == 0 or drain(receiver, decoder, ring))

    @rare
    def drain(receiver: Receiver, decoder: Any, ring: rings.Ring) -> bool:
        """What was held and whose turn it is. False when the ring is full."""
        window = receiver.window
        slot = windows.head(window)
        while slot >= 0:
            start = slot * window.stride
            stop = start + window.lengths[slot]
            if decode(decoder, window.block, start, stop, ring, window.times[slot]) < stop:
                return False
            windows.pop(window)
            slot = windows.head(window)
        return True

    return take


@hot
def begin(receiver: Receiver, line: int) -> None:
    """The next batch is of this line; what its socket has dropped is counted from where it was."""
    receiver.cells[LINE] = line
    receiver.packets.cells[net.DROPPED] = receiver.lines[line * LINE_CELLS + KERNEL_DROPPED]


@hot
def took(receiver: Receiver, count: int) -> None:
    """A batch of `count` packets lies in `packets`; below 0 it is what was wrong with the socket."""
    cells, row = receiver.cells, receiver.cells[LINE] * LINE_CELLS
    cells[INDEX], cells[COUNT], cells[OPEN] = 0, max(count, 0), 0
    if count < 0:
        cells[ERRORS] += 1
        receiver.lines[row + LAST_ERROR] = -count
        return
    cells[PACKETS] += count
    receiver.lines[row + PACKETS_OF] += count
    receiver.lines[row + KERNEL_DROPPED] = receiver.packets.cells[net.DROPPED]


@hot
def opened(receiver: Receiver, now: int) -> bool:
    """Look at the next packet: True if the message that is next may be in it. What comes too early is held."""
    cells, window, block = receiver.cells, receiver.window, receiver.packets.block
    at = cells[INDEX] * receiver.packets.stride
    stop = at + receiver.packets.lengths[cells[INDEX]]
    kind = mold.judge(block, at, stop)
    if kind == mold.MALFORMED:
        cells[MALFORMED] += 1
        return False
    if not ours(receiver, at):
        return False
    cells[HEARD], cells[HEARD_AT] = 1, now
    first = mold.sequence(block, at)
    windows.extend(window, first, now)
    if kind != mold.DATA:
        cells[HEARTBEATS] += 1
        if kind == mold.END:
            cells[END_AT] = first
        return False
    count = mold.count(block, at)
    at += mold.HEADER
    if first > window.cells[windows.NEXT]:
        early(receiver, at, first, count, now)
        return False
    cells[OPEN], cells[SEQUENCE], cells[LEFT], cells[POSITION], cells[STOP] = 1, first, count, at, stop
    return True


@hot
def ours(receiver: Receiver, at: int) -> bool:
    """Whether the packet at `at` is of our session. Enough of another one, and ours is over."""
    cells, block = receiver.cells, receiver.packets.block
    high, low = mold.session_high(block, at), mold.session_low(block, at)
    if cells[KNOWN] == 0:
        cells[KNOWN], cells[HIGH], cells[LOW] = 1, high, low
    if high == cells[HIGH] and low == cells[LOW]:
        cells[STRANGERS] = 0
        return True
    cells[WRONG_SESSION] += 1
    cells[STRANGERS] += 1
    return False


@rare
def early(receiver: Receiver, at: int, first: int, count: int, now: int) -> None:
    """Hold `count` messages from `first` on, the first frame at `at`."""
    window, packets = receiver.window, receiver.packets
    received = packets.times[receiver.cells[INDEX]]
    for sequence in range(first, first + count):
        if windows.hold(window, packets.block, at, sequence, received, now) == windows.KEPT:
            first_copies(receiver, sequence, 1)
        at = mold.skip(packets.block, at, 1)


@rare
def catch_up(receiver: Receiver) -> None:
    """Step over those messages of the open packet that were delivered before."""
    cells, counts = receiver.cells, receiver.window.cells
    behind = min(counts[windows.NEXT] - cells[SEQUENCE], cells[LEFT])
    if behind > 0:
        cells[POSITION] = mold.skip(receiver.packets.block, cells[POSITION], behind)
        cells[SEQUENCE] += behind
        cells[LEFT] -= behind
        counts[windows.DUPLICATES] += behind
        counts[windows.ARRIVED] += behind


@hot
def first_copies(receiver: Receiver, first: int, count: int) -> None:
    """These messages had not come before: from which line, and was it after we had asked for them."""
    cells = receiver.cells
    if cells[LINE] == ASK:
        cells[RECOVERED] += count
        return
    receiver.lines[cells[LINE] * LINE_CELLS + FIRST] += count
    cells[LATE] += min(max(cells[ASKED_TO] - first, 0), count)


@hot
def ask(receiver: Receiver, now: int) -> None:
    """When it is time, ask for the first messages that are missing."""
    cells, window, limits = receiver.cells, receiver.window, receiver.limits
    following = window.cells[windows.NEXT]
    if windows.missing(window) == 0 or cells[STRANGERS] >= limits.strangers_max:
        return
    if following > cells[ASKED_FROM]:  # something came since
        cells[ASKED_FROM], cells[TRIES] = following, 0
        if following >= cells[ASKED_TO]:
            windows.wanted(window, following, following + 1, now)
            cells[DUE_AT] = window.since[windows.slot_of(window, following)] + limits.wait_ns
        else:
            cells[DUE_AT] = now + limits.backoff_ns
    if now < cells[DUE_AT] or cells[TRIES] > limits.tries_max:
        return
    if cells[TRIES] == limits.tries_max or receiver.fds[ASK] < 0:
        cells[TRIES] = limits.tries_max + 1  # nobody will fill it
        cells[EXHAUSTED] += 1
        return
    send_asks(receiver, now)
    cells[DUE_AT] = now + min(limits.backoff_ns << min(cells[TRIES], 32), limits.backoff_max_ns)
    cells[TRIES] += 1


@rare
def send_asks(receiver: Receiver, now: int) -> None:
    """One request a hole, up to the limits."""
    cells, window, asks = receiver.cells, receiver.window, receiver.asks
    count, first = 0, windows.hole(window, window.cells[windows.NEXT])
    end = windows.hole_end(window, first, receiver.limits.ask_messages_max)
    while count < len(asks.lengths) and first < end:
        windows.wanted(window, first, end, now)
        mold.write_header(asks.block, count * asks.stride, cells[HIGH], cells[LOW], first, end - first)
        asks.lengths[count] = mold.HEADER
        count += 1
        cells[ASKED_TO] = max(cells[ASKED_TO], end)
        first = windows.hole(window, end)
        end = windows.hole_end(window, first, receiver.limits.ask_messages_max)
    sent = net.udp_send(receiver.fds[ASK], asks, 0, count)
    cells[REQUESTS] += max(sent, 0)
    cells[UNSENT] += count - max(sent, 0)


@hot
def settle(receiver: Receiver, ring: rings.Ring, now: int) -> None:
    """Find the state, and put it into the ring if it is another one and there is room."""
    cells, window = receiver.cells, receiver.window
    state, why = cells[STATE], FINE
    lacking = windows.missing(window)
    ended = cells[END_AT] != 0 and window.cells[windows.NEXT] == cells[END_AT]
    if cells[STRANGERS] >= receiver.limits.strangers_max:
        state, why = STALE, NEW_SESSION
    elif lacking > 0 and cells[TRIES] > receiver.limits.tries_max:
        state, why = STALE, GAP
    elif now - cells[HEARD_AT] > receiver.limits.silence_ns and not ended:
        state, why = STALE, SILENT
    elif cells[HEARD] == 0:
        state = SYNCING
    elif lacking > 0:
        first = windows.hole(window, window.cells[windows.NEXT])
        windows.wanted(window, first, first + 1, now)
        if state != LIVE or now - window.since[windows.slot_of(window, first)] >= receiver.limits.wait_ns:
            state = SYNCING
    elif window.cells[windows.HELD] == 0 and cells[INDEX] == cells[COUNT]:
        state = LIVE
    elif state != LIVE:
        state = SYNCING  # everything is here, and waits for room in the ring
    cells[STATE], cells[WHY] = state, why
    if state != cells[SAID] and rings.room(ring) > 0:
        say(receiver, ring, now)


@rare
def say(receiver: Receiver, ring: rings.Ring, now: int) -> None:
    """A FEED_STATE record, at the time of the market record before it."""
    cells, window = receiver.cells, receiver.window
    last = ring.slots[rings.claimed(ring, -1)].ts_event
    record = ring.slots[rings.claimed(ring, 0)]
    record.kind, record.side, record.flag, record.instrument = FEED_STATE, 0, 0, NONE
    record.ts_event = last if ring.cells[rings.CURSOR] > 0 else now
    record.ts_recv = now
    record.order_id, record.aux = NONE, cells[STATE]
    record.price, record.qty = window.cells[windows.NEXT], windows.missing(window)
    rings.publish(ring, 1)
    cells[SAID] = cells[STATE]
