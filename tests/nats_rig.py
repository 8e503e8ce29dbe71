"""Real servers of NATS for the tests: one, or a cluster of three, on free ports of 127.0.0.1, each in its own folder.

The binary is ULTRA_NATS_SERVER, else `nats-server` on the PATH or in /usr/sbin. Where there is none the tests that
want one are skipped, and say so; with ULTRA_REQUIRE_NATS=1 they fail.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import until

from ultra.cold import shipper

PATHS = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


def binary() -> str:
    """The server, or the test is skipped."""
    found = os.environ.get("ULTRA_NATS_SERVER") or shutil.which("nats-server", path=PATHS)
    if not found:
        if os.environ.get("ULTRA_REQUIRE_NATS") == "1":
            pytest.fail("ULTRA_REQUIRE_NATS=1, and there is no nats-server (Debian: apt install nats-server)")
        pytest.skip("no nats-server on the PATH (Debian: apt install nats-server), nor in ULTRA_NATS_SERVER")
    return found


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


class Server:
    """One server. Its files stay where they are when it is killed."""

    def __init__(self, folder: Path, name: str, ports: list[int], routes: list[int], more: str = "") -> None:
        self.name, self.folder, self.port = name, folder, ports[0]
        self._monitor = ports[1]
        self.config, self.log = folder / f"{name}.conf", folder / f"{name}.log"
        text = (
            f'host: "127.0.0.1"\nport: {ports[0]}\nhttp: "127.0.0.1:{ports[1]}"\nserver_name: {name}\n'
            f'jetstream {{ store_dir: "{folder / name}", max_mem: 64M, max_file: 2G }}\n{more}\n'
        )
        if routes:
            peers = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
            text += f'cluster {{ name: C, host: "127.0.0.1", port: {ports[2]}, routes: [{peers}] }}\n'
        self.config.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("a") as log:
            self._process = subprocess.Popen([binary(), "-c", str(self.config)], stdout=log, stderr=subprocess.STDOUT)

    def is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor}/healthz", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def wait(self) -> "Server":
        until(self.is_ready, f"{self.name} is ready")
        return self

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor(self) -> str:
        return f"http://127.0.0.1:{self._monitor}"


@contextlib.contextmanager
def single(folder: Path, more: str = "") -> Iterator[Server]:
    binary()
    server = Server(folder, "one", free_ports(2), [], more)
    server.start()
    try:
        yield server.wait()
    finally:
        server.kill()


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[list[Server]]:
    binary()
    ports = free_ports(9)
    routes = ports[6:]
    servers = [Server(folder, f"n{k}", [ports[k], ports[3 + k], routes[k]], routes) for k in range(3)]
    for server in servers:
        server.start()
    try:
        yield [server.wait() for server in servers]
    finally:
        for server in servers:
            server.kill()


def api(url: str, what: str, words: dict[str, Any] | None = None) -> dict[str, Any]:
    """One call of JetStream's."""

    async def ask() -> dict[str, Any]:
        line = shipper.Line(shipper.place_of(url))
        try:
            await line.open()
            return await line.api(what, words)
        finally:
            await line.close()

    return asyncio.run(ask())


def told(server: Server, path: str) -> dict[str, Any]:
    """What its monitoring port says."""
    with urllib.request.urlopen(f"{server.monitor}/{path}", timeout=2) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def patient(act: Any, seconds: float = 30.0) -> Any:
    """Again and again, until a cluster has made up its mind."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return act()
        except (shipper.LineError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
