"""The small parts beside the shipper: its file, its addresses, what a stream must be like; and level `replicated`."""

import ast
import asyncio
import json
import os
import threading
from pathlib import Path
from typing import Any

import desk_rig
import nats_rig
import pytest
import stream_twin
from desk_rig import COMMON
from hypothesis import given
from hypothesis import strategies as st
from runs import until
from ship_rig import Grown, rows

from ultra import cli
from ultra.cold import (
    berth,
    bridge,
    command,
    desk,
    landing,
    outbound,
    parcel,
    segment,
    shipment,
    shipper,
    shipping,
    waybill,
)
from ultra.cold.berth import durability, refused, wanted, warned
from ultra.cold.desk import DeskError
from ultra.cold.disk import Folder
from ultra.cold.journal import only_writer
from ultra.cold.shipment import Limits, Seen, Shipment
from ultra.ops import journal as journals

ID = bytes(range(16))
ULTRA = Path(cli.__file__).parent


def test_one_file_names_nats() -> None:
    named = []
    for path in ULTRA.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            if any(name.split(".")[0] == "nats" for name in names):
                named.append(path.name)
    assert set(named) == {"shipper.py"}


# ---- how far the stream has acked


def test_a_waybill_says_the_last_that_was_written_and_a_torn_one_the_one_before(tmp_path: Path) -> None:
    reader = waybill.Reader(tmp_path)
    assert waybill.read(tmp_path) is None and reader.through() == -1
    writer = waybill.Writer(tmp_path, ID, "S", 3)
    assert reader.through() == 0
    for number in range(1, 9):
        writer.write(number * 10, number)
        found = waybill.read(tmp_path)
        assert found is not None and reader.through() == found.through == number * 10
        assert (found.journal_id, found.stream, found.replicas, found.sequence) == (ID, "S", 3, number)
        path = tmp_path / waybill.NAME
        whole = path.read_bytes()
        torn = bytearray(whole)
        torn[number % 2 * waybill.BLOCK_BYTES + 45] ^= 1
        path.write_bytes(torn)
        assert reader.through() in ((number - 1) * 10, 0)
        path.write_bytes(whole)
    writer.close()
    again = waybill.Writer(tmp_path, ID, "S", 3)
    again.write(90, 9)
    assert reader.through() == 90
    again.close()


def test_the_format_of_a_waybill_is_that_of_version_1() -> None:
    raw = bytes.fromhex(
        "554c5452415741590100000003000000000102030405060708090a0b0c0d0e0f0500000000000000640000000000000007000000"
        "0000000009000000000000006f726465727300" + 53 * "00" + "03ecb9b6"
    )
    made = waybill.Waybill(ID, "orders", 3, 100, 7, 5, 9)
    assert waybill.encode(made) == raw and waybill.best(raw + raw) == made


def test_the_format_of_a_message_is_that_of_version_1() -> None:
    """A stream that is there must be read by every later version."""
    head = (
        "554c5452415348500100020001000300000102030405060708090a0b0c0d0e0f07000000000000000500000000000000"
        "6400000000000000c800000000000000010000000200000040000000c02b8144"
    )
    made = parcel.Parcel(segment.RECORDS, 1, 3, ID, 7, 5, 100, 200, 1, 2, bytes(range(64)))
    raw = bytes.fromhex(head) + bytes(range(64))
    assert parcel.encode(made) == raw and parcel.decode(raw) == made
    assert shipment.WINDOW_MAX == 16


@given(st.binary(max_size=300))
def test_a_waybill_of_any_bytes_is_none(data: bytes) -> None:
    assert waybill.best(data) is None
    with pytest.raises(ValueError, match="more than"):
        waybill.Writer(Path("nowhere"), ID, "S" * 57, 1)


# ---- addresses and streams


def test_addresses_are_read_and_have_no_password() -> None:
    place = shipper.place_of("nats://a:1,b:2/orders")
    assert place.servers == ("nats://a:1", "nats://b:2") and place.stream == "orders"
    assert str(place) == "a:1,b:2"
    with pytest.raises(shipper.LineError) as found:
        shipper.place_of("nats://desk:secret@a:1")
    assert "secret" not in str(found.value)
    with pytest.raises(shipper.LineError, match="belong together"):
        shipper.place_of("nats://a", user="desk")
    assert shipper.place_of("tls://h").stream == ""
    for wrong in ("http://a", "nats://", "nats://a/b/c", "nats://a/b.c", "a:4222", ""):
        with pytest.raises(shipper.LineError, match="wanted nats://"):
            shipper.place_of(wrong)
    with pytest.raises(shipper.LineError, match="belong together"):
        shipper.place_of("tls://a", cert=Path("x"))


def test_a_stream_as_we_make_it_is_good_and_every_setting_that_loses_messages_is_not() -> None:
    good = wanted("S", ID, 3)
    assert refused(good, ID, 3) == [] and warned(good, "2.12.1") == []
    for key, value in (
        ("storage", "memory"), ("retention", "interest"), ("max_age", 1), ("no_ack", True), ("sealed", True),
        ("allow_rollup_hdrs", True), ("persist_mode", "async"), ("max_msgs_per_subject", 1), ("mirror", {"name": "x"}),
        ("sources", [{"name": "x"}]), ("subjects", ["other.>"]), ("num_replicas", 1),
    ):  # fmt: skip
        found = refused(good | {key: value}, ID, 3)
        assert (len(found) == 1 and "wanted" in found[0]) or "asked for" in found[0], key
    assert refused(good | {"discard": "old"}, ID, 3) == []
    assert refused(good | {"discard": "old", "max_bytes": 9}, ID, 3) != []
    assert refused(good | {"persist_mode": "default"}, ID, 3) == []
    assert [warning.split()[0] for warning in warned({}, "2.9.10")] == ["deny_delete", "deny_purge", "nats-server"]
    words = berth.wanted("S", ID, 1)["subjects"][0].removesuffix(".>")
    for subject, covers in ((f"{words}.>", True), ("ultra.>", True), ("ultra.*.>", True), ("ultra.*.mkt.*", False),
                            (words, False), (f"{words}.mkt.>", False), (">", True)):  # fmt: skip
        assert (refused(good | {"subjects": [subject]}, ID, 1) == []) == covers, subject


def test_what_is_not_known_of_a_server_is_said_to_be_unknown() -> None:
    config = wanted("S", ID, 3)
    assert durability(config, "2.9.10", None)["sync"] == berth.PAGE_CACHE
    assert durability(config, "2.12.1", None)["sync"].startswith("unknown")
    assert durability(config, "2.12.1", {})["sync"].startswith("unknown")
    always = durability(config, "2.12.1", {"sync_always": True})
    assert always["sync"] == "always" and "power cut of all" in always["acked_survives"]
    assert "2 of 3" in always["acked_survives"]
    assert "every 30 s" in durability(config, "2.12.1", {"sync_interval": 30_000_000_000})["sync"]
    assert berth.version_of("nonsense") == (0, 0)


# ---- what may go out


def test_only_what_is_durable_goes_out_until_the_writer_is_silent(tmp_path: Path) -> None:
    grown = Grown(tmp_path / "j").grow(100)
    out = outbound.Outbound(grown.folder)
    ship = Shipment(out.journal_id, "S", out.meta, 1, limits=Limits())
    ship.look(Seen(0, 0, []), out.scan(), 0)
    assert out.reach == 100 and not out.has_ended
    grown.journal.append(segment.RECORDS, 100, 5, 105, rows(100, 5).tobytes())
    assert out.fill(ship, 1) and out.reach == 105 and out.durable == 100
    assert not out.fill(ship, outbound.QUIET_NS)
    alive = only_writer(grown.folder)  # as its process holds it
    assert not out.fill(ship, 2 + outbound.QUIET_NS), "one that lives will say so himself"
    os.close(alive)
    assert out.fill(ship, 2 + outbound.QUIET_NS) and out.durable == 105
    grown.through = 105
    grown.close()
    assert not out.fill(ship, 4 + outbound.QUIET_NS) or out.has_ended
    out.close()
    unsynced = Grown(tmp_path / "k", sync=False).grow(30)
    out = outbound.Outbound(unsynced.folder)
    ship = Shipment(out.journal_id, "S", out.meta, 1)
    ship.look(Seen(0, 0, []), out.scan(), 0)
    assert out.fill(ship, 1) and not out.fill(ship, 2)
    unsynced.close()
    out.close()
    with pytest.raises(segment.JournalError):
        outbound.Outbound(tmp_path)


def test_what_was_retired_before_it_was_shipped_is_a_hole_and_behind_it_it_goes_on(tmp_path: Path) -> None:
    grown = Grown(tmp_path / "j").grow(6000)
    grown.close()
    assert journals.compact(grown.folder, below=4000)["retired"] > 0
    retired = segment.retired(Folder(grown.folder))
    assert retired is not None
    begins = retired.frame.through
    # The stream's last stretch may begin before what is left here: then the rest of it is compared.
    for shipped, damaged in ((0, 0), (begins - 1, 0), (begins, 0), (begins + 700, 0), (begins + 700, 1)):
        made, records = Shipment(segment.journal_id(grown.folder), "S", b'{"run": "x"}', 1), rows(0, shipped)
        stream = stream_twin.Stream("S")
        records["aux"][-1:] = damaged
        made.look(stream.seen(), shipped, 0)
        made.put(0, records, shipped, 0)
        while (message := made.take(0, True)) is not None:
            made.acked(message, *stream.publish(message), 0)
        out = outbound.Outbound(grown.folder)
        ship = Shipment(out.journal_id, "S", out.meta, 2, limits=Limits(records_max=1 << 14))
        out.rewind(ship.look(stream.seen(), out.scan(), 0))
        out.fill(ship, 0)
        wanted_alarm = shipment.HOLE if shipped < begins else shipment.FORK if damaged else ""
        assert ship.alarm == wanted_alarm, ship.why
        out.close()


def test_how_far_a_journal_is_is_known_though_what_was_looked_at_before_was_retired(tmp_path: Path) -> None:
    grown = Grown(tmp_path / "j").grow(3000)
    out = outbound.Outbound(grown.folder)
    assert out.scan() == 3000
    grown.grow(20_000).close()
    assert journals.compact(grown.folder, below=15_000)["retired"] > 3
    assert out.scan() == 23_000
    out.close()


def test_a_disk_that_fails_ends_a_landing_and_leaves_no_hole(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = landing.Landing(shipper.place_of("nats://a/S"), tmp_path / "file" / "journal")
    meta = parcel.encode(parcel.Parcel(segment.META, 0, 1, ID, 7, 1, 0, 0, 0, 1, b"{}"))
    with pytest.raises(landing.LandingError, match="Not a directory"):  # not one that a connection may answer for
        made._take(1, meta)


def test_who_is_not_there_is_named_once_and_the_lag_is_measured_meanwhile(tmp_path: Path) -> None:
    pytest.importorskip("nats", reason="it is what connects")
    said: list[str] = []
    grown = Grown(tmp_path / "j").grow(100)
    options = shipping.Options(limits=Limits(retry_ns=1_000_000, retry_max_ns=50_000_000), told=said.append)
    ship = shipping.Shipper(grown.folder, shipper.place_of("nats://127.0.0.1:1"), options)
    running = threading.Thread(target=lambda: asyncio.run(ship.run()), daemon=True)
    running.start()
    until(lambda: ship.status()["lag_records"] == 100, "it knows how far the journal is")
    grown.grow(5000)
    until(lambda: ship.status()["lag_records"] == 5100, "it goes on looking")
    state = ship.status()
    assert state["state"] == "looking" and state["lag_bytes"] == 64 * 5100 and state["lag_s"] > 0
    ship.stop()
    running.join(30)
    assert not running.is_alive() and len(said) == 1 and "127.0.0.1:1" in said[0]


def test_marks_tell_how_old_what_is_not_shipped_is() -> None:
    marks = shipping.Marks()
    for second in range(1, 6):
        marks.put(second * 10**9, second * 100)
    assert marks.age(6 * 10**9, 500) == 0
    marks = shipping.Marks()
    for second in range(1, 6):
        marks.put(second * 10**9, second * 100)
    assert marks.age(6 * 10**9, 0) == 5 and marks.age(6 * 10**9, 250) == 3
    marks = shipping.Marks()
    for step in range(20_000):
        marks.put(step * 10**9, step + 1)
    assert len(marks._marks) <= 4096


# ---- level `replicated`, and commands over NATS


def test_who_waits_until_it_is_replicated_is_answered_then_and_not_before() -> None:
    rig, reach = desk_rig.Rig(), [-1]
    rig.desk.close()
    rig.desk = desk.Desk(rig.machine, "test", lambda: rig.durable, None, lambda: reach[0])
    link = rig.open()
    assert "nothing ships" in rig.ask("halt", link, wait="replicated")["error"]
    reach[0] = 0
    assert rig.ask("halt", link, wait="replicated") == {}
    rig.durable = 1 << 40
    rig.turn()
    assert desk_rig.hear(link) == {}
    reach[0] = 1 << 40
    rig.turn()
    assert desk_rig.hear(link)["durability"] == "replicated"
    reach[0], rig.durable = 1 << 40, 0
    assert rig.ask("resume", link)["durability"] == "memory"
    assert set(command.WAITS) == {"memory", "local", "replicated"}
    link.close()
    rig.close()


class Turning:
    """A desk whose loop turns in a thread."""

    def __init__(self) -> None:
        self.rig = desk_rig.Rig()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            self.rig.turn()

    def __enter__(self) -> desk_rig.Rig:
        return self.rig

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()
        self.rig.close()


def test_a_command_over_nats_goes_the_same_way_and_is_done_once(tmp_path: Path, capsys: Any) -> None:
    with nats_rig.single(tmp_path) as server, Turning() as rig:
        said: list[str] = []
        place = shipper.place_of(server.url)
        carrier = bridge.Bridge("test", place, said.append)
        carrying = threading.Thread(target=lambda: shipper.asyncio.run(carrier.run()), daemon=True)
        carrying.start()
        until(lambda: said, "the bridge listens")
        words = {"command": "halt", "id": "h1", **COMMON, "instrument": "AAA"}
        first = bridge.ask(place, "test", words)
        assert first["ok"] and first["repeated"] is False
        server.kill()  # and its answer could have been lost
        with pytest.raises(DeskError, match="same id"):
            bridge.ask(place, "test", words, 1.0)
        server.start()
        server.wait()
        until(lambda: len(said) > 1 and said[-1].startswith("commands"), "the bridge is back")
        again = bridge.ask(place, "test", words)
        assert again["repeated"] and again["sequence"] == first["sequence"]
        assert "was another command" in bridge.ask(place, "test", words | {"instrument": "BBB"})["error"]
        assert "at most" in carrier.pass_on(b"x" * 9999)["error"]
        assert "not a command" in carrier.pass_on(b"[1]")["error"] + carrier.pass_on(b"\xff")["error"]
        code = cli.main(["ctl", "test", "--nats", server.url, "--why", "x", "--json", "resume"])
        assert code == 0 and json.loads(capsys.readouterr().out)["ok"]
        texts = command.Said()
        who = []
        for record in rig.records():
            if record["kind"] == command.TEXT:
                texts.hear(record)
            elif command.is_asked(int(record["kind"]), int(record["flag"])):
                who.append(texts.take()[1])
        asked = [name for name in who if name]  # not what the rig itself began with
        assert all(name.startswith("nats: ") for name in asked) and len(asked) == 2
        carrier.stop()
        carrying.join(30)
        assert not carrying.is_alive()
    with pytest.raises(DeskError, match="no blanks"):
        bridge.Bridge("a b", place, said.append)
