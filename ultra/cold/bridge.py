"""Commands over NATS: a request on `ultra.ctl.<session>` goes to that run's desk as it is, and its answer comes back.

Nothing is checked here but the size: the desk checks whatever comes, from whomever, and an id is done once, so a
request that is sent again because its answer was lost does no harm, nor does a second bridge. Who may publish on the
subject is the server's matter (accounts, certificates); `who` says that it came this way.
Known bad case: a request that nobody answers in time may have been done. Ask again under the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, Final

from . import call
from .desk import LINE_BYTES_MAX, DeskError
from .shipper import Line, LineError, Place

RETRY_S: Final = 0.5
ASK_S: Final = 10.0
WHO_BYTES_MAX: Final = 64


def subject_of(session: str) -> str:
    """Where a run's commands are sent."""
    return f"ultra.ctl.{session}"


class Bridge:
    """One run's desk, on NATS."""

    def __init__(self, session: str, place: Place, told: Callable[[str], None]) -> None:
        if any(letter in session for letter in " .*>\t\r\n"):
            raise DeskError(f"session {session!r}: on NATS a name has no blanks, dots, * or >")
        self._session, self._place, self._told = session, place, told
        self._wake: asyncio.Event | None = None
        self._stopped = False

    def stop(self) -> None:
        """End; called by a signal."""
        self._stopped = True
        if self._wake is not None:
            self._wake.set()

    async def run(self) -> None:
        """Until `stop`. NATS may go and come back."""
        self._wake = asyncio.Event()
        said = ""
        while not self._stopped:
            line = Line(self._place)
            try:
                await line.open(self._wake.set)
                await line.serve(subject_of(self._session), self._answer)
                said = ""
                self._told(f"commands for {self._session} on {subject_of(self._session)}")
                while line.is_open and not self._stopped:
                    await self._wait(1.0)
            except LineError as error:
                if str(error) != said:
                    self._told(str(error))
                said = str(error)
                await self._wait(RETRY_S)
            finally:
                await line.close()

    async def _wait(self, seconds: float) -> None:
        assert self._wake is not None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
        self._wake.clear()

    async def _answer(self, data: bytes) -> bytes:
        return json.dumps(await asyncio.to_thread(self.pass_on, data)).encode()

    def pass_on(self, data: bytes) -> dict[str, Any]:
        """One request's answer, from the desk."""
        if len(data) > LINE_BYTES_MAX:
            return {"ok": False, "error": f"a command of {len(data)} bytes, at most {LINE_BYTES_MAX}"}
        try:
            words: Any = json.loads(data)
            if not isinstance(words, dict):
                raise ValueError("wanted one JSON object")
        except (ValueError, RecursionError) as error:
            return {"ok": False, "error": f"not a command: {error}"}
        if isinstance(words.get("who"), str):
            words["who"] = f"nats: {words['who']}".encode()[:WHO_BYTES_MAX].decode("utf-8", "ignore")
        try:
            return call.ask(self._session, words, ASK_S)
        except DeskError as error:
            return {"ok": False, "id": str(words.get("id", "")), "error": str(error)}


def ask(place: Place, session: str, words: dict[str, Any], timeout_s: float = ASK_S) -> dict[str, Any]:
    """Send a command to a run over NATS, and wait for its answer. DeskError as `call.ask`."""

    async def request() -> bytes:
        line = Line(place)
        try:
            await line.open()
            return await line.ask(subject_of(session), json.dumps(words).encode(), timeout_s)
        finally:
            await line.close()

    try:
        found: dict[str, Any] = json.loads(asyncio.run(request()))
    except LineError as error:
        raise DeskError(
            f"session {session} over {place}: {error}; the command may have been done. Send it again under the "
            "same id: it is done once"
        ) from error
    return found
