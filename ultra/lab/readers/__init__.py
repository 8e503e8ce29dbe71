"""Readers: one file a format, each a function from a path (or an object) to a tape.

A reader says of what it can't use where it stands: the row or line from 1, or the record from 0.
"""


class DataError(Exception):
    """Data that can't be made a tape: names the source, the row, what is wrong with it, and what to give or do."""


class DamagedError(DataError):
    """Data whose bytes are not what was once written: cut, or altered."""


def noted(notes: dict[str, int], name: str, count: int = 1) -> None:
    """Count something that a reader had to infer or leave out."""
    if count:
        notes[name] = notes.get(name, 0) + count
