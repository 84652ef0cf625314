"""Set-up of every test: where real data sets are, one thread a process, and interrupts that interrupt."""

import os
import signal
from pathlib import Path

# Before NumPy and PyTorch are imported: workers whose libraries each take all cores wait for each other most of the time.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"
# Ray's workers would give way to everything else, and starve beside tests that compute.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - its name

import torch

# A shell starts background commands with interrupts ignored; the programs that tests interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

if SHARED_DATA.is_dir():
    os.environ.setdefault("REGBENCH_DATA", str(SHARED_DATA))
torch.set_num_threads(1)
