"""`ultra load`: clients that log in to a venue and send at a fixed rate, whatever it answers.

The connections are opened and logged in here, one after the other; then one compiled loop drives all of them
(`ultra.venues.volley`), spinning, so that what is measured is the venue and the kernel. The end is orderly: what is
under way is waited for, clients log out, and an account that cancels on disconnect has nothing left.
Known bad case: on a machine without a core to itself the figures are those of the scheduler.
"""

import os
import re
import socket
import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

from ..config_link import PASSWORD, host_port, user
from ..hot import clock, door
from ..hot import histogram as histograms
from ..venues import link as links
from ..venues import soupbin, volley
from ..wire import symbol_to_int

SLICE_S = 0.05
PATIENCE_S = 2.0  # for the last answers
LOGIN_S = 5.0
PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)
TICK = 100  # a cent, in 1/10000

_up = door(links.up)


class LoadError(Exception):
    """The load can't be put on: names the client and what to do."""


class Client(NamedTuple):
    """Who logs in where."""

    host: str
    port: int
    name: str
    password: str


def rate(text: str) -> int:
    """Messages a second out of `10000/s`; LoadError when it is none."""
    found = re.fullmatch(r"([0-9]{1,8})(/s)?", text)
    if not found or not 1 <= int(found[1]) <= 10**7:
        raise LoadError(f"--rate {text}: wanted 1/s to 10000000/s")
    return int(found[1])


def wanted(addresses: str, count: int | None, password_file: Path | None) -> list[Client]:
    """The clients of `ouch://USER@HOST:PORT,...`, at most `count`; LoadError for what is none."""
    kept = dict(line.split() for line in password_file.read_text().splitlines()) if password_file else {}
    found = []
    for part in addresses.split(","):
        if part.startswith(("udp://", "request://")):
            continue  # so that the word that `ultra run` takes can be given as it is
        if not re.fullmatch(r"ouch://[A-Za-z0-9]{1,6}@[A-Za-z0-9.-]{1,253}:[0-9]{1,5}", part):
            raise LoadError(f"--venue {part}: wanted ouch://USER@HOST:PORT")
        found.append(Client(*host_port(part), user(part), kept.get(user(part)) or os.environ.get(PASSWORD, "")))
    if count is not None and not 1 <= count <= len(found):
        raise LoadError(f"--clients {count}: --venue names {len(found)}; each account logs in once")
    return found[:count]


def run(
    clients: list[Client], *, rate: int, seconds: float, symbols: list[str], price: str, seed: int = 1
) -> dict[str, Any]:
    """Put on the load and say what came of it. LoadError when a client can't log in."""
    try:
        units = int(Decimal(price).scaleb(4)) // TICK * TICK
    except InvalidOperation as error:
        raise LoadError(f"--price {price}: wanted a number as 585.25") from error
    if not 0 < seconds < 1e6 or not clients:
        raise LoadError("wanted at least one client, and seconds above 0")
    load = volley.create(len(clients), [symbol_to_int(symbol) for symbol in symbols], price=units, tick=TICK, seed=seed)
    volley.play(load, 0)
    ns_per_tick = clock.calibrate()
    opened = []
    try:
        for at, client in enumerate(clients):
            connection, number = log_in(client)
            opened.append(connection)
            load.clients[at].next_ref, load.clients[at].linked = number, 1
            _up(links.Link(*(part[at] for part in load.bank)), connection.fileno(), clock.now())
        return _play(load, rate, seconds, ns_per_tick) | {"clients": len(clients), "rate_wanted": rate}
    finally:
        for connection in opened:
            _log_out(connection)


def _play(load: volley.Volley, rate: int, seconds: float, ns_per_tick: float) -> dict[str, Any]:
    cells = load.cells
    cells[volley.STEP_E16] = round((1 << 16) * 1e9 / ns_per_tick / rate)
    cells[volley.BEGIN], cells[volley.LIMIT] = clock.now(), max(1, round(rate * seconds))
    begun, slice_ticks = time.perf_counter(), round(SLICE_S * 1e9 / ns_per_tick)
    until = begun + seconds + PATIENCE_S
    while time.perf_counter() < until:
        waiting = volley.play(load, clock.now() + slice_ticks)
        done = int(cells[volley.SENT]) == int(cells[volley.LIMIT])
        if (done and waiting == 0) or not load.clients.linked.any():
            break
    wall = time.perf_counter() - begun
    counts = volley.counts(load)
    sent = counts["orders"] + counts["replaces"]
    return counts | {
        "sent": sent,
        "unanswered": sent - counts["answered"],
        "behind": int(cells[volley.LIMIT] - cells[volley.SENT]),
        "seconds": round(wall, 3),
        "rate": round((sent + counts["cancels"]) / wall, 1),
        "latency_ns": {
            **{f"p{p:g}": round(histograms.percentile(load.latency, p) * ns_per_tick) for p in PERCENTILES},
            "max": round(int(load.latency.largest[0]) * ns_per_tick),
        },
        "hdr": [
            (round(histograms.edges(k)[0] * ns_per_tick), round(histograms.edges(k)[1] * ns_per_tick), int(count))
            for k, count in enumerate(load.latency.counts)
            if count
        ],
    }


def log_in(client: Client) -> tuple[socket.socket, int]:
    """A connection that is logged in, and the first number that its account may use. LoadError when it can't be."""
    what = f"{client.name}@{client.host}:{client.port}"
    try:
        connection = socket.create_connection((client.host, client.port), LOGIN_S)
    except OSError as error:
        raise LoadError(f"{what}: {error}; does a venue listen there?") from error
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(soupbin.login(client.name, client.password) + soupbin.framed("U", b"Q"))
        kind, body = _packet(connection)
        if kind != "A":
            raise LoadError(f"{what}: the login was refused ({body.decode('latin-1')}): is its password right?")
        while kind != "S" or body[:1] != b"Q":
            kind, body = _packet(connection)
        connection.setblocking(False)
    except (OSError, LoadError) as error:
        connection.close()
        raise error if isinstance(error, LoadError) else LoadError(f"{what}: {error}") from error
    return connection, int.from_bytes(body[9:13], "big")


def _packet(connection: socket.socket) -> tuple[str, bytes]:
    length = int.from_bytes(_exactly(connection, 2), "big")
    raw = _exactly(connection, length)
    return chr(raw[0]), raw[1:]


def _exactly(connection: socket.socket, count: int) -> bytes:
    raw = b""
    while len(raw) < count:
        more = connection.recv(count - len(raw))
        if not more:
            raise ConnectionError("the venue hung up")
        raw += more
    return raw


def _log_out(connection: socket.socket) -> None:
    try:
        connection.setblocking(True)
        connection.settimeout(1.0)
        connection.sendall(soupbin.framed("O"))
    except OSError:
        pass  # it is gone already, which was counted
    finally:
        connection.close()


def as_text(found: dict[str, Any]) -> str:
    """The page that a person reads."""
    lines = []
    for key, value in found.items():
        if key == "hdr":
            continue
        if isinstance(value, dict):
            value = "  ".join(f"{name} {count / 1000:.1f} us" for name, count in value.items())
        lines.append(f"{key:<12} {value}")
    return "\n".join(lines)
