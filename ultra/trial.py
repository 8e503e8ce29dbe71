"""The venue of a backtest: a rule of fills, the time that requests and answers take, fees, and why each fill came.

The rules and our orders are `paper`'s (or an estimate's, for aggregated feeds); what they answer is looked at here:
a fill is paid for by the account and written down with its reason, then the answer is heard `delay` later. Nothing in
here reads a record that the engine has not taken: a request takes effect, and an answer is heard, before the first
market record of a later time is, so no fill can know the future.
With a MULTIPLE above 1 each lot of the strategy is so many at the venue: it decides as it did, and the account has what
came of it (a fill is told when it makes a whole lot). With WALKS an order that must trade at once takes any price.
Known bad case: while answers are late the engine's position lags the account's, as it does in life.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from .hot import hot, memory
from .hot import ring as rings
from .hot.atomics import Cells
from .inline import ENDED, NEVER, Parts, Run, head_ts, settled_here
from .venues import account as accounts
from .venues import delay as delays
from .venues import estimate, paper
from .venues import markout as markouts
from .wire import BID, EXECUTE, FILL, IMMEDIATE, INSTRUMENT, NEW, NONE, RECORD, STATUS, TRADE

# Why a fill came.
TOOK, TURN, THROUGH, MET, MATCHED = range(1, 6)
RULES: Final = {
    TOOK: "took what was shown", TURN: "its turn in the queue", THROUGH: "a trade at a worse price",
    MET: "an order came through its price", MATCHED: "matched as it rested",
}  # fmt: skip
FILLED: Final = np.dtype(
    [
        ("ts_event", "i8"),
        ("order_id", "i8"),
        ("price", "i8"),
        ("qty", "i8"),
        ("fee_e9", "i8"),
        ("ahead", "i8"),  # lots before it when it joined its queue, NONE: it took, or joined none
        ("cause", "i8"),  # number of the input: the market record that filled it, or what made us send it
        ("sent_ts", "i8"),
        ("arrived_ts", "i8"),  # at the venue
        ("by_id", "i8"),  # order id of that record, NONE
        ("by_price", "i8"),
        ("by_qty", "i8"),
        ("instrument", "i4"),
        ("side", "i1"),
        ("took", "i1"),
        ("rule", "i1"),
    ],
    align=True,
)
JOINED: Final = np.dtype(
    [
        ("handle", "i8"),
        ("ahead", "i8"),
        ("sent_ts", "i8"),
        ("arrived_ts", "i8"),
        ("lots", "i8"),  # filled at the venue
        ("told", "i8"),  # of them, in the strategy's own lots
    ],
    align=True,
)
# Cells. The first stands where `paper`'s latency does: never, so that `due` alone says when.
LATENCY_NS, ARRIVES, ARRIVED, DROPPED, HEARD, LOST_FILLS, MULTIPLE, WALKS, CROWDED = range(9)
HELD_RECORDS: Final = 1 << 14
FILLED_RECORDS: Final = 1 << 15
FILLED_ROOM: Final = 1 << 14  # free before the feed goes on: far more than its ring can fill
HANDLE_SLOT: Final = 0xFFFFFFFF
ANY_PRICE: Final = 1 << 45  # of a buy; risk lets no price pass that is worse


class Trial(NamedTuple):
    """One venue, one account."""

    paper: paper.Paper
    replies: rings.Ring  # RECORD: heard by the engine next
    held: rings.Ring  # RECORD: said, not heard yet; ts_event is when it will be
    delay: delays.Delay
    account: accounts.Account
    joined: Any  # JOINED, by the slot of the handle
    filled: rings.Ring  # FILLED: for whoever keeps them
    marks: markouts.Markouts
    queue: Any  # of an estimate: PLACE, by row of the paper's
    model: Any  # of an estimate: its cells
    cells: Cells


class Intake(NamedTuple):
    """What the loop decodes with."""

    replies: rings.Ring
    filled: rings.Ring


def create(
    venue: paper.Paper, delay: delays.Delay, account: accounts.Account, *, reply_records: int, queue: Any, model: Any
) -> Trial:
    """A venue whose rules and orders are `venue`."""
    own_max = len(venue.rows)
    cells = np.zeros(12, np.int64)
    cells[LATENCY_NS], cells[ARRIVES], cells[MULTIPLE] = NEVER >> 1, NONE, 1
    return Trial(
        venue,
        rings.create(RECORD, reply_records),
        rings.create(RECORD, HELD_RECORDS),
        delay,
        account,
        memory.zeros(own_max + 64, JOINED),
        rings.create(FILLED, FILLED_RECORDS),
        markouts.create(),
        queue,
        model,
        cells,
    )


@hot
def decode(intake: Intake, records: Any, at: int, stop: int, feed: rings.Ring) -> int:
    """Copy records of a tape into the feed's ring, which is empty."""
    if at >= stop or rings.ready(intake.replies) > 0 or rings.room(intake.filled, FILLED_ROOM) < FILLED_ROOM:
        return at
    count = min(rings.room(feed), stop - at)
    for offset in range(count):
        feed.slots[rings.claimed(feed, offset)] = records[at + offset]
    rings.publish(feed, count)
    return at + count


@hot
def due(run: Run) -> bool:
    """A request arrives, or an answer is heard, before the next market record. If not, time comes to that record."""
    trial, fed = run.venue, rings.ready(run.feed) > 0
    waits = rings.ready(run.engine.output) > 0
    if waits or rings.ready(trial.held) > 0:
        if not fed and run.cells[ENDED] == 0:
            return False
        now = head_ts(run)
        if heard_ts(trial) <= now:
            return True
        if waits and arrival(run) <= now:
            if has_room(trial):
                return True
            trial.cells[CROWDED] += 1  # it has to wait, which it would not: the run ends with an error
    if fed:
        reach(run, head_ts(run))
    return False


@hot
def reach(run: Run, ts: int) -> None:
    """Time comes to `ts`: whoever watches looks at the market as it was until then."""
    trial = run.venue
    if ts >= trial.account.cells[accounts.AT] and (trial.account.cells[accounts.AT] != NONE or opens(run)):
        accounts.reach(trial.account, run.engine.market, ts)
    if ts >= trial.marks.cells[markouts.NEXT_TS]:
        markouts.look(trial.marks, run.engine.market, ts)


@hot
def opens(run: Run) -> bool:
    """Whether the next market record is the first that is about prices: what introduces instruments may be hours older,
    or have no time."""
    kind = run.feed.slots[rings.polled(run.feed, 0)].kind
    return rings.ready(run.feed) > 0 and kind != INSTRUMENT and kind != STATUS


@hot
def arrival(run: Run) -> int:
    """When the oldest request on its way takes effect; not before the one before it."""
    cells = run.venue.cells
    if cells[ARRIVES] == NONE:
        output = run.engine.output
        request = output.slots[rings.polled(output, 0)]
        wanted = request.ts_event + delays.order_ns(run.venue.delay, request)
        cells[ARRIVES] = max(cells[ARRIVED], wanted)
    arrives: int = cells[ARRIVES]
    return arrives


@hot
def heard_ts(trial: Trial) -> int:
    """When the next answer is heard; NEVER when there is none."""
    return trial.held.slots[rings.polled(trial.held, 0)].ts_event if rings.ready(trial.held) > 0 else NEVER


@hot
def advance(run: Run, now: int) -> None:
    """What arrives and what is heard by now, in order of time; an answer is heard before what is sent then arrives."""
    trial, output = run.venue, run.engine.output
    while True:
        heard = heard_ts(trial)
        arrives = arrival(run) if rings.ready(output) > 0 else NEVER
        if min(heard, arrives) > now or (heard == NEVER and rings.ready(output) == 0):
            break
        if heard <= arrives:
            slot = rings.claim(trial.replies)
            if slot < 0:
                break
            trial.replies.slots[slot] = trial.held.slots[rings.polled(trial.held, 0)]
            rings.publish(trial.replies, 1)
            rings.release(trial.held, 1)
        elif has_room(trial):
            if arrives < NEVER >> 1:
                reach(run, arrives)
            request = output.slots[rings.polled(output, 0)]
            enter(run, request, arrives)
            rings.release(output, 1)
            trial.cells[ARRIVED], trial.cells[ARRIVES] = arrives, NONE
        else:
            break


@hot
def has_room(trial: Trial) -> bool:
    """Whether all answers that one request can cause fit."""
    wanted = paper.REPLIES_PER_REQUEST
    if delays.at_once(trial.delay):
        return rings.room(trial.replies, wanted) >= wanted
    return rings.room(trial.held, wanted) >= wanted


@hot
def enter(run: Run, request: Any, ts: int) -> None:
    """One request takes effect."""
    trial = run.venue
    joined = trial.joined[request.order_id & HANDLE_SLOT]
    if request.kind == NEW:
        joined.handle = request.order_id
        joined.ahead = NONE
        joined.sent_ts = request.ts_event
        joined.arrived_ts = ts
        joined.lots = 0
        joined.told = 0
        request.qty *= trial.cells[MULTIPLE]
        if trial.cells[WALKS] != 0 and request.flag & IMMEDIATE != 0:
            request.price = ANY_PRICE if request.side == BID else 1
    at = paper.act(trial.paper, run.engine.book, request, ts)
    if at >= 0:
        joined.ahead = trial.paper.rows[at].ahead
    said(run, request, TOOK, request.sequence)


@hot
def observe(run: Run, record: Any) -> None:
    """A market record happened to what rests of ours."""
    trial = run.venue
    if trial.paper.first[record.instrument] >= 0:
        estimate.shift(trial.model, trial.queue, trial.paper, record)
        paper.observe(trial.paper, record)
        if rings.ready(trial.paper.replies) > 0:
            said(run, record, NONE, record.sequence)


@hot
def said(run: Run, cause: Any, rule: int, sequence: int) -> None:
    """What the rules answered: fills are paid for and written down, and all of it is on its way to us."""
    trial, replies = run.venue, run.venue.paper.replies
    count = rings.ready(replies)
    for k in range(count):
        reply = replies.slots[rings.polled(replies, k)]
        if reply.kind == FILL:
            if rule == TOOK:
                reply.price = accounts.slipped(trial.account, np.int64(reply.side), reply.price)
            why = rule if rule != NONE else rule_of(cause, reply.price)
            write(trial, reply, cause, why, sequence)
            markouts.add(trial.marks, run.engine.market[reply.instrument], np.int64(reply.instrument), reply.ts_event)
        if trial.cells[MULTIPLE] == 1 or tells(trial, reply):
            hear(trial, reply)
    rings.release(replies, count)


@hot
def tells(trial: Trial, reply: Any) -> bool:
    """An answer in lots of the strategy; False for a fill that makes no whole one yet."""
    multiple, joined = trial.cells[MULTIPLE], trial.joined[reply.order_id & HANDLE_SLOT]
    if reply.kind != FILL:
        reply.qty = (reply.qty + multiple - 1) // multiple
        return True
    joined.lots += reply.qty
    reply.qty = joined.lots // multiple - joined.told
    joined.told += reply.qty
    whole: bool = reply.qty > 0
    return whole


@hot
def rule_of(record: Any, price: int) -> int:
    """Why a record filled an order that rested at this price."""
    if record.kind == EXECUTE or record.kind == TRADE:
        return TURN if record.price == price else THROUGH
    return MET


@hot
def write(trial: Trial, reply: Any, cause: Any, rule: int, sequence: int) -> None:
    """A fill into the account and the list of fills."""
    took = np.int64(rule == TOOK)
    instrument, side = np.int64(reply.instrument), np.int64(reply.side)
    fee = accounts.settle(trial.account, instrument, side, reply.price, reply.qty, took)
    slot = rings.claim(trial.filled)
    if slot < 0:
        trial.cells[LOST_FILLS] += 1  # the room was looked for before; a run ends with an error if not
        return
    row, joined = trial.filled.slots[slot], trial.joined[reply.order_id & HANDLE_SLOT]
    row.ts_event = reply.ts_event
    row.order_id = reply.order_id
    row.price = reply.price
    row.qty = reply.qty
    row.fee_e9 = fee
    row.ahead = NONE if rule == TOOK else joined.ahead
    row.cause = sequence
    row.sent_ts = joined.sent_ts
    row.arrived_ts = joined.arrived_ts
    row.by_id = NONE if rule == TOOK else cause.order_id
    row.by_price = reply.price if rule == TOOK else cause.price
    row.by_qty = reply.qty if rule == TOOK else cause.qty
    row.instrument = instrument
    row.side = side
    row.took = took
    row.rule = rule
    rings.publish(trial.filled, 1)


@hot
def hear(trial: Trial, reply: Any) -> None:
    """An answer on its way: heard at once, or held until its time. None overtakes the one before."""
    if delays.at_once(trial.delay):
        into = trial.replies
    else:
        into = trial.held
        heard = max(trial.cells[HEARD], reply.ts_event + delays.answer_ns(trial.delay, reply.ts_event))
        trial.cells[HEARD] = heard
        reply.ts_event = heard
        reply.ts_recv = heard
    slot = rings.claim(into)
    if slot < 0:
        trial.cells[DROPPED] += 1
        return
    into.slots[slot] = reply
    rings.publish(into, 1)


def check(trial: Trial) -> None:
    """Every invariant: for tests."""
    paper.check(trial.paper)
    markouts.check(trial.marks)
    for ring in (trial.replies, trial.held, trial.filled):
        rings.check(ring)
    held = trial.held
    waiting = range(int(held.cells[rings.GATE]), int(held.cells[rings.CURSOR]))
    times = [int(held.slots[k & (len(held.slots) - 1)].ts_event) for k in waiting]
    assert times == sorted(times) and int(trial.cells[DROPPED]) == int(trial.cells[LOST_FILLS]) == 0
    known = set(trial.account.traded[: int(trial.account.cells[accounts.TRADED])].tolist())
    assert len(known) == int(trial.account.cells[accounts.TRADED]), "an instrument is listed twice"
    assert all(index in known for index in np.flatnonzero(trial.account.lots).tolist())


TRIAL = Parts(decode, advance, observe, settled_here, due)
