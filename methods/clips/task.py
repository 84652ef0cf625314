"""The task of the clips track: a diffusion model of short clips, judged by how well it generates, interpolates and predicts."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.clips.diffusion import (
    STEPS,
    Schedule,
    ddim_sample,
    diffuse,
    frame_errors,
    guided,
    masked_loss,
    signal_rates,
)
from regbench.methods.clips.extraction import gather_frames, representative_frames
from regbench.methods.clips.masks import FRAMES, Catalogue, catalogue
from regbench.methods.clips.networks import FrameNetwork
from regbench.methods.errors import ConfigError
from regbench.methods.generative.features import PerceptronFeatures
from regbench.methods.generative.metrics import frechet_distance
from regbench.methods.hidden import Hidden, fixed_rows, penultimate
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.data import KEPT, Data
from regbench.methods.shared.data.moving_digits import ClipData
from regbench.methods.training import Means, MixedPrecisionMethod, StepMethod, descend, set_rate

TRACK = Track(
    name="clips",
    help="short animated clips, from a first frame and a caption, from every other frame, or from the beginning",
    metrics=(
        Metric("generation", "min"),
        Metric("interpolation", "min"),
        Metric("prediction", "min"),
        Metric("frechet", "min", needs="samples"),
    ),
    data=("moving_digits", "moving_digits_few", "animated_stickers"),
    baseline="no_masks",
    smoke={
        "iterations": 4,
        "report_every": 2,
        "batch_size": 4,
        "width": 8,
        "heads": 2,
        "samples": 0,
        "evaluated": 10,
        "curriculum_fraction": 0.8,
    },
)

# The condition masks on which all methods are judged, of complete clips.
JUDGED = {
    "generation": (1, 0, 0, 0, 0, 0, 0, 0),
    "interpolation": (1, 0, 1, 0, 1, 0, 1, 0),
    "prediction": (1, 1, 1, 1, 1, 0, 0, 0),
}
# The steps of diffusion at which the error of the predicted noise is measured.
JUDGED_STEPS = (50, 200, 350, 500, 650, 800)
EVALUATION_BATCH = 100
# Share of clips that are trained without their given frames, and without their captions, for guidance.
DROPPED = 0.1


@dataclass(frozen=True)
class Batch:
    """Clips that are asked of the network.

    Attributes:
        clean: latents z₀ ``[B, F, C, H, W]``, of which the first k are valid.
        given: condition masks ``[B, F]``, bool.
        valid: loss masks ``[B, F]``, bool.
        captions: tokens ``[B, W]``, int64.
        rows: each clip's row in the catalogue ``[B]``.
    """

    clean: Tensor
    given: Tensor
    valid: Tensor
    captions: Tensor
    rows: Tensor


class ClipMethod(MixedPrecisionMethod, StepMethod):
    """Trains a network to predict the noise in clips whose other frames are given, by Adam at a rate that falls to 0.

    Pixels are folded into channels (2 x 2 by default), an autoencoder without loss in place of the paper's. ``generation``,
    ``interpolation`` and ``prediction`` are errors of the predicted noise in frames that are not given, of complete held-out
    clips with captions, under one fixed condition mask each, at fixed steps and with fixed noise: one first frame, every other
    frame, the first five. ``frechet`` is the distance of clips sampled from first frames and captions to real ones, in the
    features of a classifier of complete clips.

    A method of the track writes ``draw``: what is asked of which clip.
    """

    track: ClassVar[Track] = TRACK

    width: int = hyperparameter(16, ge=8, multiple_of=4, help="channels of the network at its finer scale")
    heads: int = hyperparameter(2, ge=1, help="of its attention over time")
    patch: int = hyperparameter(2, ge=1, help="side of the squares of pixels that are folded into channels")
    schedule: Schedule = hyperparameter("linear", help="of the noise: β linear, or √β as in latent diffusion's code")
    loss_on_condition_frames: bool = hyperparameter(True, help="count given frames in the loss too")
    iterations: int = hyperparameter(2000, ge=1, help="steps")
    report_every: int = hyperparameter(2000, ge=1, help="steps in one round")
    batch_size: int = hyperparameter(32, ge=1, help="clips in a mini-batch, over all workers")
    learning_rate: float = hyperparameter(2e-3, gt=0, may_change=True, help="of Adam, at first")
    evaluated: int = hyperparameter(300, ge=1, help="held-out clips that are judged, at most")
    samples: int = hyperparameter(0, ge=0, help="clips that are sampled for `frechet`; 0: none")
    sampling_steps: int = hyperparameter(20, ge=1, le=STEPS, help="of DDIM; the paper: 50")
    sampling_noise: float = hyperparameter(1.0, ge=0, le=1, help="η of DDIM")
    text_guidance: float = hyperparameter(7.5, ge=0, help="s_T, of captions, in sampling")
    image_guidance: float = hyperparameter(7.5, ge=0, help="s_I, of given frames, in sampling")

    def build_catalogue(self) -> Catalogue:
        """The configurations that the method draws from."""
        return catalogue(FRAMES, FRAMES, (0.0, 0.0, 1.0))

    def build_memory(self, found: Catalogue, run: Run) -> dict[str, Any]:
        """What is remembered across steps."""
        return {}

    def choices(self, lengths: Tensor, found: Catalogue, step: int, memory: dict[str, Any]) -> Tensor:
        """How probably each configuration is asked of clips of these lengths ``[B]``: ``[B, C]``, rows of sum 1."""
        return found.shares[lengths]

    def clips(self, lengths: Tensor) -> Tensor:
        """Which training clips are learned from: their rows, int64."""
        return torch.arange(len(lengths), device=lengths.device)

    def remember(self, losses: Tensor, rows: Tensor, step: int, memory: dict[str, Any]) -> Metrics:
        """Updates the memory after a step from the losses ``[B]`` of all workers' clips; returns what is to be recorded."""
        return {}

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains for ``iterations`` and yields mean losses and the evaluation after every ``report_every``."""
        channels = run.data.meta["shape"][1] * self.patch**2
        network = FrameNetwork(channels, self.width, self.heads, run.data.meta["vocabulary"]).to(run.device)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        model = self.prepare(network, run)
        found = self.build_catalogue()
        memory = self.build_memory(found, run)
        run.restore(model=network, optimizer=optimizer, memory=memory)
        rates = signal_rates(self.schedule).to(run.device)
        for number in run.rounds(self.rounds):
            means, recorded = Means(), Metrics()
            network.train()
            for step in self.steps(number):
                set_rate(optimizer, self.learning_rate * (1 - (step - 1) / self.iterations))
                batch = self.draw(found, step, memory, run)
                loss, losses = self.objective(model, batch, rates, run)
                descend(loss, optimizer)
                means.add(loss=loss)
                recorded = self.remember(run.gather(losses), run.gather(batch.rows), step, memory)
            network.eval()
            yield means.metrics() | recorded | run.judge(lambda split: self.evaluate(network, rates, split, run))

    def draw(self, found: Catalogue, step: int, memory: dict[str, Any], run: Run) -> Batch:
        """A mini-batch: clips, what is asked of each, and the frames that it is cut to."""
        clips, lengths, captions = run.tensors(run.data.train)
        usable = self.clips(lengths)
        index = usable[run.draw(len(usable), self.batch_size)]
        chances = self.choices(lengths[index].cpu(), found, step, memory)
        stream = run.generator("configurations")
        rows = torch.multinomial(chances, 1, generator=stream)[:, 0]
        kept = found.valid[rows].sum(1).to(run.device)
        frames = extracted(run.data, run.device)[index, kept]
        dropped = torch.rand(2, len(rows), 1, generator=stream).to(run.device) < DROPPED
        text = found.text[rows].to(run.device)[:, None] & ~dropped[1]
        return Batch(
            fold(gather_frames(pixels(clips[index]), frames), self.patch),
            found.given[rows].to(run.device) & ~dropped[0],
            found.valid[rows].to(run.device),
            captions[index] * text,
            rows.to(run.device),
        )

    def objective(self, model: Any, batch: Batch, rates: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """The masked loss of a mini-batch, a scalar, and each clip's own ``[B]`` without gradient."""
        stream = run.generator("noise", run.device)
        steps = torch.randint(STEPS, (len(batch.clean),), generator=stream, device=run.device)
        noise = torch.randn(batch.clean.shape, generator=stream, device=run.device)
        noisy = diffuse(batch.clean, noise, rates[steps])
        predicted = model(noisy, batch.clean, batch.given, batch.valid, steps, batch.captions)
        # A clip whose given frames were dropped has all of its frames to generate.
        weights = None if self.loss_on_condition_frames else (~batch.given).to(predicted.dtype)
        with torch.no_grad():
            errors = frame_errors(predicted, noise, batch.valid)
            own = errors.sum(1) / batch.valid.sum(1)
        return masked_loss(predicted, noise, batch.valid, weights), own

    def evaluate(self, network: FrameNetwork, rates: Tensor, split: TensorDataset, run: Run) -> Metrics:
        """Errors under the fixed masks, and where clips are sampled their Fréchet distance."""
        clips, _, captions = (tensor[: self.evaluated] for tensor in run.tensors(split))
        clean = fold(pixels(clips), self.patch)
        # On the CPU and with a seed of its own: the same noise for all methods and runs.
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(run.device)
        steps = torch.tensor(JUDGED_STEPS, device=run.device)[torch.arange(len(clean), device=run.device) % len(JUDGED_STEPS)]
        noisy = diffuse(clean, noise, rates[steps])
        metrics = {}
        with torch.no_grad():
            for task, mask in JUDGED.items():
                given, valid = (flags.expand(len(clean), -1) for flags in judged_masks(mask, run.device))
                parts = zip(
                    *(part.split(EVALUATION_BATCH) for part in (noisy, clean, given, valid, steps, captions)), strict=True
                )
                predicted = torch.cat([network(*part) for part in parts])
                metrics[task] = masked_loss(predicted, noise, valid & ~given).item()
            if self.samples:
                made = self.generate(network, rates, clips[: self.samples], captions[: self.samples], "generation", run)
                judge = clip_features(run.data)
                metrics["frechet"] = frechet_distance(judge.features(made), judge.features(clips))
        return metrics

    def generate(self, network: FrameNetwork, rates: Tensor, clips: Tensor, captions: Tensor, task: str, run: Run) -> Tensor:
        """Clips ``[N, F, C, H, W]`` in [-1, 1] whose other frames are sampled, given some of real clips and captions.

        Args:
            network: predicts noise.
            rates: ᾱ.
            clips: real ones ``[N, F, C, H, W]``.
            captions: ``[N, W]``.
            task: which mask of ``JUDGED``.
            run: gives the noise.
        """
        clean = fold(pixels(clips), self.patch)
        given, valid = (flags.expand(len(clean), -1) for flags in judged_masks(JUDGED[task], run.device))
        nothing, silence = torch.zeros_like(given), torch.zeros_like(captions)

        def predict(z: Tensor, steps: Tensor) -> Tensor:
            return guided(
                network(z, clean, nothing, valid, steps, silence),
                network(z, clean, given, valid, steps, silence),
                network(z, clean, given, valid, steps, captions),
                self.image_guidance,
                self.text_guidance,
            )

        stream = torch.Generator(run.device).manual_seed(run.numpy_seed("samples"))
        start = torch.randn(clean.shape, generator=stream, device=run.device)
        with torch.no_grad():
            made = ddim_sample(predict, start, rates, self.sampling_steps, self.sampling_noise, stream)
        # Given frames are what was given.
        return unfold(torch.where(given[:, :, None, None, None], clean, made).clamp(-1, 1), self.patch)

    def hidden(self, run: Run, count: int) -> Hidden:
        """What the network's head is given of validation clips, noisy at one step, under the mask of generation."""
        clips, _, captions = run.tensors(run.data.validation)
        rows = fixed_rows(len(clips), count, run.device)
        clean = fold(pixels(clips[rows]), self.patch)
        given, valid = (flags.expand(len(rows), -1) for flags in judged_masks(JUDGED["generation"], run.device))
        steps = torch.full((len(rows),), JUDGED_STEPS[0], device=run.device)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(run.device)
        noisy = diffuse(clean, noise, signal_rates(self.schedule)[steps.cpu()].to(run.device))
        return Hidden(
            penultimate(run.network, noisy, clean, given, valid, steps, captions[rows]), clips[rows], captions[rows, 0]
        )


def judged_masks(mask: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """A condition mask and the loss mask of a complete clip, ``[1, F]`` each, bool."""
    given = torch.tensor([mask], dtype=torch.bool, device=device)
    return given, torch.ones_like(given)


def pixels(clips: Tensor) -> Tensor:
    """Clips in [-1, 1]; those kept as bytes are scaled."""
    return clips if clips.is_floating_point() else clips.float() / 127.5 - 1


def fold(clips: Tensor, patch: int) -> Tensor:
    """Squares of pixels as channels: ``[B, F, C, H, W]`` to ``[B, F, C p², H/p, W/p]``."""
    return torch.nn.functional.pixel_unshuffle(clips, patch)


def unfold(latents: Tensor, patch: int) -> Tensor:
    """The inverse of ``fold``."""
    return torch.nn.functional.pixel_shuffle(latents, patch)


@lru_cache(KEPT)
def extracted(data: Data, device: torch.device) -> Tensor:
    """Which frames stand for each training clip cut to k of them ``[N, F + 1, F]``, by their pixels pooled to 4 x 4."""
    clips, lengths, _ = data.train.tensors
    pooled = torch.nn.functional.adaptive_avg_pool2d(pixels(clips).flatten(0, 1), 4).reshape(len(clips), FRAMES, -1)
    return representative_frames(pooled, lengths).to(device)


@lru_cache(KEPT)
def clip_features(data: Data) -> PerceptronFeatures:
    """The classifier of complete clips in whose features sampled ones are judged; a process trains it once.

    Raises:
        ConfigError: the data set has no classes of clips.
    """
    if not isinstance(data, ClipData):
        raise ConfigError(f"{data.name} has no classes of clips, in whose features samples are judged: set samples to 0")
    return PerceptronFeatures(Data(data.name, data.complete, data.complete, data.complete))
