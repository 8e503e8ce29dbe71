"""The doctor on machines made up: each check says PASS of one tree of files, WARN of another, INFO of none.

The trees hold the texts as real kernels write them. What must be tried instead of read is tried for
real once, and with the refusal put in its place.
"""

import importlib.metadata
import json
import os
import shutil
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultra.ops import check, doctor, environment
from ultra.ops.check import INFO, PASS, WARN, Check, cores_of, listed, read, read_each

HOT = frozenset({2, 3})
CPU = "sys/devices/system/cpu"
RT = "proc/sys/kernel/sched_rt_runtime_us"
THP = "sys/kernel/mm/transparent_hugepage/enabled"
CLOCK = "sys/devices/system/clocksource/clocksource0/current_clocksource"
SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
LIMITS = "Limit                     Soft Limit           Hard Limit           Units\n"
CGROUP = "sys/fs/cgroup"
Tree = Mapping[str, str]


def flags(*names: str) -> Tree:
    return {"proc/cpuinfo": f"processor\t: 0\nflags\t\t: fpu {' '.join(names)} avx2\nbogomips\t: 1\n"}


def memlock(limit: str) -> Tree:
    return {"proc/self/limits": f"{LIMITS}Max locked memory         {limit}   {limit}   bytes\n"}


def governors(second: str) -> Tree:
    return {
        f"{CPU}/cpu2/cpufreq/scaling_governor": "performance\n",
        f"{CPU}/cpu3/cpufreq/scaling_governor": second,
    }


def smt(second: str) -> Tree:
    return {
        f"{CPU}/smt/active": "1\n",
        f"{CPU}/cpu2/topology/thread_siblings_list": "2\n",
        f"{CPU}/cpu3/topology/thread_siblings_list": second,
    }


def idle(disabled: str, latency: str = "133") -> Tree:
    states = {"state0": ("POLL", "0", "0"), "state1": ("C1", "2", "0"), "state3": ("C6", latency, disabled)}
    tree: dict[str, str] = {}
    for state, (name, microseconds, off) in states.items():
        folder = f"{CPU}/cpu3/cpuidle/{state}"
        tree |= {f"{folder}/name": name, f"{folder}/latency": microseconds, f"{folder}/disable": off}
    return tree


def interrupts(effective: str, may: str = "0-3") -> Tree:
    return {
        "proc/irq/0/smp_affinity_list": "0-3\n",
        "proc/irq/2/smp_affinity_list": "0-3\n",
        "proc/irq/30/smp_affinity_list": may,
        "proc/irq/30/effective_affinity_list": effective,
        "proc/irq/default_smp_affinity": "f",
    }


def cgroup_v1(quota: str) -> Tree:
    folder = f"{CGROUP}/cpu,cpuacct/job"
    groups = "9:name=systemd:/\n1:cpu,cpuacct:/job\n0::/\n"
    return {
        "proc/self/cgroup": groups,
        f"{folder}/cpu.cfs_quota_us": quota,
        f"{folder}/cpu.cfs_period_us": "100000",
    }


TREES: list[tuple[str, Tree, str, str]] = [
    # (check, tree, verdict, what must be in `found`)
    ("clocksource", {CLOCK: "tsc\n"}, PASS, "tsc"),
    ("clocksource", {CLOCK: "kvm-clock\n"}, WARN, "kvm-clock"),
    ("invariant_tsc", flags("constant_tsc", "nonstop_tsc"), PASS, "yes"),
    ("invariant_tsc", flags("constant_tsc"), WARN, "without nonstop_tsc"),
    ("invariant_tsc", flags("tsc", "tsc_known_freq"), WARN, "without constant_tsc, nonstop_tsc"),
    ("bare_metal", flags(), PASS, "bare metal"),
    ("bare_metal", flags("hypervisor"), WARN, "virtual"),
    ("bare_metal", {"proc/cpuinfo": "processor : 0\nFeatures : fp asimd\n"}, INFO, "no x86"),
    ("allowed", {"proc/self/status": "Name:\tx\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3\n"}, PASS, "0-3"),
    ("allowed", {"proc/self/status": "Cpus_allowed_list:\t0-2\n"}, WARN, "0-2"),
    ("isolated", {f"{CPU}/isolated": "2-3\n"}, PASS, "2-3"),
    ("isolated", {f"{CPU}/isolated": "3\n"}, WARN, "3"),
    ("isolated", {f"{CPU}/isolated": "\n"}, WARN, "none"),
    ("nohz_full", {f"{CPU}/nohz_full": "1-7\n"}, PASS, "1-7"),
    ("nohz_full", {f"{CPU}/nohz_full": "  (null)\n"}, WARN, "none"),
    ("nohz_full", {f"{CPU}/isolated": "2-3"}, WARN, "not in this kernel"),
    ("interrupts", interrupts("1\n"), PASS, "none"),
    ("interrupts", interrupts("\n", may="0-1"), PASS, "none"),
    ("interrupts", interrupts("3\n", may="0-1"), WARN, "30"),
    ("interrupts", interrupts("\n"), WARN, "30"),
    ("siblings", {f"{CPU}/smt/active": "0\n"}, PASS, "off"),
    ("siblings", smt("3\n"), PASS, "no sibling"),
    ("siblings", smt("3,11\n"), WARN, "3 shares with 11"),
    ("governor", governors("performance\n"), PASS, "performance"),
    ("governor", governors("powersave\n"), WARN, "performance, powersave"),
    ("idle_states", idle("1\n"), PASS, "C1 2 us"),
    ("idle_states", idle("0\n"), WARN, "C6 133 us"),
    ("idle_states", idle("0\n", latency="2"), PASS, "C6 2 us"),
    ("idle_states", idle("0\n", latency="3"), WARN, "C6 3 us"),
    ("huge_pages", {"proc/sys/vm/nr_hugepages": "64\n"}, PASS, "64"),
    ("huge_pages", {"proc/sys/vm/nr_hugepages": "63\n"}, WARN, "63"),
    ("transparent_pages", {THP: "always [madvise] never\n"}, PASS, "madvise"),
    ("transparent_pages", {THP: "always madvise [never]\n"}, PASS, "never"),
    ("transparent_pages", {THP: "[always] madvise never\n"}, WARN, "always"),
    ("memlock", memlock("unlimited"), PASS, "unlimited"),
    ("memlock", memlock(str(1 << 30)), PASS, "1024 MiB"),
    ("memlock", memlock(str((1 << 30) - 1)), WARN, "1023 MiB"),
    ("swap", {"proc/swaps": SWAPS}, PASS, "none"),
    ("swap", {"proc/swaps": SWAPS + "/dev/sda2   partition\t1\t0\t-2\n/s file 1 0 -3\n"}, WARN, "sda2, /s"),
    ("real_time_share", {RT: "-1\n"}, PASS, "-1"),
    ("real_time_share", {RT: "950000\n"}, WARN, "950000"),
    ("quota", {"proc/self/cgroup": "0::/\n", f"{CGROUP}/cpu.max": "max 100000\n"}, PASS, "none"),
    ("quota", {"proc/self/cgroup": "0::/a/b\n", f"{CGROUP}/a/b/cpu.max": "max 100000\n"}, PASS, "none"),
    ("quota", {"proc/self/cgroup": "0::/a/b\n", f"{CGROUP}/a/cpu.max": "150000 100000\n"}, WARN, "1.50"),
    ("quota", {"proc/self/cgroup": "0::/../..\n", f"{CGROUP}/cpu.max": "50000 100000\n"}, WARN, "0.50 cores"),
    ("quota", cgroup_v1("-1"), PASS, "none"),
    ("quota", cgroup_v1("200000"), WARN, "2.00 cores"),
]  # fmt: skip
CHECKS = {function.__name__: function for function in doctor.FROM_FILES}


def plant(root: Path, tree: Tree) -> Path:
    for path, text in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.mark.parametrize(("name", "tree", "status", "found"), TREES)
def test_a_check_tells_a_good_machine_from_a_bad_one(
    tmp_path: Path, name: str, tree: Tree, status: str, found: str
) -> None:
    result = CHECKS[name](plant(tmp_path, tree), HOT)
    assert (result.status, bool(result.fix)) == (status, status == WARN)
    assert found in result.found and result.wanted


def test_every_check_of_files_was_tried_both_ways() -> None:
    for name in CHECKS.keys() - {"shared_memory"}:
        assert {PASS, WARN} <= {status for tried, _, status, _ in TREES if tried == name}, name


@pytest.mark.parametrize(("free", "status"), [((1 << 30) - 4096, WARN), (1 << 30, PASS)])
def test_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, status: str) -> None:
    place = types.SimpleNamespace(f_bavail=free // 4096, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: {tmp_path / "dev/shm": place}[path])
    result = doctor.shared_memory(tmp_path, HOT)
    assert result.status == status and result.found == f"{free >> 20} MiB"


def test_of_an_empty_machine_nothing_is_claimed(tmp_path: Path) -> None:
    found = list(doctor.machine(tmp_path, HOT))
    assert len(found) == len(CHECKS) and {result.status for result in found} == {INFO}
    assert list(doctor.machine(tmp_path / "nothing", HOT)) == found


PATHS = sorted({path for _, tree, _, _ in TREES for path in tree})


@settings(max_examples=60, deadline=None)
@given(texts=st.dictionaries(st.sampled_from(PATHS), st.binary(max_size=30), max_size=6))
def test_no_text_of_a_kernel_breaks_it(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, bytes]) -> None:
    root = tmp_path_factory.mktemp("machine")
    for path, text in texts.items():
        plant(root, {path: ""})
        (root / path).write_bytes(text)
    assert len(list(doctor.machine(root, HOT))) == len(CHECKS)


def test_lists_of_cores() -> None:
    assert cores_of("1,4-6") == {1, 4, 5, 6} and cores_of(" 0-1 , 3\n") == {0, 1, 3}
    assert cores_of("(null)") == cores_of("") == cores_of("a-b") == frozenset()
    assert (listed({6, 4, 5, 1}), listed({0, 1}), listed(())) == ("1,4-6", "0-1", "none")


@given(st.frozensets(st.integers(0, 200)))
def test_lists_of_cores_round_trip(cores: frozenset[int]) -> None:
    assert cores_of(listed(cores)) == cores


def test_what_can_not_be_read_is_none(tmp_path: Path) -> None:
    plant(tmp_path, {"a/x": " text\0\n", "b/x": "2"})
    assert read(tmp_path, "a/x") == "text" and read(tmp_path, "a") is None and read(tmp_path, "c") is None
    assert read_each(tmp_path, "*/x") == {"a/x": "text", "b/x": "2"} and read_each(tmp_path, "*/y") == {}


# ---- what is tried


def test_real_time_priority_is_really_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getscheduler(0)
    assert environment.real_time().status in (PASS, WARN)
    assert os.sched_getscheduler(0) == before

    def refuse(pid: int, policy: int, parameter: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 0)  # being root is no reason to believe it
    result = environment.real_time()
    assert (result.status, result.found) == (WARN, "Operation not permitted")


@pytest.mark.parametrize(
    ("found", "limits", "answer"),
    [
        ("0.68.1", ">=0.68,<0.69", True),
        ("0.69.0", ">=0.68,<0.69", False),
        ("0.67.9", ">=0.68,<0.69", False),
        ("2.10", ">=2.2, <2.11", True),
        ("1.0", "==1", True),
        ("1.0.1", "<=1", False),
        ("0.69rc1", "<0.69", False),
    ],
)
def test_versions(found: str, limits: str, answer: bool) -> None:
    assert environment.inside(found, limits) is answer


def test_installed_versions_are_those_that_the_tests_run_with(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in environment.TESTED:
        assert environment.version(package).status == PASS
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "99.0")
    assert environment.version("numba").status == WARN and "pip install 'numba>=" in environment.version("numba").fix
    assert environment.version("unheard-of").status == INFO


def test_a_package_that_is_missing() -> None:
    result = environment.version("no-such-package-as-this")
    assert (result.status, result.found) == (WARN, "not installed")


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert environment.compiler().status == WARN
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setenv("CC", "icx -O2")
    assert environment.compiler().found.startswith("/bin/icx, with")


def test_the_compile_cache_must_be_writable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ULTRA_CACHE_DIR", str(tmp_path / "made" / "later"))
    assert environment.cache_folder().status == PASS and not (tmp_path / "made").exists()
    monkeypatch.setenv("ULTRA_CACHE_DIR", "/proc/self/fd/none")  # not even root can make a file there
    assert environment.cache_folder().status == WARN


@pytest.mark.parametrize(
    ("report", "status", "found"),
    [({"compiled": True, "modules": ["a", "b"], "native": True}, PASS, "2 modules"),
     ({"compiled": True, "modules": ["a"], "native": False}, WARN, "without native code"),
     ({"compiled": False, "reason": "ULTRA_PURE=1", "native": True}, WARN, "from source: ULTRA_PURE=1")],
)  # fmt: skip
def test_compiled_modules(monkeypatch: pytest.MonkeyPatch, report: dict[str, Any], status: str, found: str) -> None:
    fake = types.ModuleType("ultra.cold")
    fake.build_report = lambda: report  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ultra.cold", fake)
    result = environment.compiled()
    assert result.status == status and found in result.found


@pytest.mark.parametrize(
    ("p99", "largest", "status"), [(10_000, 50_000, PASS), (10_001, 50_000, WARN), (1, 50_001, WARN)]
)
def test_hiccups(monkeypatch: pytest.MonkeyPatch, p99: int, largest: int, status: str) -> None:
    fake = types.ModuleType("ultra.hot.hiccup")
    fake.measure = lambda duration, core: {"p50": 30, "p99": p99, "max": largest, "windows": duration}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ultra.hot.hiccup", fake)
    monkeypatch.setattr(sys.modules.get("ultra.hot", fake), "hiccup", fake, raising=False)
    assert environment.hiccups(2).status == status


def test_a_part_that_is_missing_or_broken_does_not_hide_the_others() -> None:
    def absent() -> Check:
        raise ModuleNotFoundError("No module named 'ultra.cold'", name="ultra.cold")

    def broken() -> Check:
        raise ZeroDivisionError("division by zero")

    def torn() -> Check:
        raise ImportError("libllvm.so: cannot open", name="llvmlite")

    assert check.tried("x", absent).status == INFO
    assert check.tried("x", broken) == Check(
        "x", WARN, "ZeroDivisionError: division by zero", "a reading", "see the error"
    )
    assert check.tried("x", torn).status == WARN


# ---- the report


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the parts that take time, or depend on this machine."""
    found = [Check("SCHED_FIFO", WARN, "refused", "granted", "ask"), Check("numba", PASS, "1", ">=1", "")]
    monkeypatch.setattr(environment, "checks", lambda cores: iter(found))


@pytest.mark.usefixtures("quick")
def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path, {RT: "950000", CLOCK: "tsc"})
    assert doctor.run(True, {3, -1, 2}, root=tmp_path) == 0
    body = json.loads(capsys.readouterr().out)
    assert body.keys() == {"cores", "warnings", "checks"} and body["cores"] == [2, 3] and body["warnings"] == 2
    assert len(body["checks"]) == len(CHECKS) + 2
    for entry in body["checks"]:
        assert entry.keys() == {"name", "status", "found", "wanted", "fix"}
        assert entry["status"] in (PASS, WARN, INFO) and all(isinstance(text, str) for text in entry.values())


@pytest.mark.usefixtures("quick")
def test_the_table_is_aligned_and_a_warning_has_its_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path, {RT: "950000", CLOCK: "tsc"})
    assert doctor.run(False, {2, 3}, root=tmp_path) == 0
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert first == "hot cores: 2-3" and last == f"2 PASS, 2 WARN, {len(CHECKS) - 2} INFO"
    rows = [line for line in lines if not line.startswith(" ")]
    assert len(rows) == len(CHECKS) + 2 and len({line.index("  wanted: ") for line in rows}) == 1
    for row, after in zip(lines, [*lines[1:], ""], strict=True):
        if not row.startswith(" "):
            assert row.startswith(WARN) == after.lstrip().startswith("fix: ")


@pytest.mark.usefixtures("quick")
def test_a_warning_fails_only_when_strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.run(True, {2}, strict=True, root=tmp_path) == 1
    monkeypatch.setattr(environment, "checks", lambda cores: iter(()))
    assert doctor.run(True, {2}, strict=True, root=tmp_path) == 0


@pytest.mark.usefixtures("quick")
def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cores"] == [max(os.sched_getaffinity(0))]
    assert doctor.main(["--json", "--cores", "0-1,4", "--strict"]) == 1
    assert json.loads(capsys.readouterr().out)["cores"] == [0, 1, 4]
    with pytest.raises(SystemExit):
        doctor.main(["--cores", "second"])


def test_on_this_machine_everything_is_answered() -> None:
    cores = frozenset({min(os.sched_getaffinity(0))})
    found = [*doctor.machine(Path("/"), cores), *environment.checks(cores)]
    assert not [result for result in found if "Error" in result.found]
