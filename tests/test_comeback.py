"""An engine dies, anywhere and often, and what comes back does what the undisturbed one would have done.

The oracle is the same desk without a death: the same hashes, the same journals byte for byte, the same requests.
"""

import functools
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desk import Desk, Died, fused
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import journaled

from ultra.cold import assembly
from ultra.cold.replay import Replay
from ultra.hot import JIT

FORMS = {
    "reference": {},
    "full": {"journal.market_data": "full"},
    "mirrored": {"mirrored": True},
    "gated": {"journal.durability": "gated"},
    "at once": {"venue.latency_ns": 0},
}

STEP_NS = st.integers(5_000_000, 50_000_000) if JIT else st.integers(200_000, 6_000_000)
# Who stores what: the places between which the head of `cold/comeback.py` tells what is then true.
WINDOWS = {
    "keep journal", "done own", "done replies", "leave requests", "withdraw requests", "processed journal",
    "take fan", "take link", "_ask link",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody else would do anything meanwhile."""
    monkeypatch.setattr(assembly, "waiting", lambda config: (0 if JIT else 3, 0))
    yield


def desk(form: str, **more: Any) -> Desk:
    folder = Path(tempfile.mkdtemp())
    return Desk(folder / "run", **{**FORMS[form], **more})


def records(one: Desk) -> list[bytes]:
    return [journaled(keeper.folder).tobytes() for keeper in one.keepers]


@functools.cache
def undisturbed(form: str) -> tuple[dict[str, Any], list[bytes]]:
    one = desk(form).play()
    assert one.found()["requests"] >= 10 and one.found()["replies"] >= 10
    return one.found(), records(one)


def assert_the_same(one: Desk, form: str) -> None:
    found, written = undisturbed(form)
    assert one.found() == found
    assert records(one) == written
    for keeper in one.keepers:
        replayed = Replay(keeper.folder).play()
        assert replayed.matches and replayed.complete and replayed.state_hash == found["state"]


@settings(max_examples=5 if JIT else 4)
@given(st.sampled_from(sorted(FORMS)), STEP_NS, st.lists(st.integers(1, 250), max_size=5))
def test_an_engine_that_dies_between_two_turns_comes_back_the_same(form: str, step_ns: int, lives: list[int]) -> None:
    one, left = desk(form, step_ns=step_ns), list(lives)

    def turn() -> None:
        if left:
            left[0] -= 1
            if left[0] <= 0:
                left.pop(0)
                raise Died

    one.turn = turn
    assert_the_same(one.play(), form)


def windows(form: str, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Every store of a run that others can see, by name: so many places to die."""
    seen: Counter[str] = Counter()
    one = desk(form)
    with monkeypatch.context() as patch:
        fused(one, patch, lambda name: seen.update([name]) or "")
        one.play()
    return seen


@pytest.mark.skipif(JIT, reason="in plain Python each store of the loop can be looked at")
@pytest.mark.parametrize("form", ["mirrored", "full"])
def test_an_engine_may_die_in_every_window_of_its_loop(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed(form)
    found, tried = windows(form, monkeypatch), 0
    for name, often in found.items():
        one, times = desk(form), Counter({name: 0})

        def burns(here: str, name: str = name, often: int = often, times: Counter[str] = times) -> str:
            times[here] += here == name
            due = here == name and (times[here] in (1, 4) or times[here] % (often // 3 + 7) == 0)
            return "" if not due else "after" if times[here] % 2 else "before"

        with monkeypatch.context() as patch:
            fused(one, patch, burns)
            one.play()
        assert one.deaths > 0, name
        tried += one.deaths
        assert_the_same(one, form)
    assert {name.rsplit(" ", 1)[0] for name in found} >= WINDOWS, "a window has another name now"
    assert tried > 30


@pytest.mark.skipif(JIT, reason="in plain Python each store of the loop can be looked at")
@settings(max_examples=8)
@given(st.sampled_from(sorted(FORMS)), st.lists(st.integers(1, 300), min_size=1, max_size=12))
def test_an_engine_may_die_at_any_store_also_on_its_way_back(form: str, lives: list[int]) -> None:
    undisturbed(form)
    one, left = desk(form), list(lives)

    def burns(name: str) -> str:
        if left:
            left[0] -= 1
            if left[0] <= 0:
                return "after" if left.pop(0) % 2 else "before"
        return ""

    with pytest.MonkeyPatch.context() as patch:
        fused(one, patch, burns)
        one.play()
    assert_the_same(one, form)
