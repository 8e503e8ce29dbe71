"""A small engine around one strategy: records in, and what came of them. In one compiled loop, as the runs have it."""

from typing import Any

import numpy as np
from loops import loop

from ultra import strategy
from ultra.hot import book as books
from ultra.hot import engine as engines
from ultra.hot import memory
from ultra.hot import ring as rings
from ultra.wire import LIMIT, NONE, RECORD, STATUS, TRADING

LIMITS = (1000, 1 << 50, 5_000, 10_000, 50, 0, 1 << 40)


class Rig:
    """An engine of a few instruments, with generous limits; all trade, or those that are `listed`."""

    def __init__(
        self, spec: type | str, instruments: int = 3, bar_ns: int = 0, listed: int | None = None, **parameters: Any
    ) -> None:
        loaded = strategy.load(spec)
        self.engine = engines.create(
            instruments,
            books.create(instruments, 1024, 64, step=1),
            own_max=32,
            output_records=64,
            state=strategy.states(loaded, instruments),
            params=strategy.parameters(loaded, parameters),
            bar_ns=bar_ns,
        )
        step = engines.build(loaded.hooks)

        def steps(engine: Any, records: Any) -> None:
            for row in range(len(records)):
                step(engine, records[row])

        self._steps = loop(steps)
        self._sequence = self.ts = 0
        self.feed(*({"kind": LIMIT, "order_id": which, "aux": value} for which, value in enumerate(LIMITS)))
        shown = instruments if listed is None else listed
        self.feed(*({"kind": STATUS, "instrument": index, "aux": TRADING} for index in range(shown)))

    def feed(self, *rows: dict[str, int]) -> None:
        """Records one after the other, a microsecond apart unless they say their time."""
        records = memory.zeros(len(rows), RECORD)
        for at, row in enumerate(rows):
            record = records[at]
            self.ts = row.get("ts_event", self.ts + 1000)
            fields = {"instrument": NONE, "order_id": NONE, "price": NONE, "ts_event": self.ts} | row
            for name, value in fields.items():
                record[name] = value
            record.sequence = self._sequence
            self._sequence += 1
        self._steps(self.engine, records)

    def sent(self) -> list[dict[str, int]]:
        """Requests that left since the last time."""
        cells, slots = self.engine.output.cells, self.engine.output.slots
        found = []
        for number in range(int(cells[rings.GATE]), int(cells[rings.CURSOR])):
            row = slots[number & (len(slots) - 1)]
            found.append(
                {name: int(row[name]) for name in ("kind", "side", "flag", "instrument", "order_id", "price", "qty")}
            )
        cells[rings.GATE] = cells[rings.CURSOR]
        return found

    def state(self, name: str, instrument: int = 0) -> Any:
        """A field of the strategy's state."""
        return np.asarray(self.engine.state[instrument][name]).tolist()
