"""Is this machine set up for low latency? One line a check: what was found, what is wanted, how to get there.

PASS and WARN are verdicts; INFO is a reading without one, most often because the kernel doesn't tell. Nothing
is changed, and nothing is believed that can be tried: real-time priority is taken for a moment, the cache
folder written to, the hot cores listened to. Files are read under a root that tests replace.

Known bad case: in a container /sys and /proc tell of the host, and what the host's operator set up around it
(pinned virtual CPUs, another tenant) is seen only by its effect, in the hiccup line.
"""

import argparse
import dataclasses
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from . import environment
from .check import INFO, PASS, WARN, Check, cores_of, listed, number, read, read_each, tried, verdict

WAKE_MAX_US = 2
HUGE_PAGES_MIN = 64
SHM_FREE_MIN_BYTES = 1 << 30
MEMLOCK_MIN_BYTES = 1 << 30
CPU = "sys/devices/system/cpu"


# ---- the clock


def clocksource(root: Path, cores: frozenset[int]) -> Check:
    """Any other clock is a call of the kernel, or of the hypervisor."""
    found = read(root, "sys/devices/system/clocksource/clocksource0/current_clocksource")
    good = None if found is None else found == "tsc"
    return verdict("clocksource", good, found, "tsc", "kernel: clocksource=tsc tsc=reliable")


def invariant_tsc(root: Path, cores: frozenset[int]) -> Check:
    """Time is read as a cycle counter: it must not change its pace, nor stop."""
    flags = _flags(root)
    missing = sorted({"constant_tsc", "nonstop_tsc"} - flags)
    found = "no x86 flags" if not flags else f"without {', '.join(missing)}" if missing else "yes"
    fix = "another machine, or its CPU type 'host' in the hypervisor"
    return verdict("invariant TSC", not missing if flags else None, found, "constant_tsc, nonstop_tsc", fix)


def bare_metal(root: Path, cores: frozenset[int]) -> Check:
    """A hypervisor takes the core away without a trace in here."""
    flags = _flags(root)
    virtual = "hypervisor" in flags
    found = "no x86 flags" if not flags else "a virtual machine" if virtual else "bare metal"
    fix = "latencies measured here are not those of a trading machine: say so beside them"
    return verdict("bare metal", not virtual if flags else None, found, "bare metal", fix)


def _flags(root: Path) -> set[str]:
    line = re.search(r"^flags\s*:(.*)$", read(root, "proc/cpuinfo") or "", re.MULTILINE)
    return set(line[1].split()) if line else set()


# ---- the cores


def allowed(root: Path, cores: frozenset[int]) -> Check:
    """A thread can be pinned only where the process may run."""
    line = re.search(r"^Cpus_allowed_list:\s*(\S+)", read(root, "proc/self/status") or "", re.MULTILINE)
    found = cores_of(line[1]) if line else None
    good = None if found is None else cores <= found
    fix = "taskset, the cpuset of the service or container (AllowedCPUs=, cpuset.cpus), or other --cores"
    return verdict("cores allowed", good, found and listed(found), listed(cores), fix)


def isolated(root: Path, cores: frozenset[int]) -> Check:
    """Else the scheduler puts other work on a hot core."""
    text = read(root, f"{CPU}/isolated")
    found = cores_of(text or "")
    good = None if text is None else cores <= found
    fix = f"kernel: isolcpus=managed_irq,domain,{listed(cores)}"
    return verdict("isolated cores", good, listed(found) if text is not None else None, listed(cores), fix)


def nohz_full(root: Path, cores: frozenset[int]) -> Check:
    """Else the scheduler's tick interrupts the core 100 to 1000 times a second."""
    text = read(root, f"{CPU}/nohz_full")
    fix = f"kernel: nohz_full={listed(cores)} rcu_nocbs={listed(cores)}"
    if text is None and read(root, f"{CPU}/isolated") is not None:  # only the file is missing
        fix = f"a kernel with CONFIG_NO_HZ_FULL=y, then {fix}"
        return verdict("nohz_full", False, "not in this kernel", listed(cores), fix)
    found = cores_of(text or "")  # "(null)" when there are none
    good = None if text is None else cores <= found
    return verdict("nohz_full", good, listed(found) if text is not None else None, listed(cores), fix)


def interrupts(root: Path, cores: frozenset[int]) -> Check:
    """Where interrupts arrive, else where they may. The timer (0) and the cascade (2) can't move."""
    arrives: dict[int, frozenset[int]] = {}
    for name in (
        "smp_affinity_list",
        "effective_affinity_list",
    ):  # the second is not always there, or is empty
        for path, text in read_each(root, f"proc/irq/*/{name}").items():
            irq = int(path.split("/")[2])
            arrives[irq] = cores_of(text) or arrives.get(irq, frozenset())
    hits = listed(irq for irq, on in arrives.items() if on & cores and irq not in (0, 2))
    good = hits == "none" if arrives else None
    fix = "ban the cores in irqbalance, then write the others into /proc/irq/*/smp_affinity_list"
    return verdict("IRQs on hot cores", good, hits if arrives else None, "none", fix)


def siblings(root: Path, cores: frozenset[int]) -> Check:
    """A core's two hardware threads share its caches and ports."""
    if read(root, f"{CPU}/smt/active") == "0":
        return verdict("SMT", True, "off", "no sibling online", "")
    told = {core: read(root, f"{CPU}/cpu{core}/topology/thread_siblings_list") for core in sorted(cores)}
    if None in told.values():
        return verdict("SMT", None, None, "no sibling online", "")
    shared = {core: cores_of(text or "") - {core} for core, text in told.items()}
    found = ", ".join(f"{core} shares with {listed(others)}" for core, others in shared.items() if others)
    fix = "kernel: nosmt; or echo 0 > /sys/devices/system/cpu/cpuN/online for each sibling"
    return verdict("SMT", not found, found or "no sibling", "no sibling online", fix)


def governor(root: Path, cores: frozenset[int]) -> Check:
    """Else the clock of the core slows down when it can."""
    told = {read(root, f"{CPU}/cpu{core}/cpufreq/scaling_governor") for core in cores} - {None}
    found = ", ".join(sorted(filter(None, told)))
    fix = "cpupower frequency-set -g performance, or tuned-adm profile latency-performance"
    good = told == {"performance"} if told else None
    return verdict("governor", good, found or "no cpufreq (usual in a VM)", "performance", fix)


def idle_states(root: Path, cores: frozenset[int]) -> Check:
    """Which sleep a hot core may fall into, judged by the time to wake: names differ by driver."""
    wake: dict[str, int] = {}
    for core in cores:
        for path, text in read_each(root, f"{CPU}/cpu{core}/cpuidle/state*/latency").items():
            folder = path.rpartition("/")[0]
            off = read(root, f"{folder}/disable") == "1"
            wake[read(root, f"{folder}/name") or folder] = 0 if off else int(text)
    found = ", ".join(f"{name} {us} us" for name, us in sorted(wake.items(), key=lambda item: item[1]))
    good = max(wake.values()) <= WAKE_MAX_US if wake else None
    fix = "hold /dev/cpu_dma_latency open with 0 in it, or kernel: intel_idle.max_cstate=1"
    return verdict("C-states", good, found or None, f"wake within {WAKE_MAX_US} us", fix)


# ---- memory


def huge_pages(root: Path, cores: frozenset[int]) -> Check:
    """Fewer entries of the TLB for the same books."""
    found = number(read(root, "proc/sys/vm/nr_hugepages"))
    good = None if found is None else found >= HUGE_PAGES_MIN
    return verdict("huge pages", good, found, f">= {HUGE_PAGES_MIN}", "sysctl vm.nr_hugepages=512")


def transparent_pages(root: Path, cores: frozenset[int]) -> Check:
    """With `always`, memory is moved into huge pages behind our back."""
    found = read(root, "sys/kernel/mm/transparent_hugepage/enabled")
    mode = re.search(r"\[(\w+)\]", found or "")
    good = None if mode is None else mode[1] != "always"
    fix = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
    return verdict("THP mode", good, mode and mode[1], "madvise or never", fix)


def memlock(root: Path, cores: frozenset[int]) -> Check:
    """Memory that can't be locked can be taken away."""
    line = re.search(r"^Max locked memory\s+(\S+)", read(root, "proc/self/limits") or "", re.MULTILINE)
    found = line[1] if line else None
    limit = number(found)
    good = None if found is None else found == "unlimited" or (limit is not None and limit >= MEMLOCK_MIN_BYTES)
    shown = f"{limit >> 20} MiB" if limit is not None else found
    fix = "LimitMEMLOCK=infinity in the unit, memlock in limits.conf, or CAP_IPC_LOCK"
    return verdict("memlock limit", good, shown, "unlimited, or >= 1024 MiB", fix)


def swap(root: Path, cores: frozenset[int]) -> Check:
    """A page that comes back from disk takes milliseconds."""
    text = read(root, "proc/swaps")
    areas = [line.split()[0] for line in (text or "").splitlines()[1:] if line.strip()]
    good = None if text is None else not areas
    return verdict("swap", good, ", ".join(areas) or ("none" if good else None), "none", "swapoff -a, and out of fstab")


def shared_memory(root: Path, cores: frozenset[int]) -> Check:
    """Rings live there; a full one kills the writer with SIGBUS."""
    try:
        place = os.statvfs(root / "dev/shm")
    except OSError:
        return verdict("/dev/shm free", None, None, ">= 1024 MiB", "")
    free = place.f_bavail * place.f_frsize
    fix = "mount -o remount,size=4G /dev/shm; of a container: --shm-size=4g, or an emptyDir with medium: Memory"
    return verdict("/dev/shm free", free >= SHM_FREE_MIN_BYTES, f"{free >> 20} MiB", ">= 1024 MiB", fix)


# ---- the kernel's rules for us


def real_time_share(root: Path, cores: frozenset[int]) -> Check:
    """How much of a second a real-time thread may run."""
    found = read(root, "proc/sys/kernel/sched_rt_runtime_us")
    good = None if found is None else found == "-1"
    fix = "sysctl kernel.sched_rt_runtime_us=-1 (else a spinning SCHED_FIFO thread is stopped 50 ms a second)"
    return verdict("sched_rt_runtime", good, found, "-1", fix)


def quota(root: Path, cores: frozenset[int]) -> Check:
    """The smallest CPU quota on the way from our control group to the root, of either version."""
    text = read(root, "proc/self/cgroup")
    shares = list(_quotas(root, text or ""))
    fix = "no CPU limit: CPUQuota= off; in Kubernetes the Guaranteed class, whole CPUs, static CPU manager"
    found = f"{min(shares):.2f} cores" if shares else "none" if text is not None else None
    return verdict("CPU quota", None if text is None else not shares, found, "none", fix)


def _quotas(root: Path, text: str) -> Iterator[float]:
    for line in text.splitlines():
        _, names, group = line.split(":", 2)  # number, controllers, path
        inside = [part for part in group.split("/") if part and part != ".."]
        for depth in range(len(inside) + 1):
            path = "/".join(inside[:depth])
            if names == "":
                pair = (read(root, f"sys/fs/cgroup/{path}/cpu.max") or "max").split()
            elif "cpu" in names.split(","):
                folder = f"sys/fs/cgroup/{names}/{path}"
                pair = [read(root, f"{folder}/cpu.cfs_{word}_us") or "-1" for word in ("quota", "period")]
            else:
                break
            if len(pair) == 2 and pair[0].isdigit() and pair[1].isdigit():
                yield int(pair[0]) / int(pair[1])


FROM_FILES = (
    clocksource, invariant_tsc, bare_metal, allowed, isolated, nohz_full, interrupts, siblings, governor,
    idle_states, huge_pages, transparent_pages, memlock, swap, shared_memory, real_time_share, quota,
)  # fmt: skip


def machine(root: Path, cores: frozenset[int]) -> Iterator[Check]:
    """What the files under `root` say."""
    for check in FROM_FILES:
        yield tried(check.__name__.replace("_", " "), partial(check, root, cores))


# ---- the report


def run(json_output: bool, cores: Iterable[int], strict: bool = False, root: Path = Path("/")) -> int:
    """Print all checks for these hot cores (none: the last we may use). 1 if strict and any WARN, else 0."""
    hot = frozenset(core for core in cores if core >= 0) or frozenset({max(os.sched_getaffinity(0))})
    checks = [*machine(root, hot), *environment.checks(hot)]
    warnings = sum(check.status == WARN for check in checks)
    if json_output:
        body = {"cores": sorted(hot), "warnings": warnings, "checks": [dataclasses.asdict(c) for c in checks]}
        print(json.dumps(body, indent=2))
    else:
        print(f"hot cores: {listed(hot)}\n" + "\n".join(table(checks)))
        counts = Counter(check.status for check in checks)
        print(f"{counts[PASS]} {PASS}, {warnings} {WARN}, {counts[INFO]} {INFO}")
    return int(strict and warnings > 0)


def table(checks: Iterable[Check]) -> Iterator[str]:
    """Aligned lines, the way out under each WARN."""
    checks = list(checks)
    name = max(len(check.name) for check in checks)
    found = min(44, max(len(check.found) for check in checks))
    for check in checks:
        yield f"{check.status}  {check.name:{name}}  {check.found:{found}}  wanted: {check.wanted}".rstrip()
        if check.status == WARN:
            yield f"{'':{6 + name}}  fix: {check.fix}"


def main(arguments: list[str] | None = None) -> int:
    """`python -m ultra.ops.doctor`; the same options as `ultra doctor`."""
    parser = argparse.ArgumentParser(prog="ultra doctor", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there is a WARN")
    parser.add_argument("--cores", default="", help="the hot cores, as 2,3 or 2-5 (default: the last one)")
    given = parser.parse_args(arguments)
    if given.cores and not cores_of(given.cores):
        parser.error(f"--cores {given.cores}: wanted a list of cores, as 2,3 or 2-5")
    return run(given.json, cores_of(given.cores), given.strict)


if __name__ == "__main__":
    sys.exit(main())
