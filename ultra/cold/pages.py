"""The pages under a shared mapping: there before the first record, of the size and on the node that were asked for.

Everything but room is a wish. What the machine does not grant comes back as a note that says what was found, what that
costs and how to get it; nothing is printed and nothing crashes. Room is no wish: a page of /dev/shm that can't be had
when it is first written ends the process with SIGBUS, so every page is taken here, where ENOSPC is an error.

The order matters: size and node of a page are decided when it is taken, so the advice comes first, then the pages,
then the lock. libc is called through ctypes: these calls come once a start, and C would not make them shorter.
Known bad case: mmap chooses the address, and a huge page is mapped as one only at a multiple of its size. A spacer
moves the mapping there; when another thread maps at that moment it misses, and the note says so.
"""

import ctypes
import errno
import mmap
import os
import platform
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

PAGE_BYTES: Final = 4096
HUGE_BYTES: Final = 2 << 20
GIANT_BYTES: Final = 1 << 30
MADV_POPULATE_WRITE: Final = 23  # Linux 5.14; no name in Python's mmap
PREFERRED: Final = 1  # MPOL_PREFERRED: a node that is full is then slow memory, not a killed process
NODE_MAX: Final = 1024
MBIND: Final = {"x86_64": 237, "AMD64": 237, "aarch64": 235}
NODES: Final = Path("/sys/devices/system/node/online")
SPACERS_MAX: Final = 4


class Backing(NamedTuple):
    """What is wished of the pages."""

    prefault: bool = True  # mapped before the first record, not only there
    lock: bool = False  # never taken away
    huge_bytes: int = 0  # HUGE_BYTES, GIANT_BYTES, or 0 for pages of 4096 bytes
    node: int = -1  # the NUMA node they should lie on, -1 for any


def rounded(size: int, page_bytes: int) -> int:
    """The size in whole pages."""
    return -(-size // page_bytes) * page_bytes


def room_missing(handle: int, size: int) -> str:
    """Empty when the file system of this file has room for so many bytes more; else what there is."""
    place = os.fstatvfs(handle)
    free = place.f_bavail * place.f_frsize
    # A file system without a limit of its own (memfd, hugetlbfs) says 0 blocks in all.
    return "" if place.f_blocks == 0 or free >= size else f"{free:,} bytes free"


def take(handle: int, size: int, backing: Backing, *, advise: bool) -> tuple[mmap.mmap, list[str]]:
    """Map the file and take every page of it, as wished; the mapping, and a note for each wish that failed.

    `advise`: ask for huge pages by advice, for a file that is not on them by itself. OSError (ENOSPC, ENOMEM) when
    there is no room."""
    notes: list[str] = []
    huge = advise and backing.huge_bytes > 0
    mapping = _aligned(handle, size, HUGE_BYTES) if huge else mmap.mmap(handle, size)
    if huge:
        if backing.huge_bytes > HUGE_BYTES:
            notes.append(f"pages of {backing.huge_bytes >> 20} MiB: tmpfs has 2 MiB at most; those are asked for")
        _advise(mapping, notes)
    if backing.node >= 0:
        notes += _prefer(mapping, backing.node)
    if backing.prefault or huge:
        _populate(mapping, notes)
    os.posix_fallocate(handle, 0, size)  # whatever has no page yet gets one, or ENOSPC
    if huge:
        notes += _not_huge(mapping)
    if backing.lock:
        notes += _lock(mapping)
    return mapping, notes


def hugetlb(name: str, size: int, page_bytes: int) -> tuple[int, str]:
    """A nameless file on the machine's reserved huge pages; -1 and why not when it has none to give."""
    bits = page_bytes.bit_length() - 1
    handle = -1
    try:
        handle = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_HUGETLB | bits << os.MFD_HUGE_SHIFT)
        os.ftruncate(handle, size)
        mmap.mmap(handle, size).close()  # reserves; without pages this is the call that fails
    except (OSError, AttributeError) as error:
        if handle >= 0:
            os.close(handle)
        count = size // page_bytes
        fix = f"echo {count} > /sys/kernel/mm/hugepages/hugepages-{page_bytes >> 10}kB/nr_hugepages"
        return -1, f"{count} reserved pages of {page_bytes >> 20} MiB: {_said(error)}; ordinary memory instead. {fix}"
    return handle, ""


def _aligned(handle: int, size: int, page_bytes: int) -> mmap.mmap:
    """A mapping at a multiple of the page's size, if a spacer brings it there."""
    spacers: list[mmap.mmap] = []
    mapping = mmap.mmap(handle, size)
    try:
        while _address(mapping) % page_bytes and len(spacers) < SPACERS_MAX:
            excess = _address(mapping) % page_bytes
            mapping.close()
            # Addresses are given downwards: behind so many bytes the next one is the multiple below.
            spacers.append(mmap.mmap(-1, excess, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
            mapping = mmap.mmap(handle, size)
    finally:
        for spacer in spacers:
            spacer.close()
    return mapping


def _advise(mapping: mmap.mmap, notes: list[str]) -> None:
    try:
        mapping.madvise(mmap.MADV_HUGEPAGE)
    except (OSError, AttributeError) as error:
        notes.append(f"huge pages: {_said(error)}; this kernel has no transparent ones for shared memory")


def _populate(mapping: mmap.mmap, notes: list[str]) -> None:
    """Map every page for writing. Not by writing: that would be SIGBUS where there is no room."""
    try:
        mapping.madvise(MADV_POPULATE_WRITE)
    except OSError as error:
        if error.errno == errno.EFAULT:  # what a write would have been SIGBUS for
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        if error.errno != errno.EINVAL:
            raise
        notes.append("prefault: Linux before 5.14 can't; pages are taken, but the first write to each still faults")


def _not_huge(mapping: mmap.mmap) -> Iterator[str]:
    """A note unless the kernel says that it maps huge pages here: advice is not refused, only not followed."""
    found = re.search(rf"^{_address(mapping):x}-.*?^ShmemPmdMapped: +(\d+)", _smaps(), re.MULTILINE | re.DOTALL)
    mapped = int(found[1]) << 10 if found else 0
    if mapped < len(mapping) // HUGE_BYTES * HUGE_BYTES:
        yield (
            f"huge pages: {mapped >> 20} of {len(mapping) >> 20} MiB are on them. "
            "mount -o remount,huge=advise /dev/shm; nameless: echo advise > "
            "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
        )


def _smaps() -> str:
    try:
        return Path("/proc/self/smaps").read_text()
    except OSError:
        return ""


def _prefer(mapping: mmap.mmap, node: int) -> Iterator[str]:
    """Ask for pages of this node."""
    number = MBIND.get(platform.machine())
    if number is None or not (online := _nodes()):
        yield f"NUMA node {node}: this machine tells of no nodes; memory comes from anywhere"
        return
    if node not in online:
        yield f"NUMA node {node}: there are only {sorted(online)}; memory comes from anywhere"
        return
    mask = (ctypes.c_ulong * (NODE_MAX // 64))()
    mask[node // 64] = 1 << node % 64
    where, size, maxnode = ctypes.c_void_p(_address(mapping)), ctypes.c_size_t(len(mapping)), ctypes.c_ulong(NODE_MAX)
    failed = _call("syscall", ctypes.c_long(number), where, size, ctypes.c_int(PREFERRED), mask, maxnode, 0)
    if failed:
        yield f"NUMA node {node}: mbind says {os.strerror(failed)}; memory comes from anywhere"


def _nodes() -> set[int]:
    try:
        text = NODES.read_text()
    except OSError:
        return set()
    spans = [part.split("-") for part in text.strip().split(",") if part]
    return {node for span in spans for node in range(int(span[0]), int(span[-1]) + 1)}


def _lock(mapping: mmap.mmap) -> Iterator[str]:
    """Keep the pages in memory."""
    failed = _call("mlock", ctypes.c_void_p(_address(mapping)), ctypes.c_size_t(len(mapping)))
    if failed:
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        allowed = "unlimited" if limit == resource.RLIM_INFINITY else f"{limit:,} bytes"
        yield (
            f"lock: {os.strerror(failed)} for {len(mapping):,} bytes, RLIMIT_MEMLOCK is {allowed}; the pages may be "
            "swapped out. LimitMEMLOCK=infinity in the unit, memlock in limits.conf, or CAP_IPC_LOCK"
        )


def _call(name: str, *arguments: Any) -> int:
    """A function of libc that returns 0 or sets errno: the errno, or 0."""
    failed: int = getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments)
    return ctypes.get_errno() if failed else 0


def _address(mapping: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
