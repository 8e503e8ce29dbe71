"""An engine dies, anywhere and often, and what comes back does what the undisturbed one would have done.

The oracle is the same desk without a death: the same hashes, the same journals byte for byte, the same requests.
"""

import functools
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from desk import Desk, Died, fused
from hypothesis import example, given, settings
from hypothesis import strategies as st
from runs import journaled

from ultra import inline
from ultra.cold import assembly
from ultra.cold.replay import Replay
from ultra.hot import JIT
from ultra.hot import ring as rings

FORMS = {
    "reference": {},
    "full": {"journal.market_data": "full", "engine.timer_ns": 5_000_000},
    "mirrored": {"mirrored": True},
    "gated": {"journal.durability": "gated"},
    "at once": {"venue.latency_ns": 0},
}

STEP_NS = st.integers(5_000_000, 50_000_000) if JIT else st.integers(200_000, 6_000_000)
# Who stores what: the places between which the head of `cold/comeback.py` tells what is then true.
WINDOWS = {
    "keep journal", "done replies", "decide requests", "processed journal", "take fan", "take link",
    "advance link", "observe link",
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
    found = one.found()
    assert found["requests"] >= 10 and found["replies"] >= 10
    for keeper in one.keepers:
        replayed = Replay(keeper.folder).play()
        assert replayed.matches and replayed.complete and replayed.state_hash == found["state"]
    return found, records(one)


def assert_the_same(one: Desk, form: str) -> None:
    found, written = undisturbed(form)
    assert one.found() == found
    assert records(one) == written


@settings(max_examples=5 if JIT else 2)
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


class Store(NamedTuple):
    """One that others can see, in a run without a death."""

    name: str
    next: int  # the engine's next input
    out: tuple[int, int]  # requests and replies by then


def stores(form: str) -> list[Store]:
    one, seen = desk(form), list[Store]()

    def burns(name: str) -> str:
        out = int(one.requests.cells[rings.CURSOR]), int(one.replies.cells[rings.CURSOR])
        if " own " not in name:
            seen.append(Store(name, int(one.drive.run.cells[inline.NEXT]), out))
        return ""

    with pytest.MonkeyPatch.context() as patch:
        fused(one, patch, burns)
        one.play()
    return seen


def places(seen: list[Store], name: str) -> list[tuple[str, int]]:
    """Where to die, of the stores of a name: at the ends, and a few times before requests are out, replies are, and
    before replies come of just this."""
    own = [one for one in seen if one.name == name]
    lively = [[one for one, after in itertools.pairwise(own) if one.out[k] < after.out[k]] for k in range(2)]
    lively.append([one for one, after in itertools.pairwise(seen) if one.name == name and one.out[1] < after.out[1]])
    chosen = [own[0], own[-1], *(one for some in lively for one in some[:: len(some) // 2 + 1])]
    return sorted({(one.name, one.next) for one in chosen})


@pytest.mark.skipif(JIT, reason="in plain Python each store of the loop can be looked at")
@pytest.mark.parametrize("form", ["mirrored", "full"])
def test_an_engine_may_die_in_every_window_of_its_loop(form: str) -> None:
    undisturbed(form)
    seen, tried = stores(form), 0
    names = sorted({store.name for store in seen})
    for how, some in itertools.product(("before", "after"), (names[0::2], names[1::2])):
        due = [place for name in some for place in places(seen, name)]
        one, left = desk(form), set(due)

        def burns(name: str, how: str = how, one: Desk = one, left: set[tuple[str, int]] = left) -> str:
            place = name, int(one.drive.run.cells[inline.NEXT])
            if place not in left:
                return ""
            left.remove(place)
            return how

        with pytest.MonkeyPatch.context() as patch:
            fused(one, patch, burns)
            one.play()
        tried += one.deaths
        assert one.deaths >= len(due) // 2, left
        assert_the_same(one, form)
    assert {name.rsplit(" ", 1)[0] for name in names} >= WINDOWS, "a window has another name now"
    assert tried > 30


@pytest.mark.skipif(JIT, reason="in plain Python each store of the loop can be looked at")
@settings(max_examples=5)
@example("mirrored", [788], 1000)  # before a question of which the venue knew already, when LINK_DONE went ahead of it
@given(
    st.sampled_from(sorted(FORMS)),
    st.lists(st.integers(1, 300) | st.integers(1, 12), min_size=1, max_size=12),
    st.integers(1, 100),
)
def test_an_engine_may_die_at_any_store_also_on_its_way_back(form: str, lives: list[int], every: int) -> None:
    """The venue is as fast as it likes: it looks around at the engine's stores too."""
    undisturbed(form)
    one, left, looks = desk(form), list(lives), itertools.count(1)

    def burns(name: str) -> str:
        if next(looks) % every == 0:
            one.venue()
        if left:
            left[0] -= 1
            if left[0] <= 0:
                return "after" if left.pop(0) % 2 else "before"
        return ""

    with pytest.MonkeyPatch.context() as patch:
        fused(one, patch, burns)
        one.play()
    assert_the_same(one, form)
