"""Whatever the latencies: nothing is made or lost between venue, account and engine, and time goes one way."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import IMBALANCE, MAKER, market
from test_backtest import settings as configuration

from ultra import trial
from ultra.hot import JIT
from ultra.lab.backtest import course_of
from ultra.lab.course import Course
from ultra.lab.source import ItchFile
from ultra.lab.terms import Fees, Latency
from ultra.wire import BID

WAY = st.integers(0, 3_000_000)


def played(folder: Path, strategy: str, seed: int, latency: Latency) -> Course:
    """A course that is over."""
    path = folder / "day.itch50"
    path.write_bytes(market(1500 if JIT else 300, seed))
    source = ItchFile(path)
    course, _ = course_of(
        strategy, source, config=configuration(strategy), latency=latency, fees=Fees(maker_bps="-0.1", taker_bps="0.3")
    )
    course.begin()
    source.play(course.config, course)
    trial.check(course.venue)
    course.finish()
    trial.check(course.venue)
    return course


def fills_of(course: Course) -> Any:
    return np.concatenate([*course.fills, np.zeros(0, trial.FILLED)])


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 99), WAY, WAY, WAY, st.sampled_from([IMBALANCE, MAKER]))
def test_the_engine_has_at_the_end_what_the_account_has(
    seed: int, order_ns: int, answer_ns: int, jitter_ns: int, strategy: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        late = Latency(order_ns, answer_ns, jitter_ns=jitter_ns, seed=seed)
        course = played(Path(folder), strategy, seed, late)
    fills, views = fills_of(course), course.engine.market
    for index in range(2):
        own = fills[fills["instrument"] == index]
        signs = np.where(own["side"] == BID, 1, -1)
        assert int((signs * own["qty"]).sum()) == int(views[index].position) == int(course.account.lots[index])
        spent = int((signs * own["qty"] * own["price"]).sum())
        assert -spent == int(views[index].cash) == int(course.account.cash[index])
    assert int(fills["fee_e9"].sum()) == int(course.account.cells[trial.accounts.FEES_E9])
    took = fills["rule"] == trial.TOOK
    way = fills["arrived_ts"] - fills["sent_ts"]
    assert (way >= order_ns).all(), "no order is there before it can be"
    assert (fills["ts_event"][took] == fills["arrived_ts"][took]).all()
    assert (fills["ts_event"][~took] >= fills["arrived_ts"][~took]).all()
    assert (np.diff(fills["ts_event"]) >= 0).all(), "fills are told in order of time"
