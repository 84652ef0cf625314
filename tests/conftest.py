"""Set-up of every test: where real data sets are, and one thread a process, so that figures do not depend on the machine."""

import os
from pathlib import Path

import torch

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

if SHARED_DATA.is_dir():
    os.environ.setdefault("REGBENCH_DATA", str(SHARED_DATA))
torch.set_num_threads(1)
