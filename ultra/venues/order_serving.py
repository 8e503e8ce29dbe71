"""All order connections of a venue in one compiled call: what clients wrote becomes entries, what was reported is sent.

A place of the bank belongs to nobody, to a client that has not logged in yet, or to an account. The first two are the
business of `cold/order_server.py`; here only accounts are served, one after the other, each as far as there is room.
Known bad case: all accounts share one ring of entries; one that floods it delays the others by what its rate allows.
"""

from typing import Any

from ..hot import entry, hot
from ..hot import ring as rings
from . import link as links
from . import order_desk as desks
from . import order_entry, order_reports

NOBODY, STRANGER = -1, -2  # in place of an account


@hot
def attend(
    desk: desks.Desk, bank: links.Bank, owners: Any, entries: rings.Ring, reports: rings.Ring, now: int,
    heartbeat_ns: int, silence_ns: int,
) -> int:  # fmt: skip
    """Serve every account that is linked; returns how many links must be closed.

    `owners` int64[links]: whose each link is. `now` is ns since the epoch by a clock that does not go back."""
    order_reports.take(desk, reports)
    failed = 0
    for index in range(len(owners)):
        owner = owners[index]
        if owner >= 0:
            link = links.of(bank, index)
            links.pull(link, now)
            order_entry.serve(desk, owner, link, entries, now)
            order_reports.send(desk, owner, link, now, heartbeat_ns)
            if now - link.cells[links.HEARD_NS] >= silence_ns:
                links.fail(link, links.SILENT)
            failed += link.cells[links.FAULT] != links.NO_FAULT
    for owner in range(len(desk.accounts)):
        desks.ask_mass(desk, owner, entries, now)
    return failed


@entry
def attend_all(
    desk: desks.Desk, bank: links.Bank, owners: Any, entries: rings.Ring, reports: rings.Ring, now: int,
    heartbeat_ns: int, silence_ns: int,
) -> int:  # fmt: skip
    """`attend` for code outside the hot path."""
    return attend(desk, bank, owners, entries, reports, now, heartbeat_ns, silence_ns)
