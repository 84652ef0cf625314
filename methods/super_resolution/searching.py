"""Methods that search an architecture by gradient before they train its network: the two stages that they share."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.utils.data import TensorDataset

from regbench.methods.errors import ConfigError
from regbench.methods.method import Metrics, hyperparameter, is_off, weight
from regbench.methods.run import Evaluate, Run
from regbench.methods.shared.data import Data
from regbench.methods.super_resolution import search
from regbench.methods.super_resolution.images import mean_psnr
from regbench.methods.super_resolution.search import Noise, Supernet
from regbench.methods.super_resolution.spaces import Architecture
from regbench.methods.super_resolution.task import SuperResolutionMethod, Training, cosine, spread
from regbench.methods.training import Means, descend, set_rate, span

# Adam's momenta for the choices, as in DARTS and the released code.
CHOICE_BETAS = (0.5, 0.999)


@dataclass(frozen=True)
class Batch:
    """Patches that choices are learned from, and their place in the search.

    Attributes:
        low: ``[B, 3, h, w]`` in [0, 1].
        high: ``[B, 3, sh, sw]``.
        epoch: from 0.
    """

    low: Tensor
    high: Tensor
    epoch: int


class SearchMethod(SuperResolutionMethod):
    """Searches operations and bits by gradient (DARTS, first order), then trains the network that was found, from scratch.

    Half of the patches, of other images, is for the choices α, half for the weights w. Each step of the search is one of α,
    after a warm-up, along the gradient of |ŷ - y| + η BitOps(α) / BitOps(α₀), see ``objective``, and one of w along that of
    |ŷ - y| alone, clipped. Each layer then takes the operation and the bits with the largest α.
    """

    off_equals: ClassVar[str | None] = None  # the network of an architecture that was sought all the same

    bitops_weight: float = weight(
        1e-3, off=0.0, ge=0, symbol="η", differentiable=True, help="price of BitOps, relative to those of undecided choices"
    )
    search_epochs: int = hyperparameter(20, ge=1, help="E, passes over half of the patches while choices are sought")
    search_report_every: int = hyperparameter(20, ge=1, help="of these in one round")
    search_share: float = hyperparameter(1.0, gt=0, le=1, help="of the patches, that the search uses")
    entropy_warmup: int = hyperparameter(4, ge=0, help="W, epochs of the search in which choices are not learned")
    arch_learning_rate: float = hyperparameter(2e-2, gt=0, may_change=True, help="of Adam, for the choices")
    weight_learning_rate: float = hyperparameter(2e-3, gt=0, may_change=True, help="of Adam, for the weights of the search")
    search_weight_decay: float = hyperparameter(0.0, ge=0, help="L2 penalty of the weights of the search")
    search_clip: float = hyperparameter(5.0, gt=0, help="limit of the norm of the weights' gradient in the search")

    @property
    def search_rounds(self) -> int:
        """One metrics mapping per ``search_report_every`` epochs of the search."""
        return -(-self.search_epochs // self.search_report_every)

    @property
    def rounds(self) -> int:
        """Those of the search and those of training."""
        return self.search_rounds + self.rounds_of_training

    def bit_choices(self) -> tuple[int, ...]:
        """The numbers of bits among which the search chooses."""
        return (4, 8)

    def supernet(self, data: Data) -> Supernet:
        """The mixture of all networks."""
        return Supernet(self.space, self.size(data), self.operations, self.bit_choices(), self.noise(), self.deviation)

    def noise(self) -> Noise:
        """How the search sees bits: really quantized."""
        return Noise("off")

    def objective(self, model: nn.Module, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The loss of the choices on a mini-batch, as a pure function of its arguments and torch's random numbers.

        Args:
            model: a supernet, possibly wrapped.
            batch: patches of the half for the choices.
            weights: the method's weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar to minimize, and the images found ``[B, 3, sh, sw]``.
        """
        found = model(batch.low)
        return l1_loss(found, batch.high) + self.price(unwrapped(model), weights), found

    def price(self, supernet: Supernet, weights: SimpleNamespace) -> Tensor | float:
        """η BitOps(α) / BitOps(α₀)."""
        return 0.0 if is_off(weights.bitops_weight) else weights.bitops_weight * supernet.relative_bit_operations()

    def reconstruct(self, model: nn.Module, low: Tensor) -> Tensor:
        """What the supernet makes of patches while its weights are learned."""
        return model(low)

    def decided(self, supernet: Supernet) -> Architecture:
        """The architecture that a search ends with."""
        return supernet.architecture()

    def train(self, run: Run) -> Iterator[Metrics]:
        """Searches, then trains what was found.

        Raises:
            ConfigError: the warm-up leaves no epoch in which choices are learned.
        """
        if self.entropy_warmup >= self.search_epochs:
            raise ConfigError(f"entropy_warmup {self.entropy_warmup} leaves nothing of {self.search_epochs} search_epochs")
        supernet, found = self.supernet(run.data).to(run.device), self.trained(run)
        choices = torch.optim.Adam(supernet.logits, lr=self.arch_learning_rate, betas=CHOICE_BETAS)
        optimizer = torch.optim.Adam(supernet.weights(), lr=self.weight_learning_rate, weight_decay=self.search_weight_decay)
        model = run.prepare(supernet)
        run.restore(supernet=supernet, choices=choices, optimizer=optimizer, found=found)

        used = self.used(run.data.train)
        halves = self.halves(used)
        training: Training | None = None
        for number in run.rounds(self.rounds):
            if number <= self.search_rounds:
                metrics = self.search_round(model, choices, optimizer, halves, number, run)
                judged = self.judging_supernet(supernet, run)
            else:
                if found.architecture is None:
                    found.start(self.decided(supernet))
                training = training or Training(self, found, used, run)
                metrics, judged = training.round(number - self.search_rounds), training.judged
            yield metrics | run.judge(self.telling(judged, supernet.eval(), run))

    def halves(self, split: TensorDataset) -> tuple[TensorDataset, TensorDataset]:
        """Patches for the weights and for the choices: of each half, since patches of one image follow one another."""
        middle = len(split) // 2
        ranges = ((0, middle), (len(split) - middle, len(split)))
        first, second = (spread(split, *ends, self.search_share) for ends in ranges)
        return first, second

    def judging_supernet(self, supernet: Supernet, run: Run) -> Evaluate:
        """Judges a search in progress by the network of the largest logits, on the weights that all share."""
        cost = self.gbitops(self.decided(supernet), run.data)
        return lambda split: self.judged(lambda low: supernet(low, decided=True), cost, split, run)

    def search_round(
        self,
        model: nn.Module,
        choices: torch.optim.Optimizer,
        optimizer: torch.optim.Optimizer,
        halves: tuple[TensorDataset, TensorDataset],
        number: int,
        run: Run,
    ) -> Metrics:
        """A round of the search, counted from 1; returns the means of both losses over this worker's batches."""
        weights, means = self.weight_values(), Means()
        set_rate(choices, self.arch_learning_rate)
        model.train()
        for epoch in range(*self.epochs_of(number)):
            set_rate(optimizer, self.weight_learning_rate * cosine(epoch, self.search_epochs))
            for_weights, for_choices = (self.pairs(half, run) for half in halves)
            for (low, high), (held_low, held_high) in zip(for_weights, for_choices, strict=True):
                if epoch >= self.entropy_warmup:
                    loss, _ = self.objective(model, Batch(held_low, held_high, epoch), weights)
                    descend(loss, choices)
                    means.add(choice_loss=loss)
                loss = l1_loss(self.reconstruct(model, low), high)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(unwrapped(model).weights(), self.search_clip)
                optimizer.step()
                means.add(search_loss=loss)
        run.average_buffers(model)
        return means.metrics()

    def epochs_of(self, number: int) -> tuple[int, int]:
        """The first epoch of a round and the one after its last, from 0; a round counts from 1."""
        steps = span(number, self.search_report_every, self.search_epochs)
        return steps.start - 1, steps.stop - 1

    def telling(self, judged: Evaluate, supernet: Supernet, run: Run) -> Evaluate:
        """Judges a split, and says how undecided the choices are and what the supernet loses there when they are decided."""

        def evaluate(split: TensorDataset) -> Metrics:
            with torch.no_grad():
                undecided = search.normalized_entropy(supernet.logits).item()
            gap = mean_psnr(supernet, split, run) - mean_psnr(lambda low: supernet(low, decided=True), split, run)
            return judged(split) | {"choice_entropy": undecided, "gap": gap}

        return evaluate


def unwrapped(model: Any) -> Supernet:
    """The supernet of a model that may be wrapped for distributed training."""
    return model if isinstance(model, Supernet) else model.module
