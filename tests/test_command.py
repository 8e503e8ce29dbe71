"""What an operator's record does to the engine: gates shut and open again, marks pass by, the rest is counted."""

from typing import Any

import numpy as np
import pytest
from loops import loop

from ultra.hot import book as books
from ultra.hot import engine as engines
from ultra.hot import memory
from ultra.hot import risk as risks
from ultra.wire import (
    CHECKPOINT,
    CLOSED,
    END,
    FEED_STATE,
    HALT,
    LIVE,
    NONE,
    OPEN,
    RECORD,
    SESSION_STATE,
    SOURCE,
    STALE,
)  # fmt: skip


@loop
def on_command(engine: Any, records: Any) -> None:
    engines.on_command(engine, records[0])


class Desk:
    """An engine of three instruments, told one thing at a time."""

    def __init__(self) -> None:
        nothing = np.zeros(3, np.dtype([("x", "i8")])).view(np.recarray)
        self.engine = engines.create(
            3, books.create(3, 1024, 16), own_max=8, output_records=64, state=nothing, params=nothing[:1]
        )
        self.record = memory.zeros(1, RECORD)

    def tell(self, kind: int, aux: int = 0, instrument: int = NONE) -> None:
        self.record.kind, self.record.aux, self.record.instrument = kind, aux, instrument
        on_command(self.engine, self.record)

    @property
    def gates(self) -> list[int]:
        return [int(gate) for gate in self.engine.risk.gates[:3]]

    @property
    def unknown(self) -> int:
        return int(self.engine.cells[engines.UNKNOWN_RECORDS])


def test_each_gate_shuts_and_opens_for_itself() -> None:
    desk = Desk()
    assert desk.gates == [0, LIVE, OPEN]
    for kind, shut, gate in ((HALT, 1, risks.KILL), (FEED_STATE, STALE, risks.FEED), (SESSION_STATE, CLOSED, 2)):
        desk.tell(kind, shut)
        assert desk.gates[gate] == shut and sum(desk.gates) == shut
        desk.tell(kind, 0)
        assert desk.gates == [0, 0, 0]
    assert desk.unknown == 0


def test_one_instrument_is_halted_alone() -> None:
    desk = Desk()
    desk.tell(HALT, 1, instrument=1)
    assert desk.engine.market.halted.tolist() == [0, 1, 0] and desk.gates == [0, 0, 0]
    desk.tell(HALT, 1, instrument=3)
    assert desk.engine.market.halted.tolist() == [0, 1, 0]


@pytest.mark.parametrize("kind", [CHECKPOINT, END, SOURCE])
def test_marks_pass_by(kind: int) -> None:
    desk = Desk()
    desk.tell(kind, 7)
    assert desk.unknown == 0 and desk.gates == [0, 0, 0]


@pytest.mark.parametrize("kind", [42, 127])
def test_what_nobody_knows_is_counted(kind: int) -> None:
    desk = Desk()
    desk.tell(kind)
    assert desk.unknown == 1
