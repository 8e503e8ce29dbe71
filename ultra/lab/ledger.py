"""What a search has found so far, in one SQLite file: killed at any moment, it goes on where it was.

A row is a parameter set, by its content, and its figures as JSON (floats as their shortest exact text). Rows come in
one transaction a batch, so a set is there whole or not at all. The first thing in the file is what it is of: strategy,
data, terms. A search of anything else is refused, never mixed in.
Known bad case: two searches on one file at a time: SQLite lets one wait for the other, and both run every set.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from .ranges import SearchError

Figures = dict[str, Any]


class Ledger:
    """The file. Without a path nothing is kept, and nothing is known."""

    def __init__(self, path: Path | str | None, of: Mapping[str, str]) -> None:
        self._found: dict[str, Figures] = {}
        self._file: sqlite3.Connection | None = None
        if path is None:
            return
        where = Path(path)
        where.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = sqlite3.connect(where)
            self._file.execute("create table if not exists is_of (name text primary key, value text) without rowid")
            self._file.execute("create table if not exists found (key text primary key, figures text) without rowid")
            known = dict(self._file.execute("select name, value from is_of"))
            rows = self._file.execute("select key, figures from found").fetchall()
        except sqlite3.DatabaseError as error:
            self._close()
            raise SearchError(f"{where}: is no file of a search ({error}): name another, or remove it") from error
        other = [name for name in of if known and known.get(name) != of[name]]
        if other:
            self._close()
            raise SearchError(f"{where}: is of a search with another {', '.join(other)}: name another file")
        with self._file:
            self._file.executemany("insert or ignore into is_of values (?, ?)", list(of.items()))
        self._found = {key: json.loads(text) for key, text in rows}

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: str) -> Figures | None:
        """The figures of a set, None if it was not run."""
        return self._found.get(key)

    def add(self, rows: Sequence[tuple[str, Figures]]) -> None:
        """Sets that were run, all of them or none."""
        self._found.update(rows)
        if self._file is not None:
            with self._file:
                self._file.executemany(
                    "insert or replace into found values (?, ?)", [(key, json.dumps(found)) for key, found in rows]
                )

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
