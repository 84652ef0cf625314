"""How complete representations are, over how many factors two views share, and over the mini-batch.

Contrastive coding (InfoNCE) and Wasserstein predictive coding, with the settings of the suite ``representation`` and their
default weights: linear probes' accuracy on test pairs of 1, 4 and 9 tiles in batches of 64, and of 9 tiles in batches of 16 to
256, between a random and a supervised encoder.

    python benchmarks/dependency_curves.py

writes ``benchmarks/results/dependency_curves.csv`` and draws ``docs/methods/plots/dependency_curves.svg``.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from rich.progress import track as progress

from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.platform.suite.spec import read_suite

RESULTS = Path(__file__).parent / "results" / "dependency_curves.csv"
PLOT = Path(__file__).parents[1] / "docs" / "methods" / "plots" / "dependency_curves.svg"
FACTORS, BATCHES = (1, 4, 9), (16, 64, 256)
SLUGS = ("contrastive_coding", "wasserstein_dependency", "supervised_encoder", "random_encoder")
# Whose batches have negatives.
CONTRASTIVE = SLUGS[:2]


def measure(seeds: int) -> pd.DataFrame:
    """Test accuracies, a row for each training."""
    points = [(slug, factors, 64) for factors in FACTORS for slug in SLUGS]
    points += [(slug, FACTORS[-1], size) for size in BATCHES if size != 64 for slug in CONTRASTIVE]
    fixed = read_suite("representation").settings
    found = []
    for seed in progress(range(seeds), description="seeds"):
        for slug, factors, size in points:
            fields = type(create(slug, {})).model_fields
            settings = {name: value for name, value in fixed.items() if name in fields} | {"batch_size": size}
            *_, metrics = create(slug, settings).train(Run(f"spatial_digits_{factors}", seed=seed, test=True))
            found.append((slug, factors, size, seed, metrics["test/accuracy"], metrics["test/worst_accuracy"]))
    return pd.DataFrame(found, columns=["method", "factors", "batch_size", "seed", "accuracy", "worst_accuracy"])


def draw(rows: pd.DataFrame) -> None:
    """Means and the range over seeds."""
    mpl.rcParams["svg.hashsalt"] = "regbench"
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    chosen = rows[rows.batch_size == 64], rows[(rows.factors == FACTORS[-1]) & rows.method.isin(CONTRASTIVE)]
    for axes, part, name in zip(panels, chosen, ("factors", "batch_size"), strict=True):
        for slug, own in part.groupby("method"):
            over = own.groupby(name).accuracy
            axes.plot(over.mean().index, over.mean(), marker="o", label=slug, color=f"C{SLUGS.index(str(slug))}")
            axes.fill_between(over.mean().index, over.min(), over.max(), alpha=0.2, color=f"C{SLUGS.index(str(slug))}")
        axes.set(xlabel={"factors": "shared factors", "batch_size": "mini-batch, 9 factors"}[name], ylim=(0, 1))
    panels[1].set_xscale("log", base=2)
    panels[0].set_ylabel("accuracy of linear probes")
    panels[0].legend(fontsize=8)
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Measures and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    rows = measure(parser.parse_args().seeds)
    rows.to_csv(RESULTS, index=False, float_format="%.6g")
    draw(rows)


if __name__ == "__main__":
    main()
