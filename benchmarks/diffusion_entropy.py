"""What diffusion spectral entropy (DSE) and information (DSMI) tell: the claims of their paper, on embedded data.

    python benchmarks/diffusion_entropy.py [CLAIM ...]

measures each claim anew that is named, by default all:

- ``noise``: information about the labels of ten Gaussian clusters in 20 to 500 dimensions, of whose labels a growing share is
  drawn anew: DSMI, the same by binned entropies (CSMI), and by nearest neighbours (Ross, 2014);
- ``resilience``: DSE of five such clusters as noise grows, at three diffusion times, and their binned entropy;
- ``training``: DSE and DSMI of unseen digits while the track's small convolutional network learns true or random labels;
- ``initialization``: DSE before training, and accuracy after it, over the deviation of convolutions' initial weights;
- ``residual``: the same with the paper's two deviations in a ResNet-18;
- ``prediction``: DSE and DSMI at the end of trainings with random settings, and their accuracy;
- ``speed``: seconds of each algorithm on the network's features of Fashion-MNIST's test images, and what it is off by.

Values go to ``benchmarks/results/diffusion_entropy.csv``, a row a value, the picture to ``docs/methods/plots/``.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.progress import track as progress
from scipy.special import digamma
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.nn.functional import normalize

from regbench.methods.classification.diffusion_spectral_entropy import DEVIATIONS
from regbench.methods.diagnostics import Diagnostics
from regbench.methods.hidden import fixed_rows, penultimate
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data import Data, load
from regbench.methods.shared.data.digits import digits_data
from regbench.methods.shared.information.diffusion import (
    binned_entropy,
    classic_information,
    collision_entropy,
    diffusion_spectral_entropy,
    diffusion_spectral_information,
)
from regbench.methods.watch import SIGMA, Watch

RESULTS = Path(__file__).parent / "results" / "diffusion_entropy.csv"
PLOT = Path(__file__).parents[1] / "docs" / "methods" / "plots" / "diffusion_entropy.svg"
NETWORK: dict[str, Any] = {
    **{"architecture": "cnn", "optimizer": "adam", "learning_rate": 1e-3},
    **{"schedule": "constant", "weight_decay": 0.0},
}
ROWS = 300

Values = Iterator[tuple[str, float, str, int, float]]
"""Series, place on its axis, quantity, seed, value."""


def clusters(count: int, size: int, dimensions: int, deviation: float, seed: int) -> tuple[Tensor, Tensor]:
    """Points of Gaussian clusters around random centres at distances of about 1, and their clusters."""
    stream = np.random.default_rng(seed)
    centres = stream.normal(size=(count, dimensions)) / np.sqrt(2 * dimensions)
    y = np.repeat(np.arange(count), size)
    noise = stream.normal(size=(len(y), dimensions)) / np.sqrt(2 * dimensions)
    return torch.from_numpy(centres[y] + deviation * noise), torch.from_numpy(y)


def neighbour_information(z: Tensor, y: Tensor, neighbours: int = 3) -> float:
    """Mutual information of points and classes by nearest neighbours, bits (Ross, PLoS ONE 2014)."""
    counts = torch.bincount(y)[y].numpy()
    radius = np.empty(len(y))
    for label in y.unique():
        own = (y == label).numpy()
        distances = NearestNeighbors(n_neighbors=neighbours + 1).fit(z[own]).kneighbors()[0]
        radius[own] = np.nextafter(distances[:, neighbours - 1], 0)
    inside = (torch.cdist(z, z).numpy() <= radius[:, None]).sum(1) - 1
    found = digamma(len(y)) + digamma(neighbours) - digamma(counts).mean() - digamma(np.maximum(inside, 1) + 1).mean()
    return max(0.0, found) / np.log(2)


def noise(seeds: int) -> Values:
    """Information about labels of which a share is drawn anew."""
    for seed in range(seeds):
        for dimensions in (20, 100, 500):
            z, y = clusters(10, 50, dimensions, 0.3, seed)
            stream = np.random.default_rng(seed)
            for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
                drawn = torch.from_numpy(stream.integers(0, 10, len(y)))
                labels = torch.where(torch.from_numpy(stream.random(len(y)) < share), drawn, y)
                yield f"DSMI, {dimensions}", share, "information", seed, diffusion_spectral_information(z, labels, SIGMA).item()
                yield f"CSMI, {dimensions}", share, "information", seed, classic_information(z, labels).item()
                yield f"neighbours, {dimensions}", share, "information", seed, neighbour_information(z, labels)


def resilience(seeds: int) -> Values:
    """Entropy of five clusters under noise; their own is log₂ 5."""
    for seed in range(seeds):
        for deviation in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5):
            z, _ = clusters(5, 60, 50, deviation, seed)
            for t in (1, 2, 4):
                yield f"DSE, t = {t}", deviation, "entropy", seed, diffusion_spectral_entropy(z, SIGMA, t).item()
            yield "binned", deviation, "entropy", seed, binned_entropy(z).item()


def training(seeds: int) -> Values:
    """Entropy and information of unseen digits over training on true and on random labels, from the untrained network on."""
    for seed in range(seeds):
        for series, data in (("true labels", load("digits")), ("random labels", digits_data("digits_random", 1.0))):
            z, y = untrained(data, seed)
            yield series, 0, "diagnostic/dse", seed, diffusion_spectral_entropy(z, SIGMA).item()
            yield series, 0, "diagnostic/dsmi", seed, diffusion_spectral_information(z, y, SIGMA).item()
            for epoch, metrics in followed(data, {"epochs": 60}, seed):
                for name in ("diagnostic/dse", "diagnostic/dsmi", "train/loss", "val/accuracy"):
                    yield series, epoch, name, seed, metrics[name]


def followed(
    data: Data | str, settings: Mapping[str, Any], seed: int, every: int = 5
) -> Iterator[tuple[int, dict[str, float]]]:
    """The epochs of a training in which representations are measured, and their metrics."""
    method = create("cross_entropy", NETWORK | settings)
    run = Run(data, seed=seed, test=True)
    watch = Watch(Diagnostics(names=["dse", "dsmi"], rows=ROWS, every=every), method, run)
    for metrics in method.train(run):
        if found := watch.measure():
            yield run.round, metrics | found


def untrained(data: Data, seed: int) -> tuple[Tensor, Tensor]:
    """The representation with which a training begins, in rows of length 1, and the labels of these rows."""
    run = Run(data, seed=seed)
    network = create("cross_entropy", NETWORK).build_model(run.data)
    x, y = (tensor[fixed_rows(len(data.validation), ROWS)] for tensor in data.validation.tensors)
    with torch.no_grad():
        return normalize(penultimate(network, x), dim=1), y


def initialization(seeds: int) -> Values:
    """Entropy before training, and accuracy after it, with weights of each deviation, and of the guide's choice."""
    for seed in range(seeds):
        for deviation in DEVIATIONS:
            how = {"initialization": "normal", "conv_init_std": deviation}
            yield from started("given", deviation, NETWORK | how | {"epochs": 30}, seed)
        yield from started("guided", 0, NETWORK | {"initialization": "guided", "epochs": 30}, seed)


def residual(seeds: int) -> Values:
    """The same with both deviations of the paper in a ResNet-18, whose batch normalization undoes the scale of weights."""
    for seed in range(seeds):
        for deviation in (0.01, 0.1):
            how = {"architecture": "resnet18", "epochs": 12, "schedule": "cosine", "initialization": "normal"}
            yield from started("ResNet-18", deviation, how | {"conv_init_std": deviation}, seed)


def started(series: str, place: float, settings: Mapping[str, Any], seed: int) -> Values:
    """Entropy of unseen digits before a training without penalties, and accuracy after it."""
    method = create("diffusion_spectral_entropy", settings | {"dse_weight": 0.0, "dsmi_weight": 0.0})
    run = Run("digits", seed=seed)
    network = method.build_model(run.data).eval()
    with torch.no_grad():
        z = normalize(network(run.data.validation.tensors[0], True)[1], dim=1)
    yield series, place, "entropy", seed, diffusion_spectral_entropy(z, SIGMA).item()
    *_, metrics = method.train(Run("digits", seed=seed, test=True))
    yield series, place, "accuracy", seed, metrics["test/accuracy"]


def prediction(seeds: int) -> Values:
    """Diagnostics and accuracy where trainings with random settings end; a seed is a setting."""
    stream = np.random.default_rng(0)
    for number in range(8 * seeds):
        settings = {
            "learning_rate": float(10 ** stream.uniform(-4.5, -1.5)),
            "weight_decay": float(10 ** stream.uniform(-3, 0.5)),
            "batch_size": int(2 ** stream.integers(4, 9)),
            "epochs": int(stream.integers(5, 40)),
        }
        *_, (_, metrics) = followed("digits_noisy40", settings, number, every=1000)
        for name in ("diagnostic/dse", "diagnostic/dsmi", "val/accuracy", "test/accuracy"):
            yield "settings", number, name, number, metrics[name]


def speed(seeds: int) -> Values:
    """Seconds of each algorithm on trained features, with one thread, and by how many bits it is off."""
    method, run = create("cross_entropy", NETWORK | {"epochs": 1}), Run("fashion_mnist")
    for _ in method.train(run):
        pass
    with torch.no_grad():
        features = torch.cat([run.part("model")[:-1](part) for part in run.data.test.tensors[0][:4000].split(500)]).double()
    for count in (500, 1000, 2000):
        z = normalize(features[:count], dim=1)
        for t in (1, 2, 4):
            seconds, exact = timed(diffusion_spectral_entropy, z, SIGMA, t)
            yield f"dense, t = {t}", count, "seconds", 0, seconds
            yield f"dense, t = {t}", count, "entropy", 0, exact
            seconds, found = timed(diffusion_spectral_entropy, z, SIGMA, t, algorithm="low_rank", tolerance=1e-3)
            yield f"low rank, t = {t}", count, "seconds", 0, seconds
            yield f"low rank, t = {t}", count, "off by", 0, found - exact
        seconds, found = timed(collision_entropy, z, SIGMA)
        yield "collision", count, "seconds", 0, seconds
        yield "collision", count, "entropy", 0, found


def timed(estimate: Callable[..., Tensor], *arguments: Any, **options: Any) -> tuple[float, float]:
    """Seconds of this process that an estimate takes, and its value."""
    before = time.process_time()
    found = estimate(*arguments, **options).item()
    return time.process_time() - before, found


CLAIMS = {measure.__name__: measure for measure in (noise, resilience, training, initialization, residual, prediction, speed)}


def draw(rows: pd.DataFrame) -> None:
    """A panel for each claim but the speed: means and the range over seeds."""
    mpl.rcParams["svg.hashsalt"] = "regbench"
    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    chosen = rows[(rows.claim == "noise") & rows.series.str.endswith((" 20", " 500"))]
    _lines(panels[0], chosen, "information")
    panels[0].set(xlabel="share of labels drawn anew", ylabel="information, bits", title="labels drawn anew")
    _lines(panels[1], rows[rows.claim == "resilience"], "entropy")
    panels[1].axhline(np.log2(5), color="gray", linestyle="--", linewidth=1)
    panels[1].set(xlabel="noise", ylabel="entropy, bits", title="five clusters", ylim=(0, 9))
    for panel, name in zip(panels[2:4], ("diagnostic/dse", "diagnostic/dsmi"), strict=True):
        _lines(panel, rows[rows.claim == "training"], name)
        panel.set(
            xlabel="epoch", ylabel="bits", title={"diagnostic/dse": "DSE", "diagnostic/dsmi": "DSMI"}[name] + " in training"
        )
    start = rows[(rows.claim == "initialization") & (rows.series == "given")]
    _lines(panels[4], start, "accuracy")
    other = panels[4].twinx()
    _lines(other, start, "entropy", color="C1")
    panels[4].set(xscale="log", xlabel="deviation of initial weights", ylabel="test accuracy", title="initialization")
    other.set_ylabel("DSE before training")
    ends = rows[rows.claim == "prediction"].pivot_table(index="seed", columns="quantity", values="value")
    panels[5].plot(ends["diagnostic/dsmi"], ends["test/accuracy"], ".", label="DSMI")
    panels[5].plot(ends["diagnostic/dse"], ends["test/accuracy"], ".", label="DSE")
    panels[5].set(xlabel="bits", ylabel="test accuracy", title="random settings")
    for panel in (*panels[:4], panels[5]):
        panel.legend(fontsize=7)
    figure.savefig(PLOT, metadata={"Date": None})


def _lines(axes: Axes, rows: pd.DataFrame, quantity: str, color: str | None = None) -> None:
    for series, own in rows[rows.quantity == quantity].groupby("series", sort=False):
        over = own.groupby("x").value
        (line,) = axes.plot(over.mean().index, over.mean(), marker=".", label=str(series), color=color)
        axes.fill_between(over.mean().index, over.min(), over.max(), alpha=0.2, color=line.get_color())


def main() -> None:
    """Measures and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claims", nargs="*", choices=[[], *CLAIMS], metavar="CLAIM")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = pd.read_csv(RESULTS) if RESULTS.is_file() else pd.DataFrame()
    for name in progress(options.claims or list(CLAIMS), description="claims"):
        found = pd.DataFrame(CLAIMS[name](options.seeds), columns=["series", "x", "quantity", "seed", "value"])
        found.insert(0, "claim", name)
        kept = pd.concat([kept[kept.claim != name] if len(kept) else kept, found])
        kept.to_csv(RESULTS, index=False, float_format="%.6g")
    if set(kept.claim) == set(CLAIMS):
        draw(kept)


if __name__ == "__main__":
    main()
