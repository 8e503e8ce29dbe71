"""`ultra ring` on segments made here, and on those of runs: while they last, after kill -9, and after a good end."""

import contextlib
import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import command, environment, market, ran, run_words, ultra, ultra_apart, until

from ultra import cli, config
from ultra.cold import live, shared
from ultra.hot import ring as rings
from ultra.wire import ADD, ASK, CANCEL_ORDER, EXECUTE, NONE, RECORD, REQUEST

PACED = ("--pace", "1x")


@pytest.fixture(autouse=True)
def folder(shared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = shared_folder / f"cli-{tmp_path.name}"
    place.mkdir()
    monkeypatch.setenv("ULTRA_SHM_DIR", str(place))
    yield place


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("day") / "day.itch50"
    path.write_bytes(market(20_000))  # ten seconds
    return path


def said(*words: str) -> tuple[int, str, str]:
    """A command for people: its exit code and what it said."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["ring", *words])
    return code, out.getvalue(), err.getvalue()


def found(*words: str) -> Any:
    """A command for machines, that went well."""
    code, out, err = said(*words, "--json")
    assert (code, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def make(name: str, dtype: Any = RECORD, records: int = 4) -> shared.Segment:
    """A ring in which `records` were published and one given back."""
    made = shared.create(name, "ring", dtype, 8)
    ring = rings.over(made.body, dtype, 8)
    for at in range(records):
        slot = ring.slots[at % 8]
        slot.kind, slot.side, slot.sequence, slot.instrument = (ADD, ASK, 100 + at, 3)
        slot.price, slot.qty, slot.order_id, slot.aux = 5000 + at, 10, 70 + at, NONE
        slot.ts_event = 34_200_000_000_005 + at
    ring.cells[rings.CURSOR], ring.cells[rings.GATE] = records, min(1, records)
    return made


def abandoned(name: str) -> None:
    """As a dead owner leaves it."""
    header = make(name).header._replace(pid_start=1)
    path = shared.path_of(name)
    path.write_bytes(shared.pack(header) + path.read_bytes()[shared.HEADER_BYTES :])


# ---- the commands


def test_ls_shows_every_segment_and_what_can_not_be_judged(folder: Path) -> None:
    assert said("ls") == (0, "no segments\n", "") and found("ls") == [[]]
    kept = make("desk.feed"), make("desk.orders", REQUEST, 0)
    abandoned("old.journal")
    (folder / "ultra.odd.ring").write_bytes(b"odd")
    (folder / "not.ours").write_bytes(b"")
    (rows,) = found("ls")
    by_name = {row.pop("name"): row for row in rows}
    assert list(by_name) == ["desk.feed", "desk.orders", "odd.ring", "old.journal"]
    feed = by_name["desk.feed"]
    assert feed["age_s"] >= 0 and kept
    assert feed == {
        "kind": "ring", "capacity": 8, "cursor": 4, "gates": [1], "lag": [3], "owner": os.getpid(), "alive": True,
        "epoch": 1, "age_s": feed["age_s"], "total_bytes": 8192, "batch_max": 1,
    }  # fmt: skip
    assert not by_name["old.journal"]["alive"] and by_name["odd.ring"].keys() == {"refused"}
    code, out, err = said("ls")
    assert (code, err) == (0, "") and f"{os.getpid()} dead" in out and "found b'odd' at its start" in out
    assert [line.split()[:2] for line in out.splitlines()[1:4]] == [
        ["desk.feed", "ring"], ["desk.orders", "ring"], ["old.journal", "ring"],
    ]  # fmt: skip


def test_show_reads_twice_and_says_how_fast_and_whether_the_owner_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = rings.over(make("desk.feed").body, RECORD, 8)
    passed = iter([10.0, 12.0, 20.0, 22.0])

    def interval(seconds: float) -> None:
        assert seconds == 2.0
        ring.cells[rings.CURSOR] += 4
        ring.cells[rings.GATE] += 6

    monkeypatch.setattr(time, "sleep", interval)
    monkeypatch.setattr(time, "perf_counter", lambda: next(passed))
    (row,) = found("show", "desk.feed", "--interval", "2")
    assert (row["cursor"], row["gates"], row["lag"]) == (8, [7], [1])
    assert (row["per_s"], row["gate_per_s"], row["interval_s"], row["alive"]) == (2, [3], 2.0, True)
    code, out, _ = said("show", "desk.feed", "--interval", "2")
    assert code == 0 and "12             2 a second over 2.000 s" in out and "consumer 0" in out
    monkeypatch.undo()


def test_show_of_a_dead_owners_segment_is_no_and_watching_it_ends() -> None:
    abandoned("old.journal")
    code, out, _ = said("show", "old.journal", "--interval", "0.01", "--watch")
    assert code == 1 and out.count("dead") == 1


def test_tail_decodes_the_last_whole_records() -> None:
    segment = make("desk.feed", records=6)
    ring = rings.over(segment.body, RECORD, 8)
    ring.slots[5].kind, ring.slots[5].side, ring.slots[5].price = EXECUTE, 0, NONE
    (piece,) = found("tail", "desk.feed", "-n", "2")
    assert piece["name"] == "desk.feed" and piece["lost"] == 0
    add, execute = piece["records"]
    assert (add["at"], add["sequence"], add["kind"], add["side"], add["price"]) == (4, 104, "add", "ask", 5004)
    assert (add["instrument"], add["qty"], add["order_id"], add["aux"]) == (3, 10, 74, -1)
    assert (execute["kind"], execute["side"], execute["price"]) == ("execute", None, -1), "the book knows the side"
    code, out, _ = said("tail", "desk.feed", "-n", "1")
    words = out.split()
    assert code == 0 and words[:5] == ["5", "105", "09:30:00.000000010", "execute", "-"]
    assert words[5:] == ["instrument", "3", "price", "-", "qty", "10", "id", "75", "aux", "-"]
    assert found("tail", "desk.feed", "-n", "0")[0]["records"] == []
    assert segment.header.kind == "ring"


def test_tail_knows_requests_and_says_what_it_does_not_know() -> None:
    ring = rings.over((kept := make("desk.orders", REQUEST)).body, REQUEST, 8)
    ring.slots[3].kind = CANCEL_ORDER
    records = found("tail", "desk.orders")[0]["records"]
    assert [row["kind"] for row in records] == ["new", "new", "new", "cancel"] and kept
    plain = shared.create("other.ring", "ring", [("a", "i8"), ("b", "f8")], 8)
    plain.body[0] = 1
    assert said("tail", "other.ring") == (0, '{"at": 0, "a": 0, "b": 0.0}\n', "")


def test_tail_says_what_was_written_over_and_follows_to_the_owners_end() -> None:
    abandoned("old.journal")
    path = shared.path_of("old.journal")
    page = bytearray(path.read_bytes())
    page[shared.HEADER_BYTES : shared.HEADER_BYTES + 8] = (30).to_bytes(8, "little")  # the cursor
    page[shared.HEADER_BYTES + 8 * rings.GATE : shared.HEADER_BYTES + 8 * rings.GATE + 8] = (30).to_bytes(8, "little")
    path.write_bytes(page)
    code, out, _ = said("tail", "old.journal", "-n", "20", "--follow")
    assert code == 0 and out.splitlines()[0] == "... 13 overwritten before they could be read"
    assert len(out.splitlines()) == 8


def test_clean_removes_what_is_dead_and_says_what_it_can_not_judge(folder: Path) -> None:
    kept = make("desk.feed")
    abandoned("old.journal")
    assert said("clean") == (0, "removed old.journal\n", "") and said("clean") == (0, "nothing to remove\n", "")
    (folder / "ultra.odd.ring").write_bytes(b"odd")
    code, out, err = said("clean")
    assert code == 1 and out == "nothing to remove\n" and err.startswith("ultra: segment odd.ring: found b'odd'")
    code, out, _ = said("clean", "--json")
    assert code == 1 and json.loads(out)["removed"] == [] and len(json.loads(out)["refused"]) == 1
    assert kept.path is not None and kept.path.exists()


@pytest.mark.parametrize("which", ["show", "tail"])
def test_a_name_that_is_not_there_is_one_line(which: str) -> None:
    code, out, err = said(which, "no.where")
    assert (code, out) == (2, "") and err.startswith("ultra: segment no.where: found No such file") and len(err) < 200


@pytest.mark.parametrize("words", [("show", "a.b", "--interval", "0"), ("tail", "a.b", "-n", "-1")])
def test_words_that_mean_nothing_are_refused(words: tuple[str, ...]) -> None:
    code, _, err = said(*words)
    assert code == 2 and "wanted" in err


@pytest.mark.parametrize("words", [(), ("ls",), ("show",), ("tail",), ("clean",)])
def test_every_help_has_an_example(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["ring", *words, "--help"])
    assert ended.value.code == 0 and "\nexample: ultra ring" in capsys.readouterr().out


# ---- runs


def test_a_run_in_good_order_leaves_no_segment(tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "short.itch50"
    source.write_bytes(market(300))
    run = ran(source, tmp_path / "journal", engine__session="desk")
    assert run["ring"] == {"name": "desk.journal", "notes": []} and list(folder.iterdir()) == []


def test_a_run_that_can_not_begin_leaves_no_segment(tmp_path: Path, folder: Path) -> None:
    source, broken = tmp_path / "short.itch50", tmp_path / "broken.py"
    source.write_bytes(market(300))
    broken.write_text(
        "from ultra import Strategy, parameter\n\n\nclass Broken(Strategy):\n    lots: int = parameter(1, low=1)\n"
    )
    words = run_words(source, tmp_path / "journal", f"{broken}:Broken", strategy__parameters__lots=0)
    code, _, err = ultra(*words)
    assert code == 2 and "lots" in err and list(folder.iterdir()) == []


def test_a_session_that_runs_is_not_taken(tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "short.itch50"
    source.write_bytes(market(300))
    kept = make("desk.journal")
    code, _, err = ultra(*run_words(source, tmp_path / "journal"), "--session", "desk")
    assert code == 2 and f"segment desk.journal: process {os.getpid()} has it" in err and kept
    code, _, err = ultra(*run_words(source, tmp_path / "journal"), "--session", "a/b")
    assert code == 2 and "engine.session" in err


def test_a_run_without_a_place_for_its_name_runs_without_one(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "short.itch50"
    source.write_bytes(market(300))
    monkeypatch.setenv("ULTRA_SHM_DIR", str(folder / "nowhere"))
    run = ran(source, tmp_path / "journal")
    assert run["ring"]["name"] == "" and "can't be written" in run["ring"]["notes"][0]
    assert run["durability"]["local"] == run["durability"]["memory"] > 0


def test_two_runs_of_one_process_have_two_names(tmp_path: Path) -> None:
    settings = config.load(None, {"journal.ring_records": 4096})
    taps = [live.Tap(settings, tmp_path / str(number)) for number in range(2)]
    names = {one.name() for one in shared.found()}
    assert len(names) == 2 and all(name.startswith(f"run-{os.getpid()}-") for name in names)
    for tap in taps:
        tap.abandon()
    assert shared.found() == []


class Run:
    """A paced `ultra run` in a process of its own."""

    def __init__(self, day: Path, journal: Path, *more: str) -> None:
        words = [*run_words(day, journal, journal__market_data="full"), *PACED, *more]
        self.process = subprocess.Popen(
            command(*words), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()
        )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()  # ends with the journal, which holds the other end


@pytest.mark.jit_only
def test_a_run_is_watched_killed_found_dead_and_cleaned(day: Path, tmp_path: Path) -> None:
    run = Run(day, tmp_path / "one", "--session", "desk")
    until(lambda: any(row.get("cursor", 0) > 1000 for row in found("ls")[0]), "it runs")
    (row,) = found("ls")[0]
    assert (row["name"], row["owner"], row["alive"]) == ("desk.journal", run.process.pid, True)
    (piece,) = found("tail", "desk.journal", "-n", "5")
    assert [row["sequence"] for row in piece["records"]] == [row["at"] for row in piece["records"]]
    assert {row["kind"] for row in piece["records"]} <= {"add", "execute", "cancel", "delete", "replace", "trade"} | {
        "accepted", "fill", "cancelled", "rejected",
    }  # fmt: skip
    (shown,) = found("show", "desk.journal", "--interval", "0.3")
    assert shown["per_s"] > 0 and shown["alive"]
    run.kill()
    (row,) = found("ls")[0]
    assert (row["name"], row["alive"]) == ("desk.journal", False)
    assert ultra("replay", str(tmp_path / "one"), "--json").found["matches"]
    assert said("clean") == (0, "removed desk.journal\n", "")


@pytest.mark.jit_only
def test_the_next_run_removes_what_a_killed_one_left_and_may_have_its_name(day: Path, tmp_path: Path) -> None:
    for session in (("--session", "desk"), ()):
        run = Run(day, tmp_path / f"killed{len(session)}", *session)
        until(lambda: any(row.get("cursor", 0) > 100 for row in found("ls")[0]), "it runs")
        run.kill()
        assert [one.name() for one in shared.stale()] != []
        short = tmp_path / "short.itch50"
        short.write_bytes(market(300))
        again = ultra_apart(*run_words(short, tmp_path / f"again{len(session)}"), *session)
        assert again.code == 0 and again.found["ring"]["notes"] == [] and shared.found() == []


@pytest.mark.jit_only
def test_a_tail_that_follows_a_run_sees_it_to_its_end(tmp_path: Path) -> None:
    source = tmp_path / "short.itch50"
    source.write_bytes(market(2000))  # a second
    run = Run(source, tmp_path / "journal", "--session", "desk")
    until(lambda: any(row.get("name") == "desk.journal" for row in found("ls")[0]), "it runs")
    tail = subprocess.run(
        command("ring", "tail", "desk.journal", "-n", "100000", "--follow", "--json"),
        capture_output=True, text=True, env=environment(), timeout=120,
    )  # fmt: skip
    run.process.communicate()
    pieces = [json.loads(line) for line in tail.stdout.splitlines()]
    sequences = [row["sequence"] for piece in pieces for row in piece["records"]]
    assert tail.returncode == 0 and sequences == list(range(len(sequences)))
    assert pieces[-1]["records"][-1]["kind"] == "end" and sum(piece["lost"] for piece in pieces) == 0
