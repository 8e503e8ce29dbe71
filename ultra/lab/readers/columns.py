"""A table, whoever holds it, as named NumPy columns: CSV text, Parquet, Arrow, pandas, polars, NumPy.

Blocks of at most BLOCK_ROWS, so that a table on disk is never whole in memory. A CSV needs nothing but NumPy; the rest
needs the package it is made by.
Known bad case: a CSV whose quoted cells hold line breaks is read by `csv` as it should, but its rows are then counted
from the first as records, not as lines.
"""

import csv
import gzip
import io
import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..extra import need
from . import DataError

BLOCK_ROWS: Final = 1 << 16
FLOAT_TEXT_MAX: Final = 17
NOTHING: Final = {"", ".", "-", "na", "n/a", "nan", "null", "none"}  # cells that say that there is no value
Block = tuple[Any, dict[str, Any]]  # numbers of its rows, as messages give them; name -> column


def is_table(source: Any) -> bool:
    """Whether this is an object in memory that has columns."""
    module = type(source).__module__.partition(".")[0]
    return module in ("pandas", "polars", "pyarrow") or isinstance(source, np.ndarray | dict)


def of_object(source: Any, names: Sequence[str] | None = None) -> Iterator[Block]:
    """The columns of a table in memory. The time of a pandas frame may be its index. Rows count from 0."""
    columns = _columns(source, names)
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1:
        raise DataError(f"columns of lengths {sorted(lengths)}: they are of one table, so of one length")
    rows = np.arange(lengths.pop())
    for at in range(0, len(rows), BLOCK_ROWS):
        yield rows[at : at + BLOCK_ROWS], {name: column[at : at + BLOCK_ROWS] for name, column in columns.items()}


def _columns(source: Any, names: Sequence[str] | None) -> dict[str, Any]:
    module = type(source).__module__.partition(".")[0]
    if isinstance(source, dict):
        return {str(name): np.asarray(column) for name, column in source.items()}
    if isinstance(source, np.ndarray):
        if source.dtype.names:
            return {name: source[name] for name in source.dtype.names}
        if source.ndim == 2 and names is not None and len(names) == source.shape[1]:
            return {name: source[:, at] for at, name in enumerate(names)}
        raise DataError("an array without field names: give columns=[...], one name a column")
    if module == "pandas":
        return _of_pandas(source)
    if module == "polars":
        return {name: source[name].to_numpy() for name in source.columns}
    if hasattr(source, "to_table"):
        source = source.to_table()
    return {name: source.column(name).to_numpy() for name in source.column_names}


def _of_pandas(source: Any) -> dict[str, Any]:
    frame = source.to_frame() if hasattr(source, "to_frame") and not hasattr(source, "columns") else source
    found = {}
    index = frame.index
    if not (str(index.dtype).startswith("int") and index.name is None):
        found[str(index.name or "time")] = _times(index)
    for at, name in enumerate(frame.columns):
        label = " ".join(str(part) for part in name if part) if isinstance(name, tuple) else str(name)
        found[label] = _times(frame.iloc[:, at])
    return found


def _times(column: Any) -> Any:
    """A column as NumPy; times with a zone as UTC, and said to be."""
    if getattr(column.dtype, "tz", None) is not None:
        column = column.tz_convert("UTC") if hasattr(column, "tz_convert") else column.dt.tz_convert("UTC")
        values = column.to_numpy(dtype="datetime64[ns]")
        return values.astype("M8[ns]").astype(np.int64)
    return column.to_numpy()


def of_file(path: Path, names: Sequence[str] | None = None) -> Iterator[Block]:
    """The columns of a CSV (plain, gzip, or alone in a zip), Parquet or Arrow file, block by block. Rows of a CSV are
    its lines, from 1."""
    with path.open("rb") as opened:
        head = opened.read(8)
    if head[:4] == b"PAR1":
        file = need("pyarrow.parquet").ParquetFile(path)
        yield from _of_batches(file.iter_batches(BLOCK_ROWS))
    elif head[:6] == b"ARROW1":
        file = need("pyarrow").ipc.open_file(path)
        yield from _of_batches(file.get_batch(number) for number in range(file.num_record_batches))
    elif head[:4] == b"\xff\xff\xff\xff":
        yield from _of_batches(need("pyarrow").ipc.open_stream(path))
    else:
        yield from _of_csv(path, names)


def _of_batches(batches: Any) -> Iterator[Block]:
    done = 0
    for batch in batches:
        rows = np.arange(done, done + batch.num_rows)
        done += batch.num_rows
        if batch.num_rows:
            yield (
                rows,
                {name: batch.column(at).to_numpy(zero_copy_only=False) for at, name in enumerate(batch.schema.names)},
            )


def text_of(path: Path) -> Any:
    """A text file, plain, gzip, or alone in a zip, opened."""
    with path.open("rb") as file:
        head = file.read(4)
    if head[:2] == b"\x1f\x8b":
        return gzip.open(path, "rt", newline="")
    if head == b"PK\x03\x04":
        archive = zipfile.ZipFile(path)
        inside = archive.namelist()
        if len(inside) != 1:
            raise DataError(f"{path} holds {len(inside)} files: take out the one that is meant")
        return io.TextIOWrapper(archive.open(inside[0]), newline="")
    return path.open("rt", newline="")


def _of_csv(path: Path, names: Sequence[str] | None) -> Iterator[Block]:
    with text_of(path) as file:
        first = file.readline()
        separator = max(",;\t|", key=first.count)
        header = next(csv.reader([first], delimiter=separator), [])
        rows = csv.reader(file, delimiter=separator)
        done = 1
        labels = [name.strip().lstrip("\ufeff") for name in header]
        if all(_is_number(label) or "/" in label or ":" in label for label in labels if label):
            if names is None:
                raise DataError(f"{path} has no header: give columns=[...], one name for each of its {len(labels)}")
            rows, done = csv.reader(_again(first, file), delimiter=separator), 0
        labels = list(names) if names is not None else labels
        while block := list(islice(rows, BLOCK_ROWS)):
            numbers = np.arange(done + 1, done + 1 + len(block))
            done += len(block)
            full = [len(row) == len(labels) for row in block]
            if not all(full):
                numbers, block = numbers[[bool(row) for row in block]], [row for row in block if row]
                for number, row in zip(numbers, block, strict=True):
                    if len(row) != len(labels):
                        raise DataError(f"{path} row {number}: {len(row)} cells, and {len(labels)} columns")
            if block:
                turned = zip(*block, strict=True)
                yield numbers, {name: _typed(column) for name, column in zip(labels, turned, strict=True)}


def _again(first: str, file: Any) -> Iterator[str]:
    yield first
    yield from file


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _typed(cells: Sequence[str]) -> Any:
    """A column of text as numbers where all of it is (NaN where a cell says that there is none), else as it is."""
    try:
        return np.array(cells, np.int64)
    except (ValueError, OverflowError):
        pass
    if len(cells[0]) > FLOAT_TEXT_MAX and "." in cells[0]:
        return np.array(cells, object)  # a float has no room for it: the seconds of a time with nanoseconds behind them
    try:
        return np.array(cells).astype(np.float64)
    except ValueError:
        pass
    try:
        return np.array([np.nan if cell.strip().lower() in NOTHING else float(cell) for cell in cells])
    except ValueError:
        return np.array(cells, object)
