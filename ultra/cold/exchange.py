"""The paper venue as a process: it follows the feed with a book of its own and answers what the engine asks.

It holds our resting orders and nothing writes them down, so it can't be started again: the host ends the run when it
dies, and the journal has all that was.
"""

from __future__ import annotations

from typing import Final

from .. import apart
from ..hot import book as books
from ..hot import fan as fans
from ..hot import memory
from ..venues import paper
from ..wire import DONE, RECORD, STAGE_STATE
from . import assembly, labels
from .control import STAGES
from .stage import Stage, process

ENGINE: Final = STAGES.index("engine")


class Exchange:
    """The venue's book and its ways in and out."""

    def __init__(self) -> None:
        self.stage = Stage("venue")
        config = self.stage.config
        sizes = config.engine
        book = books.create(sizes.instrument_max, sizes.order_live_max, sizes.level_page_max)
        if sizes.prefault:
            assembly.prefault_books(book)
        venue = paper.create(
            sizes.instrument_max, sizes.own_order_max, sizes.reply_ring_records, config.venue.latency_ns
        )
        venue = venue._replace(replies=self.stage.replies())
        fan, link = self.stage.fan(), self.stage.control.link
        self._exchange = apart.Exchange(book, venue, fan, link, self.stage.requests(), memory.zeros(1, RECORD))
        self._patience, self._spins = assembly.waiting(config)
        apart.serve(self._exchange, 0, 0)  # compile, or load what was compiled

    def play(self) -> None:
        """Until the engine needs no venue any more."""
        while self.stage.control.of(ENGINE, STAGE_STATE) < DONE:
            labels.at("venue.serve.before")
            apart.serve(self._exchange, self._patience, self._spins)
            labels.at("venue.serve.after")
            self.stage.turn(int(self._exchange.feed.cells[fans.GATE + apart.VENUE * fans.STRIDE]))


def main() -> int:
    """The program."""
    exchange = Exchange()
    return exchange.stage.work(exchange.stage.config.host.venue_core, exchange.play)


def program() -> int:
    """`main`, its failures in one line."""
    return process(main)
