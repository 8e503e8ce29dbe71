"""A backtest in one book with the recorded flow: our orders are really there, and what meets them never happened.

The recording becomes orders of a house account (`venues.background`), ours are another's, and the matching engine of
`ultra venue` decides. Its public feed is what the engine sees, our own orders in it; nothing else is shown of the
recording but trading states and trades that touched no displayed order. So what we take is gone for those who took it
in the recording, who then find the next order or nothing; what rests of ours is met in its turn, and the recorded order
behind it is not. That is the market impact here: mechanical, at once, and no more.

Time goes record by record: an order of ours that arrives at a record's time is entered before it, an answer that is
heard by then is heard first. Each record is entered when the engine is through with everything before.
Known bad cases: the recorded participants don't change their minds. Trading states don't stop the book (orders rest
before an opening, as they did); a recorded price off the instrument's step is refused, and counted by the venue.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from . import trial
from .hot import engine as engines
from .hot import hot, memory
from .hot import ladder as ladders
from .hot import ring as rings
from .hot import risk as risks
from .hot.atomics import Cells
from .inline import ENDED, NEVER, Parts, Run, head_ts, settled_here
from .trial import ANY_PRICE, HANDLE_SLOT, MULTIPLE, WALKS
from .venues import account as accounts
from .venues import background as flows
from .venues import delay as delays
from .venues import markout as markouts
from .venues import matching
from .venues import matching_state as states
from .venues import matching_tape as tapes
from .wire import (
    ACCEPTED,
    ADD,
    BID,
    CANCEL_ORDER,
    CANCELLED,
    ENTRY,
    FILL,
    IMMEDIATE,
    NEW,
    NONE,
    RECORD,
    REJECTED,
    REPLACE,
    REPORT,
    TRADING,
)  # fmt: skip

HOUSE, OURS = 0, 1  # accounts
NUMBERS: Final = 1 << 16  # our orders that may be live at once
REPORTS: Final = 1 << 10
# Cells behind those of a trial.
PENDING, NUMBER, HOUSE_REFUSED = 12, 13, 14

matches = matching.build(matching.load_models())


class Market(NamedTuple):
    """The venue of a run: a trial's parts, and the exchange they are about."""

    replies: rings.Ring
    held: rings.Ring
    delay: delays.Delay
    account: accounts.Account
    joined: Any
    filled: rings.Ring
    marks: markouts.Markouts
    cells: Cells
    exchange: states.Venue
    flow: flows.Background
    entries: Any  # ENTRY[1]: the one in hand
    hand: Any  # RECORD[2]: an answer, and the record that caused it
    handles: Cells  # int64[NUMBERS]: our handle by the number that the exchange knows
    numbers: Cells  # int64: that number, by the slot of the handle


class Seat(NamedTuple):
    """What the loop decodes with; named as a Run's fields, so that whoever takes a run takes it."""

    venue: Market
    engine: engines.Engine
    feed: rings.Ring
    cells: Cells


def create(base: trial.Trial, feed: rings.Ring, steps: Any, orders_max: int) -> Market:
    """An exchange whose public feed is `feed`; `steps` are the ticks between two prices of each instrument."""
    exchange = matching.create(len(steps), orders_max, 2, rings.create(REPORT, REPORTS), feed, pages_max=1 << 14)
    for index, step in enumerate(steps):
        matching.list_instrument(exchange, index, tick=int(step))
    exchange.listings.state = TRADING
    flow = flows.create(2, orders_max)
    flows.play(flow, HOUSE, 0, 0, 1000)
    cells = np.zeros(16, np.int64)
    cells[: len(base.cells)] = base.cells
    return Market(
        base.replies, base.held, base.delay, base.account, base.joined, base.filled, base.marks, cells, exchange, flow,
        memory.zeros(1, ENTRY), memory.zeros(2, RECORD), np.zeros(NUMBERS, np.int64),
        np.zeros(len(base.joined), np.int64),
    )  # fmt: skip


@hot
def decode(seat: Seat, records: Any, at: int, stop: int, feed: rings.Ring) -> int:
    """Go on in time until the engine has something to see or to hear; the feed's ring is empty."""
    market, room = seat.venue, trial.FILLED_ROOM
    while rings.ready(feed) == 0 and rings.ready(market.replies) == 0:
        if rings.room(market.filled, room) < room:
            break
        if market.cells[PENDING] != 0:
            go_on(seat)
        elif at < stop:
            ts = records[at].ts_event
            if not act(seat, ts):
                market.hand[1] = records[at]
                at += 1
                recorded(seat, market.hand[1])
        else:
            break
    return at


@hot
def act(seat: Any, ts: int) -> bool:
    """What is ours to do by `ts`: the earlier of an answer that is heard and an order that arrives. False: nothing."""
    market = seat.venue
    heard = trial.heard_ts(market)
    arrives = trial.arrival(seat) if rings.ready(seat.engine.output) > 0 else NEVER
    if min(heard, arrives) > ts or min(heard, arrives) >= NEVER:
        return False
    if heard <= arrives:
        slot = rings.claim(market.replies)
        if slot >= 0:
            market.replies.slots[slot] = market.held.slots[rings.polled(market.held, 0)]
            rings.publish(market.replies, 1)
            rings.release(market.held, 1)
        return True
    if arrives < NEVER >> 1:
        trial.reach(seat, arrives)
    output = seat.engine.output
    enter(seat, output.slots[rings.polled(output, 0)], arrives)
    rings.release(output, 1)
    market.cells[trial.ARRIVED], market.cells[trial.ARRIVES] = arrives, NONE
    return True


@hot
def recorded(seat: Seat, record: Any) -> None:
    """The next record of the tape happens: as an order of the house, or as it is."""
    market = seat.venue
    if record.kind < ADD or record.kind > REPLACE:
        slot = rings.claimed(seat.feed, 0)
        seat.feed.slots[slot] = record
        rings.publish(seat.feed, 1)
        return
    flow = market.flow
    flow.feed.slots[rings.claimed(flow.feed, 0)] = record
    rings.publish(flow.feed, 1)
    if flows.take(flow, market.entries[0], record.ts_event):
        market.entries[0].instrument = record.instrument
        go_on(seat)


@hot
def enter(seat: Any, request: Any, ts: int) -> None:
    """A request of ours reaches the exchange."""
    market = seat.venue
    entry, slot = market.entries[0], request.order_id & HANDLE_SLOT
    entry.owner = OURS
    entry.instrument = request.instrument
    entry.ts_event = ts
    entry.side = request.side
    entry.price = request.price
    entry.qty = request.qty
    entry.flag = request.flag
    entry.display = 0
    entry.stop = 0
    entry.aux = 0
    if request.kind == NEW:
        market.cells[NUMBER] += 1
        market.handles[market.cells[NUMBER] & (NUMBERS - 1)] = request.order_id
        market.numbers[slot] = market.cells[NUMBER]
        joined = market.joined[slot]
        joined.handle = request.order_id
        joined.ahead = ahead_of(market, np.int64(request.instrument), np.int64(request.side), request.price)
        joined.sent_ts = request.ts_event
        joined.arrived_ts = ts
        joined.lots = 0
        joined.told = 0
        entry.kind = NEW
        entry.qty = request.qty * market.cells[MULTIPLE]
        if market.cells[WALKS] != 0 and request.flag & IMMEDIATE != 0:
            entry.price = market_price(market, np.int64(request.instrument), np.int64(request.side))
    else:
        entry.kind = CANCEL_ORDER
        entry.qty = 0
    entry.order_id = market.numbers[slot]
    market.hand[1].order_id = NONE
    market.hand[1].price = request.price
    market.hand[1].qty = request.qty
    go_on(seat)


@hot
def market_price(market: Market, instrument: int, side: int) -> int:
    """The worst price that the exchange takes."""
    listing = market.exchange.listings[instrument]
    price: int = min(listing.high, ANY_PRICE // listing.tick * listing.tick) if side == BID else listing.low
    return price


@hot
def ahead_of(market: Market, instrument: int, side: int, price: int) -> int:
    """Lots shown at a price now."""
    ladder, s = market.exchange.ladder, states.SIDES * instrument + side
    level = ladders.level_at(ladder, s, price)
    lots: int = ladder.levels[level].qty if level >= 0 else 0
    return lots


@hot
def go_on(seat: Any) -> None:
    """The entry in hand, as far as the rings take what it causes; then what the exchange said to us."""
    market = seat.venue
    market.cells[PENDING] = np.int64(not matches(market.exchange, market.entries[0]))
    reports = market.exchange.reports
    count = rings.ready(reports)
    for k in range(count):
        report = reports.slots[rings.polled(reports, k)]
        if report.owner == OURS:
            tell(seat, report)
        elif report.kind == REJECTED and market.entries[0].kind == NEW:
            market.cells[HOUSE_REFUSED] += 1
    rings.release(reports, count)


@hot
def tell(seat: Any, report: Any) -> None:
    """A report on an order of ours, as an answer; a fill also into the account and the list of fills."""
    market, reply = seat.venue, seat.venue.hand[0]
    if report.kind != ACCEPTED and report.kind != FILL and report.kind != CANCELLED and report.kind != REJECTED:
        return
    reply.kind = report.kind
    reply.side = report.side
    reply.flag = 0
    reply.instrument = report.instrument
    reply.ts_event = report.ts_event
    reply.ts_recv = report.ts_event
    reply.order_id = market.handles[report.order_id & (NUMBERS - 1)]
    reply.price = report.price
    reply.qty = report.qty
    reply.aux = reason_of(report.reason) if report.kind == REJECTED else report.aux
    if report.kind == FILL:
        rule = trial.TOOK if report.flag == 1 else trial.MATCHED
        if rule == trial.TOOK:
            reply.price = accounts.slipped(market.account, np.int64(reply.side), reply.price)
        trial.write(market, reply, market.hand[1], rule, NONE)
        index = np.int64(reply.instrument)
        markouts.add(market.marks, seat.engine.market[index], index, reply.ts_event)
    if market.cells[MULTIPLE] == 1 or trial.tells(market, reply):
        trial.hear(market, reply)


@hot
def reason_of(reason: int) -> int:
    """The exchange's reason in the words that an engine knows."""
    if reason == tapes.WOULD_TRADE:
        return risks.WOULD_TRADE
    if reason == tapes.UNKNOWN_ORDER:
        return risks.VENUE_UNKNOWN_ORDER
    return risks.VENUE_FULL if reason == tapes.ORDERS_FULL else risks.VENUE_REFUSED


@hot
def due(run: Run) -> bool:
    """An answer is heard before the next public record, or nothing more comes and something of ours is under way."""
    market = run.venue
    if rings.ready(run.feed) > 0:
        if trial.heard_ts(market) <= head_ts(run):
            return True
        trial.reach(run, head_ts(run))
        return False
    waits = rings.ready(run.engine.output) > 0 or rings.ready(market.held) > 0 or market.cells[PENDING] != 0
    return run.cells[ENDED] != 0 and waits


@hot
def advance(run: Run, now: int) -> None:
    """What is due: see `act`. In front of a public record only answers are, since our orders go by the tape's time."""
    market = run.venue
    if market.cells[PENDING] != 0:
        go_on(run)
    elif rings.ready(run.feed) > 0:
        slot = rings.claim(market.replies)
        if slot >= 0 and rings.ready(market.held) > 0:
            market.replies.slots[slot] = market.held.slots[rings.polled(market.held, 0)]
            rings.publish(market.replies, 1)
            rings.release(market.held, 1)
    else:
        act(run, NEVER - 1)


@hot
def observe(run: Run, record: Any) -> None:
    """The exchange has said already what this record did to us."""


IMPACT = Parts(decode, advance, observe, settled_here, due)
