"""A journal into a stream of a real nats-server and back, while servers and shippers die and streams are tampered with.

Each test has a stream of its own, since each journal has an identity of its own; most share one server.
"""

import json
import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats_rig
import numpy as np
import pytest
from nats_rig import Server, api
from runs import assert_same, command, environment, market, ran, ultra, until
from ship_rig import QUICK, Grown, Ship, assert_holds, read_back, rows

from ultra.cold import landing, segment, shipment, shipper, shipping, superblock, waybill
from ultra.cold.berth import BerthError
from ultra.cold.shipping import ShipError


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with nats_rig.single(tmp_path_factory.mktemp("nats")) as found:
        yield found


@pytest.fixture
def grown(tmp_path: Path) -> Grown:
    return Grown(tmp_path / "journal")


def stream_of(journal: Path) -> str:
    return f"ultra-{segment.journal_id(journal).hex()}"


# ---- there and back


def test_a_run_is_shipped_and_rebuilt_on_an_empty_machine(server: Server, tmp_path: Path) -> None:
    source, folder = tmp_path / "day.itch", tmp_path / "journal"
    source.write_bytes(market(400))
    run = ran(source, folder)
    code, found, said = ultra("ship", str(folder), "--to", server.url, "--json")
    assert code == 0, said
    assert found["replicated"] == run["records"] and found["lag_records"] == 0 and found["alarm"] == ""
    assert "page cache" in said or "unknown" in said
    url = f"{server.url}/{found['stream']}"
    assert_same(run, ultra("replay", "--from", url, "--json"))
    made = tmp_path / "made"
    assert_same(run, ultra("replay", str(made), "--from", url, "--json"))
    assert_same(run, ultra("replay", str(made), "--json"))
    assert segment.journal_id(made) == segment.journal_id(folder)
    again = ultra("ship", str(made), "--to", server.url, "--json")  # the copy goes on into the same stream
    assert again.code == 0 and again.found["messages"] == found["messages"]
    status = ultra("ship", str(folder), "--status", "--json").found
    assert status["replicated"] == run["records"] and status["counts"]["alarms"] == 0


@pytest.mark.parametrize("packed", [False, True])
def test_it_is_shipped_while_it_grows_and_ends_with_the_run(
    server: Server, grown: Grown, tmp_path: Path, packed: bool
) -> None:
    ship = Ship(grown.folder, server.url, limits=QUICK._replace(packed=packed))
    for count in (1, 300, 77):
        grown.grow(count)
        ship.wait(grown.through)
        bill = waybill.read(grown.folder)
        assert bill is not None and bill.through <= grown.through
    grown.grow(500).close()
    found = ship.join()
    assert found["replicated"] == found["inputs"] == grown.through
    assert_holds(server.url, ship.shipper.stream, tmp_path / "back", grown.through)
    names = {line.split(".")[2] for line in api(server.url, f"STREAM.INFO.{found['stream']}", {"subjects_filter": ">"})
             ["state"].get("subjects", {"ultra.x.run": 1})}  # fmt: skip
    assert names <= {"run", "mkt", "evt", "cmd"}


def test_what_is_not_durable_stays_here(server: Server, grown: Grown) -> None:
    grown.grow(100)
    ship = Ship(grown.folder, server.url).wait(100)
    grown.journal.append(segment.RECORDS, 100, 10, 110, rows(100, 10).tobytes())
    until(lambda: ship.shipper._outbound.reach == 110, "the shipper has read it")
    assert ship.through == 100
    grown.journal.sync()
    ship.wait(110)
    ship.end()


def test_told_to_stop_it_ships_what_it_has_and_goes_on_there(server: Server, grown: Grown, tmp_path: Path) -> None:
    grown.grow(500)
    Ship(grown.folder, server.url).wait(100).end()
    grown.grow(100).close()
    Ship(grown.folder, server.url).join()
    assert_holds(server.url, stream_of(grown.folder), tmp_path / "back", 600)


def test_a_process_waits_for_a_run_and_terminated_ends_in_good_order(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    code, _, said = ultra("ship", str(folder), "--to", server.url, "--once")
    assert code == 4 and "no journal" in said
    words = command("ship", str(folder), "--to", server.url, "--json")
    process = subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    Grown(folder).grow(300)
    until(lambda: (bill := waybill.read(folder)) is not None and bill.through == 300, "all is shipped")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and json.loads(out)["replicated"] == 300


# ---- servers and shippers that die


def test_while_nats_is_down_the_lag_grows_and_then_it_catches_up(tmp_path: Path, grown: Grown) -> None:
    with nats_rig.single(tmp_path) as server:
        ship = Ship(grown.folder, server.url)
        grown.grow(200)
        ship.wait(200)
        server.kill()
        grown.grow(3000)
        until(lambda: ship.shipper.status()["state"] == "looking", "it has noticed")
        state = ship.shipper.status()
        assert state["replicated"] == 200 and not state["alarm"]
        until(lambda: ship.shipper.status()["lag_records"] == 3000, "it knows how much it lags")
        server.start()
        ship.wait(3200)
        state = ship.end()
        assert state["counts"]["resyncs"] >= 1 and state["lag_records"] == 0 and state["lag_s"] == 0
        assert_holds(server.url, ship.shipper.stream, tmp_path / "back", 3200)


@pytest.mark.slow
def test_killed_at_random_nothing_is_lost_or_comes_twice(tmp_path: Path, grown: Grown) -> None:
    dice = random.Random(5)
    words = [*command("ship", str(grown.folder), "--records", "32", "--ack-ms", "1000", "--to")]
    with nats_rig.single(tmp_path) as server:

        def begin() -> subprocess.Popen[bytes]:
            return subprocess.Popen([*words, server.url], env=environment(), stderr=subprocess.DEVNULL)

        process = begin()
        try:
            for _ in range(6):
                for _ in range(dice.randrange(4, 12)):
                    grown.grow(150)
                    threading.Event().wait(0.02)
                if dice.random() < 0.6:
                    process.kill()
                    process.wait()
                    process = begin()
                else:
                    server.kill()
                    server.start()
            grown.close()
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
        found = read_back(server.url, stream_of(grown.folder), tmp_path / "back")
        assert found.tobytes() == rows(0, grown.through).tobytes()


# ---- tampering, and whom it concerns


def stops(ship: Ship, alarm: str) -> str:
    with pytest.raises(ShipError, match=alarm) as found:
        ship.join()
    status = json.loads((ship.shipper._folder / shipping.STATUS).read_text())
    assert status["state"] == "stopped" and status["alarm"] == alarm and status["counts"]["alarms"] == 1
    return str(found.value)


def shipped(server: Server, grown: Grown, count: int = 400, **settings: Any) -> str:
    """A journal in a stream, whose settings let people do anything."""
    stream = stream_of(grown.folder)
    if settings:
        subjects = [f"{shipment.subject_of(segment.journal_id(grown.folder))}.>"]
        api(
            server.url, f"STREAM.CREATE.{stream}", {"name": stream, "subjects": subjects, "storage": "file", **settings}
        )
    grown.grow(count)
    Ship(grown.folder, server.url).wait(count).end()
    return stream


def test_a_purge_behind_our_back_is_an_alarm(server: Server, grown: Grown) -> None:
    stream = shipped(server, grown, num_replicas=1)
    ship = Ship(grown.folder, server.url)
    until(lambda: ship.shipper.shipment.state == shipment.SHIP, "it ships")
    api(server.url, f"STREAM.PURGE.{stream}", {})
    stops(ship, shipment.PURGED)
    stops(Ship(grown.folder, server.url), shipment.PURGED)
    with pytest.raises(landing.LandingError, match="purged"):
        landing.Landing(shipper.place_of(f"{server.url}/{stream}"), grown.folder / "back").play()


def test_a_message_that_was_deleted_is_an_alarm(server: Server, grown: Grown) -> None:
    stream = shipped(server, grown, num_replicas=1)
    api(server.url, f"STREAM.MSG.DELETE.{stream}", {"seq": 3})
    stops(Ship(grown.folder, server.url), shipment.PURGED)


def test_a_stream_that_was_rolled_back_is_an_alarm_and_is_filled_again_when_told_so(
    tmp_path: Path, grown: Grown
) -> None:
    with nats_rig.single(tmp_path) as server:
        stream = shipped(server, grown, 200)
        server.kill(signal.SIGTERM)
        copy = tmp_path / "copy"
        subprocess.run(["cp", "-r", str(tmp_path / "one"), str(copy)], check=True)
        server.start()
        shipped(server.wait(), grown, 300)
        server.kill()
        subprocess.run(["rm", "-r", str(tmp_path / "one")], check=True)
        copy.rename(tmp_path / "one")  # as a power cut would leave it
        server.start()
        server.wait()
        before = api(server.url, f"STREAM.INFO.{stream}")["state"]["last_seq"]
        stops(Ship(grown.folder, server.url), shipment.ROLLED_BACK)
        assert api(server.url, f"STREAM.INFO.{stream}")["state"]["last_seq"] == before
        bill = waybill.read(grown.folder)
        assert bill is not None and bill.state == waybill.ALARMED and bill.through == 500
        grown.close()
        assert Ship(grown.folder, server.url, resend=True).join()["replicated"] == 500
        assert_holds(server.url, stream, tmp_path / "back", 500)
        again = waybill.read(grown.folder)
        assert again is not None and again.state == waybill.GOOD


def test_a_stream_that_was_deleted_is_an_alarm(server: Server, grown: Grown) -> None:
    stream = shipped(server, grown)
    ship = Ship(grown.folder, server.url)
    until(lambda: ship.shipper.shipment.state == shipment.SHIP, "it ships")
    api(server.url, f"STREAM.DELETE.{stream}")
    stops(ship, shipment.ROLLED_BACK)
    assert "0 is its last" in stops(Ship(grown.folder, server.url), shipment.ROLLED_BACK)


def test_a_message_of_somebody_else_is_an_alarm(server: Server, grown: Grown) -> None:
    shipped(server, grown)
    subject = shipment.subject_of(segment.journal_id(grown.folder))

    async def intrude() -> None:
        line = shipper.Line(shipper.place_of(server.url))
        await line.open()
        await line.ask(f"{subject}.mkt.0", b"who is there")
        await line.close()

    shipper.asyncio.run(intrude())
    stops(Ship(grown.folder, server.url), shipment.FOREIGN)


def test_a_journal_that_lost_its_end_is_told_and_gets_it_back_from_the_stream(
    server: Server, grown: Grown, tmp_path: Path
) -> None:
    stream = shipped(server, grown)
    grown.close()
    lost = tmp_path / "lost"
    shorter = Grown(lost, identity=segment.journal_id(grown.folder)).grow(150)
    shorter.close()
    stops(Ship(lost, server.url), shipment.AHEAD)
    code, found, said = ultra("journal", "repair", str(lost), "--from", f"{server.url}/{stream}", "--json")
    assert code == 0 and found["repaired"] and found["inputs"] == 400, said
    assert Ship(lost, server.url).join()["replicated"] == 400
    forked = Grown(tmp_path / "forked", identity=segment.journal_id(grown.folder)).grow(150)
    forked.journal.append(segment.RECORDS, 150, 300, 450, rows(1, 300).tobytes())  # other inputs from there on
    forked.close()
    stops(Ship(forked.folder, server.url), shipment.FORK)


def test_a_damaged_journal_is_mended_from_its_stream(server: Server, grown: Grown, tmp_path: Path) -> None:
    stream = shipped(server, grown.grow(4000), 100)
    grown.close()
    path = segment.segments(grown.folder)[1]
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    (grown.folder / superblock.NAME).unlink()
    code, found, said = ultra("journal", "repair", str(grown.folder), "--from", f"{server.url}/{stream}", "--json")
    assert code == 0 and found["repaired"] and found["inputs"] == 4100 and found["given_up"] == 0, said
    assert Ship(grown.folder, server.url).join()["replicated"] == 4100
    assert ultra("journal", "repair", str(grown.folder), "--from", f"{server.url}/nothing", "--json").code != 0


def test_of_two_shippers_one_is_fenced(server: Server, grown: Grown, tmp_path: Path) -> None:
    grown.grow(200)
    first = Ship(grown.folder, server.url).wait(200)
    second = Ship(grown.folder, server.url)
    until(lambda: second.shipper.shipment.state == shipment.SHIP, "the second one ships too")
    for _ in range(40):
        grown.grow(20)
        threading.Event().wait(0.02)
    grown.close()
    raised = []
    for ship in (first, second):
        try:
            assert ship.join()["replicated"] == 1000
        except ShipError as error:
            raised.append(str(error))
    assert len(raised) < 2 and all(shipment.FENCED in text for text in raised)
    assert_holds(server.url, first.shipper.stream, tmp_path / "back", 1000)


def test_a_stream_that_could_lose_messages_is_refused(server: Server, grown: Grown) -> None:
    grown.grow(10)
    stream, subject = stream_of(grown.folder), shipment.subject_of(segment.journal_id(grown.folder))
    base = {"name": stream, "subjects": [f"{subject}.>"], "storage": "file"}
    for bad, said in (
        ({"storage": "memory"}, "storage = memory"),
        ({"max_age": 60_000_000_000}, "max_age"),
        ({"max_msgs": 5}, "discard = old"),
        ({"subjects": [f"{subject}.mkt.*"]}, "subjects"),
        ({"max_msg_size": 1000}, "max_msg_size"),
        ({"retention": "workqueue"}, "retention"),
    ):
        api(server.url, f"STREAM.CREATE.{stream}", base | bad)
        with pytest.raises(BerthError, match=said if said != "max_msg_size" else "1000 bytes at most"):
            Ship(grown.folder, server.url).join()
        api(server.url, f"STREAM.DELETE.{stream}")
    ship = Ship(grown.folder, server.url, replicas=3)  # one server can't
    until(lambda: "replicas" in ship.shipper.shipment.why, "it says that it can't be made")
    ship.end()


# ---- who may


def test_with_tls_both_sides_show_a_certificate(tmp_path: Path, grown: Grown, certificates: Path) -> None:
    files = certificates
    tls = (
        f'tls {{ cert_file: "{files}/server.pem", key_file: "{files}/server.key", ca_file: "{files}/ca.pem", '
        'verify: true }\nauthorization { user: desk, password: "s3cret" }'
    )
    grown.grow(50).close()
    with nats_rig.single(tmp_path, tls) as server:
        url, good, bad, open_file = f"tls://127.0.0.1:{server.port}", files / "good", files / "bad", files / "open"
        for path, word in ((good, "s3cret\n"), (bad, "other\n"), (open_file, "s3cret\n")):
            path.write_text(word)
            path.chmod(0o600 if path != open_file else 0o644)
        words = ["ship", str(grown.folder), "--once", "--json", "--user", "desk", "--password-file", str(good), "--to"]
        keys = ["--tls-ca", f"{files}/ca.pem", "--tls-cert", f"{files}/client.pem", "--tls-key", f"{files}/client.key"]
        code, found, said = ultra(*words, url, *keys)
        assert code == 0 and found["replicated"] == 50, said
        assert "s3cret" not in json.dumps(found) + said
        right: dict[str, Any] = {
            "user": "desk", "password": good, "ca": files / "ca.pem", "cert": files / "client.pem",
            "key": files / "client.key",
        }  # fmt: skip
        for wrong in (
            {"cert": None, "key": None}, {"password": bad}, {"password": open_file}, {"password": files / "none"},
            {"user": "other"}, {"ca": files / "client.pem"},
        ):  # fmt: skip
            line = shipper.Line(shipper.place_of(url, **(right | wrong)))
            with pytest.raises(shipper.LineError):
                shipper.asyncio.run(line.open())


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    if nats_rig.shutil.which("openssl") is None:
        pytest.skip("no openssl on the PATH, to make certificates with")
    folder = tmp_path / "tls"
    folder.mkdir()

    def openssl(*given: str) -> None:
        subprocess.run(["openssl", *given], check=True, capture_output=True, cwd=folder)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test ca")
    (folder / "more").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("server", "client"):
        openssl("req", *key[:-2], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-out", f"{name}.pem", "-extfile", "more")  # fmt: skip
    return folder


# ---- a cluster


@pytest.mark.slow
@pytest.mark.jit_only
def test_three_leaders_are_killed_under_load_and_nothing_is_lost_or_comes_twice(tmp_path: Path, grown: Grown) -> None:
    with nats_rig.cluster(tmp_path) as servers:
        url = "nats://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
        nats_rig.patient(lambda: api(url, "INFO"))
        ship = Ship(grown.folder, url, replicas=3)
        stop = threading.Event()

        def load() -> None:
            while not stop.wait(0.01):
                grown.grow(200)

        loading = threading.Thread(target=load)
        loading.start()
        try:
            for _ in range(3):
                before = ship.through
                until(lambda before=before: ship.through > before + 1000, "it ships")
                stream = ship.shipper.stream
                leader = nats_rig.patient(lambda stream=stream: api(url, f"STREAM.INFO.{stream}"))["cluster"]["leader"]
                dead = next(server for server in servers if server.name == leader)
                dead.kill()
                until(lambda before=ship.through: ship.through > before + 1000 or ship.is_over, "another one leads")
                dead.start()
                dead.wait()
        finally:
            stop.set()
            loading.join()
        grown.close()
        found = ship.join()
        assert found["replicated"] == grown.through and found["counts"]["alarms"] == 0
        assert found["durability"]["replicas"] == 3
        got = nats_rig.patient(lambda: read_back(url, ship.shipper.stream, tmp_path / f"back{os.urandom(4).hex()}"))
        assert np.array_equal(got["sequence"], np.arange(grown.through))
        assert got.tobytes() == rows(0, grown.through).tobytes()
