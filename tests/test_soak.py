"""The soak for some seconds, and a record that was tampered with."""

from typing import Any

import numpy as np
import pytest

from ultra.hot import crowd as crowds
from ultra.hot import fan as fans
from ultra.ops import soak
from ultra.wire import RECORD


@pytest.mark.jit_only
@pytest.mark.slow
def test_six_processes_on_whatever_cores_there_are_lose_nothing() -> None:
    found = soak.run(2.0)
    assert found["wrong"] == 0 and found["records"] > 0, found
    assert found["roles"][-1]["sleeps"] > 0, "nobody slept: the bell was not tried"


@pytest.mark.parametrize("field", ["", "order_id", "price", "aux", "sequence", "qty", "ts_recv"])
def test_a_record_that_was_tampered_with_is_seen(field: str) -> None:
    crowd, fan = crowds.create(RECORD, 16), fans.create(RECORD, 16, soak.DEPENDS)
    outs: list[Any] = [np.zeros(8, np.int64) for _ in range(3)]
    assert soak.produce(crowd, 0, 0, 6) == 6 and soak.route(crowd, fan, 0) == 6
    for k in (0, 1):
        assert soak.consume(fan, k, 0, outs[k]) == 6
    if field:
        fan.slots[3][field] += 1
    assert soak.consume(fan, 2, 0, outs[2]) == 6
    assert [int(out[soak.WRONG]) for out in outs] == [0, 0, int(field != "")]
    assert (outs[2][soak.HASH] == outs[0][soak.HASH]) == (field != "aux")
