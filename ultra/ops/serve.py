"""`ultra serve`: queries and commands over HTTP and JSON, for what can't run the command line.

Queries read the projections and nothing else. Commands go to the run's desk as they are: what is checked is checked
there. On loopback only processes of our own user are answered (the kernel says whose a connection is), and no web page
can ask in their name: the Host must be loopback's, an Origin is refused, a command must be JSON. Anywhere else both
sides show a certificate, and the name in the asker's stands beside `who`.
Known bad case: TLS ends here; a proxy in front of it would make every asker the same.
"""

import ipaddress
import json
import os
import socket
import ssl
import struct
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..cold import call
from ..cold.command import SHAPES
from ..cold.desk import LINE_BYTES_MAX, DeskError
from ..cold.projection import ProjectionError
from . import openapi, queries

IDLE_S = 10.0
Files = tuple[Path | None, Path | None, Path | None]


class ServeError(Exception):
    """It can't be served: says what was asked for, and what is allowed."""


class Server(ThreadingHTTPServer):
    """One database and, if there is a session, one desk."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, db: Path, session: str, host: str, port: int, files: Files = (None, None, None)) -> None:
        self.db, self.session = db, session
        self.tls = _context(files)
        if self.tls is None and not _is_loopback(host):
            raise ServeError(f"--host {host}: not 127.x; others only with --tls-cert, --tls-key and --tls-ca")
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise ServeError(f"{host}:{port}: {error}; another --port or --host") from error

    def get_request(self) -> tuple[Any, Any]:
        """A connection; the handshake comes in its own thread."""
        link, address = self.socket.accept()
        link.settimeout(IDLE_S)
        if self.tls is not None:
            link = self.tls.wrap_socket(link, server_side=True, do_handshake_on_connect=False)
        return link, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or could not show a certificate, is its own affair."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "ultra", ""
    timeout = IDLE_S

    def do_GET(self) -> None:
        """A query, or the description."""
        if not self._allowed():
            return
        url = urlsplit(self.path)
        name = url.path.removeprefix("/v1/")
        if url.path == "/openapi.json":
            self._send(200, openapi.describe())
        elif url.path.startswith("/v1/") and name in queries.QUERIES:
            self._query(name, url.query)
        else:
            self._send(404, {"error": f"{url.path}: not here; /openapi.json says what is"})

    def do_POST(self) -> None:
        """A command."""
        body = self._body()
        if body is None or not self._allowed():
            return
        if urlsplit(self.path).path != "/v1/commands":
            self._send(404, {"error": f"{self.path}: commands go to /v1/commands"})
            return
        if self.headers.get_content_type() != "application/json":
            self._send(415, {"error": "wanted Content-Type: application/json"})
            return
        try:
            words = json.loads(body)
        except (ValueError, RecursionError) as error:
            self._send(400, {"error": f"not JSON: {error}"})
            return
        if not isinstance(words, dict):
            self._send(400, {"error": f"wanted an object with a command: one of {', '.join(SHAPES)}"})
            return
        self._command(words)

    def _query(self, name: str, text: str) -> None:
        filters: dict[str, str | int] = {}
        try:
            for key, value in parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=16):
                whole = key in queries.FILTERS and queries.FILTERS[key][0] == "integer"
                filters[key] = int(value) if whole else value
        except ValueError as error:
            self._send(400, {"error": f"{text}: {error}"})
            return
        try:
            self._send(200, queries.ask(self.server.db, name, filters))
        except ProjectionError as error:
            self._send(503 if error.__cause__ or not self.server.db.is_file() else 400, {"error": str(error)})

    def _command(self, words: dict[str, Any]) -> None:
        if not self.server.session:
            self._send(503, {"error": "no session to command: ultra serve --session NAME"})
            return
        if self.server.tls is not None:
            words = words | {"who": f"{self._name()}: {words.get('who', '')}"[:64]}
        try:
            found = call.ask(self.server.session, words)
        except DeskError as error:
            self._send(503, {"error": str(error)})
            return
        self._send(400 if "error" in found else 200 if found["ok"] else 409, found)

    def _name(self) -> str:
        """Whom the certificate of the other side is of."""
        shown = dict(pair for group in self.connection.getpeercert()["subject"] for pair in group)
        return str(shown.get("commonName", "unnamed"))

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LINE_BYTES_MAX:
            self.close_connection = True
            self._send(413, {"error": f"wanted Content-Length: up to {LINE_BYTES_MAX}"})
            return None
        return self.rfile.read(int(length))

    def _allowed(self) -> bool:
        """Whether this connection may ask. Says so if not."""
        if self.server.tls is not None:
            return True  # it showed a certificate, or the handshake would have failed
        why = ""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if not _is_loopback(host):
            why = f"Host: {host}: not a name of loopback"
        elif self.headers.get("Origin"):
            why = "not for web pages"
        elif (user := user_of(self.client_address, self.connection.getsockname())) not in (os.geteuid(), 0):
            why = f"user {user} may not ask an engine of user {os.geteuid()}"
        if why:
            self.close_connection = True
            self._send(403, {"error": why})
        return not why

    def _send(self, status: int, found: dict[str, Any]) -> None:
        body = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *words: Any) -> None:
        """Nothing: commands are in the audit, queries change nothing."""


def user_of(client: tuple[str, int], here: tuple[str, int]) -> int:
    """Who has the other end of a connection over loopback, by the kernel's table; -1 when it is not in it."""
    local, remote = _hex(client), _hex(here)
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1] == local and words[2] == remote:
            return int(words[7])
    return -1


def _hex(address: tuple[str, int]) -> str:
    """An address as /proc/net/tcp writes it."""
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return False


def _context(files: Files) -> ssl.SSLContext | None:
    """Both sides show a certificate; None when no files are given."""
    cert, key, ca = files
    if cert is None and key is None and ca is None:
        return None
    if cert is None or key is None or ca is None:
        raise ServeError("--tls-cert, --tls-key and --tls-ca belong together")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(cert, key)
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise ServeError(f"{cert}, {key}, {ca}: {error}") from error
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def run(db: Path, session: str, host: str, port: int, files: Files) -> int:
    """Until ^C."""
    with Server(db, session, host, port, files) as server:
        scheme = "https" if server.tls else "http"
        print(f"ultra: {scheme}://{host}:{server.server_port}/openapi.json", file=sys.stderr, flush=True)
        server.serve_forever()
    return 0
