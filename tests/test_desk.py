"""The operator's desk: what is asked on its socket, when it takes effect, what is answered, and that it is done once.

The engine is driven here call by call, as `Drive` does, so that a test says what is on disk and when the loop comes
back. The last tests ask runs in processes of their own, of each preset, and replay what they journaled.
"""

import contextlib
import json
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from desk_rig import COMMON, Rig, hear
from hypothesis import given
from hypothesis import strategies as st
from runs import (
    MAKER,
    assert_same,
    command,
    environment,
    journaled,
    market,
    replayed,
    run_words,
    ultra,
    ultra_apart,
    until,
)

from ultra import inline
from ultra.cold import answers, assembly, call, desk, shared
from ultra.cold.command import SHAPES, TEXT_BYTES_MAX, Command, CommandError, Said, name_of, parse, said
from ultra.hot import engine as engines
from ultra.hot import ring as rings
from ultra.hot import risk as risks
from ultra.wire import ACK, HALT, KILL, LIMIT, RECORD, TEXT


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()
    assert not made.desk.path.exists()


def touch(rig: Rig) -> tuple[str, str]:
    """A price that rests and one that trades, of AAA, to buy."""
    view = rig.engine.market[0]
    return str(int(view.bid) / 10_000), str(int(view.ask) / 10_000)


# ---- what is taken


def test_each_command_does_what_it_says_and_is_journaled_with_who_and_why(rig: Rig) -> None:
    bid, _ = touch(rig)
    first = rig.ask("submit", instrument="AAA", side="buy", qty=10, price=bid)
    assert first["ok"] and first["durability"] == "memory" and first["order"] > 0 and not first["repeated"]
    second = rig.ask("replace", order=first["order"], qty=20, price=bid, post_only=True)
    assert second["ok"] and second["order"] != first["order"] and second["cancels"] == 1
    assert rig.ask("submit", instrument="BBB", side="sell", qty=1, price="1e9")["reason"] == "notional_limit"
    assert rig.ask("cancel", order=second["order"])["cancels"] == 1
    assert rig.ask("cancel", order=second["order"])["reason"] == "unknown_order"
    assert rig.ask("set_limit", limit="order_qty_max", value=5, instrument="AAA")["ok"]
    assert rig.ask("set_limit", limit="order_notional_max", value="1000.50")["ok"]
    assert rig.ask("submit", instrument="AAA", side="buy", qty=10, price=bid)["reason"] == "qty_limit"
    assert rig.engine.risk.limits[:2, :2].tolist() == [[5, 10_005_000], [10_000, 10_005_000]]
    assert rig.ask("set_parameter", parameter="edge", value=0.25)["ok"] and rig.engine.params[0]["edge"] == 0.25
    assert rig.ask("strategy", on=True, instrument="BBB")["ok"] and rig.ask("strategy", on=True)["ok"]
    assert int(rig.engine.risk.gates[risks.STRATEGY]) == 0
    assert rig.ask("halt", instrument="BBB")["ok"] and rig.engine.market.halted.tolist()[:2] == [0, 1]
    assert rig.ask("resume", instrument="BBB")["ok"] and rig.engine.market.halted.tolist()[:2] == [0, 0]
    assert rig.ask("mass_cancel", instrument="AAA")["ok"] and rig.ask("kill", id="last", why="enough")["ok"]
    assert rig.ask("resume")["reason"] == "halted"
    assert rig.ask("submit", instrument="AAA", side="buy", qty=1, price=bid)["reason"] == "halted"
    texts, told = Said(), []
    for record in rig.records():
        if int(record.kind) == TEXT:
            texts.hear(record)
        elif (name := name_of(int(record.kind), int(record.aux))) and (words := texts.take())[0]:
            told.append((name, *words))
    assert [row[0] for row in told].count("submit") == 4 and len(told) == rig.number
    assert {row[0] for row in told} == set(SHAPES) - {"signal"}, "its strategy has no on_command"
    assert ("kill", "last", f"test (uid {os.geteuid()})", "enough") in told


def test_a_command_stands_in_the_journal_before_what_it_caused_and_its_answer_behind_it(rig: Rig) -> None:
    first = rig.ask("submit", instrument="AAA", side="buy", qty=10, price=touch(rig)[0])
    records = rig.records()
    at = int(np.flatnonzero(records.sequence == first["sequence"])[0])
    assert [int(record.kind) for record in records[at - 3 : at]] == [TEXT] * 3
    output = rig.engine.output
    assert int(output.slots[0].sequence) == first["sequence"] < int(records.sequence[-1]) + 1
    ack = records[-1]
    assert (int(ack.kind), int(ack.price), int(ack.order_id)) == (ACK, first["sequence"], first["order"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"command": "stop"}, "wanted one of submit"),
        ({"command": "halt", "why": None}, "why: wanted some text"),
        ({"command": "halt", "why": " "}, "why: wanted some text"),
        ({"command": "halt", "who": "x" * 65}, "65 bytes, at most 64"),
        ({"command": "halt", "who": "a\nb"}, "printable"),
        ({"command": "halt", "order": 1}, "halt has no such field"),
        ({"command": "cancel"}, "order: missing"),
        ({"command": "cancel", "order": True}, "order = True"),
        ({"command": "cancel", "order": 0}, "order = 0"),
        ({"command": "cancel", "order": 1 << 63}, "order = "),
        ({"command": "replace", "order": 77, "qty": 1, "price": 1}, "no live order"),
        ({"command": "halt", "instrument": "ZZZ"}, "not in this run"),
        ({"command": "halt", "instrument": "TOOLONGNAME"}, "1 to 8"),
        ({"command": "halt", "wait": "disk"}, "memory or local"),
        ({"command": "submit", "instrument": "AAA", "side": "up", "qty": 1, "price": 1}, "buy or sell"),
        ({"command": "submit", "instrument": "AAA", "side": "buy", "qty": 0, "price": 1}, "qty = 0"),
        ({"command": "submit", "instrument": "AAA", "side": "buy", "qty": 1.5, "price": 1}, "qty = "),
        ({"command": "submit", "instrument": "AAA", "side": "buy", "qty": 1, "price": "1.00001"}, "multiple of 0.0001"),
        ({"command": "submit", "instrument": "AAA", "side": "buy", "qty": 1, "price": "nan"}, "0 or more"),
        ({"command": "submit", "instrument": "AAA", "side": "buy", "qty": 1, "price": "x"}, "an amount"),
        ({"command": "submit", "instrument": "AAA", "side": "buy", "qty": 1, "price": -1}, "0 or more"),
        ({"command": "set_limit", "limit": "all", "value": 1}, "one of order_qty_max"),
        ({"command": "set_limit", "limit": "collar_bps", "value": -1}, "collar_bps = -1"),
        ({"command": "set_limit", "limit": "collar_bps", "value": "9"}, "collar_bps"),
        ({"command": "set_limit", "limit": "message_rate_max_per_s", "value": 1, "instrument": "AAA"}, "together"),
        ({"command": "set_parameter", "parameter": "nothing", "value": 1}, "no such parameter"),
        ({"command": "set_parameter", "parameter": "edge", "value": 7}, "must be"),
        ({"command": "set_parameter", "parameter": "edge", "value": "7"}, "a number"),
        ({"command": "strategy", "on": 1}, "on = 1"),
        ({"command": "signal", "code": 1}, "has no on_command"),
        ({"command": "signal", "code": "1"}, "code = '1'"),
    ],
)  # fmt: skip
def test_what_is_no_command_is_refused_with_its_reason_and_changes_nothing(
    rig: Rig, words: dict[str, Any], said: str
) -> None:
    before = len(rig.records())
    found = rig.send(json.dumps({"id": "x", **COMMON, **words}).encode() + b"\n")
    assert not found["ok"] and said in found["error"], found
    assert len(rig.records()) == before


@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode))
def test_no_text_is_taken_for_a_command_by_mistake(raw: bytes) -> None:
    with pytest.raises(CommandError):
        parse(raw.decode("utf-8", "replace"))


@given(st.fixed_dictionaries({key: st.text(min_size=1, max_size=size // 4) for key, size in TEXT_BYTES_MAX.items()}))
def test_what_was_said_is_read_back(texts: dict[str, str]) -> None:
    try:
        raw = {key: text.encode().replace(b"\0", b"") for key, text in texts.items()}
    except UnicodeEncodeError:
        return
    words = {key: text.decode() for key, text in raw.items()}
    heard = Said()
    for fields in said(Command("halt", words["id"], words["who"], words["why"], "memory", {})):
        record = np.zeros(1, RECORD)
        for name, value in fields.items():
            record[name] = value
        heard.hear(record[0])
    assert heard.take() == (words["id"], words["who"], words["why"])
    assert heard.take() == ("", "", "")


# ---- once


def test_the_same_id_is_done_once_and_answered_as_at_first(rig: Rig) -> None:
    words = {"id": "once", "instrument": "AAA", "side": "buy", "qty": 10, "price": touch(rig)[0]}
    first, again = rig.ask("submit", **words), rig.ask("submit", **words | {"who": "another"})
    assert again == first | {"repeated": True}
    assert "was another command" in rig.ask("submit", **words | {"qty": 11})["error"]
    assert int(rig.engine.market[0].open_orders) == 1
    changed = {"id": "then", "order": first["order"], "qty": 4, "price": touch(rig)[0]}
    second = rig.ask("replace", **changed)
    assert rig.ask("replace", **changed) == second | {"repeated": True}


def test_two_who_send_the_same_id_at_once_are_both_answered(rig: Rig) -> None:
    links = [rig.open(), rig.open()]
    line = json.dumps({"command": "halt", "id": "both", **COMMON}).encode() + b"\n"
    for link in links:
        link.sendall(line)
    for _ in range(4):
        rig.turn()
    found = [hear(link) for link in links]
    assert [row["repeated"] for row in found] == [False, True] and found[0]["sequence"] == found[1]["sequence"]
    for link in links:
        link.close()


def test_an_engine_that_comes_back_gives_the_answers_that_it_gave(rig: Rig) -> None:
    words = {"id": "a", "instrument": "AAA", "side": "buy", "qty": 10, "price": touch(rig)[0]}
    first = rig.ask("submit", **words)
    refused = rig.ask("cancel", id="b", order=12345)
    rig.desk.close()
    found: dict[str, answers.Entry] = {}
    by_sequence: dict[int, answers.Entry] = {}
    answers.read_entries(rig.records().tobytes(), Said(), found, by_sequence)
    assert set(found) == {"a", "b"}
    again = Rig(found)
    assert again.ask("submit", **words) == first | {"repeated": True}
    assert again.ask("cancel", id="b", order=12345) == refused | {"repeated": True}
    assert int(again.engine.market[0].open_orders) == 0
    # Its answer is lost, but not that it was taken.
    found["a"].ack = None
    assert f"taken as input {first['sequence']}" in again.ask("submit", **words)["error"]
    again.close()
    rig.desk = desk.Desk(rig.machine, "test", lambda: 0, found)
    assert rig.ask("submit", **words) == first | {"repeated": True}, "the engine itself knows its last answers"


# ---- when


def test_who_waits_for_the_disk_is_answered_when_it_is_there(rig: Rig) -> None:
    link = rig.open()
    assert rig.ask("halt", link, wait="local", id="x") == {}
    rig.durable = int(rig.machine.run.cells[inline.NEXT]) - 2  # all but the command and its answer
    rig.turn()
    assert hear(link) == {}
    rig.durable += 1
    rig.turn()
    found = hear(link)
    assert found["durability"] == "local" and found["sequence"] == rig.durable - 1
    assert rig.ask("halt", wait="local", id="x")["durability"] == "local"
    link.close()


def test_who_waits_for_the_disk_is_told_when_the_journal_failed_and_nobody_waits_after_that(rig: Rig) -> None:
    link = rig.open()
    assert rig.ask("halt", link, wait="local", id="x") == {}
    rig.desk.lose("no space left; on disk up to input 7")
    found = hear(link)
    assert found["ok"] and found["durability"] == "memory" and "no space left" in found["note"]
    assert rig.ask("halt", wait="local", id="x")["durability"] == "memory", "what was done is answered, once and again"
    assert "no space left" in rig.ask("resume", wait="local")["error"] and rig.ask("resume")["durability"] == "memory"
    link.close()


def test_a_journal_that_is_never_synced_promises_no_disk() -> None:
    rig = Rig(journal__sync=False)
    assert "journal.sync" in rig.ask("halt", wait="local")["error"] and rig.ask("halt")["ok"]
    rig.close()


def test_a_kill_that_does_not_fit_goes_on_until_nothing_is_left(rig: Rig) -> None:
    bid = touch(rig)[0]
    rig.ask("set_limit", limit="duplicate_window_ns", value=0)
    for _ in range(60):
        assert rig.ask("submit", instrument="AAA", side="buy", qty=1, price=bid)["ok"]
    found = rig.ask("kill")
    assert not found["ok"] and found["reason"] == "no_room" and found["cancels"] == 4
    for _ in range(4):
        cells = rig.engine.output.cells
        cells[rings.GATE] = cells[rings.CURSOR]
        rig.turn()
    states = rig.engine.orders.rows.state
    assert np.count_nonzero(states == 3) == 60 and np.count_nonzero(states) == 60
    assert np.count_nonzero(rig.records().kind == KILL) == 2


# ---- who


def test_the_socket_is_the_users_own_and_lines_have_an_end(rig: Rig) -> None:
    assert stat.S_IMODE(os.stat(rig.desk.path).st_mode) == 0o600
    assert "more than 4096 bytes" in rig.send(b"x" * 5000)["error"]
    assert "not JSON" in rig.send(b"\xff\n")["error"]
    links = [rig.open() for _ in range(desk.CLIENTS_MAX + 1)]
    for _ in range(2 * len(links)):
        rig.turn()
    assert "try again" in hear(links[-1])["error"]
    for link in links:
        link.close()
    for _ in links:
        rig.turn()
    assert rig.ask("halt")["ok"]


def test_who_does_not_read_is_let_go_and_who_hangs_up_is_forgotten(rig: Rig) -> None:
    link = rig.open()
    line = json.dumps({"command": "nothing"}).encode() + b"\n"
    for _ in range(12_000):
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            link.sendall(line)
        if not rig.desk._clients and _ > 10:
            break
        rig.desk.turn()
    assert not rig.desk._clients
    link.close()
    gone = rig.open()
    gone.sendall(json.dumps({"command": "halt", "id": "g", **COMMON}).encode() + b"\n")
    gone.close()
    for _ in range(3):
        rig.turn()
    assert int(rig.engine.risk.gates[risks.KILL]) == 1, "it was heard"


def test_a_session_has_one_desk_and_a_dead_ones_socket_goes(rig: Rig) -> None:
    with pytest.raises(desk.DeskError, match="another run listens"):
        desk.Desk(rig.machine, "test", lambda: 0)
    left = desk.path_of("dead")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.bind(str(left))
    with pytest.raises(desk.DeskError, match="nobody listens"):
        call.ask("dead", {})
    other = desk.Desk(rig.machine, "other", lambda: 0)
    assert not left.exists() and call.sessions() == ["other", "test"]
    other.close()
    with pytest.raises(desk.DeskError, match="a shorter name"):
        desk.Desk(rig.machine, "x" * 120, lambda: 0)


# ---- runs


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shm"
    folder.mkdir()
    monkeypatch.setenv("ULTRA_SHM_DIR", str(folder))
    path = tmp_path / "day.itch50"
    path.write_bytes(market(4000))
    return path


class Told:
    """A slow run of the maker, and what it is told."""

    def __init__(self, day: Path, folder: Path, **more: Any) -> None:
        settings = {"engine__session": "desk", "host__stall_ms": 5000, "engine__checkpoint_records": 1000, **more}
        words = [*run_words(day, folder, MAKER, **settings), "--pace", "0.2x"]
        self.process = subprocess.Popen(
            command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )
        until(lambda: self.process.poll() is not None or desk.path_of("desk").exists(), "the desk is open")
        assert self.process.poll() is None, self.process.communicate()
        self.number = 0

    def ask(self, name: str, **words: Any) -> dict[str, Any]:
        self.number += 1
        return call.ask("desk", {"command": name, "id": f"n{self.number}", **COMMON, **words})

    def end(self) -> dict[str, Any]:
        self.process.terminate()
        out, err = self.process.communicate()
        assert self.process.returncode == 0, err
        found: dict[str, Any] = json.loads(out)
        return found


@pytest.mark.jit_only
@pytest.mark.slow
@pytest.mark.parametrize("preset", ["inline", "pipeline", "diamond"])
def test_a_run_that_was_told_things_replays_to_the_same_hashes(day: Path, tmp_path: Path, preset: str) -> None:
    folder = tmp_path / "journal"
    run = Told(day, folder, host__preset=preset)
    until(lambda: run.ask("strategy", on=False, instrument="AAA")["ok"], "AAA is known")
    order = {"instrument": "AAA", "side": "buy", "qty": 10, "price": "149.00"}
    until(lambda: run.ask("submit", **order)["ok"], "AAA trades")
    last = run.ask("submit", **order | {"qty": 11}, wait="local")
    assert last["ok"] and last["durability"] == "local"
    assert run.ask("replace", order=last["order"], qty=5, price="149.01")["ok"]
    assert run.ask("submit", **order | {"price": "1.00"})["reason"] == "price_collar"
    assert "not in this run" in run.ask("halt", instrument="ZZZ")["error"]
    for name in ("mass_cancel", "halt", "resume", "kill"):
        assert run.ask(name, id=name)["ok"]
    assert run.ask("halt", id="halt")["repeated"]
    summary = run.end()
    assert summary["drained"] and not desk.path_of("desk").exists() and shared.stale() == []
    assert_same(summary, replayed(folder))
    records = journaled(folder)
    assert np.count_nonzero((records["kind"] == LIMIT) & (records["flag"] == 0)) == 7
    known = answers.remembered(folder)
    assert len(known) == np.count_nonzero(records["kind"] == ACK) >= 9
    assert all(entry.ack is not None for entry in known.values())
    if preset == "inline":
        plain = ultra_apart("replay", str(folder), "--json", NUMBA_DISABLE_JIT="1", ULTRA_PURE="1")
        assert_same(summary, plain)


@pytest.mark.jit_only
@pytest.mark.slow
def test_the_command_line_tells_a_run_what_to_do(day: Path, tmp_path: Path) -> None:
    run = Told(day, tmp_path / "journal")
    until(lambda: run.ask("resume", instrument="AAA")["ok"], "AAA is known")
    said = ultra("ctl", "desk", "--why", "news", "--json", "--id", "h", "halt", "AAA")
    assert said.code == 0 and said.found["ok"] and not said.found["repeated"]
    assert ultra("ctl", "desk", "--why", "news", "--json", "--id", "h", "halt", "AAA").found["repeated"]
    refused = ultra("ctl", "desk", "--why", "x", "--json", "submit", "AAA", "buy", "10", "150.00", "--post-only")
    assert refused.code == 1 and refused.found["reason"] in ("halted", "not_trading")
    assert ultra("ctl", "desk", "--why", "x", "--json", "set-limit", "order_notional_max", "5.5").code == 0
    assert ultra("ctl", "desk", "--why", "x", "--json", "set-parameter", "order_qty", "5").code == 0
    assert ultra("ctl", "desk", "--why", "x", "--json", "strategy", "off").code == 0
    wrong = ultra("ctl", "desk", "--why", "x", "--json", "cancel", "5")
    assert wrong.code == 1 and wrong.found["reason"] == "unknown_order"
    assert ultra("ctl", "desk", "--why", "x", "--json", "halt", "ZZZ").code == 2
    run.end()
    gone = ultra("ctl", "desk", "--why", "x", "halt")
    assert gone.code == 2 and "nobody listens" in gone.said
    texts = [(entry.words[0], entry.id) for entry in answers.remembered(tmp_path / "journal").values()]
    assert (HALT, "h") in texts and len(texts) == 7


def test_the_engine_keeps_more_answers_than_can_be_under_way() -> None:
    longest = said(Command("", "i" * 64, "w" * 80, "y" * 256, "", {}))
    assert engines.ACKS >= 2 * desk.AT_ONCE_MAX
    assert (len(longest) + 2) * desk.AT_ONCE_MAX < assembly.COMMAND_RECORDS


def test_a_session_with_a_name_that_nobody_could_command_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "short.itch50"
    source.write_bytes(market(100))
    monkeypatch.setenv("ULTRA_SHM_DIR", str(tmp_path / "nowhere"))
    named = ultra(*run_words(source, tmp_path / "named", engine__session="desk"))
    assert named.code == 2 and "no socket" in named.said
    unnamed = ultra(*run_words(source, tmp_path / "unnamed"))
    assert unnamed.code == 0 and "nobody can command it" in unnamed.found["ring"]["notes"][1]
