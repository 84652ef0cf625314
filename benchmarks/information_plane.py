"""Information of layers over training by adaptive estimators, and what goes with their compression: the claims of their paper.

    python benchmarks/information_plane.py

trains the tapered network on the 12-bit inputs with several activations, and with L2 on hidden layers, and looks at all 4,096
inputs at epochs that are evenly spaced on a logarithmic scale: information about inputs and labels of every layer, the
probabilities of the classes the last, by adaptive bins, by bins that are the same for all layers and epochs, and, on 1,024
inputs, by adaptive kernels. Values go to ``benchmarks/results/information_plane.csv``, a row a layer and epoch; the picture to
``docs/methods/plots/``.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.progress import track as progress
from scipy.stats import spearmanr
from torch import Tensor, nn

from regbench.methods.classification.adaptive_mi import AdaptiveInformation
from regbench.methods.hidden import fixed_rows
from regbench.methods.run import Run
from regbench.methods.shared.data.binary_inputs import all_inputs
from regbench.methods.shared.information.adaptive import adaptive_kde, binned_information, compression, ebab, fixed_edges

RESULTS = Path(__file__).parent / "results" / "information_plane.csv"
PLOT = Path(__file__).parents[1] / "docs" / "methods" / "plots" / "information_plane.svg"
# Activation and weight of L2.
CASES = (
    ("relu", 0.0),
    ("relu", 0.003),
    ("tanh", 0.0),
    ("tanh", 0.003),
    ("elu", 0.0),
    ("swish", 0.0),
    ("centred_softplus", 0.0),
)
# What the released code takes as the value that no activity is below; None: just below the least.
LOWEST = {"relu": 0.0, "tanh": -1.000001, "elu": -1.000001}
COLUMNS = ["activation", "l2_weight", "seed", "epoch", "layer", "estimator", "about_x", "about_y", "train_loss", "test_nll"]


def layers(network: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Outputs of the activations, and the probabilities of the classes."""
    found = []
    with torch.no_grad():
        for module in network:
            x = module(x)
            if not isinstance(module, nn.Flatten | nn.Linear):
                found.append(x)
        return [*found, x.softmax(1)]


def follow(activation: str, l2_weight: float, seed: int, epochs: int, looks: int) -> list[tuple[object, ...]]:
    """One training, a row for each layer, estimator and epoch that is looked at."""
    method = AdaptiveInformation(activation=activation, l2_weight=l2_weight, learning_rate=2e-3, epochs=epochs)
    run = Run("binary_inputs", seed=seed)
    (x, y), some = all_inputs(), fixed_rows(4096, 1024)
    held = torch.cat([split.tensors[0] for split in (run.data.validation, run.data.test)])
    labels = torch.cat([split.tensors[1] for split in (run.data.validation, run.data.test)])
    seen = set(np.unique(np.geomspace(1, epochs, looks).round().astype(int)).tolist())
    rows: list[tuple[object, ...]] = []
    for metrics in method.train(run):
        if run.round not in seen:
            continue
        network = run.part("model").network
        with torch.no_grad():
            nll = nn.functional.cross_entropy(network(held), labels).item()
        for place, t in enumerate(layers(network, x), start=1):
            low = LOWEST.get(activation)
            low = 0.0 if low is None and t.min() >= 0 else low
            found = {
                "bins": ebab(t, y, low=low),
                "kernels": adaptive_kde(t[some], y[some]),
                "fixed bins": binned_information(t, y, fixed_edges(-1, 1, 30)),
            }
            for estimator, (about_x, about_y) in found.items():
                where = (activation, l2_weight, seed, run.round, place, estimator)
                rows.append((*where, about_x.item(), about_y.item(), metrics["train/loss"], nll))
    return rows


def compressions(rows: pd.DataFrame) -> pd.DataFrame:
    """How much of its largest information about inputs each layer has lost in the end, and the loss on unseen inputs then."""
    found = []
    for (activation, weight, seed, layer, estimator), own in rows.groupby(
        ["activation", "l2_weight", "seed", "layer", "estimator"]
    ):
        own = own.sort_values("epoch")
        lost = compression(torch.tensor(own.about_x.to_numpy())).item()
        last = own.iloc[-1]
        gap = last.test_nll - last.train_loss
        found.append((activation, weight, seed, layer, estimator, lost, last.about_x, last.test_nll, gap))
    return pd.DataFrame(
        found, columns=["activation", "l2_weight", "seed", "layer", "estimator", "lost", "about_x", "test_nll", "gap"]
    )


def correlations(rows: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation, over trainings without L2, of each layer's compression with minus the loss on unseen inputs."""
    ends = compressions(rows)
    found = []
    for (estimator, layer), own in ends[ends.l2_weight == 0].groupby(["estimator", "layer"]):
        result = spearmanr(own.lost, -own.test_nll)
        found.append((estimator, layer, len(own), result.statistic, result.pvalue))
    return pd.DataFrame(found, columns=["estimator", "layer", "trainings", "correlation", "p"])


def draw(rows: pd.DataFrame) -> None:
    """The plane of each case by adaptive bins, means over seeds: a line a layer, the later the darker; and what layers lose."""
    mpl.rcParams["svg.hashsalt"] = "regbench"
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    panels = figure.subplots(2, 4).ravel()
    bins = rows[rows.estimator == "bins"]
    for panel, (activation, weight) in zip(panels, CASES, strict=False):
        own = bins[(bins.activation == activation) & (bins.l2_weight == weight)]
        for layer, part in own.groupby("layer"):
            over = part.groupby("epoch")[["about_x", "about_y"]].mean()
            strength = layer / own.layer.max()
            panel.plot(over.about_x, over.about_y, marker=".", markersize=3, color="C0", alpha=strength)
            panel.plot(over.about_x.iloc[-1:], over.about_y.iloc[-1:], "o", color="C1", alpha=strength)
        panel.set_title(activation + (f", L2 {weight:g}" if weight else ""), loc="left", fontsize=9)
        panel.set(xlim=(0, 12.5), ylim=(0, 1.02), xlabel="I(X; T), bits")
    for panel in panels[::4]:
        panel.set_ylabel("I(T; Y), bits")
    lost, plain = compressions(bins).groupby(["activation", "l2_weight", "layer"]).lost.mean(), [a for a, w in CASES if not w]
    for activation, weight in CASES:
        values, label = lost[activation, weight], activation + (", L2" if weight else "")
        panels[-1].plot(values.index, values, "--" if weight else "-", color=f"C{plain.index(activation)}", label=label)
    panels[-1].set_title("share of I(X; T) lost", loc="left", fontsize=9)
    panels[-1].set_xlabel("layer")
    panels[-1].legend(fontsize=7)
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Measures and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--looks", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: list[tuple[object, ...]] = []
    for seed in progress(range(options.seeds), description="seeds"):
        for activation, weight in CASES:
            found += follow(activation, weight, seed, options.epochs, options.looks)
        rows = pd.DataFrame(found, columns=COLUMNS)
        rows.to_csv(RESULTS, index=False, float_format="%.5g")
    draw(rows)
    print(
        compressions(rows).groupby(["estimator", "activation", "l2_weight", "layer"]).lost.mean().unstack().round(3).to_string()
    )
    print(correlations(rows).round(3).to_string())


if __name__ == "__main__":
    main()
