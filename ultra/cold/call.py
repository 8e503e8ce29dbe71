"""The other end of the operator's desk: one command sent, one answer read. Of everything that is not the run itself."""

from __future__ import annotations

import json
import socket
from typing import Any, Final

from .desk import LINE_BYTES_MAX, PREFIX, DeskError, path_of

ANSWER_BYTES_MAX: Final = 1 << 16


def sessions() -> list[str]:
    """Runs that have a desk, dead ones among them."""
    folder = path_of("x").parent
    return sorted(path.name.removeprefix(PREFIX) for path in folder.glob(PREFIX + "*"))


def ask(session: str, words: dict[str, Any], timeout_s: float = 10.0) -> dict[str, Any]:
    """Send a command to a run, and wait for its answer. DeskError when there is none: under the same id it may be sent
    again, and is done once."""
    line = json.dumps(words).encode() + b"\n"
    if len(line) > LINE_BYTES_MAX:
        raise DeskError(f"session {session}: a command of {len(line)} bytes, at most {LINE_BYTES_MAX}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(timeout_s)
        try:
            link.connect(str(path_of(session)))
        except OSError as error:
            known = ", ".join(sessions()) or "none"
            raise DeskError(
                f"session {session}: nobody listens ({error.strerror or error}); runs here: {known}"
            ) from error
        heard = b""
        try:
            link.sendall(line)
            while not heard.endswith(b"\n") and len(heard) < ANSWER_BYTES_MAX:
                piece = link.recv(ANSWER_BYTES_MAX)
                if not piece:
                    break
                heard += piece
        except OSError as error:
            raise DeskError(
                f"session {session}: no answer ({error.strerror or error}); the command may have been done. Send it "
                "again under the same id: it is done once"
            ) from error
    if not heard.endswith(b"\n"):
        raise DeskError(f"session {session}: it ended before it answered; ultra query shows what its journal has")
    found: dict[str, Any] = json.loads(heard)
    return found
