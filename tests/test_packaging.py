"""The compiled parts and what stands in for them: the same answers either way, and never an old answer.

Stale detection is tried on a copy of `ultra/cold` in which the "compiled" files are empty: importing one is
an ImportError, so an import that works proves that the source was taken.
"""

import hashlib
import json
import mmap
import os
import shutil
import subprocess
import sys
import threading
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ultra import cold
from ultra.cold.native import NATIVE, Cells, crc32c

ROOT = Path(__file__).parent.parent
SUFFIX = EXTENSION_SUFFIXES[0]

needs_native = pytest.mark.skipif(not NATIVE, reason="ultra._native is not built, or ULTRA_PURE=1")

# RFC 3720 B.4, and the check value of the catalogue of CRCs.
CRC_VECTORS = [
    (b"", 0),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]


# ---- CRC32C ----


def crc_bit_by_bit(data: bytes, crc: int = 0) -> int:
    """The definition, for everything else to be held against."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def crc_native(name: str) -> Any:
    from ultra._native import ffi, lib

    function = getattr(lib, name)
    return lambda data, crc=0: function(crc, ffi.from_buffer("uint8_t[]", data), len(data))


def crc_hot(data: bytes, crc: int = 0) -> int:
    from ultra.hot.crc import crc32c as function

    return int(function(np.frombuffer(data, np.uint8), 0, len(data), crc))


CRCS = [
    pytest.param(lambda: crc32c, id="crc32c"),
    pytest.param(lambda: crc_hot, id="hot"),
    pytest.param(lambda: crc_native("ultra_crc32c"), id="native", marks=needs_native),
    pytest.param(lambda: crc_native("ultra_crc32c_table"), id="native table", marks=needs_native),
]


@pytest.mark.parametrize("get", CRCS)
def test_crc_vectors(get: Any) -> None:
    assert [get()(data) for data, _ in CRC_VECTORS] == [expected for _, expected in CRC_VECTORS]


@pytest.mark.parametrize("get", CRCS)
def test_crc_of_every_length_and_alignment(get: Any) -> None:
    crc = get()
    data = bytes(np.random.default_rng(1).integers(0, 256, 96, np.uint8))
    for start in range(9):
        for stop in range(start, start + 34):
            assert crc(data[start:stop]) == crc_bit_by_bit(data[start:stop])


@pytest.mark.parametrize("get", CRCS)
def test_crc_in_two_parts_is_the_crc_of_the_whole(get: Any) -> None:
    crc = get()
    data = bytes(range(100))
    for cut in range(0, 101, 7):
        assert crc(data[cut:], crc(data[:cut])) == crc(data)


def test_crc_takes_any_buffer_of_bytes() -> None:
    data = b"123456789"
    for buffer in (bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
        assert crc32c(buffer) == 0xE3069283
    words = np.arange(8, dtype=np.int64)
    assert crc32c(words) == crc32c(words.tobytes())


# ---- Cells ----


def test_cells_are_the_buffer_itself() -> None:
    array = np.array([1, -2, 3], np.int64)
    cells = Cells(array)
    assert len(cells) == 3
    assert [cells.load_acquire(i) for i in range(3)] == [1, -2, 3]
    cells.store_release(1, -(2**63))
    assert array.tolist() == [1, -(2**63), 3]


@pytest.mark.parametrize("index", [-1, 3, 2**40])
def test_a_cell_outside_is_an_error(index: int) -> None:
    cells = Cells(bytearray(24))
    for access in (cells.load_acquire, lambda i: cells.store_release(i, 0), lambda i: cells.fetch_add(i, 0)):
        with pytest.raises(IndexError):
            access(index)


def test_a_buffer_that_can_not_be_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="writable"):
        Cells(bytes(8))
    with pytest.raises(ValueError, match="multiple"):
        Cells(bytearray(12))
    with pytest.raises(ValueError, match="multiple of 8 bytes"):
        Cells(memoryview(np.zeros(2, np.int64)).cast("B")[4:12])


def test_cells_over_records_of_a_shared_segment() -> None:
    records = np.zeros(2, np.dtype([("price", np.int64), ("qty", np.int32), ("side", np.int32)]))
    Cells(records).store_release(2, 5)
    assert records["price"].tolist() == [0, 5]


def test_release_lets_the_segment_close() -> None:
    segment = mmap.mmap(-1, mmap.PAGESIZE)
    cells = Cells(segment)
    cells.store_release(0, 7)
    with pytest.raises(BufferError):
        segment.close()
    cells.release()
    cells.release()
    segment.close()
    with pytest.raises(IndexError):
        cells.load_acquire(0)


@needs_native
def test_read_modify_writes() -> None:
    array = np.zeros(2, np.int64)
    cells = Cells(array)
    assert (cells.fetch_add(1, 5), cells.fetch_add(1, -7)) == (0, 5)
    assert array.tolist() == [0, -2]
    assert not cells.compare_and_set(1, 0, 9)
    assert cells.compare_and_set(1, -2, 9)
    assert array.tolist() == [0, 9]
    cells.store_release(0, 2**63 - 1)
    assert cells.fetch_add(0, 1) == 2**63 - 1
    assert array[0] == -(2**63)


@needs_native
def test_threads_that_add_lose_nothing() -> None:
    # cffi lets other threads run during a call, so this is a race, not one thread after the other.
    cells = Cells(bytearray(16))

    def add() -> None:
        for _ in range(20_000):
            cells.fetch_add(0, 1)
            while not cells.compare_and_set(1, (before := cells.load_acquire(1)), before + 1):
                pass

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (cells.load_acquire(0), cells.load_acquire(1)) == (60_000, 60_000)


@needs_native
def test_pause_returns() -> None:
    from ultra._native import lib

    lib.ultra_pause()


@needs_native
def test_fence_returns() -> None:
    from ultra._native import lib

    lib.ultra_fence()


def test_cells_that_are_only_read_can_not_be_written() -> None:
    cells = Cells(memoryview(bytes(16)), writable=False)
    assert cells.load_acquire(1) == 0
    for write in (lambda: cells.store_release(0, 1), lambda: cells.fetch_add(0, 1)):
        with pytest.raises(ValueError, match="only read"):
            write()
    with pytest.raises(ValueError, match="only read"):
        cells.compare_and_set(0, 0, 1)


# ---- Without the compiled parts ----


def python(code: str, *, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """A new interpreter that imports from `root`, with its environment free of ours."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ULTRA_")}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={**clean, **environment}, capture_output=True, text=True
    )


PURE = """
from ultra.cold import native, build_report
cells = native.Cells(bytearray(16))
cells.store_release(1, -5)
report = build_report()
print(native.__file__.endswith(".py"), cells.load_acquire(1), native.crc32c(b"123456789") == 0xE3069283,
      report["compiled"], report["native"], report["reason"])
for call in (lambda: cells.fetch_add(0, 1), lambda: cells.compare_and_set(0, 0, 1)):
    try:
        call()
    except native.NativeMissingError as error:
        print(error)
"""


def test_ultra_pure_runs_the_source_and_gives_the_same_answers() -> None:
    # Without the JIT too: compiling the checksum here would take longer than running it.
    done = python(PURE, ULTRA_PURE="1", NUMBA_DISABLE_JIT="1")
    assert done.stderr == ""
    first, *errors = done.stdout.splitlines()
    assert first == "True -5 True False False ULTRA_PURE=1"
    assert len(errors) == 2 and all("make build" in error for error in errors)


def test_another_processor_needs_the_native_part() -> None:
    code = "import platform; platform.machine = lambda: 'aarch64'\nfrom ultra.cold.native import Cells\n"
    done = python(code + "Cells(bytearray(8))", ULTRA_PURE="1")
    assert "NativeMissingError: shared cells on aarch64 need ultra._native" in done.stderr


def test_the_report_says_what_runs() -> None:
    report = cold.build_report()
    from ultra.cold import native

    assert report["compiled"] == cold.compiled() == native.__file__.endswith(SUFFIX)
    assert report["compiled"] != bool(report["reason"])
    assert report["native"] is NATIVE


@pytest.mark.skipif(os.environ.get("ULTRA_REQUIRE_NATIVE") != "1" or cold.PURE, reason="nothing was required")
def test_what_was_required_is_compiled() -> None:
    assert cold.build_report()["reason"] == "" and NATIVE


# ---- Compiled files that are older than the source ----


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A tree with ultra/cold/x.py, "compiled", which imports ultra/wire.py; fresh in every way."""
    folder = tmp_path / "ultra" / "cold"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "ultra" / "cold" / "__init__.py", folder)
    (tmp_path / "ultra" / "__init__.py").touch()
    (tmp_path / "ultra" / "wire.py").write_text("BID = 0\n")
    (folder / "x.py").write_text("from ..wire import BID\n")
    (folder / f"x{SUFFIX}").touch()
    write_info(tmp_path)
    return tmp_path


def write_info(root: Path, **changes: Any) -> None:
    def hashes(*names: str) -> dict[str, str]:
        return {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in names}

    info = {"reason": None, "suffix": SUFFIX, "mypy": "0", "compiled": hashes("ultra/cold/x.py")}
    info |= {"read": hashes("ultra/wire.py")} | changes
    (root / "ultra" / "_build_info.json").write_text(json.dumps(info))


IMPORT = "import ultra.cold.x as x, ultra.cold; print(x.__file__.endswith('.py'), ultra.cold.compiled())"
END = ": running the source; 'make build' compiles it again\n"


def test_fresh_compiled_files_are_taken(package: Path) -> None:
    done = python(IMPORT, root=package)
    assert "ImportError" in done.stderr and SUFFIX in done.stderr
    assert "ultra:" not in done.stderr


def test_an_edited_source_is_run_and_said(package: Path) -> None:
    (package / "ultra" / "cold" / "x.py").write_text("edited = True\n")
    done = python(IMPORT, root=package)
    assert done.stdout == "True False\n"
    assert done.stderr == "ultra: ultra/cold/x.py changed after it was compiled" + END


def test_one_edited_source_puts_the_whole_package_back(package: Path) -> None:
    folder = package / "ultra" / "cold"
    (folder / "y.py").write_text("")
    (folder / f"y{SUFFIX}").touch()
    info = json.loads((package / "ultra" / "_build_info.json").read_text())
    write_info(package, compiled={**info["compiled"], "ultra/cold/y.py": hashlib.sha256(b"").hexdigest()})
    (folder / "x.py").write_text("from . import y\nfile = y.__file__\n")
    done = python("import ultra.cold.x as x; print(x.file.endswith('.py'))", root=package)
    assert done.stdout == "True\n" and done.stderr.count("\n") == 1


def test_an_edited_constant_of_another_file_counts(package: Path) -> None:
    (package / "ultra" / "wire.py").write_text("BID = 1\n")
    done = python(IMPORT, root=package)
    assert done.stdout == "True False\n"
    assert done.stderr == "ultra: ultra/wire.py changed after it was compiled" + END


def test_several_edits_are_one_line(package: Path) -> None:
    (package / "ultra" / "cold" / "x.py").write_text("from ..wire import BID as B\n")
    (package / "ultra" / "wire.py").write_text("BID = 1\n")
    done = python(IMPORT, root=package)
    assert done.stderr == "ultra: ultra/cold/x.py and 1 more changed after it was compiled" + END


@pytest.mark.parametrize("changes", [{"suffix": ".other.so"}, {"compiled": {}}])
def test_compiled_files_of_another_build_are_not_taken(package: Path, changes: dict[str, Any]) -> None:
    write_info(package, **changes)
    done = python(IMPORT, root=package)
    assert done.stdout == "True False\n"
    assert done.stderr == "ultra: the compiled files in ultra/cold are not those of the last build" + END


def test_compiled_files_nobody_recorded_are_not_taken(package: Path) -> None:
    (package / "ultra" / "_build_info.json").unlink()
    assert python(IMPORT, root=package).stdout == "True False\n"


def test_left_over_compiled_files_of_an_uncompiled_build_are_ignored_in_silence(package: Path) -> None:
    write_info(package, reason="there is no C compiler", compiled={}, read={})
    done = python(IMPORT, root=package)
    assert (done.stdout, done.stderr) == ("True False\n", "")


def test_ultra_pure_needs_no_reason(package: Path) -> None:
    done = python(IMPORT, root=package, ULTRA_PURE="1")
    assert (done.stdout, done.stderr) == ("True False\n", "")


def test_a_missing_module_is_still_an_import_error(package: Path) -> None:
    done = python("import ultra.cold.nothing", root=package, ULTRA_PURE="1")
    assert "ModuleNotFoundError: No module named 'ultra.cold.nothing'" in done.stderr
