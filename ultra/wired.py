"""Feed and venue at the ends of sockets: the same sequence as `inline`, made of what comes in when it comes in.

The loop's thread does it all: packets are taken straight from the socket (`mold_receiver`) and decoded where they lie,
requests become bytes of the session (`order_session`) before the next input is looked at, answers come out of it as
records. No other core is asked, and no Python object is made. What the two say of themselves are inputs like all
others: a FEED_STATE comes in the feed's ring behind the last message that was whole, a SESSION_STATE in the replies'
ring behind the last answer; the risk check refuses while either is not in order, also in a replay.

Time is the wall clock of this core, kept from going back; cold code sets it now and then.
Invariant: a request leaves once or is answered REJECTED, in the order in which it was made.
Known bad case: a socket that always has more holds the answers back for at most TURNS looks at the feed.
"""

from typing import Any, NamedTuple

import numpy as np

from .hot import clock, entry, hot, net, rare
from .hot import histogram as histograms
from .hot import ring as rings
from .hot.atomics import Cells
from .hot.clock import ticks
from .inline import GATE_OUTPUT, HELD, NEVER, Parts, Run, on_disk
from .venues import itch, mold_receiver, order_client, order_replies, order_session
from .venues import link as links
from .wire import NEW, RECORD

# Cells of a wire. The first stands where a paper venue has its latency: nothing of ours waits for the feed's time.
LATENCY_NS, REPLIES_DROPPED = 0, 3
NOW, LOOKS = 4, 5
AT = 7  # cell of a block of packets: the tick at which it came
TURNS = 16  # looks at a busy feed between two at the session
TICK_E9, LOT_E9 = 100_000, 1_000_000_000  # of OUCH's own units


class Wire(NamedTuple):
    """What stands for the venue, and for the decoder, of a run that goes over the wire."""

    feed: mold_receiver.Receiver
    decoder: itch.Decoder
    session: order_session.Session
    replies: rings.Ring  # RECORD: what the venue answers
    inside: histograms.Histogram  # ticks from a packet in hand to the bytes of an order that it caused, before `send`
    wall: Cells  # int64[4]: see `clock.utc`
    cells: Cells  # int64[8]


def create(
    feed: mold_receiver.Receiver, decoder: itch.Decoder, session: order_session.Session, reply_records: int
) -> Wire:
    """Over sockets that are open, or will be."""
    cells = np.zeros(8, np.int64)
    cells[LATENCY_NS] = NEVER
    replies = rings.create(RECORD, reply_records)
    return Wire(feed, decoder, session, replies, histograms.create(), np.zeros(4, np.int64), cells)


@hot
def receive(fd: int, packets: net.Packets) -> int:
    """What has come, and when it was in hand."""
    count = net.udp_receive(fd, packets)
    if count > 0:
        packets.cells[AT] = ticks()
    return count


take_feed = mold_receiver.build(receive, itch.decode_received)


@hot
def now_ns(wire: Wire) -> int:
    """Time of day; it stands still where the clock was set back."""
    now: int = max(wire.cells[NOW], clock.utc(wire.wall, ticks()))
    wire.cells[NOW] = now
    return now


@hot
def take(wire: Wire, buffer: Any, at: int, stop: int, feed: rings.Ring) -> int:
    """Fill the feed's ring, which is empty, from its sockets; what the venue answered goes into the replies'."""
    cells, now = wire.cells, now_ns(wire)
    cells[LOOKS] += 1
    if take_feed(wire.feed, wire.decoder, feed, now) == 0 or cells[LOOKS] >= TURNS:
        cells[LOOKS] = 0
        links.pull(wire.session.link, now)
        order_replies.poll(wire.session, wire.replies, now)
        order_session.tend(wire.session, now)
        links.flush(wire.session.link, now)
    return at


@hot
def leave(run: Run) -> bool:
    """Every request that may leave does so, before the next input is looked at. Nothing is waited for here."""
    output, cells = run.engine.output, run.cells
    cells[HELD] = 0
    if rings.ready(output) == 0:
        return True
    wire = run.venue
    now = now_ns(wire)
    while rings.ready(output) > 0 and rings.room(wire.replies) > 0:
        request = output.slots[rings.polled(output, 0)]
        if cells[GATE_OUTPUT] != 0 and not on_disk(run, request.sequence):
            cells[HELD] = 1
            break
        if request.kind == NEW:
            if wire.session.terms[request.instrument].lot == 0:
                define(run, np.int64(request.instrument))
            histograms.record(wire.inside, ticks() - wire.feed.packets.cells[AT])
        order_client.carry_one(wire.session, request, wire.replies, now)
        rings.release(output, 1)
    links.flush(wire.session.link, now)
    return True


@entry
def define_now(run: Run, instrument: int) -> None:
    """`define` for code outside the hot path."""
    define(run, instrument)


@rare
def define(run: Run, instrument: int) -> None:
    """An instrument that came up while the session was open: what the venue calls it."""
    view, terms = run.engine.market[instrument], run.venue.session.terms[instrument]
    if view.tick_e9 > 0 and view.tick_e9 % TICK_E9 == 0 and view.lot_e9 > 0 and view.lot_e9 % LOT_E9 == 0:
        terms.symbol = view.symbol
        terms.price_scale = view.tick_e9 // TICK_E9
        terms.lot = view.lot_e9 // LOT_E9


@hot
def stays(run: Run, now: int) -> None:
    """Requests leave by `leave`, at whatever time of the feed."""


@hot
def observe(run: Run, record: Any) -> None:
    """The venue sees its own market."""


WIRED = Parts(take, stays, observe, leave)
