"""Measures memory and speed of trainings on folders of images that are decoded while they are used, by the number of files.

    python benchmarks/large_folders.py

writes ``benchmarks/results/large_folders.csv``. A folder of random JPEG files, ``--side`` pixels wide and high, is trained on
for one epoch, in a process of its own for each number of files and way of reading: the process's peak memory and how much of it
came after PyTorch and regbench were imported, seconds to look at the folder, and images per second of training and validation
with a perceptron of 2 x 256. Only the smaller folders are read into memory.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "large_folders.csv"
CLASSES = 4
# More are not read into memory.
MOST_IN_MEMORY = 4_000


def draw(folder: Path, first: int, last: int, side: int) -> None:
    """Writes files number ``first`` to ``last``, in folders of classes."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(first)
    for label in range(CLASSES):
        (folder / f"class {label}").mkdir(parents=True, exist_ok=True)
    for number in range(first, last):
        small = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        image = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
        image.save(folder / f"class {number % CLASSES}" / f"{number:07}.jpg")


def measure(folder: Path, in_memory: bool, readers: int) -> dict[str, float]:
    """What a training takes in this process."""
    import torch

    from regbench.methods.registry import create
    from regbench.methods.run import Run
    from regbench.methods.shared.data.files.reading import read
    from regbench.methods.shared.data.files.spec import FileData

    torch.set_num_threads(1)
    # What is imported with the first training, too.
    list(create("cross_entropy", {"epochs": 1}).train(Run("digits_small")))
    before, began = peak(), time.monotonic()
    data = read("photos", FileData(images=str(folder), in_memory=in_memory))
    looked = time.monotonic()
    list(create("cross_entropy", {"epochs": 1, "batch_size": 64}).train(Run(data, readers=readers)))
    ended = time.monotonic()
    images = len(data.train) + len(data.validation)
    return {
        "peak_mb": peak(),
        "above_imports_mb": peak() - before,
        "look_seconds": looked - began,
        "images_per_second": images / (ended - looked),
    }


def peak() -> float:
    """The largest memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[1_000, 4_000, 16_000])
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--readers", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        folder, in_memory, readers = options.measure
        print(json.dumps(measure(Path(folder), in_memory == "True", int(readers))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        drawn = 0
        for files in options.files:
            draw(Path(name), drawn, files, options.side)
            drawn = files
            size = sum(file.stat().st_size for file in Path(name).rglob("*.jpg")) / 1e6
            ways = [(True, 0)] * (files <= MOST_IN_MEMORY) + [(False, readers) for readers in options.readers]
            for in_memory, readers in ways:
                command = [sys.executable, __file__, "--measure", name, str(in_memory), str(readers)]
                alone = os.environ | {"OMP_NUM_THREADS": "1"}
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=alone)
                found = json.loads(done.stdout.splitlines()[-1])
                way = {"files": files, "folder_mb": size, "in_memory": in_memory, "readers": readers}
                rows.append(
                    {key: round(value, 1) if isinstance(value, float) else value for key, value in (way | found).items()}
                )
                print(rows[-1], flush=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
