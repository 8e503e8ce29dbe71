"""The shipper's head against a stream in memory, on a network that loses, delays and repeats, and by two at a time."""

import random
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_twin import RefusedError, Stored, Stream

from ultra.cold import delivery, parcel, shipment
from ultra.cold.segment import MARK, META, RECORDS
from ultra.cold.shipment import LOOK, SHIP, STOP, Cursor, Limits, Message, Seen, Shipment
from ultra.wire import ADD, FILL, RECORD, TIMER

ID, META_TEXT, MS = bytes(range(16)), b'{"run": 1}', 1_000_000
SMALL = Limits(records_max=8, window=3, partitions=2)
# So that an epoch has more messages than go one at a time.
TINY = Limits(1, 16, partitions=2, ack_ns=30 * MS, retry_ns=MS, retry_max_ns=4 * MS)


def journal(seed: int, count: int, reach: int = 0) -> Any:
    """Records with holes (what is by reference), of all families."""
    dice = random.Random(seed)
    rows = np.zeros(count, RECORD)
    rows["sequence"] = sorted(dice.sample(range(reach or 2 * count), count))
    rows["kind"] = [dice.choice((ADD, ADD, ADD, FILL, TIMER)) for _ in range(count)]
    rows["instrument"] = [dice.randrange(-1, 4) for _ in range(count)]
    rows["qty"] = [dice.randrange(1 << 40) for _ in range(count)]
    return rows


class Rig:
    """One shipper, what it reads, and its side of the network."""

    def __init__(self, stream: Stream, rows: Any, reach: int, writer: int = 1, **more: Any) -> None:
        self.stream, self.rows, self.reach = stream, rows, reach
        self.ship = Shipment(ID, stream.name, META_TEXT, writer, **({"limits": SMALL} | more))
        self.now, self.at = 0, 0
        self.wire: deque[Message] = deque()
        self.answers: deque[tuple[Message, int, bool, int]] = deque()

    def look(self) -> None:
        self.now = max(self.now, self.ship.due())
        self.at = self.ship.look(self.stream.seen(), self.reach, self.now)

    def feed(self, upto: int) -> None:
        if self.ship.state == SHIP and upto > self.at:
            low, high = np.searchsorted(self.rows["sequence"], [self.at, upto])
            self.ship.put(self.at, self.rows[low:high], upto, self.now)
            self.at = upto

    def send(self, flush: bool = False) -> None:
        while (message := self.ship.take(self.now, flush)) is not None:
            self.wire.append(message)

    def arrive(self, message: Message) -> None:
        try:
            self.answers.append((message, *self.stream.publish(message), 0))
        except RefusedError as error:
            self.answers.append((message, 0, False, error.code))

    def hear(self) -> None:
        message, sequence, duplicate, code = self.answers.popleft()
        if code:
            self.ship.refused(message, code, "wrong last sequence", self.now)
        else:
            self.ship.acked(message, sequence, duplicate, self.now)

    def finish(self) -> None:
        """On a good network, to the end."""
        for _ in range(100_000):
            if self.ship.state == STOP or (self.ship.is_drained and self.at == self.reach):
                return
            if self.ship.state == LOOK:
                self.look()
            self.feed(min(self.at + 64, self.reach))
            self.send(flush=True)
            while self.wire:
                self.arrive(self.wire.popleft())
            while self.answers:
                self.hear()
            if self.ship.under_way:  # sent before, on a network that was not good
                self.now = max(self.now, self.ship.due())
                self.ship.tick(self.now)
            self.ship.check_self()
        raise AssertionError("it does not come to an end")


def delivered(stream: Stream) -> tuple[Any, int, bytes]:
    """What a reader makes of it, who proves that there is no hole."""
    reader = delivery.Delivery(stream.name)
    found = [reader.take(at, stored.payload) for at, stored in sorted(stream.messages.items())]
    rows = [one.records for one in found if one is not None and len(one.records)]
    meta = b"".join(one.meta for one in found if one is not None)
    words = [one.view(np.ndarray).view(np.int64) for one in rows]
    return np.concatenate(words).view(RECORD) if words else np.zeros(0, RECORD), reader.through, meta


def holds(stream: Stream, rows: Any, reach: int) -> None:
    found, through, meta = delivered(stream)
    assert meta == META_TEXT and through == reach
    assert found.tobytes() == rows[rows["sequence"] < reach].tobytes()


# ---- messages


@given(st.binary(max_size=300), st.integers(0, 2), st.booleans())
def test_a_message_is_read_back_and_any_changed_byte_is_noticed(body: bytes, change: int, packed: bool) -> None:
    made = parcel.Parcel(META, 0, 1, ID, 7, 3, 0, 0, 0, 1, body)
    raw = parcel.encode(made, packed)
    assert parcel.decode(raw) == made
    dice = random.Random(len(body) * 3 + change)
    bad = bytearray(raw)
    bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
    for other in (bytes(bad), raw[: dice.randrange(len(raw))], raw + b"\0"):
        with pytest.raises(parcel.ParcelError):
            parcel.decode(other)


@given(st.binary(max_size=200))
def test_hostile_bytes_are_refused(data: bytes) -> None:
    for raw in (data, parcel.MAGIC + data, parcel.MAGIC + b"\x01\x00" + data):
        with pytest.raises(parcel.ParcelError):
            parcel.decode(raw)


@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, parcel.PARTITIONS_MAX))
def test_parts_put_together_are_the_records(seed: int, count: int, partitions: int) -> None:
    rows = journal(seed, count)
    parts = parcel.split(rows, partitions)
    assert parcel.joined([body for _, body in parts]).tobytes() == rows.tobytes()
    for where, body in parts:
        for record in np.frombuffer(body, RECORD):
            family = {ADD: "mkt", FILL: "evt", TIMER: "cmd"}[int(record["kind"])]
            assert where == f"{family}.{max(int(record['instrument']), 0) % partitions}"


# ---- one shipper


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_stream_holds_the_journal_in_order_and_an_end_of_it_is_aligned(partitions: int) -> None:
    rows, stream = journal(1, 200), Stream("S")
    rig = Rig(stream, rows, 400, limits=SMALL._replace(partitions=partitions))
    rig.finish()
    holds(stream, rows, 400)
    subjects = {stored.subject.removeprefix(f"ultra.{ID.hex()}.").split(".")[0] for stored in stream.messages.values()}
    assert subjects == {"run", "mkt", "evt", "cmd"}
    ends = {parcel.decode(raw).through for raw in stream.payloads()}
    assert all(end % (8 * partitions) == 0 for end in sorted(ends)[:-1])


def test_a_stretch_waits_a_moment_to_become_full_and_no_longer() -> None:
    rig = Rig(Stream("S"), journal(1, 20, 20), 20)
    rig.look()
    rig.send()
    rig.arrive(rig.wire.popleft())
    rig.hear()
    rig.feed(3)
    assert rig.ship.take(rig.now) is None
    assert rig.ship.due() == rig.now + SMALL.linger_ns
    rig.now += SMALL.linger_ns
    message = rig.ship.take(rig.now)
    assert message is not None
    assert parcel.decode(message.payload).through == 3


def test_no_more_is_under_way_than_the_window_and_acks_come_in_any_order() -> None:
    rig = Rig(Stream("S"), journal(1, 400, 400), 400)
    rig.look()
    rig.feed(300)
    for _ in range(shipment.WINDOW_MAX):  # one at a time, until nothing of an older epoch can come any more
        rig.send()
        assert len(rig.wire) == rig.ship.under_way == 1
        rig.arrive(rig.wire.popleft())
        rig.hear()
    rig.send()
    assert len(rig.wire) == rig.ship.under_way == SMALL.window
    while rig.wire:
        rig.arrive(rig.wire.popleft())
    rig.answers.reverse()
    before = rig.ship.cursor
    for _ in range(2):
        rig.hear()
        assert rig.ship.cursor == before
    rig.hear()
    assert rig.ship.cursor.sequence > 0 and rig.ship.under_way == 0


def test_nothing_is_sent_before_the_pause_is_over_and_pauses_grow() -> None:
    ship = Shipment(ID, "S", META_TEXT, 1)
    pauses = []
    now = 0
    for _ in range(9):
        ship.lost("nobody there", now)
        pauses.append(ship.due() - now)
        now = ship.due()
    assert pauses == sorted(pauses) and pauses[-1] == pauses[-2] == Limits().retry_max_ns


def test_an_ack_that_does_not_come_ends_the_epoch() -> None:
    rig = Rig(Stream("S"), journal(1, 20, 20), 20)
    rig.look()
    rig.send()
    assert rig.ship.due() == rig.now + SMALL.ack_ns
    rig.ship.tick(rig.now + SMALL.ack_ns - 1)
    assert rig.ship.state == SHIP
    rig.ship.tick(rig.now + SMALL.ack_ns)
    assert rig.ship.state == LOOK and rig.ship.counts["stalls"] == 1
    late = rig.wire.popleft()
    rig.arrive(late)
    rig.look()
    rig.hear()  # of an epoch that is over
    rig.finish()
    holds(rig.stream, rig.rows, 20)


def fault(rig: Rig, dice: random.Random, lost: list[Message]) -> None:
    """One thing that happens on a network, or nothing."""
    what = dice.random()
    if rig.wire and what < 0.6:
        message = rig.wire.popleft()
        if what < 0.58:
            rig.arrive(message)
        if what < 0.02 or what > 0.58:
            lost.append(message)  # comes again later, or for the first time
    elif lost and what < 0.7:
        rig.arrive(lost.pop(dice.randrange(min(len(lost), 3))))
        if dice.random() < 0.5:
            rig.answers.pop()
    elif rig.answers and what < 0.95:
        if dice.random() < 0.1:
            rig.answers.rotate(1)
        if dice.random() < 0.02:
            rig.answers.popleft()
        else:
            rig.hear()
    elif what > 0.995:
        rig.ship.lost("cut", rig.now)
    elif what > 0.99:
        rig.stream.ids.clear()  # the window of deduplication has passed


def turn(rig: Rig, dice: random.Random, lost: list[Message]) -> None:
    rig.now += dice.randrange(MS)
    if rig.ship.state == LOOK and rig.now >= rig.ship.due():
        lost.extend(rig.wire)  # they are in somebody's buffer
        rig.wire.clear()
        rig.look()
    rig.feed(min(rig.reach, rig.at + dice.randrange(20)))
    rig.ship.tick(rig.now)
    if dice.random() < 0.5:
        rig.send()
    fault(rig, dice, lost)
    rig.ship.check_self()


@given(st.integers(0, 10**9))
def test_whatever_the_network_does_the_stream_is_the_journal(seed: int) -> None:
    dice = random.Random(seed)
    rows, stream = journal(seed, 120), Stream("S")
    rig = Rig(stream, rows, 240, limits=TINY)
    lost: list[Message] = []
    for step in range(700):
        turn(rig, dice, lost)
        if dice.random() < 0.002:  # killed, and started again
            lost.extend(rig.wire)
            rig = Rig(stream, rows, 240, step + 2, limits=rig.ship.limits, cursor=rig.ship.cursor)
    assert rig.ship.state != STOP, rig.ship.why
    while lost:
        rig.arrive(lost.pop())
    rig.answers.clear()
    rig.finish()
    assert rig.ship.state != STOP, rig.ship.why
    holds(stream, rows, 240)


@given(st.integers(0, 10**9))
def test_of_two_shippers_one_is_fenced_and_the_stream_is_the_journal(seed: int) -> None:
    dice = random.Random(seed)
    rows, stream = journal(seed, 120), Stream("S")
    both = [Rig(stream, rows, 240, writer, limits=TINY) for writer in (1, 2)]
    lost: list[Message] = []
    for _ in range(900):
        turn(dice.choice(both), dice, lost)
    for rig in both:
        rig.answers.clear()
        rig.finish()
    stopped = [rig.ship for rig in both if rig.ship.state == STOP]
    assert all(ship.alarm == shipment.FENCED for ship in stopped) and len(stopped) < 2
    holds(stream, rows, 240)


# ---- what somebody has to look at


def full(stream: Stream, rows: Any, reach: int) -> Cursor:
    rig = Rig(stream, rows, reach)
    rig.finish()
    return rig.ship.cursor


def alarm(stream: Stream, rows: Any, reach: int, **more: Any) -> str:
    rig = Rig(stream, rows, reach, 9, **more)
    rig.finish()
    assert (rig.ship.counts["alarms"] > 0) == bool(rig.ship.alarm)
    return rig.ship.alarm


def test_each_wrong_stream_has_its_alarm_and_is_left_as_it_is() -> None:
    rows, other = journal(1, 100), journal(2, 100)
    ids = {"limits": SMALL}

    def stream() -> tuple[Stream, Cursor]:
        made = Stream("S")
        return made, full(made, rows, 200)

    made, cursor = stream()
    assert alarm(made, rows, 200, cursor=cursor) == ""
    made, cursor = stream()
    assert alarm(made, rows[:20], int(rows["sequence"][19]) + 1, cursor=Cursor()) == shipment.AHEAD
    made, _ = stream()
    assert alarm(made, other, 200) == shipment.FORK
    made, cursor = stream()
    made.roll_back(2)
    before = dict(made.messages)
    assert alarm(made, rows, 200, cursor=cursor) == shipment.ROLLED_BACK
    assert made.messages == before
    assert alarm(made, rows, 200, cursor=cursor, resend=True) == ""
    holds(made, rows, 200)
    made, cursor = stream()
    made.purge()
    assert alarm(made, rows, 200, cursor=cursor) == shipment.PURGED
    made, _ = stream()
    del made.messages[3]
    assert alarm(made, rows, 200) == shipment.PURGED
    made, _ = stream()
    made.last += 1
    made.messages[made.last] = Stored("x", "", b"not ours")
    assert alarm(made, rows, 200) == shipment.FOREIGN
    made, _ = stream()
    ship = Shipment(bytes(16), "S", META_TEXT, 1, limits=ids["limits"])
    ship.look(made.seen(), 200, 0)
    assert ship.alarm == shipment.OTHER and ship.state == STOP


def test_a_stream_that_was_deleted_is_not_made_anew_without_a_word() -> None:
    rows = journal(1, 100)
    cursor = full(Stream("S"), rows, 200)
    assert alarm(Stream("S"), rows, 200, cursor=cursor) == shipment.ROLLED_BACK


def test_a_purge_behind_our_back_is_seen_at_the_next_check() -> None:
    rows = journal(1, 100)
    rig = Rig(Stream("S"), rows, 200)
    rig.finish()
    rig.ship.check(rig.stream.seen(), rig.ship.highest, 0)
    assert rig.ship.state == SHIP
    rig.stream.purge()
    rig.ship.check(rig.stream.seen(), rig.ship.highest, 0)
    assert rig.ship.alarm == shipment.PURGED


def test_a_stream_that_loses_its_end_while_we_ship_is_not_filled_without_a_word() -> None:
    rig = Rig(Stream("S"), journal(1, 100), 200)
    rig.reach = 100
    rig.finish()
    rig.stream.roll_back(1)
    rig.reach = 200
    rig.finish()
    assert rig.ship.alarm == shipment.ROLLED_BACK


def test_an_old_answer_is_no_rollback_and_a_new_leader_has_time_to_catch_up() -> None:
    rig = Rig(Stream("S"), journal(1, 100), 200)
    rig.reach = 100
    rig.finish()
    before, asked = rig.stream.seen(), rig.ship.highest
    rig.reach = 200
    rig.finish()
    rig.ship.check(before, asked, rig.now)
    assert rig.ship.state == SHIP
    rig.ship.check(before, rig.ship.highest, rig.now)
    assert rig.ship.state == LOOK
    for _ in range(3):
        rig.now = rig.ship.due()
        assert rig.ship.look(before, 200, rig.now) == 0
        assert rig.ship.state == LOOK
    rig.finish()
    assert rig.ship.state == SHIP and not rig.ship.alarm


def test_what_the_journal_no_longer_has_is_a_hole() -> None:
    rows = journal(1, 100)
    rig = Rig(Stream("S"), rows, 200)
    rig.look()
    rig.ship.put(50, rows[50:], 200, 0)
    assert rig.ship.alarm == shipment.HOLE


def test_inputs_are_not_said_to_be_there_before_they_are_compared() -> None:
    stream = Stream("S")
    full(stream, journal(2, 100), 200)
    rig = Rig(stream, journal(1, 100), 200, 9)
    rig.finish()
    assert rig.ship.alarm == shipment.FORK and rig.ship.cursor == Cursor()
    rig = Rig(stream, journal(2, 100), 200, 9)
    rig.look()
    assert rig.ship.cursor == Cursor()
    rig.feed(200)
    assert rig.ship.cursor == Cursor(200, stream.last)


def test_inputs_of_which_the_stream_has_no_record_are_compared_too() -> None:
    rows, stream = journal(1, 50, 150), Stream("S")
    full(stream, rows, 150)
    full(stream, rows, 200)
    assert parcel.decode(stream.payloads()[-1]).kind == MARK
    assert alarm(stream, rows, 250) == ""
    other = np.concatenate([row.view(np.ndarray).view(np.int64) for row in (rows, rows[-1:])]).view(RECORD)
    other["sequence"][-1] = 230
    assert parcel.decode(stream.payloads()[-1]).first <= 230
    assert alarm(stream, other, 250) == shipment.FORK


def test_a_last_stretch_larger_than_what_goes_now_is_compared_all_the_same() -> None:
    rows, stream = journal(1, 100, 100), Stream("S")
    Rig(stream, rows, 64, limits=SMALL._replace(records_max=64)).finish()
    rig = Rig(stream, rows, 100, 2, limits=SMALL._replace(records_max=1, window=1))
    rig.look()
    while rig.ship.room > 0 and rig.at < 100:
        rig.feed(rig.at + 1)
    assert rig.at > 64 and rig.ship.take(rig.now, True) is not None
    rig.ship.check_self()


def test_a_stretch_that_was_cut_short_is_ended_with_the_parts_that_are_missing() -> None:
    rows, stream = journal(3, 100, 100), Stream("S")
    rig = Rig(stream, rows, 100, limits=SMALL._replace(window=16))
    rig.look()
    rig.feed(100)
    inside = 0
    while rig.ship.cursor.through < 100:
        rig.send(flush=True)
        message = rig.wire.popleft()
        rig.arrive(message)
        rig.hear()
        last = parcel.decode(message.payload)
        if last.kind == RECORDS and not last.is_last_part:
            inside += 1
            again = Stream("S")
            again.messages, again.last = dict(stream.messages), stream.last
            after = Rig(again, rows, 100, 2, limits=SMALL._replace(partitions=1))
            after.finish()
            holds(again, rows, 100)
    assert inside > 2


def test_a_reader_finds_every_hole() -> None:
    rows, stream = journal(1, 100), Stream("S")
    full(stream, rows, 200)
    payloads = stream.payloads()
    for gone in range(len(payloads) - 1):
        reader = delivery.Delivery("S")
        with pytest.raises(delivery.DeliveryError):
            for at, payload in enumerate(payloads[:gone] + payloads[gone + 1 :], 1):
                reader.take(at, payload)
    reader = delivery.Delivery("S")
    with pytest.raises(delivery.DeliveryError):
        reader.take(2, payloads[1])
    swapped = [payloads[0], payloads[2], payloads[1]]
    reader = delivery.Delivery("S")
    with pytest.raises(delivery.DeliveryError):
        for at, payload in enumerate(swapped, 1):
            reader.take(at, payload)


def test_a_stream_with_nothing_in_it_begins_with_the_run() -> None:
    rig = Rig(Stream("S"), journal(1, 4), 0)
    rig.finish()
    assert rig.ship.cursor == Cursor(0, 1)
    holds(rig.stream, rig.rows, 0)
    again = Shipment(ID, "S", b"another run", 1)
    again.look(rig.stream.seen(), 0, 0)
    assert again.alarm == shipment.FORK
    assert Shipment(ID, "S", META_TEXT, 1).look(Seen(0, 0, []), 0, 0) == 0
