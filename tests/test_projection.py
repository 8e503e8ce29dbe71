"""Projections against a plain fold of the journal and against the engine itself, wherever their writer died.

A day passes in pieces, commands come between them, the journal is cut into frames anywhere. Then it is projected some
frames at a time, by a new projector each time, as if the one before had been killed.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desk_rig import COMMON, Rig, pump
from hypothesis import example, given, settings
from hypothesis import strategies as st
from runs import MAKER, command, environment, market, ran, run_words, ultra, until

from ultra.cold import assembly, call, desk, segment
from ultra.cold.projection import STATE, TABLES, ProjectionError
from ultra.cold.projector import Projector
from ultra.cold.replay import Replay
from ultra.cold.tail import Tail
from ultra.hot import JIT
from ultra.hot import orders as own
from ultra.hot import risk as risks
from ultra.ops import queries
from ultra.wire import ACCEPTED, ACK, BID, CANCELLED, FILL, HALT, LIMIT, NONE, PARAMETER, REJECTED, int_to_symbol

MESSAGES = 700 if JIT else 200


def projector(folder: Path, path: Path, **more: Any) -> Projector:
    replay = Replay(folder)
    replay._machine = replay._machine._replace(pump=pump())  # one for all examples
    return Projector(replay, folder, path, **more)


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with sqlite3.connect(path) as db:
        tables = {name: db.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in TABLES}
        tables["progress"] = db.execute("SELECT journal, sequence, ts, chain, complete FROM progress").fetchall()
    db.close()
    return tables


class Fold:
    """What the records say, in plain Python."""

    def __init__(self, records: Any) -> None:
        self.position, self.cash, self.fills = Counter[int](), Counter[int](), Counter[int]()
        self.open: dict[int, int] = {}
        self.limits: dict[tuple[int, int], int] = {}
        self.blotter: list[tuple[int, int]] = []
        self.commands: list[int] = []
        self.reasons: dict[int, int] = {}
        for record in records:
            self.step(*(int(record[name]) for name in ("kind", "sequence", "instrument", "order_id", "side", "price",
                                                       "qty", "aux", "flag")))  # fmt: skip

    def step(
        self, kind: int, sequence: int, where: int, order: int, side: int, price: int, qty: int, aux: int, flag: int
    ) -> None:
        if ACCEPTED <= kind <= REJECTED:
            self.blotter.append((sequence, order))
        if kind == ACCEPTED:
            self.open[order] = qty
        elif kind == FILL:
            lots = qty if side == BID else -qty
            self.position[where] += lots
            self.cash[where] -= lots * price
            self.fills[where] += 1
            self.open[order] -= qty
            if not self.open[order]:
                del self.open[order]
        elif kind in (CANCELLED, REJECTED):
            self.open.pop(order, None)
        elif kind == LIMIT:
            if where == NONE:
                self.limits = {key: value for key, value in self.limits.items() if key[1] != order}
            self.limits[where, order] = aux
        elif kind == ACK:
            self.reasons[price] = aux
        if kind in (LIMIT, PARAMETER, HALT) or 49 <= kind <= 54:
            self.commands.append(sequence)


COMMANDS: Any = st.one_of(
    st.tuples(st.just("submit"), st.sampled_from(["AAA", "BBB"]), st.sampled_from(["buy", "sell"]), st.integers(-9, 9)),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("replace"), st.integers(0, 20), st.integers(1, 9)),
    st.tuples(st.sampled_from(["mass_cancel", "halt", "resume"]), st.sampled_from(["", "AAA"])),
    st.tuples(st.just("set_limit"), st.sampled_from(["", "BBB"]), st.integers(0, 30)),
    st.tuples(st.just("strategy"), st.booleans()),
    st.tuples(st.just("kill")),
)
DAYS = st.lists(st.tuples(st.integers(0, 40 * MESSAGES // 10), COMMANDS), max_size=12)


def tell(rig: Rig, name: str, *words: Any) -> None:
    """One command; what it names may not be there, and it is then refused."""
    fields: dict[str, Any] = {}
    if name == "submit":
        view = rig.engine.market[0 if words[0] == "AAA" else 1]
        price = max(int(view.bid), 1) + 100 * words[2]
        fields = {"instrument": words[0], "side": words[1], "qty": 7, "price": f"{price // 10_000}.{price % 10_000:04}"}
    elif name in ("cancel", "replace"):
        rows = rig.engine.orders.rows
        live = [int(row.handle) for row in rows if row.state != own.FREE] or [77]
        fields = {"order": live[words[0] % len(live)]}
        if name == "replace":
            fields |= {"qty": words[1], "price": "150.00"}
    elif name == "set_limit":
        fields = {"limit": "open_order_max", "value": words[1], "instrument": words[0]}
    elif name == "strategy":
        fields = {"on": words[0]}
    elif words:
        fields = {"instrument": words[0]}
    rig.ask(name, **{key: value for key, value in fields.items() if value != ""})


def live_day(day: Any) -> Rig:
    rig = Rig(messages=MESSAGES, live=True, engine__timer_ns=20_000_000)
    for some, words in day:
        rig.pass_bytes(some)
        tell(rig, *words)
    rig.pass_bytes(len(rig.raw))
    rig.turn()
    return rig


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@settings(max_examples=25 if JIT else 6)
@given(
    DAYS,
    st.lists(st.integers(0, 400), max_size=8),
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), max_size=4),
)
@example([(4000, ("set_limit", "BBB", 3)), (400, ("set_limit", "", 5))], [40], [(2, 1)])
def test_wherever_its_writer_died_a_projection_is_the_fold_and_the_engine(
    place: Path, day: Any, cuts: list[int], lives: list[tuple[int, int]]
) -> None:
    rig = live_day(day)
    folder = Path(tempfile.mkdtemp(dir=place))
    rig.write(folder / "journal", folder / "source", cuts)
    path = folder / "all.db"
    for committed, lost in lives:
        one = projector(folder / "journal", path, commit_s=0.0)
        one.play(committed)
        for frame in list(one._tail.frames())[:lost]:  # taken, and died before the commit
            one._take(frame)
        one.close()
    last = projector(folder / "journal", path)
    done = last.play()
    last.close()
    once = projector(folder / "journal", folder / "once.db")
    once.play()
    once.close()
    assert assembly.state_hash(once._engine) == assembly.state_hash(rig.engine), "a replay is the same engine"
    found = dump(path)
    assert found == dump(folder / "once.db")
    assert done.sequence == found["progress"][0][1]
    check_fold(found, Fold(rig.records()))
    check_engine(found, rig.engine)
    rig.close()


def check_fold(found: dict[str, list[tuple[Any, ...]]], fold: Fold) -> None:
    rows = {row[0]: dict(zip(TABLES["positions"], row, strict=True)) for row in found["positions"]}
    for where in fold.fills:
        row = rows[where]
        assert (row["position"], row["cash"], row["fills"]) == (
            fold.position[where],
            fold.cash[where],
            fold.fills[where],
        )
        assert row["pnl"] == row["cash"] + row["position"] * row["mark"]
    assert [(row[0], row[5]) for row in found["blotter"]] == fold.blotter
    left = {row[0]: row[5] - row[6] for row in found["open_orders"] if row[7] != "sent"}
    assert {handle: qty for handle, qty in left.items() if handle in fold.open} == fold.open
    assert {(row[1], row[0] - 8 * row[1]): row[4] for row in found["limits"]} == fold.limits
    assert [row[0] for row in found["audit"]] == fold.commands
    told = {row[0]: row for row in found["audit"] if row[4]}
    assert set(told) == set(fold.reasons)
    for sequence, reason in fold.reasons.items():
        row = dict(zip(TABLES["audit"], told[sequence], strict=True))
        assert row["reason"] == ("" if reason == risks.PASS else risks.REASONS[reason])
        assert (row["why"], row["ack"] > sequence) == (COMMON["why"], True) and row["who"].startswith("test (uid ")
    assert all(row[5] == "configuration" for row in found["audit"] if not row[4])


def check_engine(found: dict[str, list[tuple[Any, ...]]], engine: Any) -> None:
    rows = {row[0]: dict(zip(TABLES["positions"], row, strict=True)) for row in found["positions"]}
    for index, view in enumerate(engine.market):
        row = rows.get(index)
        if row is None:
            assert not (view.fills or view.open_orders or view.halted or view.off)
            continue
        for name in ("position", "cash", "fills", "open_orders", "open_bid_qty", "open_ask_qty", "tick_e9", "halted"):
            assert row[name] == view[name], name
        assert row["symbol"] == int_to_symbol(view.symbol)
    live = {
        int(row.handle): tuple(int(row[name]) for name in ("instrument", "price", "qty", "filled", "state"))
        for row in engine.orders.rows
        if row.state != own.FREE
    }
    shown = {row[0]: (row[1], row[4], row[5], row[6], own.STATES.index(row[7])) for row in found["open_orders"]}
    assert shown == live
    counters = dict(found["counters"])
    assert counters["gate_kill"] == int(engine.risk.gates[risks.KILL])
    assert counters["commands"] == sum(bool(row[4]) for row in found["audit"])
    used = {row[1:4:2]: row[5] for row in found["limits"]}
    assert used[NONE, "open_order_max"] == int(engine.market.open_orders.max())


# ---- the file


@pytest.fixture
def written(tmp_path: Path) -> Path:
    rig = live_day([(9000, ("submit", "AAA", "buy", 0)), (900, ("halt", ""))])
    rig.write(tmp_path / "journal", tmp_path / "source", [20, 40])
    rig.close()
    return tmp_path


def project(folder: Path, **more: Any) -> Any:
    one = projector(folder / "journal", folder / "p.db", **more)
    try:
        return one.play()
    finally:
        one.close()


def test_a_projection_that_is_there_goes_on_and_one_of_another_journal_begins_again(written: Path) -> None:
    first = project(written)
    assert first.commits >= 1 and first.resumed_at == 0
    assert (written / "p.db").stat().st_mode & 0o777 == 0o640
    again = project(written)
    assert again.resumed_at == first.sequence and again.commits == 0
    assert project(written, rebuild=True).resumed_at == 0
    with sqlite3.connect(written / "p.db") as db:
        db.execute("UPDATE progress SET journal = 'another'")
    db.close()
    assert project(written).resumed_at == 0


def test_a_journal_that_lost_its_end_and_went_on_otherwise_is_projected_anew(written: Path) -> None:
    first = project(written)
    before = dump(written / "p.db")
    with sqlite3.connect(written / "p.db") as db:
        db.execute("UPDATE progress SET chain = chain + 1")
        db.execute("DELETE FROM blotter")
    db.close()
    again = project(written)
    assert again.resumed_at == 0 and again.sequence == first.sequence and dump(written / "p.db") == before


def test_what_is_no_projection_is_left_alone(written: Path) -> None:
    with sqlite3.connect(written / "p.db") as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    with pytest.raises(ProjectionError, match="none of ours"):
        project(written)
    (written / "p.db").write_bytes(b"no database at all, but long enough to be read as one" * 40)
    with pytest.raises(ProjectionError, match="not a database"):
        project(written)


def test_a_reader_sees_what_a_writer_adds_and_stops_at_what_is_not_whole(written: Path) -> None:
    path = segment.segment_path(written / "journal", 0)
    whole, frames = path.read_bytes(), list(segment.read(written / "journal"))
    reader, seen = Tail(written / "journal"), []
    for end in [0, 64, *(frame.offset + 64 + cut for frame in frames for cut in (-1, 0, 40)), len(whole)]:
        path.write_bytes(whole[:end].ljust(len(whole), b"\0"))
        seen += reader.frames()
        assert len(seen) <= sum(frame.offset + 64 + len(frame.payload) <= end for frame in frames)
    assert [frame.payload for frame in seen] == [frame.payload for frame in frames]
    assert [frame.through for frame in seen] == [frame.through for frame in frames]


# ---- whole runs, and the command line


@pytest.mark.jit_only
@pytest.mark.slow
def test_a_projector_killed_anywhere_leaves_nothing_wrong(tmp_path: Path) -> None:
    day, folder = tmp_path / "day.itch50", tmp_path / "journal"
    day.write_bytes(market(60_000))
    summary = ran(day, folder, MAKER, journal__batch_record_max=64)
    whole = ultra("project", str(folder), "--db", str(tmp_path / "whole.db"), "--json")
    assert whole.code == 0 and whole.found["complete"], whole.said
    dice = random.Random(5)
    for _ in range(4):
        words = command("project", str(folder), "--db", str(tmp_path / "killed.db"))
        with subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL) as process:
            time.sleep(1.0 + dice.random())
            os.kill(process.pid, signal.SIGKILL)
    assert ultra("project", str(folder), "--db", str(tmp_path / "killed.db"), "--json").code == 0
    found = dump(tmp_path / "killed.db")
    assert found == dump(tmp_path / "whole.db")
    assert {row[1]: row[4] for row in found["positions"]} == {
        symbol: row["fills"] for symbol, row in summary["by_instrument"].items()
    }
    assert json.loads(json.dumps(found["progress"]))[0][4] == 1 and set(STATE) < set(found)


@pytest.mark.jit_only
@pytest.mark.slow
def test_projections_follow_a_run_and_are_read_while_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shm").mkdir()
    monkeypatch.setenv("ULTRA_SHM_DIR", str(tmp_path / "shm"))
    day, folder, db = tmp_path / "day.itch50", tmp_path / "journal", tmp_path / "f.db"
    day.write_bytes(market(4000))
    words = run_words(day, folder, MAKER, engine__session="desk")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment()}
    following = subprocess.Popen(command("project", str(folder), "--db", str(db), "--follow", "--json"), **pipes)
    running = subprocess.Popen(command(*words, "--pace", "0.5x"), **pipes)
    until(lambda: running.poll() is not None or desk.path_of("desk").exists(), "the run listens")
    until(lambda: call.ask("desk", {"command": "halt", "id": "h", **COMMON, "instrument": "AAA"})["ok"], "AAA is known")
    until(lambda: db.is_file() and queries_of(db, "h"), "the halt is seen in the audit")
    assert running.poll() is None, "while it goes on"
    (summary, said), (found, _) = running.communicate(), following.communicate()
    assert running.returncode == 0, said
    assert json.loads(found)["complete"] and json.loads(found)["sequence"] == json.loads(summary)["records"]
    again = ultra("project", str(folder), "--db", str(tmp_path / "again.db"), "--json")
    assert again.code == 0 and dump(tmp_path / "again.db") == dump(db)


def queries_of(db: Path, id: str) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = queries.ask(db, "audit", {"id": id})["rows"]
    except ProjectionError:
        return []  # nothing is committed yet
    return rows
