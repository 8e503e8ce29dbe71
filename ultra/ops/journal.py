"""`ultra journal check`, `compact`, `export`: what a journal holds, made smaller, and given to other programs.

A sealed segment never changes again, so it can be packed while its journal is written: the packed copy is synced and
read back before the plain one goes. Retired segments leave one small file with the description of the run and the
chain of what was there, so that the rest is still a journal.
Known bad case: a journal whose beginning was retired is not replayed from nothing; it needs a snapshot.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ..cold import retention, segment, superblock
from ..cold.disk import Folder
from ..cold.segment import RECORDS, RETIRED, JournalError
from ..wire import RECORD

ROWS = 1 << 16  # of a group in a Parquet file


def check(folder: Path) -> dict[str, Any]:
    """Read all of a journal: what it holds, how it ended, and what is wrong with it (`damage`, "" when nothing is)."""
    reader = segment.Reader(folder)
    records, damage = 0, ""
    try:
        for frame in reader.read():
            records += frame.count if frame.kind == RECORDS else 0
    except JournalError as error:
        damage = str(error)
    names, commit = Folder(folder).names(), reader.commit
    state = commit.state if commit is not None else 0
    return {
        "folder": str(folder), "damage": damage, "format": reader.version, "journal": reader.journal_id.hex(),
        "code": reader.code.hex(), "segments": sum(name.startswith("segment-") for name in names),
        "packed": sum(name.endswith(segment.PACKED) for name in names), "retired": RETIRED in names,
        "bytes": sum((folder / name).stat().st_size for name in names), "frames": reader.frames, "records": records,
        "inputs": reader.through, "durable": commit.through if commit is not None else None,
        "ended": "in good order" if state & superblock.CLOSED else "not said" if commit is None else "no",
        "synced": not state & superblock.UNSYNCED if commit is not None else None,
    }  # fmt: skip


def compact(folder: Path, below: int = 0, level: int = 9) -> dict[str, Any]:
    """Pack all segments but the last (zstd), and retire those whose inputs are all below a sequence, which a snapshot
    should have; of a journal that is shipped only what its stream has. JournalError, and nothing is done, when it is
    damaged."""
    disk = Folder(folder)
    extents = retention.survey(folder, disk)
    before = sum((folder / extent.name).stat().st_size for extent in extents)
    reach = retention.streamed(folder, segment.journal_id(folder)) if below else below
    retired = retention.retire(folder, disk, min(below, reach))
    kept = [extent.name for extent in extents[retired:]]
    packed = [_pack(folder, name, level) for name in kept[:-1] if not name.endswith(segment.PACKED)]
    kept = [name for _, name in segment.segment_names(folder, disk)]
    after = sum((folder / name).stat().st_size for name in kept)
    return {
        "folder": str(folder), "packed": len(packed), "retired": retired, "bytes_before": before,
        "bytes_after": after, **({"kept_for_stream_from": reach} if reach < below else {}),
    }  # fmt: skip


def _pack(folder: Path, name: str, level: int) -> str:
    try:
        import zstandard
    except ImportError as error:
        raise JournalError("packing needs zstandard: pip install 'ultra-engine[journal]'") from error
    data = (folder / name).read_bytes()
    packed = zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)
    if segment.unpacked(packed, name) != data:
        raise JournalError(f"{folder / name} does not unpack to itself; it is left as it is")
    retention.write_whole(Folder(folder), name + segment.PACKED, packed)
    (folder / name).unlink()
    Folder(folder).sync_names()
    return name


def export(folder: Path, target: Path) -> dict[str, Any]:
    """All records as one Parquet file, a column a field. JournalError when pyarrow is missing, or on damage."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise JournalError("Parquet needs pyarrow: pip install 'ultra-engine[journal]'") from error
    kinds = {name: arrow.from_numpy_dtype(RECORD.fields[name][0]) for name in RECORD.names}
    schema, rows = arrow.schema(list(kinds.items())), 0
    with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
        waiting: list[Any] = []

        def flush() -> None:
            if waiting:
                joined = np.concatenate(waiting)
                columns = [arrow.array(np.ascontiguousarray(joined[name])) for name in RECORD.names]
                writer.write_table(arrow.Table.from_arrays(columns, schema=schema))
                waiting.clear()

        for frame in segment.read(folder):
            if frame.kind == RECORDS:
                waiting.append(np.frombuffer(frame.payload, RECORD))
                rows += frame.count
                if sum(map(len, waiting)) >= ROWS:
                    flush()
        flush()
    return {"folder": str(folder), "file": str(target), "rows": rows, "bytes": target.stat().st_size}
