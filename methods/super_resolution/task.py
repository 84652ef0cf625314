"""The super-resolution task: train the network of an architecture with few bits, and judge it by quality and by BitOps."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.utils.data import TensorDataset

from regbench.methods.hidden import Hidden, fixed_rows, penultimate
from regbench.methods.method import Method, Metric, Metrics, Track, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.images import unit
from regbench.methods.super_resolution.adq import Deviation
from regbench.methods.super_resolution.images import cropped, mean_psnr
from regbench.methods.super_resolution.networks import Size, bit_operations, integer_network, layers, quantized_network
from regbench.methods.super_resolution.spaces import CATALOGUES, Architecture, Catalogue, Kind, Layer, Space
from regbench.methods.training import Means, descend, set_rate, span

TRACK = Track(
    name="super_resolution",
    help="images in high resolution by networks of few bits, judged by their quality and by their bit operations",
    metrics=(
        Metric("budgeted_psnr", "max"),
        Metric("psnr", "max"),
        Metric("gbitops", "min"),
        Metric("choice_entropy", "min"),
        Metric("gap", "min"),
    ),
    data=("photographs_x4", "photographs_x2", "kodak_set5_x2", "kodak_set5_x4", "div2k_set5_x4", "div2k_set14_x4"),
    baseline="uniform_quantization",
    smoke={
        "channels": 12,
        "cells": 1,
        "body_layers": 2,
        "tail_layers": 0,
        "epochs": 1,
        "report_every": 1,
        "search_epochs": 2,
        "search_report_every": 1,
        "entropy_warmup": 0,
        "batch_size": 8,
        "share": 0.03,
    },
    trade_off=("psnr", "gbitops"),
)


class Trained:
    """The network of an architecture and its optimizer, both of which exist as soon as it is known: a part of a run's state.

    Args:
        build: makes both of an architecture.
    """

    def __init__(self, build: Callable[[Architecture], tuple[nn.Module, torch.optim.Optimizer]]) -> None:
        self._build = build
        self.architecture: Architecture | None = None
        self.network: nn.Module
        self.optimizer: torch.optim.Optimizer

    def start(self, architecture: Architecture) -> None:
        """Begins with fresh weights."""
        self.architecture = architecture
        self.network, self.optimizer = self._build(architecture)

    def state_dict(self) -> dict[str, Any]:
        """Empty before it starts."""
        if self.architecture is None:
            return {}
        choices = {name: list(choice) for name, choice in self.architecture.items()}
        return {"architecture": choices, "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Builds the network again, and fills it."""
        if state:
            self.start({name: (operation, bits) for name, (operation, bits) in state["architecture"].items()})
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])


class SuperResolutionMethod(Method):
    """Trains the network of an architecture from scratch, quantized, against the mean absolute error.

    The network is judged as it is deployed, with integers in its convolutions: ``psnr`` is of the luminance, without a border
    as wide as the scale; ``gbitops`` are 10⁹ BitOps for an image of 32 x 32. ``budgeted_psnr`` compares networks of unlike
    cost: the psnr, less 10 log₁₀ of how many times over ``budget`` the BitOps are, 3 dB for twice the budget.
    ``choice_entropy`` and ``gap`` tell of a search how undecided it ended and what deciding costs in dB; where nothing is
    sought they are 0.

    A method of the track gives an architecture, see ``GivenArchitecture``, or searches for one before, see ``SearchMethod``.
    """

    track: ClassVar[Track] = TRACK

    space: Space = hyperparameter("rfdn", help="the search space: rfdn (features split off at each layer) or sr (two chains)")
    catalogue: Catalogue = hyperparameter("small", help="operations to choose from: small (four), or released")
    channels: int = hyperparameter(12, ge=12, multiple_of=12, help="C, of the network's body")
    cells: int = hyperparameter(2, ge=1, help="in the body")
    body_layers: int = hyperparameter(3, ge=1, help="layers in a cell's body")
    skip_layers: int = hyperparameter(1, ge=1, help="layers in a cell's skip; in the space rfdn one less than in its body")
    head_layers: int = hyperparameter(1, ge=1, help="layers before the body, in the space sr")
    tail_layers: int = hyperparameter(1, ge=0, help="layers after the upsampling")
    deviation: Deviation = hyperparameter("adq", help="residuals: adq, adadm (its ancestor), or plain")
    epochs: int = hyperparameter(40, ge=1, help="passes over the patches, in training a network whose architecture is known")
    report_every: int = hyperparameter(40, ge=1, help="of these in one round")
    batch_size: int = hyperparameter(16, ge=1, help="patches in a mini-batch, over all workers")
    learning_rate: float = hyperparameter(2e-3, gt=0, may_change=True, help="of Adam, falling to 0 as a cosine")
    share: float = hyperparameter(1.0, gt=0, le=1, help="of the patches that are used")
    crop: int = hyperparameter(0, ge=0, help="side of a random crop of each patch, in low resolution; 0: whole patches")
    budget: float = hyperparameter(0.5, gt=0, help="10⁹ BitOps for 32 x 32 pixels beyond which budgeted_psnr is reduced")

    @property
    def rounds_of_training(self) -> int:
        """One metrics mapping per ``report_every`` epochs of training the network."""
        return -(-self.epochs // self.report_every)

    @property
    def rounds(self) -> int:
        """Those of training."""
        return self.rounds_of_training

    def size(self, data: Data) -> Size:
        """How large the network is."""
        counts = (self.channels, self.cells, self.body_layers, self.skip_layers, self.head_layers, self.tail_layers)
        return Size(data.meta["scale"], *counts)

    def layers(self, data: Data) -> list[Layer]:
        """The layers whose operations are chosen."""
        return layers(self.space, self.size(data))

    @property
    def operations(self) -> dict[Kind, tuple[str, ...]]:
        """What there is to choose from, for each kind of layer."""
        return CATALOGUES[self.space, self.catalogue]

    def gbitops(self, architecture: Architecture, data: Data) -> float:
        """10⁹ BitOps of an architecture for 32 x 32 pixels, as it is deployed."""
        return bit_operations(self.space, self.size(data), architecture) / 1e9

    def trained(self, run: Run) -> Trained:
        """What is to hold the network."""

        def build(architecture: Architecture) -> tuple[nn.Module, torch.optim.Optimizer]:
            network = quantized_network(self.space, self.size(run.data), architecture, self.deviation).to(run.device)
            return network, torch.optim.Adam(network.parameters(), lr=self.learning_rate)

        return Trained(build)

    def hidden(self, run: Run, count: int) -> Hidden | None:
        """What the last layer of the network is given of patches in low resolution; None while it is sought."""
        found, split = run.part("found"), run.data.validation
        if found.architecture is None:
            return None
        low = unit(run.tensors(split)[0][fixed_rows(len(split), count, run.device)])
        return Hidden(penultimate(found.network, low), low, None)

    def used(self, split: TensorDataset) -> TensorDataset:
        """The patches that are used, evenly spread."""
        return spread(split, 0, len(split), self.share)

    def pairs(self, split: TensorDataset, run: Run) -> Iterator[tuple[Tensor, Tensor]]:
        """Mini-batches of patches in low ``[B, 3, h, w]`` and high resolution, in [0, 1]."""
        for low, high, _, _ in run.loader(split, self.batch_size):
            if self.crop:
                low, high = cropped(low, high, self.crop, run.generator("crops"))
            yield unit(low), unit(high)

    def judged(self, upscale: Callable[[Tensor], Tensor], cost: float, split: TensorDataset, run: Run) -> Metrics:
        """Quality and cost of a network on a split, names without its prefix."""
        psnr = mean_psnr(upscale, split, run)
        return {"budgeted_psnr": psnr - excess(cost, self.budget), "psnr": psnr, "gbitops": cost}


class GivenArchitecture(SuperResolutionMethod):
    """Trains the network of an architecture that is known before."""

    @abstractmethod
    def architecture(self, run: Run) -> Architecture:
        """The network's operations and bits."""

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains the network of ``architecture``."""
        found = self.trained(run)
        run.restore(found=found)
        if found.architecture is None:
            found.start(self.architecture(run))
        training = Training(self, found, self.used(run.data.train), run)
        for number in run.rounds(self.rounds):
            metrics = training.round(number)
            yield metrics | run.judge(lambda split: training.judged(split) | {"choice_entropy": 0.0, "gap": 0.0})


class Training:
    """The training of a network whose architecture is known.

    Args:
        method: whose settings it follows.
        found: the network.
        split: patches to learn from.
        run: where it happens.
    """

    def __init__(self, method: SuperResolutionMethod, found: Trained, split: TensorDataset, run: Run) -> None:
        assert found.architecture is not None
        self.method, self.found, self.split, self.run = method, found, split, run
        self.model = run.prepare(found.network)
        self.cost = method.gbitops(found.architecture, run.data)

    def round(self, number: int) -> Metrics:
        """A round of training, counted from 1; returns the mean loss over this worker's batches."""
        method, network, optimizer = self.method, self.found.network, self.found.optimizer
        means = Means()
        network.train()
        for epoch in span(number, method.report_every, method.epochs):
            set_rate(optimizer, method.learning_rate * cosine(epoch - 1, method.epochs))
            for low, high in method.pairs(self.split, self.run):
                loss = l1_loss(self.model(low), high)
                descend(loss, optimizer)
                means.add(loss=loss)
        self.run.average_buffers(network)
        return means.metrics()

    def judged(self, split: TensorDataset) -> Metrics:
        """The metrics of the network on a split, with integers in its convolutions."""
        return self.method.judged(integer_network(self.found.network.eval()), self.cost, split, self.run)


def spread(split: TensorDataset, start: int, stop: int, share: float) -> TensorDataset:
    """A share of a split's rows from ``start`` to before ``stop``, at least one, evenly spread; where it is all, the split."""
    count = max(1, round(share * (stop - start)))
    if count == len(split):
        return split
    rows = start + torch.arange(count) * (stop - start) // count
    return TensorDataset(*(tensor[rows] for tensor in split.tensors))


def excess(cost: float, budget: float) -> float:
    """What a cost beyond the budget is worth in decibels: 10 log₁₀ of their ratio, 0 within the budget."""
    return max(0.0, 10 * math.log10(max(cost, budget) / budget))


def cosine(epoch: int, epochs: int) -> float:
    """(1 + cos(π e / E)) / 2, with e from 0."""
    return (1 + math.cos(math.pi * epoch / epochs)) / 2
