"""Set-up of every test: where real data sets are, one thread a process, and interrupts that interrupt."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Before NumPy and PyTorch are imported: workers whose libraries each take all cores wait for each other most of the time.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"
# Ray's workers would give way to everything else, and starve beside tests that compute.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - its name

import pytest
import torch
from reach import PROCESSES, TRAININGS, reaches

# A shell starts background commands with interrupts ignored; the programs that tests interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

if SHARED_DATA.is_dir():
    os.environ.setdefault("REGBENCH_DATA", str(SHARED_DATA))
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A library that a test imports may set PyTorch's threads: later trainings would be many times slower."""
    yield
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert threads == 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what costs much, and spreads files that start processes among the others: at once they would overload two cores.

    They mostly wait, and are through before the end, so that no worker ends with one of them alone. Of the others, those with
    the most tests come first.
    """
    tests = Counter(item.path for item in items)
    waiting = dict.fromkeys(item.path for item in items if reaches(item, PROCESSES))
    computing = sorted(tests.keys() - waiting.keys(), key=lambda file: (-tests[file], file))
    place = {file: number / len(computing) for number, file in enumerate(computing)}
    place |= {file: 0.75 * number / len(waiting) for number, file in enumerate(waiting)}
    items.sort(key=lambda item: (place[item.path], item.path))
    for item in items:
        if reaches(item, PROCESSES | TRAININGS):
            item.add_marker("costly")
