"""What learned proximal networks learn, and how plug-and-play restoration with them settles.

    python benchmarks/learned_priors.py

trains the entries of the suite ``prior_recovery`` and two of ``plug_and_play`` with one seed and draws
``docs/methods/plots/learned_priors.svg``: operators and regularizers that a Laplace distribution leads to; the regularizer of
digits under noise and blur; and how far ADMM moves in each iteration, from three kinds of measurements, with a learned proximal
network and with an unconstrained denoiser.
"""

import copy
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.progress import track as progress
from torch import Tensor

from regbench.methods.imaging.denoisers import TrainedDenoiser
from regbench.methods.prior_recovery.task import PriorRecoveryMethod
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data import load
from regbench.methods.shared.proximal.inversion import invert, invert_scalar, regularizer
from regbench.methods.shared.proximal.operators import Blur
from regbench.methods.shared.proximal.plug_and_play import plug_and_play_admm
from regbench.methods.shared.proximal.potentials import DensePotential
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import read_suite

PLOT = Path(__file__).parents[1] / "docs" / "methods" / "plots" / "learned_priors.svg"
LINES = {"scalar_proximal": "proximal matching", "posterior_median": "absolute error", "posterior_mean": "squared error"}
OPERATORS = {"blurred_digits": "blur", "sensed_digits": "compressed sensing", "projected_digits": "tomography"}
ITERATIONS, IMAGES = 300, 20
PERTURBATIONS = (0.0, 0.05, 0.1, 0.2, 0.3)


def fixed(suite: str) -> dict[str, Any]:
    """Each entry's method with the suite's settings."""
    return {study.entry: create(study.method.slug, study.fixed) for study in studies(read_suite(suite))}


def scalar_network(method: PriorRecoveryMethod) -> DensePotential:
    """Trained on Laplace samples, in double precision."""
    run = Run("laplace_samples")
    for _ in method.train(run):
        pass
    return copy.deepcopy(run.part("network")).double()


def image_network(method: TrainedDenoiser) -> Any:
    """Trained on digits."""
    run = Run("blurred_digits")
    for _ in method.train(run):
        pass
    return run.part("network").eval()


def draw_laplace(axes: tuple[Axes, Axes], networks: dict[str, DensePotential]) -> None:
    """Operators and regularizers of one dimension."""
    y, x = (torch.linspace(-end, end, 201, dtype=torch.float64)[:, None] for end in (4, 2))
    for entry, network in networks.items():
        with torch.no_grad():
            axes[0].plot(y, network(y), label=LINES[entry])
        value = regularizer(network, x, invert_scalar(network, x))
        axes[1].plot(x, value - value.min())
    axes[0].plot(y, torch.nn.functional.softshrink(y, 1.0), "k:", label="soft threshold")
    axes[1].plot(x, x.abs(), "k:")
    axes[0].set(title="operator f(y)", xlabel="y")
    axes[1].set(title="regularizer R(x), truth |x|", xlabel="x")
    axes[0].legend(fontsize=8)


def draw_digits(axes: Axes, network: Any, alpha: float) -> None:
    """The regularizer of test digits with noise, and of blurred ones, mean over images, less that of clean ones."""
    clean = load("blurred_digits").test.tensors[1][:IMAGES].double()
    exact, stream = copy.deepcopy(network).double(), torch.Generator().manual_seed(0)
    noise = torch.randn(clean.shape, generator=stream, dtype=torch.float64)

    def value(x: Tensor) -> float:
        # As released: where f does not reach x, the nearest that the inversion finds.
        return regularizer(exact, x, invert(exact, x, alpha, iterations=200), alpha).mean().item()

    start = value(clean)
    axes.plot(
        PERTURBATIONS, [value(clean + level * noise) - start for level in PERTURBATIONS], "o-", label="noise of this deviation"
    )
    blurred = []
    for deviation in PERTURBATIONS[1:]:
        operator = Blur((1, 12, 12), deviation=4 * deviation)
        margin = (operator.kernel.shape[-1] - 1) // 2
        blurred.append(value(operator.forward(clean)[:, :, margin:-margin, margin:-margin]) - start)
    axes.plot(PERTURBATIONS, [0.0, *blurred], "s-", label="blur of 4 times as many pixels")
    axes.set(title="regularizer of digits", xlabel="perturbation")
    axes.legend(fontsize=8)


def draw_moves(axes: Axes, methods: dict[str, tuple[TrainedDenoiser, Any]]) -> None:
    """How far ADMM's state moves, over the first move, mean over images."""
    for colour, (name, label) in enumerate(OPERATORS.items()):
        data = load(name)
        b, operator = data.test.tensors[0][:IMAGES].double(), data.meta["operator"]
        start = operator.adjoint(b) / operator.squared_norm
        for (entry, (method, network)), style in zip(methods.items(), ("-", "--"), strict=True):
            f = method.denoiser(copy.deepcopy(network).double(), 12)
            options = {"penalty": method.admm_penalty, "scale": 0.5, "iterations": ITERATIONS, "tolerance": 1e-9}
            moves = plug_and_play_admm(f, operator, b, start, **options, linear_iterations=100).moves
            axes.semilogy((moves / moves[0]).mean(1), style, color=f"C{colour}", label=f"{label}, {entry}")
    axes.set(title="moves of ADMM over the first one", xlabel="iteration")
    axes.legend(fontsize=7)


def main() -> None:
    """Trains the networks and draws the figure."""
    torch.set_num_threads(1)
    scalars = {
        entry: scalar_network(method) for entry, method in progress(list(fixed("prior_recovery").items())) if entry in LINES
    }
    chosen = {entry: method for entry, method in fixed("plug_and_play").items() if entry in ("learned_proximal", "dncnn")}
    methods = {entry: (method, image_network(method)) for entry, method in progress(sorted(chosen.items(), reverse=True))}
    mpl.rcParams["svg.hashsalt"] = "regbench"
    figure = Figure(figsize=(10, 7), layout="constrained")
    (first, second), (third, fourth) = figure.subplots(2, 2)
    draw_laplace((first, second), {entry: scalars[entry] for entry in LINES})
    method, network = methods["learned_proximal"]
    draw_digits(third, network, method.strong_convexity)
    draw_moves(fourth, methods)
    figure.savefig(PLOT, metadata={"Date": None}, bbox_inches="tight")


if __name__ == "__main__":
    main()
