"""The front of quality and bit operations: every confirmed network of the suite ``super_resolution``, entry by entry.

    python benchmarks/bitops_front.py [--storage build/effects]

reads the sweep that ``benchmarks/effects.py quantnas`` left, and draws ``docs/methods/plots/bitops_front.svg``: a dot is a
network, a cross an entry's mean, and the line joins the means that none dominates.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from regbench.methods.run import Run
from regbench.methods.super_resolution.bicubic_enlarging import BicubicEnlarging
from regbench.platform.comparison.compare import compare
from regbench.platform.records.storage import Storage
from regbench.platform.records.sweeps import open_sweep

PLOT = Path(__file__).parents[1] / "docs" / "methods" / "plots" / "bitops_front.svg"
SUITE, DATA = "super_resolution", "photographs_x4"


def confirmed(storage: Storage) -> pd.DataFrame:
    """PSNR and BitOps of each confirmed network: columns ``entry``, ``psnr``, ``gbitops``."""
    seeds = compare(open_sweep(SUITE, storage)).seeds
    seeds = seeds[seeds["stage"] == "confirm"]
    return seeds.pivot_table(index=["entry", "seed"], columns="metric", values="value").reset_index()


def front(means: pd.DataFrame) -> pd.DataFrame:
    """The rows with more PSNR than all that cost no more."""
    ordered = means.sort_values(["gbitops", "psnr"], ascending=[True, False])
    return ordered[ordered["psnr"] > ordered["psnr"].cummax().shift(fill_value=float("-inf"))]


def main() -> None:
    """Reads the sweep and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", default="build/effects", help="where the sweep is")
    found = confirmed(Storage(parser.parse_args().storage))
    mpl.rcParams["svg.hashsalt"] = "regbench"
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (entry, rows) in enumerate(found.groupby("entry")):
        axes.plot(rows["gbitops"], rows["psnr"], ".", color=f"C{number}", alpha=0.5)
        axes.plot(rows["gbitops"].mean(), rows["psnr"].mean(), "X", color=f"C{number}", markersize=10, label=entry)
    best = front(found.groupby("entry")[["gbitops", "psnr"]].mean())
    axes.plot(best["gbitops"], best["psnr"], color="0.3", linewidth=1, zorder=0)
    run = Run(DATA, test=True)
    bicubic = next(iter(BicubicEnlarging().train(run)))["test/psnr"]
    axes.axhline(bicubic, color="0.6", linestyle=":", label="bicubic")
    axes.set_xlabel("GBitOps for 32 x 32 pixels")
    axes.set_ylabel("PSNR of the luminance (dB)")
    axes.legend(fontsize=8)
    figure.savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    main()
