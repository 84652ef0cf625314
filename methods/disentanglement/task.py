"""The disentanglement task: what autoencoders and adversarial models share, and the loop that trains an autoencoder."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import TensorDataset

from regbench.methods.disentanglement.infomec import infomec
from regbench.methods.disentanglement.latents import Continuous
from regbench.methods.disentanglement.networks import Architecture, Autoencoder, Reconstruction, Size
from regbench.methods.hidden import Hidden, fixed_rows
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.shared.images import unit
from regbench.methods.training import Means, MixedPrecisionMethod, StepMethod

TRACK = Track(
    name="disentanglement",
    help="codes of images, judged by whether each part of a code follows one source of variation, and by what they give back",
    metrics=(Metric("infom", "max"), Metric("infoe", "max"), Metric("infoc", "max"), Metric("psnr", "max")),
    data=("scenes", "dsprites", "mpi3d"),
    baseline="autoencoder",
    smoke={"iterations": 6, "report_every": 2, "batch_size": 16, "hidden_dim": 16, "num_latents": 4, "judged": 100},
)

# Images that are encoded at once in the evaluation.
EVALUATION_BATCH = 500

Model = Callable[[Tensor, Tensor | None], Reconstruction]


@dataclass(frozen=True)
class Batch:
    """A mini-batch and its place in training.

    Attributes:
        x: images in [0, 1] ``[B, C, H, W]``.
        noise: standard normal ``[B, n_z]``, for latents that are drawn.
        step: from 1.
        rows: how many training images there are.
    """

    x: Tensor
    noise: Tensor
    step: int
    rows: int


class DisentanglementMethod(MixedPrecisionMethod, StepMethod):
    """What all methods of the track share: networks, the optimizer of the released code, and InfoMEC on held-out images."""

    track: ClassVar[Track] = TRACK

    architecture: Architecture = hyperparameter(
        "dense", help="both networks: dense (two hidden layers), or convolutional with a style decoder, as published"
    )
    hidden_dim: int = hyperparameter(128, ge=1, help="width of dense layers")
    channels: int = hyperparameter(32, ge=1, help="of the first group of convolutions; each further group has twice as many")
    groups: int = hyperparameter(4, ge=1, help="of convolutions, each of which halves the image")
    group_depth: int = hyperparameter(3, ge=1, help="convolutions in a group")
    num_latents: int = hyperparameter(0, ge=0, help="n_z; 0: twice the number of sources")
    iterations: int = hyperparameter(3000, ge=1, help="steps")
    report_every: int = hyperparameter(1000, ge=1, help="steps in one round")
    batch_size: int = hyperparameter(64, ge=2, help="images in a mini-batch, over all workers")
    learning_rate: float = hyperparameter(1e-3, gt=0, help="of Adam")
    weight_decay: float = hyperparameter(0.0, ge=0, help="decoupled decay of weights; not of biases, nor of codebooks")
    clip: float = hyperparameter(1.0, gt=0, help="limit of each number of the gradient of what decays")
    judged: int = hyperparameter(10_000, ge=50, help="images of a split that are judged, at most")

    def latent_count(self, data: Data) -> int:
        """n_z."""
        return self.num_latents or 2 * len(data.meta["sources"])

    def size(self) -> Size:
        """How large the networks are."""
        return Size(self.hidden_dim, self.channels, self.groups, self.group_depth)

    def images(self, run: Run) -> Tensor:
        """This worker's share of a mini-batch ``[B, C, H, W]``, drawn with replacement."""
        stored = run.tensors(run.data.train)[0]
        return unit(stored[run.draw(len(stored), self.batch_size)])

    def adam(self, network: nn.Module, betas: tuple[float, float] = (0.9, 0.999)) -> torch.optim.Optimizer:
        """Adam, fused, with decay of the first of two groups of parameters, see ``decaying``."""
        decayed, free = decaying(network)
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": free, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=self.learning_rate, betas=betas, fused=True)

    def descend(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """A step by this configuration's rate and decay, along a gradient that is clipped, number by number, in what decays."""
        decayed, free = optimizer.param_groups
        decayed["lr"] = free["lr"] = self.learning_rate
        decayed["weight_decay"] = self.weight_decay
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(decayed["params"], self.clip)
        optimizer.step()

    @abstractmethod
    def encode(self, run: Run, x: Tensor) -> Tensor:
        """Codes ``[B, n_z]`` of images ``[B, C, H, W]`` by the networks of a run."""

    def hidden(self, run: Run, count: int) -> Hidden:
        """Codes of images; labels are those of the first source."""
        x, sources = run.tensors(run.data.validation)
        rows = fixed_rows(len(x), count, run.device)
        return Hidden(self.encode(run, unit(x[rows])), x[rows], sources[rows, 0])

    def judge_codes(
        self,
        encode: Callable[[Tensor], tuple[Tensor, Tensor]],
        *,
        discrete: bool,
        split: TensorDataset,
        run: Run,
    ) -> Metrics:
        """InfoMEC and the peak signal-to-noise ratio of a split's first images, which are in random order.

        Args:
            encode: maps images to codes ``[B, n_z]`` and to what is given back of them ``[B, C, H, W]``, in [0, 1].
            discrete: whether codes are categories.
            split: images and sources.
            run: holds them on its device.
        """
        x, sources = (tensor[: self.judged] for tensor in run.tensors(split))
        codes, ratios = [], []
        with torch.no_grad():
            for part in x.split(EVALUATION_BATCH):
                found, given = encode(unit(part))
                codes.append(found)
                ratios.append(signal_to_noise(given, unit(part)))
        judged = infomec(sources, torch.cat(codes), discrete=discrete, seed=run.numpy_seed("neighbours"))
        return {
            "infom": judged.modularity,
            "infoe": judged.explicitness,
            "infoc": judged.compactness,
            "psnr": torch.cat(ratios).mean().item(),
            "active_latents": float(judged.active.sum()),
            "dropped_ratios": float(judged.dropped),
        }


class AutoencoderMethod(DisentanglementMethod):
    """Trains an encoder, a latent and a decoder to give images back. A method overrides ``build_latent`` and ``objective``."""

    @abstractmethod
    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Reconstruction]:
        """The training objective of one mini-batch, as a pure function of its arguments.

        Args:
            model: maps images ``[B, C, H, W]`` and noise ``[B, n_z]`` to a reconstruction; to be called once.
            batch: the mini-batch.
            weights: the method's weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar to minimize, a mean over images, and what the model gave.
        """

    def build_latent(self, data: Data) -> nn.Module:
        """What stands between encoder and decoder."""
        return Continuous(self.latent_count(data))

    def build_model(self, data: Data) -> Autoencoder:
        """The autoencoder, with fresh parameters."""
        return Autoencoder(self.architecture, tuple(data.meta["shape"]), self.build_latent(data), self.size())

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains for ``iterations`` and yields the mean objective and validation metrics after every ``report_every``."""
        network = self.build_model(run.data).to(run.device)
        optimizer = self.adam(network)
        model = self.prepare(network, run)
        run.restore(model=network, optimizer=optimizer)
        rows, width = len(run.data.train), self.latent_count(run.data)
        for number in run.rounds(self.rounds):
            means = Means()
            network.train()
            for step in self.steps(number):
                x = self.images(run)
                noise = torch.randn(len(x), width, generator=run.generator("latents", run.device), device=run.device)
                loss, _ = self.objective(model, Batch(x, noise, step, rows), self.weight_values())
                self.descend(loss, optimizer)
                means.add(loss=loss)
            network.eval()
            yield means.metrics() | run.judge(lambda split: self.evaluate(network, split, run))

    def encode(self, run: Run, x: Tensor) -> Tensor:
        """The latent's codes."""
        return run.network(x).latents.codes

    def evaluate(self, network: Autoencoder, split: TensorDataset, run: Run) -> Metrics:
        """Metrics of an autoencoder on a split, names without the split's prefix."""

        def encode(x: Tensor) -> tuple[Tensor, Tensor]:
            found = network(x)
            return found.latents.codes, found.logits.sigmoid()

        return self.judge_codes(encode, discrete=network.latent.discrete, split=split, run=run)


def reconstruction_loss(logits: Tensor, x: Tensor) -> Tensor:
    """Binary cross-entropy of images in [0, 1] under logits, both ``[B, C, H, W]``, averaged over pixels; ``[B]``."""
    return binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).mean(1)


def signal_to_noise(given: Tensor, x: Tensor) -> Tensor:
    """-10 log₁₀ of the mean squared error of each image, ``[B]``, in decibels; both ``[B, C, H, W]`` in [0, 1]."""
    error = (given.double() - x.double()).square().flatten(1).mean(1)
    return -10 * error.clamp(min=torch.finfo(torch.float64).tiny).log10()


def decaying(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters that decay, and those that do not: biases, and all of a module named ``latent``."""
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = [], []
    for name, parameter in network.named_parameters():
        path = name.split(".")
        groups[path[-1] == "bias" or "latent" in path].append(parameter)
    return groups
