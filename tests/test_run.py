"""A run and its replay are the same engine, whatever the journal holds, and the words and numbers around them are true.

The stream is `runs.market`: small, and made up by a seed. Both example strategies trade on it.
"""

import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest
from recorded import data
from runs import (
    IMBALANCE,
    MAKER,
    START_NS,
    assert_same,
    bodies,
    journaled,
    market,
    ran,
    replayed,
    run_words,
    ultra,
    ultra_apart,
    words,
)

from ultra.hot import JIT
from ultra.wire import ACCEPTED, CHECKPOINT, END, INSTRUMENT, LIMIT, PARAMETER, SOURCE, TIMER

MESSAGES = 8000 if JIT else 400
SHORT = 600 if JIT else 300
RUN_KEYS = {
    "messages", "records", "orders", "cancels", "fills", "rejects", "rejects_by_reason", "state_hash",
    "decision_hash", "journal", "ring", "drained", "durability", "throughput_msgs_per_s", "loop_s", "wall_s",
    "startup_s", "service_ns", "sample_every", "hiccup_ns", "pnl", "by_instrument", "errors",
}  # fmt: skip
REPLAY_KEYS = {
    "records", "state_hash", "matches", "records_per_s", "decision_hash", "orders", "fills", "checkpoints",
    "complete", "mismatch",
}  # fmt: skip


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("day") / "day.itch50"
    path.write_bytes(market(MESSAGES))
    return path


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("short") / "short.itch50"
    path.write_bytes(market(SHORT))
    return path


# ---- the same engine


@pytest.mark.parametrize("strategy", [IMBALANCE, MAKER])
def test_a_replay_is_the_same_engine_whichever_way_market_data_is_journaled(
    day: Path, tmp_path: Path, strategy: str
) -> None:
    runs = {}
    for kind in ("reference", "full"):
        runs[kind] = ran(day, tmp_path / kind, strategy, journal__market_data=kind, engine__checkpoint_records=1000)
        replay = replayed(tmp_path / kind)
        assert_same(runs[kind], replay)
        assert replay.found["checkpoints"] == runs[kind]["records"] // 1000 + 1
    held, whole = (len(journaled(tmp_path / kind)) for kind in ("reference", "full"))
    assert whole == runs["full"]["records"] and held < whole - MESSAGES // 2
    assert runs["reference"]["fills"] > 5 and runs["reference"]["errors"] == {}
    for key in ("state_hash", "decision_hash", "orders", "fills", "pnl", "records"):
        assert runs["reference"][key] == runs["full"][key], key


@pytest.mark.jit_only
@pytest.mark.parametrize("strategy", [IMBALANCE, MAKER])
def test_the_plain_interpreter_makes_the_same_engine(short: Path, tmp_path: Path, strategy: str) -> None:
    compiled = ran(short, tmp_path / "compiled", strategy, engine__checkpoint_records=1000)
    plain = ultra_apart(*run_words(short, tmp_path / "plain", strategy), ULTRA_JIT="0")
    assert plain.code == 0, plain.said
    for key in ("state_hash", "decision_hash", "orders", "fills", "records", "pnl"):
        assert plain.found[key] == compiled[key], key
    assert_same(plain.found, replayed(tmp_path / "plain"))
    assert compiled["fills"] > 5


@pytest.mark.jit_only
@pytest.mark.parametrize("strategy", [IMBALANCE, MAKER])
def test_a_recorded_hour_replays_to_the_same_engine_and_trades(tmp_path: Path, strategy: str) -> None:
    source = data("itch", "derived_AAPL_20120621_0930_1030.itch50.gz")
    given = [*run_words(source, tmp_path / "journal", strategy), "--date", "2012-06-21"]
    given += words({"engine.checkpoint_records": 20_000, "strategy.parameters.order_qty": 10})
    code, found, said = ultra(*given)
    assert code == 0 and found["messages"] == 92_083 and found["fills"] > 100, said
    replay = replayed(tmp_path / "journal")
    assert_same(found, replay)
    assert replay.found["checkpoints"] == found["records"] // 20_000 + 1


def test_the_journal_ring_may_be_as_small_as_it_likes(day: Path, tmp_path: Path) -> None:
    keys = {"journal__market_data": "full", "engine__timer_ns": 20_000_000}
    wide = ran(day, tmp_path / "wide", **keys)
    tight = ran(day, tmp_path / "tight", journal__ring_records=64, journal__batch_record_max=16, **keys)
    assert tight["state_hash"] == wide["state_hash"] and tight["records"] == wide["records"]
    assert_same(tight, replayed(tmp_path / "tight"))


def test_a_compressed_file_and_small_blocks_give_the_same_decisions(short: Path, tmp_path: Path) -> None:
    packed = tmp_path / "day.gz"
    packed.write_bytes(gzip.compress(short.read_bytes()))
    plain = ran(short, tmp_path / "plain")
    for name, source, chunk in (("packed", packed, 1 << 22), ("blocks", short, 4096), ("both", packed, 4096)):
        found = ran(source, tmp_path / name, feed__chunk_bytes=chunk)
        assert (found["decision_hash"], found["pnl"]) == (plain["decision_hash"], plain["pnl"])
        assert_same(found, replayed(tmp_path / name))


# ---- what a run says


def test_the_json_of_each_command_has_the_keys_that_are_promised(short: Path, tmp_path: Path) -> None:
    run = ran(short, tmp_path / "journal")
    assert set(run) == RUN_KEYS and set(replayed(tmp_path / "journal").found) == REPLAY_KEYS
    assert {"p50", "p99", "p99.9", "max"} <= set(run["service_ns"]) and {"p99", "max"} <= set(run["hiccup_ns"])
    assert run["service_ns"]["p50"] <= run["service_ns"]["p99"] <= run["service_ns"]["max"]
    assert run["journal"] == str(tmp_path / "journal") and run["throughput_msgs_per_s"] > 0
    assert run["durability"] == {"memory": run["records"], "local": run["records"]}
    book = ultra("book", str(short), "--json", "--depth", "2", "--set", "engine.instrument_max=16",
                 "--set", "engine.order_live_max=1024", "--set", "engine.level_page_max=256").found  # fmt: skip
    assert set(book) == {"messages", "by_type", "instruments", "errors", "ns_per_message"}
    assert book["messages"] == run["messages"] == sum(book["by_type"].values()) and book["errors"] == {}
    for sides in book["instruments"].values():
        assert set(sides) == {"bids", "asks"} and all(len(levels) <= 2 for levels in sides.values())
        assert all(isinstance(price, str) and qty > 0 for levels in sides.values() for price, qty in levels)
    assert set(book["instruments"]) == {"AAA", "BBB"} >= set(run["pnl"])


def test_timers_fire_on_the_grid_before_the_record_of_that_moment(short: Path, tmp_path: Path) -> None:
    every = 25_000_000
    ran(short, tmp_path / "journal", engine__timer_ns=every, journal__market_data="full")
    records = journaled(tmp_path / "journal")
    fired = records[records["kind"] == TIMER]
    assert len(fired) >= 3 and (fired["ts_event"] % every == 0).all() and (fired["instrument"] == -1).all()
    market_records = records[records["kind"] <= INSTRUMENT]
    for timer in fired:
        before = market_records[market_records["sequence"] < timer["sequence"]]
        after = market_records[market_records["sequence"] > timer["sequence"]]
        assert before["ts_event"].max() < timer["ts_event"] <= after["ts_event"].min()
    assert (np.diff(fired["ts_event"]) >= every).all()


def test_parameters_and_limits_of_one_symbol_reach_the_engine_as_records(short: Path, tmp_path: Path) -> None:
    keys = {"strategy__parameters__order_qty": 7, "risk__order_qty_max": 7}
    free = ran(short, tmp_path / "free", **keys)
    records = journaled(tmp_path / "free")
    accepted = records[records["kind"] == ACCEPTED]
    assert set(accepted["qty"].tolist()) == {7} and set(accepted["instrument"].tolist()) == {0, 1}
    assert np.count_nonzero(records["kind"] == PARAMETER) == 4
    bound = ran(short, tmp_path / "bound", **keys, risk__instrument__AAA__order_qty_max=6)
    records = journaled(tmp_path / "bound")
    # Symbols with limits of their own get the first indices.
    assert set(records[records["kind"] == ACCEPTED]["instrument"].tolist()) == {1}
    assert bound["rejects_by_reason"]["qty_limit"] > 0 and "qty_limit" not in free["rejects_by_reason"]
    assert {int(r["aux"]) for r in records if r["kind"] == LIMIT and r["order_id"] == 0} == {6, 7}
    assert_same(bound, replayed(tmp_path / "bound"))


def test_the_end_of_a_journal_says_what_the_run_came_to(short: Path, tmp_path: Path) -> None:
    run = ran(short, tmp_path / "journal", engine__checkpoint_records=1000)
    kinds = journaled(tmp_path / "journal")["kind"].tolist()
    assert kinds[-1] == END and kinds.count(SOURCE) == 1 and kinds.count(CHECKPOINT) == run["records"] // 1000
    assert kinds[:7] == [LIMIT] * 7


@pytest.mark.parametrize("pace", [20, 100])
def test_paced_a_run_takes_as_long_as_the_market_did(tmp_path: Path, pace: int) -> None:
    source, day_ns = tmp_path / "day.itch50", 0
    source.write_bytes(market(200, step_ns=20_000_000))
    *_, last = (r for r in bodies(source.read_bytes()) if r[:1] != b"S")
    day_ns = int.from_bytes(last[5:11], "big") - START_NS
    found = ultra(*run_words(source, tmp_path / "journal"), "--pace", f"{pace}x").found
    assert day_ns > 3_000_000_000
    assert found["wall_s"] >= day_ns / pace / 1e9
    assert_same(found, replayed(tmp_path / "journal"))


# ---- what can be wrong


def test_wrong_words_end_with_2_and_say_what_to_write(short: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    for given, said in (
        (run_words(short, journal, "ultra.strategies.maker:Maker"), "no class Maker; there are MarketMaker"),
        (run_words(short, journal, "nothing.here:Taker"), "No module named 'nothing'"),
        (run_words(tmp_path / "away.itch50", journal), "away.itch50"),
        (run_words(short, journal, risk__colar_bps=3), "did you mean risk.collar_bps?"),
        (run_words(short, journal, strategy__parameters__edge=0.7), "edge = 0.7: must be 0.0 to 0.5"),
        ([*run_words(short, journal), "--pace", "fast"], "wanted max, a factor"),
        (run_words(short, journal, engine__core=1023), "not a core we may use"),
    ):
        found = ultra(*given)
        assert found.code == 2 and said in found.said, found
        assert found.said.count("\n") <= 2
    assert not journal.exists() or not list(journal.iterdir())


def test_a_cut_file_ends_with_3_after_everything_before_the_cut(short: Path, tmp_path: Path) -> None:
    whole = short.read_bytes()
    ends = list(itertools.accumulate(2 + len(body) for body in bodies(whole)))
    cut = ends[len(ends) // 2]
    for name, content, offset in (("plain", whole[: cut + 9], cut), ("whole", whole[:cut], -1)):
        source = tmp_path / f"{name}.itch50"
        source.write_bytes(content)
        found = ultra(*run_words(source, tmp_path / name))
        assert found.found["messages"] == len(ends) // 2 + 1
        assert found.code == (3 if offset >= 0 else 0) and found.found["errors"].get("truncated_at", -1) == offset
        assert offset < 0 or f"cut inside a message at offset {offset}" in found.said
        assert_same(found.found, replayed(tmp_path / name))


def test_a_cut_compressed_file_ends_with_3_and_replays_as_far_as_it_went(short: Path, tmp_path: Path) -> None:
    source = tmp_path / "day.gz"
    packed = gzip.compress(short.read_bytes())
    source.write_bytes(packed[: len(packed) * 2 // 3])
    found = ultra(*run_words(source, tmp_path / "journal"))
    assert found.code == 3 and "ends early, at byte" in found.said and "source" in found.found["errors"]
    assert 0 < found.found["messages"] < SHORT
    assert_same(found.found, replayed(tmp_path / "journal"))


def test_a_journal_in_the_folder_ends_with_4_and_is_left_alone(short: Path, tmp_path: Path) -> None:
    first = ran(short, tmp_path / "journal")
    again = ultra(*run_words(short, tmp_path / "journal"))
    assert again.code == 4 and "holds a journal already" in again.said and again.found == {}
    assert_same(first, replayed(tmp_path / "journal"))
    assert replayed(tmp_path / "empty").code == 4
