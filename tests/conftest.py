"""Set-up of every test: where real data sets are, one thread a process, and interrupts that interrupt."""

import os
import signal
from collections import Counter
from pathlib import Path

# Before NumPy and PyTorch are imported: workers whose libraries each take all cores wait for each other most of the time.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"
# Ray's workers would give way to everything else, and starve beside tests that compute.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - its name

import pytest
import torch

# A shell starts background commands with interrupts ignored; the programs that tests interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

if SHARED_DATA.is_dir():
    os.environ.setdefault("REGBENCH_DATA", str(SHARED_DATA))
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spreads the files that start clusters and servers among the others: all at once they would overload two cores.

    Of the others, those with the most tests come first, so that no worker ends with a long file alone.
    """
    tests = Counter(item.path for item in items)
    heavy = [file for file in tests if file.parent.name in ("clusters", "platform")]
    light = sorted(tests.keys() - set(heavy), key=lambda file: (-tests[file], file))
    place = {file: number / len(group) for group in (heavy, light) for number, file in enumerate(group)}
    items.sort(key=lambda item: (place[item.path], item.path))
