"""Who runs the venue talks to it: words over a Unix socket that only its owner may open, one JSON line back for each.

    halt|resume SYMBOL, auction SYMBOL [open|close], uncross SYMBOL      SYMBOL or `all`
    disconnect USER                                                     drop the client's connection
    drop|duplicate|reorder PERMILLE, delay PERMILLE [PACKETS]           a bad network on the feed's lines, 0 = not
    request-server off|on                                               nobody gets lost packets again
    status                                                              every count
    stop                                                                end the day in good order

A connection may send several lines. What a word means is the venue's: this file only owns the socket.
Known bad case: a peer that never ends its line keeps its place; there are PEERS_MAX of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

LINE_MAX: Final = 4096
PEERS_MAX: Final = 8
WAIT_S: Final = 5.0


class OperatorError(Exception):
    """The venue can't be talked to, or does not take this word: says which and what it takes."""


class Operator:
    """The venue's end."""

    def __init__(self, path: Path, act: Callable[[list[str]], dict[str, Any]]) -> None:
        """`act` does what a line of words says and returns its answer; OperatorError is one too."""
        self.path = path
        self._act = act
        self._peers: dict[socket.socket, bytes] = {}
        if len(os.fsencode(path)) > 100:
            raise OperatorError(f"{path}: a Unix socket's path has at most 100 bytes; set exchange.socket")
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # of a venue that was killed: two on one folder is refused by its lock
        before = os.umask(0o177)  # from the first moment on nobody else may open it
        try:
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            self._listener.bind(str(path))
        except OSError as error:
            raise OperatorError(f"{path}: {error.strerror}; set exchange.socket to a path that can be made") from error
        finally:
            os.umask(before)
        self._listener.listen(PEERS_MAX)

    def files(self) -> list[int]:
        """Numbers of the sockets on which something may come."""
        return [self._listener.fileno(), *(peer.fileno() for peer in self._peers)]

    def turn(self) -> None:
        """Answer whoever has asked. Never blocks."""
        with contextlib.suppress(BlockingIOError):
            while len(self._peers) < PEERS_MAX:
                peer, _ = self._listener.accept()
                peer.setblocking(False)
                self._peers[peer] = b""
        for peer in list(self._peers):
            self._hear(peer)

    def _hear(self, peer: socket.socket) -> None:
        try:
            raw = peer.recv(LINE_MAX)
            lines = (self._peers[peer] + raw).split(b"\n")
            self._peers[peer] = lines.pop()
            for line in lines:
                peer.sendall(json.dumps(self._answer(line)).encode() + b"\n")
            gone = not raw or len(self._peers[peer]) > LINE_MAX
        except BlockingIOError:
            return
        except OSError:
            gone = True  # it left without waiting for its answer
        if gone:
            del self._peers[peer]
            peer.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return self._act(line.decode("ascii").split())
        except (OperatorError, UnicodeDecodeError) as error:
            return {"error": str(error)}

    def close(self) -> None:
        """Close everything and take the path away."""
        for peer in self._peers:
            peer.close()
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()


def ask(path: Path, words: list[str]) -> dict[str, Any]:
    """Say one line to a venue and return its answer. OperatorError when it can't be reached or refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(WAIT_S)
        try:
            peer.connect(str(path))
            peer.sendall(" ".join(words).encode() + b"\n")
            raw = b""
            while not raw.endswith(b"\n"):
                more = peer.recv(1 << 16)
                if not more:
                    raise OperatorError(f"{path}: the venue hung up")
                raw += more
        except (OSError, UnicodeEncodeError) as error:
            raise OperatorError(f"{path}: {error}; is that venue running?") from error
    answer: dict[str, Any] = json.loads(raw)
    if "error" in answer:
        raise OperatorError(str(answer["error"]))
    return answer
