"""Every class of docs/strategy.md is loaded and run: in the engine, over a little of everything."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
from contract_rig import Rig

from ultra.hot import bar as bars
from ultra.hot import risk as risks
from ultra.strategy import Strategy
from ultra.wire import (
    ACCEPTED,
    ASK,
    BAR,
    BID,
    CANCEL_ORDER,
    CANCELLED,
    LEVEL,
    LIMIT,
    NEW,
    NONE,
    SIDED,
    SIGNAL,
    TIMER,
    TRADE,
)

PAGE = (Path(__file__).parent.parent / "docs" / "strategy.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NAMES = [re.findall(r"^class (\w+)", block, re.MULTILINE)[0] for block in BLOCKS]


def written(block: str, folder: Path) -> Any:
    """The class of a block, from a file, as a reader would save it."""
    (folder / "own.py").write_text(block)
    return f"{folder / 'own.py'}:{re.findall(r'^class (.*?)[(]', block, re.MULTILINE)[0]}"


def a_little_of_everything() -> list[dict[str, int]]:
    dice, rows = random.Random(2), []
    for turn in range(200):
        instrument, side = dice.randrange(2), dice.randrange(2)
        price = 1000 + 60 * (1 - instrument) + dice.randrange(5) + (10 if side else 0)
        rows.append({"kind": LEVEL, "instrument": instrument, "side": side, "price": price, "qty": dice.randrange(600)})
        if turn % 3 == 0:
            trade = {"kind": TRADE, "instrument": instrument, "side": side, "price": price, "qty": 5, "flag": SIDED}
            rows.append(trade)
        if turn % 5 == 0:
            bar = {"kind": BAR, "instrument": instrument, "order_id": price, "price": price, "qty": 9}
            rows.append(bar | {"aux": bars.spread(price + 3, price - 2, price)})
        if turn % 20 == 0:
            rows += [{"kind": SIGNAL, "order_id": 1 + turn % 40 // 20, "aux": 1}, {"kind": TIMER}]
    return [row | {"ts_event": 1_000_000_000 * number} for number, row in enumerate(rows, 1)]


@pytest.mark.parametrize(("name", "block"), list(zip(NAMES, BLOCKS, strict=True)), ids=NAMES)
def test_a_class_of_the_page_runs(name: str, block: str, tmp_path: Path) -> None:
    rig = Rig(written(block, tmp_path))
    before = rig.engine.state.tobytes()
    rig.feed(*a_little_of_everything())
    assert rig.engine.state.tobytes() != before or rig.sent(), f"{name} did nothing"


def test_follow_has_one_bid_when_a_replacement_is_refused(tmp_path: Path) -> None:
    rig = Rig(written(BLOCKS[NAMES.index("Follow")], tmp_path), instruments=1)
    rig.feed({"kind": LIMIT, "order_id": risks.POSITION_QTY_MAX, "aux": 15})  # not both of ten lots
    rig.feed({"kind": LEVEL, "instrument": 0, "side": ASK, "price": 510, "qty": 9})
    kinds, prices, live = [], [], []
    for price in (500, 501, 502, 503):
        rig.feed({"kind": LEVEL, "instrument": 0, "side": BID, "price": price, "qty": 9})
        for row in rig.sent():
            kinds.append(row["kind"])
            prices.append(row["price"])
            answer = {"instrument": 0, "side": BID, "order_id": row["order_id"]}
            rig.feed(answer | {"kind": ACCEPTED if row["kind"] == NEW else CANCELLED})
        live.append(int(rig.engine.market[0].open_orders))
    assert (kinds, prices, live) == ([NEW, CANCEL_ORDER, NEW], [500, NONE, 503], [1, 1, 0, 1])


def test_there_is_a_class_for_each_hook_and_each_section() -> None:
    assert len(BLOCKS) >= 8 and issubclass(Strategy, object)
    hooks = ("on_book", "on_trade", "on_bar", "on_fill", "on_order", "on_timer", "on_command")
    assert all(f"`{hook}`" in PAGE for hook in hooks)
