"""Known classes over training: SimGCD's accuracy of them and LegoGCD's, beside that of the novel ones.

    python benchmarks/effects.py lego_gcd
    python benchmarks/forgetting.py

draws ``docs/methods/plots/forgetting.svg`` from the sweep of the suite ``discovery``: the confirmed configurations on fresh
seeds, judged on validation images after each epoch.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from regbench.platform.records.storage import Storage
from regbench.platform.records.sweeps import open_sweep

PLOT = Path(__file__).parents[1] / "docs" / "methods" / "plots" / "forgetting.svg"
COLOURS = {"simgcd": "#D55E00", "lego_gcd": "#0072B2"}
PANELS = {
    "known_accuracy": "known classes",
    "novel_accuracy": "novel classes",
    "forgetting": "known, fallen from their highest",
}


def curves(storage: Storage) -> pd.DataFrame:
    """Metrics of the confirmed trials: entry, seed, round, metric, value."""
    records = open_sweep("discovery", storage)
    trials = records.trials().to_pandas()
    confirmed = trials.loc[trials["stage"] == "confirm", ["key", "entry", "seed"]]
    return records.curves().to_pandas()[["key", "round", "metric", "value"]].merge(confirmed, on="key")


def main() -> None:
    """Draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", default="build/effects", help="where the sweep is")
    found = curves(Storage(parser.parse_args().storage))
    mpl.rcParams["svg.hashsalt"] = "regbench"
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for entry, colour in COLOURS.items():
            here = found[(found["entry"] == entry) & (found["metric"] == f"val/{metric}")]
            values = here.pivot(index="seed", columns="round", values="value")
            low, high = values.quantile(0.1), values.quantile(0.9)
            axes.fill_between(values.columns, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(values.columns, values.mean(), color=colour, label=f"{entry}, {len(values)} seeds")
        axes.set(xlabel="epoch")
        axes.set_title(title, fontsize=10, loc="left")
    figure.axes[0].set_ylabel("accuracy: mean, 10 to 90 %")
    figure.axes[0].legend(frameon=False, loc="lower right")
    figure.savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    main()
