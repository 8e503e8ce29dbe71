"""The loops that `ultra bench` times: one side fills records as fast as it may, the other wants each, whole, in order.

A record tells its number in every field, and all fields add up to a known sum, so a check is a load and an addition a
field. LOOKS counts how often a consumer asked how far it may read and found something; records by looks is the batch it
saw, without which a throughput means nothing: it tells a producer that is a ring ahead from a consumer at its heels.
A loop goes on where `out` says that it was, and goes back to Python after PATIENCE turns in vain: nobody waits for the
dead. Known bad case: with both sides on one core, each sees what the other did in its last slice: a full ring, always.
"""

from typing import Any, NamedTuple

import numpy as np

from ..wire import ADD, NONE, RING_CURSOR
from . import crowd as crowds
from . import entry, hot
from . import fan as fans
from . import histogram as histograms
from . import post as posts
from . import ring as rings
from .atomics import Cells, load_acquire, store_release
from .clock import ticks
from .wait import idle

PATIENCE = 20_000  # turns in vain before Python looks at the time
# What a loop finds and leaves in `out`. FIRST: the number of the first record. Of one that writes and reads, MADE is
# how many it published, SENT when the last went; SEEN is one for each of two producers.
BEGAN, ENDED, RECORDS, LOOKS, BAD, FIRST, MADE, SENT, SEEN = range(9)
OUT = 10
ALONE, DIAMOND = ((),), ((), (), (0, 1))  # of the diamond, the last waits for what the first two wrote
STAMPS = 2  # what those two add
# A consumer that shares its core takes no more at once: the next one then finds the records in the first-level cache.
SHARE = 128


class Pair(NamedTuple):
    """There and back."""

    there: rings.Ring
    back: rings.Ring


class PostPair(NamedTuple):
    """The same of posts."""

    there: posts.Post
    back: posts.Post


@hot
def fill(record: Any, number: int, producer: int = 0) -> None:
    """Every field tells the number."""
    record.sequence = number
    fill_post(record, number, producer)


@hot
def fill_post(record: Any, number: int, producer: int = 0) -> None:
    """The same but for the sequence, which in a post is not the writer's."""
    record.kind, record.side, record.flag, record.instrument = ADD, 0, 0, producer
    record.ts_event, record.ts_recv = number * 3, number * 5
    record.order_id, record.price, record.qty = ~number, number << 7, number * 9
    # So far they add up to 145 * number - 1; this makes it 256 * number.
    record.aux = number * 111 + 1


@hot
def bad(record: Any, number: int, producer: int = 0, stamps: int = 0) -> bool:
    """Whether this is not that record, all of it; `stamps` is what others added to its fields since."""
    total = record.sequence + record.ts_event + record.ts_recv + record.order_id + record.price + record.qty
    head = (np.int64(record.kind) ^ ADD) | record.side | record.flag | (record.instrument ^ producer)
    # One condition: several would be a branch each, a record.
    return bool((total + record.aux - (number << 8) - stamps) | (record.sequence - number) | head)


@hot
def begin(out: Any) -> int:
    """Note the time, if this is the start; how many records were done before."""
    if out[BEGAN] == 0:
        out[BEGAN] = ticks()
    return out[RECORDS]


@hot
def end(out: Any, at: int) -> None:
    """Note the time, and how many are done."""
    out[ENDED], out[RECORDS] = ticks(), at


@entry
def meet(arrived: Cells, mine: int, other: int, times: int, spins: int) -> bool:
    """Say that we are here for that many times; whether the other came too, before patience ran out."""
    store_release(arrived, mine, times)
    turns = 0
    while load_acquire(arrived, other) < times and turns < PATIENCE:
        turns = idle(turns, spins)
    return load_acquire(arrived, other) >= times


@hot
def too_few(cells: Cells, taken: int, least: int, left: int) -> bool:
    """Whether a consumer that wants the producer to be ahead should wait; the last records are never too few."""
    # One that takes what there is doesn't look: a look here would fetch the line of the cursor once more.
    return least > 1 and load_acquire(cells, RING_CURSOR) - taken < min(least, left)


# ---- One to one. All loops take (structure, how many records, a count, spins before a yield, out, times). The count is
# how many are published at once, and for how many the consumer waits when it has caught up.


@entry
def ring_produce(ring: rings.Ring, records: int, batch: int, spins: int, out: Any, times: Any) -> None:
    """Publish that many, `batch` at once."""
    at, turns = begin(out), 0
    while at < records and turns < PATIENCE:
        if rings.room(ring, batch) < batch:
            turns = idle(turns, spins)
            continue
        for offset in range(batch):
            fill(ring.slots[rings.claimed(ring, offset)], out[FIRST] + at + offset)
        rings.publish(ring, batch)
        at += batch
        turns = 0
    end(out, at)


@entry
def ring_consume(ring: rings.Ring, records: int, least: int, spins: int, out: Any, times: Any) -> None:
    """Take what there is, until it was that many."""
    at, turns, looks = begin(out), 0, 0
    while at < records and turns < PATIENCE:
        if too_few(ring.cells, ring.cells[rings.GATE], least, records - at):
            turns = idle(turns, spins)
            continue
        count = rings.ready(ring)
        if count == 0:
            turns = idle(turns, spins)
            continue
        for offset in range(count):
            if bad(ring.slots[rings.polled(ring, offset)], out[FIRST] + at + offset):
                out[BAD] += 1
        rings.release(ring, count)
        looks += 1
        at += count
        turns = 0
    out[LOOKS] += looks
    end(out, at)


# ---- One to many.


@entry
def fan_produce(fan: fans.Fan, records: int, batch: int, spins: int, out: Any, times: Any) -> None:
    """Publish that many, `batch` at once."""
    at, turns = begin(out), 0
    while at < records and turns < PATIENCE:
        if fans.room(fan, batch) < batch:
            turns = idle(turns, spins)
            continue
        for offset in range(batch):
            fill(fan.slots[fans.claimed(fan, offset)], out[FIRST] + at + offset)
        fans.publish(fan, batch)
        at += batch
        turns = 0
    end(out, at)


@entry
def fan_consume(fan: fans.Fan, records: int, least: int, spins: int, out: Any, times: Any) -> None:
    """The only consumer."""
    at, turns, looks = begin(out), 0, 0
    while at < records and turns < PATIENCE:
        if too_few(fan.cells, fan.cells[fans.GATE], least, records - at):
            turns = idle(turns, spins)
            continue
        count = fans.ready(fan, 0)
        if count == 0:
            turns = idle(turns, spins)
            continue
        for offset in range(count):
            if bad(fan.slots[fans.polled(fan, 0, offset)], out[FIRST] + at + offset):
                out[BAD] += 1
        fans.release(fan, 0, count)
        looks += 1
        at += count
        turns = 0
    out[LOOKS] += looks
    end(out, at)


@entry
def diamond_consume(fan: fans.Fan, records: int, least: int, spins: int, out: Any, times: Any) -> None:
    """All three consumers of a diamond, in turns: two write into each record, the last wants what both wrote."""
    at, turns, looks = begin(out), 0, 0
    while at < records and turns < PATIENCE:
        known = fan.cells[fans.GATE + fans.SEEN] - fan.cells[fans.GATE]
        # The last may be behind the first, where the one between had looked earlier: then there is work.
        together = known == 0 and fan.cells[fans.GATE] == fan.cells[fans.GATE + 2 * fans.STRIDE]
        if together and too_few(fan.cells, fan.cells[fans.GATE], least, records - at):
            turns = idle(turns, spins)
            continue
        new = fans.ready(fan, 0)
        looks += int(known == 0 and new > 0)
        first = min(new, SHARE)
        for offset in range(first):
            fan.slots[fans.polled(fan, 0, offset)].qty += 1
        fans.release(fan, 0, first)
        second = min(fans.ready(fan, 1), SHARE)
        for offset in range(second):
            fan.slots[fans.polled(fan, 1, offset)].ts_recv += 1
        fans.release(fan, 1, second)
        count = min(fans.ready(fan, 2), SHARE)
        if count == 0:
            turns = idle(turns, spins)
            continue
        for offset in range(count):
            if bad(fan.slots[fans.polled(fan, 2, offset)], out[FIRST] + at + offset, 0, STAMPS):
                out[BAD] += 1
        fans.release(fan, 2, count)
        at += count
        turns = 0
    out[LOOKS] += looks
    end(out, at)


# ---- Many to one.


@hot
def _put(crowd: crowds.Crowd, p: int, batch: int, number: int) -> bool:
    """Publish a batch of producer p; False when there is no room."""
    first = crowds.claim(crowd, p, batch)
    if first == NONE:
        return False
    for offset in range(batch):
        fill(crowd.slots[crowds.slot_of(crowd, first + offset)], number + offset, p)
    crowds.publish(crowd, first, batch)
    return True


@entry
def crowd_produce(crowd: crowds.Crowd, records: int, batch: int, spins: int, out: Any, times: Any) -> None:
    """Publish that many as producer 0, `batch` at once."""
    at, turns = begin(out), 0
    while at < records and turns < PATIENCE:
        if not _put(crowd, 0, batch, out[FIRST] + at):
            turns = idle(turns, spins)
            continue
        at += batch
        turns = 0
    end(out, at)


@entry
def crowd_consume(crowd: crowds.Crowd, records: int, least: int, spins: int, out: Any, times: Any) -> None:
    """Take what there is of one producer, until it was that many."""
    at, turns, looks = begin(out), 0, 0
    while at < records and turns < PATIENCE:
        if too_few(crowd.cells, crowd.cells[crowds.GATE], least, records - at):
            turns = idle(turns, spins)
            continue
        count = crowds.ready(crowd)
        if count == 0:
            turns = idle(turns, spins)
            continue
        for offset in range(count):
            if bad(crowd.slots[crowds.polled(crowd, offset)], out[FIRST] + at + offset):
                out[BAD] += 1
        crowds.release(crowd, count)
        looks += 1
        at += count
        turns = 0
    out[LOOKS] += looks
    end(out, at)


@entry
def crowd_contend(crowd: crowds.Crowd, records: int, batch: int, spins: int, out: Any, times: Any) -> None:
    """Take what there is of two producers, and be the second of them: each publishes half."""
    at, turns, half = begin(out), 0, records // 2
    while at < records and turns < PATIENCE:
        if out[MADE] < half and _put(crowd, 1, batch, out[FIRST] + out[MADE]):
            out[MADE] += batch
        count = crowds.ready(crowd)
        if count == 0:
            turns = idle(turns, spins)
            continue
        for offset in range(count):
            record = crowd.slots[crowds.polled(crowd, offset)]
            p = np.int64(record.instrument) & 1
            out[BAD] += int(bad(record, out[FIRST] + out[SEEN + p], p))
            out[SEEN + p] += 1
        crowds.release(crowd, count)
        out[LOOKS] += 1
        at += count
        turns = 0
    end(out, at)


# ---- There and back, by rings and by posts.


@hot
def bad_post(record: Any, number: int) -> bool:
    """The same for a record of a post, whose sequence was right, or it would not have been seen."""
    total = number + record.ts_event + record.ts_recv + record.order_id + record.price + record.qty + record.aux
    head = (np.int64(record.kind) ^ ADD) | record.side | record.flag | record.instrument
    return bool((total - (number << 8)) | head)


@entry
def ping(pair: Pair, records: int, batch: int, spins: int, out: Any, times: histograms.Histogram) -> None:
    """Send a record, wait for its answer, count the ticks between; that many times."""
    at, turns = begin(out), 0
    made, sent = out[MADE], out[SENT]
    while at < records and turns < PATIENCE:
        if made == at:
            sent = ticks()
            fill(pair.there.slots[rings.claimed(pair.there, 0)], out[FIRST] + at)
            rings.publish(pair.there, 1)
            made += 1
        if rings.ready(pair.back) == 0:
            turns = idle(turns, spins)
            continue
        wrong = bad(pair.back.slots[rings.polled(pair.back, 0)], out[FIRST] + at)
        rings.release(pair.back, 1)
        histograms.record(times, ticks() - sent)
        out[BAD] += int(wrong)
        at += 1
        turns = 0
    out[MADE], out[SENT] = made, sent
    end(out, at)


@entry
def pong(pair: Pair, records: int, batch: int, spins: int, out: Any, times: histograms.Histogram) -> None:
    """Answer each record with its like."""
    at, turns = begin(out), 0
    while at < records and turns < PATIENCE:
        if rings.ready(pair.there) == 0:
            turns = idle(turns, spins)
            continue
        wrong = bad(pair.there.slots[rings.polled(pair.there, 0)], out[FIRST] + at)
        # Given back before the answer: the other side may send again as soon as it sees that, and looks for no room.
        rings.release(pair.there, 1)
        fill(pair.back.slots[rings.claimed(pair.back, 0)], out[FIRST] + at)
        rings.publish(pair.back, 1)
        out[BAD] += int(wrong)
        at += 1
        turns = 0
    end(out, at)


@entry
def ping_post(pair: PostPair, records: int, batch: int, spins: int, out: Any, times: histograms.Histogram) -> None:
    """As `ping`."""
    at, turns = begin(out), 0
    made, sent = out[MADE], out[SENT]
    while at < records and turns < PATIENCE:
        if made == at:
            sent = ticks()
            fill_post(pair.there.slots[posts.claim(pair.there)], out[FIRST] + at)
            posts.publish(pair.there)
            made += 1
        slot = posts.poll(pair.back)
        if slot == NONE:
            turns = idle(turns, spins)
            continue
        wrong = bad_post(pair.back.slots[slot], out[FIRST] + at)
        posts.release(pair.back)
        histograms.record(times, ticks() - sent)
        out[BAD] += int(wrong)
        at += 1
        turns = 0
    out[MADE], out[SENT] = made, sent
    end(out, at)


@entry
def pong_post(pair: PostPair, records: int, batch: int, spins: int, out: Any, times: histograms.Histogram) -> None:
    """As `pong`."""
    at, turns = begin(out), 0
    while at < records and turns < PATIENCE:
        slot = posts.poll(pair.there)
        if slot == NONE:
            turns = idle(turns, spins)
            continue
        wrong = bad_post(pair.there.slots[slot], out[FIRST] + at)
        # Given back before the answer: the other side may send again as soon as it sees that.
        posts.release(pair.there)
        fill_post(pair.back.slots[posts.claim(pair.back)], out[FIRST] + at)
        posts.publish(pair.back)
        out[BAD] += int(wrong)
        at += 1
        turns = 0
    end(out, at)
