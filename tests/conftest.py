"""The three ways in which the same tests run, and how hard the property tests try in each.

Interpreted, a field of a record costs a microsecond instead of a nanosecond, so the examples are fewer; the
structures under test are tiny and their keys few, so that collisions come in every example anyway.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from numba import config

# A shell that starts us in the background leaves SIGINT ignored, and so it would be in all processes that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


EXAMPLES = {"compiled": 40, "checked": 25, "plain": 15}
MODE = "plain" if config.DISABLE_JIT else "checked" if config.BOUNDSCHECK else "compiled"

for mode, examples in EXAMPLES.items():
    settings.register_profile(
        mode,
        max_examples=examples,
        deadline=None,
        # In CI a red run must be the change, not the dice.
        derandomize="CI" in os.environ,
        # Where an example takes long, minutes of making it smaller are worse than a long example.
        phases=[phase for phase in Phase if phase is not Phase.shrink or mode == "compiled"],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
# A mutant must fail, today and tomorrow; one failure is enough.
settings.register_profile(
    "mutant",
    settings.get_profile("plain"),
    max_examples=50,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
)
settings.load_profile(MODE)


@pytest.fixture(scope="session", autouse=True)
def shared_folder() -> Iterator[Path]:
    """Shared segments of the tests, and of the processes they start, lie apart from those of engines that run here."""
    folder = Path(tempfile.mkdtemp(prefix="tests-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    os.environ["ULTRA_SHM_DIR"] = str(folder)
    yield folder
    shutil.rmtree(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if MODE == "compiled":
        return
    for item in items:
        for marker in ("jit_only", "slow"):
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(f"{marker}: only compiled, without checks"))
