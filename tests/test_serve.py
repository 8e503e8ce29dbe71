"""Queries and commands over HTTP: each path answers what its description says, and who may not ask is not answered."""

import http.client
import json
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from desk_rig import COMMON, Rig, pump
from runs import ultra

from ultra import inline
from ultra.cold import desk
from ultra.cold.command import SHAPES
from ultra.cold.projector import Projector
from ultra.cold.replay import Replay
from ultra.commands import views
from ultra.ops import openapi, queries, serve


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Projections of a short day with two orders of the operator's."""
    folder = tmp_path_factory.mktemp("run")
    rig = Rig(messages=120)
    bid, ask = (f"{int(price) / 10_000:.4f}" for price in (rig.engine.market[0].bid, rig.engine.market[0].ask))
    for number, price in enumerate((ask, bid)):
        rig.ask("submit", id=f"first {number}", instrument="AAA", side="buy", qty=10, price=price)
    rig.ask("cancel", order=77)
    rig.machine.run.cells[inline.ENDED] = 1  # what is under way is answered
    rig.turn()
    rig.turn()
    rig.write(folder, folder / "source", [])
    rig.close()
    replay = Replay(folder)
    replay._machine = replay._machine._replace(pump=pump())
    one = Projector(replay, folder, folder / "projections.db")
    one.play()
    one.close()
    return folder / "projections.db"


@contextmanager
def serving(db: Path, session: str = "", files: serve.Files = (None, None, None)) -> Iterator[serve.Server]:
    with serve.Server(db, session, "127.0.0.1", 0, files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


Get = Callable[..., tuple[int, dict[str, Any]]]


def get(server: serve.Server, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, Any]]:
    link = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    method = "GET" if body is None else "POST"
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    if body is not None:
        given.setdefault("Content-Type", "application/json")
    try:
        link.request(method, path, body, given)
        answer = link.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        link.close()


def fits(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> bool:
    """As much of JSON Schema as the description uses for answers."""
    if "$ref" in schema:
        return fits(value, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    if "enum" in schema:
        return value in schema["enum"]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    types = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}
    if not any(isinstance(value, types[kind]) and (kind == "boolean") == isinstance(value, bool) for kind in kinds):
        return False
    if isinstance(value, list):
        return all(fits(one, schema["items"], document) for one in value)
    if isinstance(value, dict) and "properties" in schema:
        named = schema["properties"]
        return set(schema["required"]) <= set(value) and all(fits(value[key], named[key], document) for key in value)
    return True


def test_every_path_answers_as_it_is_described(db: Path) -> None:
    with serving(db) as server:
        status, document = get(server, "/openapi.json")
        assert status == 200 and document == json.loads(json.dumps(openapi.describe()))
        for path, does in document["paths"].items():
            if "get" in does:
                status, found = get(server, path)
                schema = does["get"]["responses"]["200"]["content"]["application/json"]["schema"]
                assert status == 200 and fits(found, schema, document), path
        named = document["paths"]["/v1/commands"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert [one["title"] for one in named["oneOf"]] == list(SHAPES)
    assert set(views.NAMES) == set(queries.QUERIES)


def test_queries_and_their_filters(db: Path) -> None:
    with serving(db) as server:
        fills = get(server, "/v1/blotter?kind=fill&instrument=AAA")[1]["rows"]
        assert [row["kind"] for row in fills] == ["fill"] * len(fills) and fills[0]["price"].startswith("15")
        held = get(server, "/v1/positions")[1]["rows"][0]
        assert held["position"] == sum(row["qty"] for row in fills) == 10
        assert float(held["cash"]) == pytest.approx(-sum(row["qty"] * float(row["price"]) for row in fills))
        audit = get(server, "/v1/audit?command=submit")[1]["rows"]
        assert [row["id"] for row in audit] == ["first 0", "first 1"] and audit[0]["order_id"] > 0
        first = audit[0]["sequence"]
        assert [row["id"] for row in get(server, f"/v1/audit?after={first}&limit=1")[1]["rows"]] == ["first 1"]
        assert get(server, "/v1/audit?id=first%201")[1]["rows"] == audit[1:]
        (order,) = get(server, "/v1/orders")[1]["rows"]
        assert (order["owner"], order["state"], order["qty"]) == ("operator", "live", 10)
        used = {row["name"]: row["used"] for row in get(server, "/v1/limits")[1]["rows"]}
        assert used["open_order_max"] == 1 and used["position_qty_max"] == 20
        for path, part in (
            ("/v1/pnl?kind=fill", "no filter kind"), ("/v1/audit?limit=0", "wanted 1 to"), ("/v1/audit?after=x", "int"),
            ("/v1/audit?limit=-5", "wanted 1 to"), ("/v1/audit?after", "after"),
            ("/v1/audit?id=x'%20OR%201", None),
        ):  # fmt: skip
            status, found = get(server, path)
            assert (
                (status, found.get("rows")) == (200, []) if part is None else status == 400 and part in found["error"]
            )
        assert get(server, "/v2/pnl")[0] == get(server, "/v1/nothing")[0] == 404


def test_the_command_line_gives_the_same_rows(db: Path) -> None:
    for name in queries.QUERIES:
        found = ultra("query", str(db.parent), name, "--json")
        assert found.code == 0 and found.found == queries.ask(db, name)
    assert (
        ultra("query", str(db), "audit", "--json", "--command", "submit", "--limit", "1").found["rows"][0]["id"]
        == "first 0"
    )
    assert ultra("query", str(db), "pnl", "--kind", "fill").code == 4
    missing = ultra("query", str(db.parent / "no.db"), "pnl")
    assert missing.code == 4 and "ultra project" in missing.said
    assert "so far" in queries.as_text("pnl", queries.ask(db, "pnl"))


def test_nothing_projected_is_an_answer_too(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    for name in ("none.db", "empty.db"):
        with serving(tmp_path / name) as server:
            status, found = get(server, "/v1/pnl")
            assert status == 503 and "ultra project" in found["error"]
            assert get(server, "/v1/commands", b"{}")[0] == 503


# ---- who may ask


def test_no_web_page_can_ask(db: Path) -> None:
    with serving(db, "nobody") as server:
        assert get(server, "/v1/pnl", Host="evil.example:8642")[0] == 403
        assert get(server, "/v1/pnl", Host="127.evil.example")[0] == 403
        assert get(server, "/v1/pnl", Host="localhost:1")[0] == 200
        assert get(server, "/v1/pnl", Origin="http://evil.example")[0] == 403
        assert get(server, "/v1/commands", b"{}", Content_Type="text/plain")[0] == 415
        assert get(server, "/v1/commands", b"{}", Host="evil.example")[0] == 403
        assert get(server, "/v1/commands", b"x" * 5000)[0] == 413
        assert get(server, "/v1/commands", b"[1]")[0] == get(server, "/v1/commands", b"{")[0] == 400
        assert get(server, "/v1/pnl", b"{}")[0] == 404


def test_another_user_of_the_machine_is_not_answered(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(db, "nobody") as server:
        monkeypatch.setattr(serve, "user_of", lambda client, here: os.geteuid() + 1)
        status, found = get(server, "/v1/pnl")
        assert status == 403 and "may not ask" in found["error"]
        assert get(server, "/v1/commands", b"{}")[0] == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "example.org", "::1", ""])
def test_only_loopback_is_served_without_certificates(db: Path, host: str) -> None:
    with pytest.raises(serve.ServeError, match=r"not 127\.x"):
        serve.Server(db, "", host, 0)


def test_certificates_belong_together_and_are_read(db: Path, tmp_path: Path) -> None:
    with pytest.raises(serve.ServeError, match="belong together"):
        serve.Server(db, "", "127.0.0.1", 0, (tmp_path / "x", None, None))
    with pytest.raises(serve.ServeError, match="x"):
        serve.Server(db, "", "127.0.0.1", 0, (tmp_path / "x", tmp_path / "x", tmp_path / "x"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
@pytest.mark.slow
def test_with_certificates_both_sides_show_one(db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates(tmp_path)
    files = (tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem")
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(serve.call, "ask", lambda session, words: told.append(words) or {"ok": True})
    with serving(db, "desk", files) as server:
        ours = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        ours.load_cert_chain(tmp_path / "alice.pem", tmp_path / "alice.key")
        link = http.client.HTTPSConnection("127.0.0.1", server.server_port, context=ours, timeout=20)
        link.request("GET", "/v1/pnl")
        assert json.loads(link.getresponse().read())["rows"]
        link.request("POST", "/v1/commands", json.dumps({"who": "me"}), {"Content-Type": "application/json"})
        assert link.getresponse().status == 200 and told == [{"who": "alice: me"}]
        link.close()
        bare = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        link = http.client.HTTPSConnection("127.0.0.1", server.server_port, context=bare, timeout=20)
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            link.request("GET", "/v1/pnl")
            link.getresponse()
        link.close()


def certificates(folder: Path) -> None:
    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
    for name, more in (("server", "subjectAltName=IP:127.0.0.1"), ("alice", "keyUsage=digitalSignature")):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / "more").write_text(more)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "more", "-out", f"{name}.pem")  # fmt: skip


# ---- commands


def test_a_command_reaches_the_desk_and_its_answer_comes_back(db: Path) -> None:
    rig, stop = Rig(), threading.Event()

    def turn() -> None:
        while not stop.wait(0.001):
            rig.turn()

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        with serving(db, "test") as server:
            body = json.dumps({"command": "halt", "id": "a", **COMMON}).encode()
            status, found = get(server, "/v1/commands", body)
            assert status == 200 and fits(found, {"$ref": "Answer"}, openapi.describe()) and not found["repeated"]
            assert get(server, "/v1/commands", body)[1] == found | {"repeated": True}
            refused = {"command": "submit", "id": "b", "instrument": "AAA", "side": "buy", "qty": 1, "price": 150}
            status, found = get(server, "/v1/commands", json.dumps(refused | COMMON).encode())
            assert (status, found["reason"]) == (409, "halted") and fits(found, {"$ref": "Answer"}, openapi.describe())
            status, found = get(server, "/v1/commands", b'{"command": "halt"}')
            assert status == 400 and "id: missing" in found["error"]
    finally:
        stop.set()
        thread.join()
        rig.close()
    with serving(db, "test") as server:
        status, found = get(server, "/v1/commands", b"{}")
        assert status == 503 and "nobody listens" in found["error"] and not desk.path_of("test").exists()
