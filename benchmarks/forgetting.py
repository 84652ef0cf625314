"""Known classes over training: SimGCD's accuracy of them and LegoGCD's, beside that of the novel ones.

Both are trained with the settings of the suite ``discovery`` and their default weights, on the same seeds, and judged
on validation images after each epoch.

    python benchmarks/forgetting.py

draws ``docs/methods/plots/forgetting.svg``.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from rich.progress import track as progress

from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import read_suite

PLOT = Path(__file__).parents[1] / "docs" / "methods" / "plots" / "forgetting.svg"
SEEDS = range(4)
COLOURS = {"simgcd": "#D55E00", "lego_gcd": "#0072B2"}


def curves(metric: str, trained: list[list[dict[str, float]]]) -> np.ndarray:
    """A metric after each epoch of each training ``[seeds, epochs]``."""
    return np.array([[metrics[f"val/{metric}"] for metrics in curve] for curve in trained])


def main() -> None:
    """Trains both, and draws the figure."""
    planned = {study.entry: study for study in studies(read_suite("discovery"))}
    trained = {
        slug: [list(create(slug, planned[slug].fixed).train(Run(planned[slug].data, seed=seed))) for seed in SEEDS]
        for slug in progress(COLOURS, description="training")
    }
    mpl.rcParams["svg.hashsalt"] = "regbench"
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels = {
        "known_accuracy": "known classes",
        "novel_accuracy": "novel classes",
        "forgetting": "fallen from its highest value",
    }
    for axes, (metric, title) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for slug, colour in COLOURS.items():
            found = curves(metric, trained[slug])
            epochs = np.arange(1, found.shape[1] + 1)
            axes.fill_between(epochs, found.min(0), found.max(0), color=colour, alpha=0.2, linewidth=0)
            axes.plot(epochs, found.mean(0), color=colour, label=slug)
        axes.set(xlabel="epoch")
        axes.set_title(title, fontsize=10, loc="left")
    figure.axes[0].set_ylabel("accuracy")
    figure.axes[0].legend(frameon=False, loc="lower right")
    figure.savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    main()
