"""Errors of samplers over the evaluations of the model that they may make, on every grid of noise levels.

DDIM, DPM-Solver++(2M), UniPC, EVODiff as released and with a last step of first order, from the same noise: distance to where
the exact flow ends (``rmse``), and of the distribution of the images (``frechet``), on the mixture of Gaussians and with the
network trained on digits.

    python benchmarks/sampling_curves.py [--seeds N] [--data NAME ...]

writes the rows of these data sets into ``benchmarks/results/sampling_curves.csv`` and draws
``docs/methods/plots/sampling_curves.svg``.
"""

import argparse
import itertools
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from rich.progress import track as progress

from regbench.methods.registry import create
from regbench.methods.run import Run

RESULTS = Path(__file__).parent / "results" / "sampling_curves.csv"
PLOT = Path(__file__).parents[1] / "docs" / "methods" / "plots" / "sampling_curves.svg"
GRIDS = ("logSNR", "edm", "time_quadratic", "time_uniform")
# For each data set: budgets, images that are sampled, and steps of the reference. The rule of EVODiff changes at 21 steps.
DATA = {
    "digit_mixture": ((5, 8, 10, 12, 15, 20, 21, 22, 25), 500, 100),
    "digit_images": ((5, 10, 15, 20, 22, 25), 100, 40),
}
SAMPLERS = {
    "ddim": ("ddim", {}),
    "dpm_solver": ("dpm_solver", {}),
    "unipc": ("unipc", {}),
    "evodiff": ("evodiff", {}),
    "evodiff, first-order last step": ("evodiff", {"final_step": "first_order"}),
}
METRICS = ("rmse", "frechet")
SAMPLES, REFERENCE = 250, 60


def measure(names: list[str], seeds: int) -> pd.DataFrame:
    """Validation metrics, a row for each sampler, data set, grid, budget and seed."""
    found = []
    for data, seed in progress([*itertools.product(names, range(seeds))], description="data and seeds"):
        budgets, samples, reference = DATA[data]
        for grid, budget, (name, (slug, settings)) in itertools.product(GRIDS, budgets, SAMPLERS.items()):
            fixed = {"num_function_evaluations": budget, "skip_type": grid, "samples": samples, "reference_steps": reference}
            (metrics,) = create(slug, fixed | settings).train(Run(data, seed=seed))
            values = [metrics[f"val/{metric}"] for metric in (*METRICS, "contrast")]
            found.append((data, grid, name, budget, seed, *values))
    return pd.DataFrame(found, columns=["data", "grid", "sampler", "evaluations", "seed", *METRICS, "contrast"])


def draw(rows: pd.DataFrame) -> None:
    """A panel for each data set, metric and grid: means over seeds, and the range of them."""
    mpl.rcParams["svg.hashsalt"] = "regbench"
    panels = [*itertools.product([name for name in DATA if name in set(rows.data)], METRICS)]
    figure = Figure(figsize=(13, 2.6 * len(panels)), layout="constrained")
    grid_of_axes = figure.subplots(len(panels), len(GRIDS), sharex=True, sharey="row")
    for (row, (data, metric)), (column, grid) in itertools.product(enumerate(panels), enumerate(GRIDS)):
        axes = grid_of_axes[row][column]
        part = rows[(rows.data == data) & (rows.grid == grid)]
        for number, name in enumerate(SAMPLERS):
            over = part[part.sampler == name].groupby("evaluations")[metric]
            axes.plot(over.mean().index, over.mean(), marker=".", label=name, color=f"C{number}")
            axes.fill_between(over.mean().index, over.min(), over.max(), alpha=0.2, color=f"C{number}")
        axes.set_yscale("log")
        if not row:
            axes.set_title(grid, fontsize=10)
        if not column:
            axes.set_ylabel(f"{data}\n{metric}")
    for axes in grid_of_axes[-1]:
        axes.set_xlabel("evaluations of the model")
    grid_of_axes[0][0].legend(fontsize=7)
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Measures and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--data", nargs="*", choices=DATA, default=[*DATA])
    options = parser.parse_args()
    rows = measure(options.data, options.seeds)
    if RESULTS.is_file():
        kept = pd.read_csv(RESULTS)
        rows = pd.concat([kept[~kept.data.isin(options.data)], rows])
    rows = rows.sort_values("data", ascending=False, kind="stable")
    rows.to_csv(RESULTS, index=False, float_format="%.6g")
    draw(rows)


if __name__ == "__main__":
    main()
