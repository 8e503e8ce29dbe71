"""Every record that crosses a ring or the journal, its units and its codes. Imports nothing of ours.

    price     int64   ticks of the instrument (`tick_e9` of its INSTRUMENT record: 1e-9 of the currency)
    qty       int64   lots of the instrument; on an order always > 0
    ts        int64   nanoseconds since the Unix epoch, UTC
    side      int8    BID = 0, ASK = 1: an array index; `side ^ 1` is the other side
    none      -1      for a price, a slot, an index, an order id

One record is one cache line. There is no unsigned 64-bit field anywhere: NumPy turns uint64 + int64 into
float64. Zero is never a valid kind, so a slot of zeroed memory is not a record.
"""

from typing import Final

import numpy as np

BID: Final = 0
ASK: Final = 1
NONE: Final = -1

# Kinds of input. Market data first, in the order in which they matter; then what comes back from a venue;
# then what the operator and the engine itself put in. `step` dispatches on these ranges.
ADD: Final = 1  # order_id, side, price, qty: a resting order appears at the end of its level
EXECUTE: Final = 2  # order_id, qty; price = NONE, or the trade price when it differs; aux = match number
CANCEL: Final = 3  # order_id, qty taken off
DELETE: Final = 4  # order_id
REPLACE: Final = 5  # order_id, aux = its new id, price, qty: loses its place
TRADE: Final = 6  # price, qty of a trade that touches no displayed order; aux = match number
STATUS: Final = 7  # aux = one of the trading states below
INSTRUMENT: Final = 8  # order_id = symbol (8 ASCII bytes), price = tick_e9, qty = lot_e9, aux = price step
LEVEL: Final = 9  # side, price, qty: all that an aggregated feed shows at a price now, 0 = nothing; order_id = NONE
BAR: Final = 10  # one bar, stamped at its end: price = close, order_id = open, qty = volume, aux: `ultra.hot.bar`
MARKET_LAST: Final = BAR

ACCEPTED: Final = 16  # order_id = our handle; the order rests, or is about to fill
FILL: Final = 17  # order_id = our handle, price, qty; aux = match number of the venue
CANCELLED: Final = 18  # order_id = our handle; qty = what was left
REJECTED: Final = 19  # order_id = our handle; aux = a reason of `ultra.hot.risk` or of the venue
REPLY_LAST: Final = REJECTED
REPLACED: Final = 20  # of a REPORT only
TRIGGERED: Final = 21  # of a REPORT only: a stop order became an ordinary one

TIMER: Final = 32  # ts_event = the moment it was due
LIMIT: Final = 33  # instrument (NONE = all), order_id = which limit, aux = its value
PARAMETER: Final = 34  # order_id = index, aux = the value's 64 bits
HALT: Final = 35  # instrument (NONE = all), aux = 1 halt, 0 resume; what was killed is not resumed
CHECKPOINT: Final = 36  # aux = first 64 bits of the state hash before this record, order_id = the next 64
END: Final = 37  # as CHECKPOINT, written once when a run ends in good order
SOURCE: Final = 38  # price = offset in the source file, aux and order_id = first 128 bits of its SHA-256 up to there
FEED_STATE: Final = 39  # aux = one of the feed's states below; price = message it waits for, qty = how many are missing
SESSION_STATE: Final = 40  # aux = one of the session's states below; price = the venue's message we have come to

SEED: Final = 41  # aux: what the strategy's draws begin with (`ultra.random`)

# What an operator asks while it runs: what was said about it in TEXTs, then one command, then the ACK it got. Of LIMIT,
# PARAMETER and HALT, flag = ASKED says that an operator asked.
TEXT: Final = 48  # side = which text, instrument = its piece from 0, flag = bytes of it in order_id, price, qty, aux
SUBMIT: Final = 49  # an order as a strategy sends it: instrument, side, price, qty, flag
TAKE_BACK: Final = 50  # order_id = our handle
ALTER: Final = 51  # order_id = our handle, price and qty of the order that takes its place
TAKE_ALL_BACK: Final = 52  # instrument (NONE = all)
STRATEGY: Final = 53  # instrument (NONE = all), aux = 1 it may send orders, 0 not
KILL: Final = 54  # no more orders in this run, and all are taken back
ACK: Final = (
    55  # price = sequence of the command, order_id = our handle or NONE, qty = cancels sent, aux = risk's reason
)
SIGNAL: Final = 56  # asked as the commands are: instrument (NONE = all), order_id = code, aux = value, to the strategy
ASKED: Final = 1
TEXT_ID, TEXT_WHO, TEXT_WHY = 0, 1, 2

# Kinds of output: what the engine asks of a venue.
NEW: Final = 1
CANCEL_ORDER: Final = 2
# What else a matching venue is asked (ENTRY), by its clients and by whoever runs it.
REPLACE_ORDER: Final = 3  # aux = the order's new number
MASS_CANCEL: Final = 4  # every order of the owner; of one instrument, or of all (NONE)
SET_STATE: Final = 5  # aux = the trading state that the instrument gets; leaving AUCTION for TRADING uncrosses
END_OF_DAY: Final = 6  # what does not outlive the day is cancelled

# Flags. On EXECUTE and TRADE: the volume must not be counted (ITCH `printable = N`).
NOT_PRINTABLE: Final = 1
SIDED: Final = 2  # on TRADE: side is that of the order that rested; without it nothing is known
# On NEW: cancel what does not trade at once; refuse the order if any of it would trade at once.
IMMEDIATE: Final = 1
POST_ONLY: Final = 2
# Of an ENTRY also: all or nothing, at once; at any price; wait for the trigger price; outlive the day; only in the
# opening, only in the closing auction; not shown. Two bits say what happens if it would meet an order of its owner.
FILL_OR_KILL: Final = 4
AT_MARKET: Final = 8
STOP: Final = 16
GOOD_TILL_CANCEL: Final = 32
ON_OPEN: Final = 64
ON_CLOSE: Final = 128
HIDDEN: Final = 256
STP_NEWEST: Final = 512
STP_OLDEST: Final = 1024
STP_BOTH: Final = 1536

# Trading states of an instrument (STATUS.aux).
UNKNOWN_STATE: Final = 0
TRADING: Final = 1
HALTED: Final = 2
PAUSED: Final = 3
QUOTE_ONLY: Final = 4
AUCTION: Final = 5  # orders are collected and nothing trades until the uncross

# States of a feed (FEED_STATE.aux): its books are whole; not yet; no longer. Zero, so that a recorded file is live.
LIVE: Final = 0
SYNCING: Final = 1
STALE: Final = 2
# States of a session with a venue (SESSION_STATE.aux). New orders leave in the first only.
OPEN: Final = 0
RECONCILING: Final = 1
CLOSED: Final = 2

RECORD: Final = np.dtype(
    [
        ("kind", "i1"),
        ("side", "i1"),
        ("flag", "i2"),  # not `flags`: without the JIT that is an attribute of NumPy's own
        ("instrument", "i4"),  # index of the engine's instrument table
        ("sequence", "i8"),  # place in the one sequenced input, from 0, without gaps
        ("ts_event", "i8"),  # stamped by the venue
        ("ts_recv", "i8"),  # stamped by us; of a recorded file: ts_event
        ("order_id", "i8"),
        ("price", "i8"),
        ("qty", "i8"),
        ("aux", "i8"),
    ],
    align=True,
)
REQUEST: Final = np.dtype(
    [
        ("kind", "i1"),
        ("side", "i1"),
        ("flag", "i2"),
        ("instrument", "i4"),
        ("sequence", "i8"),  # of the input record that caused it
        ("ts_event", "i8"),  # of that record: when we decided
        ("order_id", "i8"),  # our handle
        ("price", "i8"),
        ("qty", "i8"),
        ("reason", "i8"),  # why risk refused it; 0 on the output ring
        ("aux", "i8"),
    ],
    align=True,
)

# What a client asks of a matching venue, and what the venue tells that client. `owner` is the account's index there,
# `order_id` the client's own number of the order, unique within its account for the day.
ENTRY: Final = np.dtype(
    [
        ("kind", "i1"),
        ("side", "i1"),
        ("flag", "i2"),
        ("instrument", "i4"),
        ("owner", "i4"),
        ("display", "i4"),  # lots of an iceberg that are shown at a time; 0 = all
        ("order_id", "i8"),
        ("ts_event", "i8"),  # when it takes effect
        ("price", "i8"),
        ("qty", "i8"),  # on CANCEL_ORDER: what is to be left, 0 = nothing
        ("stop", "i8"),  # the trigger price of a STOP
        ("aux", "i8"),  # NEW: least lots that must trade at once, 0 = any; else see the kind
    ],
    align=True,
)
REPORT: Final = np.dtype(
    [
        ("kind", "i1"),  # ACCEPTED, FILL, CANCELLED, REJECTED, REPLACED, TRIGGERED
        ("side", "i1"),
        ("flag", "i2"),  # on FILL: 1 = it took, 0 = it was resting; else as the ENTRY
        ("instrument", "i4"),
        ("owner", "i4"),
        ("reason", "i4"),  # of REJECTED and CANCELLED, by `ultra.venues.matching`
        ("order_id", "i8"),
        ("ts_event", "i8"),
        ("price", "i8"),
        ("qty", "i8"),  # FILL: lots traded; CANCELLED: lots taken off; else what is open
        ("ref", "i8"),  # the order's number in the public feed
        ("aux", "i8"),  # FILL: match number; REPLACED: the number it had before
    ],
    align=True,
)

assert RECORD.itemsize == REQUEST.itemsize == ENTRY.itemsize == REPORT.itemsize == 64, "a record is one cache line"

# Cells of a ring in shared memory, as indices of int64. Each sequence is two cache lines from the next: the
# adjacent-line prefetcher would couple neighbours. These mean the same in all three forms of ring.
RING_LINE: Final = 16
RING_CURSOR: Final = 0  # how many slots were published; in a crowd, claimed
RING_SLEEPERS: Final = 8  # a cache line that nobody writes while nobody sleeps: 1 = someone may (ultra.hot.wait)
RING_BELL: Final = 9  # how often sleepers were woken; what they sleep on
RING_PROMPT: Final = 10  # 1 = whoever publishes also wakes, at once (ultra.cold.native.promise)
RING_FULL: Final = RING_LINE + 1  # how often the producer asked for more slots than were free
RING_FORM: Final = RING_LINE + 2  # one of these three
ONE_TO_ONE: Final = 0
FAN: Final = 1
CROWD: Final = 2
RING_CAPACITY: Final = RING_LINE + 3  # slots, of a fan or a crowd
# Of a ring from one to one (ultra.hot.ring).
RING_GATE: Final = 2 * RING_LINE
RING_CELLS: Final = 8 * RING_LINE
# Of a ring from one to many (ultra.hot.fan).
FAN_CONSUMERS_MAX: Final = 8
FAN_ATTACHES: Final = RING_LINE + 4  # how often a consumer was attached after the start
FAN_ATTACHED: Final = 2 * RING_LINE  # bit k: consumer k holds the producer back
FAN_DETACHES: Final = 2 * RING_LINE + 1  # how often one was detached
FAN_CONSUMERS: Final = 2 * RING_LINE + 2  # how many there are, attached or not
FAN_UPSTREAM: Final = 3 * RING_LINE  # + k: bits of all consumers before k, directly or through others
FAN_DEPENDS: Final = 3 * RING_LINE + 8  # + k: bits of those it was told to wait for
FAN_GATE: Final = 4 * RING_LINE
FAN_STRIDE: Final = 2 * RING_LINE  # from the gate of one consumer to that of the next
FAN_CELLS: Final = FAN_GATE + FAN_CONSUMERS_MAX * FAN_STRIDE
# Of a ring from many to one (ultra.hot.crowd); its gate is RING_GATE.
CROWD_PRODUCERS_MAX: Final = 8
CROWD_FILLED: Final = RING_LINE + 4  # how many holes were filled for producers that died
CROWD_PRODUCER: Final = 4 * RING_LINE  # + p * RING_LINE: what belongs to producer p
CROWD_CLAIM: Final = 1  # from there: first sequence of its last claim
CROWD_COUNT: Final = 2  # from there: how many it claimed
CROWD_CELLS: Final = CROWD_PRODUCER + CROWD_PRODUCERS_MAX * RING_LINE
# What the engine and the journal tell each other in the free cells of their ring.
JOURNAL_PROCESSED: Final = 4 * RING_LINE  # every input below this sequence was processed: level `memory`
JOURNAL_DURABLE: Final = 5 * RING_LINE  # every input below this sequence is recoverable from disk: level `local`
JOURNAL_CLOSE: Final = 6 * RING_LINE  # 1: write what is left and end
JOURNAL_FAILED: Final = 7 * RING_LINE  # errno of the write or sync that failed; nothing is written after it

# Cells of a control block, which the processes of one run share: who is how far, and what the engine asks the venue.
LINK_ASK: Final = 0  # number of the engine's last question. Two rows in turns say what it is: one is always whole
LINK_ASK_AT: Final = 1  # + 2 * (number & 1): the venue must have seen every record of the feed below this
LINK_ASK_NOW: Final = 2  # + 2 * (number & 1): and let requests due at this time take effect; NONE = no request
LINK_ASK_NEXT: Final = 8  # + 2 * (number & 1): the engine's next input then: for one that comes back, not for the venue
LINK_ASK_TAKEN: Final = 9  # + 2 * (number & 1): how many requests the venue had taken then; the same
LINK_ANSWER: Final = 2 * RING_LINE  # number of the question that the venue answered last
LINK_DONE: Final = 4 * RING_LINE  # the venue may see every record of the feed below this
CONTROL_STOP: Final = 6 * RING_LINE  # 1 = drain: no more of the feed, answer what is under way, end
CONTROL_ABORT: Final = 6 * RING_LINE + 1  # 1 = end at once: a stage that can't come back is gone
CONTROL_GO: Final = 6 * RING_LINE + 2  # 1 = every stage is ready: begin
CONTROL_BEGUN: Final = 6 * RING_LINE + 3  # open loop: the tick at which the first record is due
CONTROL_STEP: Final = 6 * RING_LINE + 4  # open loop: 2^16 times the ticks between two records
CONTROL_FROM_NS: Final = 6 * RING_LINE + 5  # when the feed began, by the clock that all processes share (monotonic)
CONTROL_FEED_END: Final = 7 * RING_LINE  # 1 + how many records the feed has; 0 while it is not known
CONTROL_DECODER: Final = 8 * RING_LINE  # 16 cells of the decoder's, at its end
CONTROL_STAGE: Final = 10 * RING_LINE  # + k * CONTROL_STRIDE: what stage k says of itself
CONTROL_STRIDE: Final = 2 * RING_LINE
CONTROL_STAGES_MAX: Final = 8
STAGE_STATE: Final = 0  # from there: one of the states below
STAGE_PID: Final = 1
STAGE_BEAT: Final = 2  # grows while the stage's loop turns
STAGE_AT: Final = 3  # how many records it is through with
CONTROL_CELLS: Final = CONTROL_STAGE + CONTROL_STAGES_MAX * CONTROL_STRIDE
# States of a stage, in order.
STARTING: Final = 0
READY: Final = 1
RUNNING: Final = 2
BUSY: Final = 3  # running, but at something long: the loop does not turn meanwhile
DONE: Final = 4
FAILED: Final = 5

KIND_NAMES: Final = {
    ADD: "add", EXECUTE: "execute", CANCEL: "cancel", DELETE: "delete", REPLACE: "replace", TRADE: "trade",
    STATUS: "status", INSTRUMENT: "instrument", LEVEL: "level", BAR: "bar", ACCEPTED: "accepted", FILL: "fill",
    CANCELLED: "cancelled",
    REJECTED: "rejected", TIMER: "timer", LIMIT: "limit", PARAMETER: "parameter", HALT: "halt",
    CHECKPOINT: "checkpoint", END: "end", SOURCE: "source",
    FEED_STATE: "feed_state", SESSION_STATE: "session_state", SEED: "seed", TEXT: "text",
    SUBMIT: "submit", TAKE_BACK: "cancel order",
    ALTER: "replace order", TAKE_ALL_BACK: "mass cancel", STRATEGY: "strategy", KILL: "kill", ACK: "ack",
    SIGNAL: "signal",
}  # fmt: skip


def symbol_to_int(symbol: str) -> int:
    """Eight ASCII bytes, padded with spaces, as one int64 (big-endian); ValueError when it does not fit."""
    raw = symbol.encode("ascii")
    if not 0 < len(raw) <= 8:
        raise ValueError(f"symbol {symbol!r} must have 1 to 8 ASCII characters")
    return int.from_bytes(raw.ljust(8), "big", signed=True)


def int_to_symbol(value: int) -> str:
    """The inverse of `symbol_to_int`; bytes that are not ASCII come out escaped."""
    return int(value).to_bytes(8, "big", signed=True).decode("ascii", "backslashreplace").rstrip()


def decimal(units: int, unit_e9: int) -> str:
    """`units * unit_e9 / 1e9` as an exact decimal string: decimal(5856900, 100_000) -> '585.69'."""
    total = int(units) * int(unit_e9)
    whole, rest = divmod(abs(total), 1_000_000_000)
    digits = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if total < 0 else ''}{whole}.{digits}"
