"""The synthetic day against a twin that knows nothing of it: it reads the bytes and keeps books made of dictionaries.

The two small days are pinned by their hash, so that plain Python, compiled code and any machine make the same bytes.
The large one runs only compiled; its shares, times and prices must be those of a market.
"""

import gzip
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ultra.hot import book as books
from ultra.venues import flow
from ultra.venues.flow_state import REFUSED

ONE, MANY, LARGE = (1, 3000, 7), (60, 4000, 11), (150, 240_000, 5)
HASHES = {
    ONE: "431aef42c174c216f3ae00f7395752b321e07a93409ba61c17854547736b8f48",
    MANY: "b917ae558e4d4e0fa97aca2294cbb696cc851dd22bdf6d4531177b769730e6fd",
}
LENGTHS = {
    "S": 12, "R": 39, "H": 25, "Y": 20, "A": 36, "F": 40, "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44,
    "Q": 40,
}  # fmt: skip
SECOND = 1_000_000_000
OPEN, CLOSE = 34_200 * SECOND, 57_600 * SECOND
Day = tuple[int, int, int]


@cache
def made(day: Day) -> tuple[flow.Flow, bytes]:
    instruments, messages, seed = day
    state = flow.create(instruments, messages, seed)
    return state, b"".join(bytes(block) for block in flow.blocks(state))


def number(body: bytes, at: int, width: int) -> int:
    return int.from_bytes(body[at : at + width], "big")


def bodies(raw: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while at < len(raw):
        size = number(raw, at, 2)
        body = raw[at + 2 : at + 2 + size]
        assert len(body) == size == LENGTHS[chr(body[0])]
        yield chr(body[0]), body
        at += 2 + size


class Twin:
    """Books of a stream: `queues[locate, side][price]` are the references in the order they came."""

    def __init__(self) -> None:
        self.orders: dict[int, list[Any]] = {}  # reference -> [(locate, side), price, shares]
        self.queues: dict[tuple[int, int], dict[int, list[int]]] = defaultdict(dict)
        self.names: dict[int, bytes] = {}
        self.matches: set[int] = set()
        self.reference = 0
        self.crossing: dict[int, tuple[int, int]] = {}  # locate -> shares and price of a cross not yet in a Q

    def best(self, locate: int, side: int) -> int | None:
        prices = self.queues[locate, side]
        return (min(prices) if side else max(prices)) if prices else None

    def touch(self, locate: int) -> tuple[float, int, float, int] | None:
        bid, ask = self.best(locate, 0), self.best(locate, 1)
        if bid is None or ask is None:
            return None
        shares = [sum(self.orders[r][2] for r in self.queues[locate, s][p]) for s, p in ((0, bid), (1, ask))]
        return bid, shares[0], ask, shares[1]

    def rest(self, reference: int, where: tuple[int, int], price: int, shares: int) -> None:
        assert reference > self.reference, "references go up"
        assert shares > 0 and price > 0
        self.reference = reference
        self.orders[reference] = [where, price, shares]
        self.queues[where].setdefault(price, []).append(reference)

    def take(self, reference: int, locate: int, shares: int) -> None:
        where, price, held = self.orders[reference]
        assert where[0] == locate and 0 < shares <= held
        self.orders[reference][2] -= shares
        if shares == held:
            del self.orders[reference]
            self.queues[where][price].remove(reference)
            if not self.queues[where][price]:
                del self.queues[where][price]

    def match(self, body: bytes, at: int) -> None:
        match = number(body, at, 8)
        assert match > 0 and match not in self.matches
        self.matches.add(match)

    def apply(self, kind: str, body: bytes) -> None:
        locate = number(body, 1, 2)
        if kind == "R":
            assert locate not in self.names and locate > 0
            self.names[locate] = body[11:19]
        elif kind in "AF":
            assert body[24:32] == self.names[locate], "the directory comes first"
            side = "BS".index(chr(body[19]))
            self.rest(number(body, 11, 8), (locate, side), number(body, 32, 4), number(body, 20, 4))
        elif kind == "U":
            where, _, held = self.orders[number(body, 11, 8)]
            self.take(number(body, 11, 8), locate, held)
            self.rest(number(body, 19, 8), where, number(body, 31, 4), number(body, 27, 4))
        elif kind == "D":
            self.take(number(body, 11, 8), locate, self.orders[number(body, 11, 8)][2])
        elif kind == "X":
            assert number(body, 19, 4) < self.orders[number(body, 11, 8)][2], "part of an order"
            self.take(number(body, 11, 8), locate, number(body, 19, 4))
        elif kind in "EC":
            self.execute(kind, body, locate)
        elif kind in "PQ":
            self.match(body, 36 if kind == "P" else 31)
            assert (body[24:32] if kind == "P" else body[19:27]) == self.names[locate]
            if kind == "Q":
                displayed, price = self.crossing.pop(locate, (0, number(body, 27, 4)))
                assert displayed <= number(body, 11, 8) <= displayed + 6300, "a cross says all of its volume"
                assert price == number(body, 27, 4), "a cross has one price"
        if kind in "AFUEC":
            bid, ask = self.best(locate, 0), self.best(locate, 1)
            assert bid is None or ask is None or bid < ask, "crossed or locked"

    def execute(self, kind: str, body: bytes, locate: int) -> None:
        reference, shares = number(body, 11, 8), number(body, 19, 4)
        (_, side), price, _ = self.orders[reference]
        assert price == self.best(locate, side) and reference == self.queues[locate, side][price][0]
        if kind == "C":
            traded = number(body, 32, 4)
            if chr(body[31]) == "N":
                displayed, at = self.crossing.get(locate, (0, traded))
                assert traded == price == at
                self.crossing[locate] = displayed + shares, at
            else:
                other = self.best(locate, side ^ 1)
                assert other is not None and min(price, other) < traded < max(price, other), "a better price"
        self.match(body, 23)
        self.take(reference, locate, shares)


DAYS = [ONE, MANY, pytest.param(LARGE, marks=pytest.mark.slow)]


@pytest.mark.parametrize("day", [ONE, MANY])
def test_the_same_bytes_everywhere(day: Day) -> None:
    assert hashlib.sha256(made(day)[1]).hexdigest() == HASHES[day]


def test_another_seed_is_another_day() -> None:
    state = flow.create(1, 300, 8)
    raw = b"".join(bytes(block) for block in flow.blocks(state))
    other = b"".join(bytes(block) for block in flow.blocks(flow.create(1, 300, 9)))
    assert raw != other and raw == b"".join(bytes(block) for block in flow.blocks(flow.create(1, 300, 8)))


@pytest.mark.parametrize("day", DAYS)
def test_a_day_is_a_lawful_market(day: Day) -> None:
    state, raw = made(day)
    twin, last, count = Twin(), 0, Counter[str]()
    for kind, body in bodies(raw):
        ts = number(body, 5, 6)
        assert ts >= last
        last = ts
        count[kind] += 1
        twin.apply(kind, body)
    assert count.total() == day[1] and len(twin.names) == len(set(twin.names.values())) == day[0]
    assert count == {chr(k): int(n) for k, n in enumerate(state.by_type) if n}
    assert int(state.cells[REFUSED]) == 0 and not twin.crossing
    books.check(state.book)
    orders = state.book.orders
    for s in range(2 * day[0]):
        found = {
            price: [int(orders[slot].order_id) for slot in books.queue(state.book, level)]
            for price, level in books.levels(state.book, s).items()
        }
        assert found == twin.queues[s // 2 + 1, s % 2]


@pytest.mark.parametrize("instruments", [1, 2, 7])
@pytest.mark.parametrize("more", [0, 1, 2, 3, 5, 20, 300])
def test_the_count_is_exact_however_small(instruments: int, more: int) -> None:
    messages = 6 + 3 * instruments + more
    kinds = Counter(kind for kind, _ in bodies(made((instruments, messages, 3))[1]))
    assert kinds.total() == messages
    assert (kinds["S"], kinds["R"], kinds["H"], kinds["Y"]) == (6, instruments, instruments, instruments)


def test_the_day_keeps_its_hours() -> None:
    events = [(chr(body[11]), number(body, 5, 6)) for kind, body in bodies(made(MANY)[1]) if kind == "S"]
    assert [event for event, _ in events] == list("OSQMEC")
    assert events[2][1] == OPEN and events[3][1] == CLOSE
    kinds = [kind for kind, _ in bodies(made(MANY)[1])]
    opening, closing = (kinds.index("S", 1 + 3 * 60 + k) for k in (1, 2000))
    assert set(kinds[182:opening]) == {"A"}, "only opening orders before the open"
    assert "Q" in kinds[opening : opening + 60] and "Q" in kinds[closing : closing + 60]


def test_names_are_unlike_any_ticker() -> None:
    names = [flow.symbol(index) for index in range(65535)]
    assert names[:2] == ["XQA", "XQB"] and len(set(names)) == 65535
    assert all(re.fullmatch("[XZUY]Q[A-Z]{1,3}", name) for name in names)


@pytest.mark.parametrize(
    ("instruments", "messages", "seed", "said"),
    [
        (0, 100, 1, "instruments"),
        (65536, 1_000_000, 1, "instruments"),
        (10, 35, 1, "messages"),
        (1, 100, -1, "seed"),
    ],
)
def test_what_it_cannot_do_it_says(tmp_path: Path, instruments: int, messages: int, seed: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        flow.write(tmp_path / "x", instruments=instruments, messages=messages, seed=seed)
    assert not list(tmp_path.iterdir())


def test_a_file_is_its_summary(tmp_path: Path) -> None:
    state, raw = made(ONE)
    seen: list[tuple[int, int]] = []
    plain, packed = tmp_path / "day.itch50", tmp_path / "day.itch50.gz"
    found = flow.write(plain, instruments=1, messages=3000, seed=7, progress=lambda *at: seen.append(at))
    again = flow.write(packed, instruments=1, messages=3000, seed=7)
    assert plain.read_bytes() == raw == gzip.decompress(packed.read_bytes())
    assert found.sha256 == again.sha256 == hashlib.sha256(raw).hexdigest()
    assert (found.messages, found.size, found.live_orders) == (3000, len(raw), int(state.stocks.count.sum()))
    assert sum(found.by_type.values()) == 3000 and seen[-1] == (3000, 3000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["day.itch50", "day.itch50.gz"]


@pytest.mark.slow
def test_the_mix_is_that_of_a_real_day() -> None:
    count = Counter(kind for kind, _ in bodies(made(LARGE)[1]))
    share = {kind: 100 * n / LARGE[1] for kind, n in count.items()}
    assert 43 < share["A"] + share["F"] < 48.5 and share["F"] > 0.1
    assert 36 < share["D"] < 40.5 and 7.5 < share["U"] < 9
    assert 4 < share["E"] + share["C"] < 6 and share["C"] > 0.1
    assert 1 < share["X"] < 2 and 1.3 < share["P"] < 2


@pytest.mark.slow
def test_activity_prices_and_times_are_those_of_a_market() -> None:
    state, raw = made(LARGE)
    per, times, sizes, prices = Counter[int](), [], Counter[bool](), defaultdict[int, list[int]](list)
    for kind, body in bodies(raw):
        if kind in "AFUDXECP":
            per[number(body, 1, 2)] += 1
            times.append(number(body, 5, 6))
        if kind in "AF":
            sizes[number(body, 20, 4) % 100 == 0] += 1
            prices[number(body, 1, 2)].append(number(body, 32, 4))
    ranked = sorted(per.values(), reverse=True)
    assert 1.2 < ranked[0] / ranked[1] < 3 and 10 < ranked[0] / ranked[19] < 25, "rank^-0.9"
    assert 0.75 < sizes[True] / sizes.total() < 0.97, "some odd lots"
    fine = {at for at, each in prices.items() if any(price % 100 for price in each)}
    assert 2 <= len(fine) <= 3 and all(max(prices[at]) < 10_000 for at in fine)
    assert all(10_000 < np.median(each) < 8_500_000 for at, each in prices.items() if at not in fine)
    gaps = np.diff([ts for ts in times if OPEN <= ts < CLOSE])
    assert np.median(gaps) < gaps.mean() / 20 and gaps.max() > 50 * gaps.mean(), "bursts"
    halves, _ = np.histogram(times, bins=13, range=(OPEN, CLOSE))
    assert halves[0] > 1.5 * halves[6] and halves[12] > 1.2 * halves[6], "busy at both ends"
    live = state.stocks.count / state.stocks.target
    assert 0.85 < live.mean() < 1.15


@pytest.mark.slow
def test_the_imbalance_says_something_and_not_much() -> None:
    twin, rows = Twin(), []
    busiest = Counter(number(body, 1, 2) for _, body in bodies(made(LARGE)[1])).most_common(1)[0][0]
    for kind, body in bodies(made(LARGE)[1]):
        if number(body, 1, 2) == busiest:
            twin.apply(kind, body)
            if number(body, 5, 6) > OPEN and (touch := twin.touch(busiest)):
                rows.append(touch)
    bid, bids, ask, asks = np.array(rows, float).T
    middle, micro = (bid + ask) / 2, (bid * asks + ask * bids) / (bids + asks)
    known = np.corrcoef((micro - middle)[:-10], middle[10:] - middle[:-10])[0, 1]
    assert 0.03 < known < 0.4
    assert np.median(ask - bid) < 500 and 0.02 < np.mean(np.diff(middle) != 0) < 0.3
