"""One turn of an order session: what came in becomes replies, what the engine asks becomes bytes. No Python object.

`turn` is the whole loop body of whoever owns the socket: on the engine's own core, or on a core of its own.
Known bad case: a replies ring that nobody empties holds everything back, requests too; the venue's bytes then wait in
the socket, and nothing is lost.
"""

from typing import Any

from ..hot import entry, hot
from ..hot import ring as rings
from ..wire import CANCEL_ORDER, NEW, NONE, REJECTED
from . import link as links
from . import order_replies as answers
from . import order_session as sessions


@hot
def carry(session: sessions.Session, requests: rings.Ring, replies: rings.Ring, now: int) -> int:
    """Take every request; a new order that can't leave is answered REJECTED at once. Returns how many were taken."""
    taken = 0
    while rings.ready(requests) > 0 and rings.room(replies) > 0:
        carry_one(session, requests.slots[rings.polled(requests, 0)], replies, now)
        rings.release(requests, 1)
        taken += 1
    return taken


@hot
def carry_one(session: sessions.Session, request: Any, replies: rings.Ring, now: int) -> None:
    """One request; there is room for an answer, which a new order that can't leave gets at once."""
    if request.kind == NEW:
        reason = sessions.enter(session, request, now)
        if reason != 0:
            _refuse(replies, request, reason, now)
    elif request.kind == CANCEL_ORDER:
        sessions.cancel(session, request.order_id, now)
    else:
        session.counts[sessions.UNEXPECTED] += 1


@hot
def _refuse(replies: rings.Ring, request: Any, reason: int, now: int) -> None:
    record = replies.slots[rings.claimed(replies, 0)]
    record.kind, record.side, record.flag, record.instrument = REJECTED, request.side, 0, request.instrument
    record.ts_event, record.ts_recv, record.order_id = now, now, request.order_id
    record.price, record.qty, record.aux = NONE, request.qty, reason
    rings.publish(replies, 1)


@hot
def step(session: sessions.Session, requests: rings.Ring, replies: rings.Ring, now: int) -> int:
    """Read, answer, write; `now` is ns since the epoch by a clock that does not go back. Returns why the link must be
    closed, 0 = it need not."""
    links.pull(session.link, now)
    answers.poll(session, replies, now)
    carry(session, requests, replies, now)
    sessions.tend(session, now)
    links.flush(session.link, now)
    return session.link.cells[links.FAULT]


@entry
def turn(session: sessions.Session, requests: rings.Ring, replies: rings.Ring, now: int) -> int:
    """`step` for code outside the hot path."""
    return step(session, requests, replies, now)
