"""The language task: a byte-level model of text, judged by its perplexity."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.data import TensorDataset

from regbench.methods.hidden import Hidden, fixed_rows
from regbench.methods.language.entropies import largest_entropy
from regbench.methods.language.networks import Feed, FeedNorm, LanguageModel, Passed, Shape
from regbench.methods.method import Metric, Metrics, Track, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.training import Means, MixedPrecisionMethod, StepMethod, set_rate

TRACK = Track(
    name="language",
    help="small language models of bytes, judged by their perplexity on held-out text",
    metrics=(Metric("perplexity", "min"), Metric("overloaded", "min"), Metric("collapsed", "min")),
    data=("python_source", "tiny_shakespeare", "codeparrot_bytes"),
    baseline="language_model",
    smoke={
        "layers": 2,
        "width": 16,
        "heads": 2,
        "iterations": 6,
        "report_every": 2,
        "batch_size": 8,
        "warmup": 2,
        "evaluated": 32,
        # Attention is uniform at first.
        "temperature_init": 0.1,
    },
)

EVALUATION_BATCH = 256

Model = Callable[[Tensor], Passed]


@dataclass(frozen=True)
class Batch:
    """A mini-batch: windows ``[B, T]`` and the token after each of theirs ``[B, T]``, int64."""

    x: Tensor
    y: Tensor


class LanguageMethod(MixedPrecisionMethod, StepMethod):
    """Trains a language model by AdamW with warm-up and a linear decay; gradients are clipped.

    ``overloaded`` is the share of heads whose mean attention entropy is above 3/4 of log T, ``collapsed`` of those below 1/4;
    ``entropy/l`` is the mean of layer l in units of log T.
    """

    track: ClassVar[Track] = TRACK

    layers: int = hyperparameter(6, ge=1, help="L")
    width: int = hyperparameter(64, ge=1, help="of a token's state")
    heads: int = hyperparameter(4, ge=1, help="of each attention, a divisor of the width")
    layer_norm: bool = hyperparameter(True, help="LayerNorm before attention, before the feed-forward network and at the end")
    feed: Feed = hyperparameter("gelu", help="feed-forward network: gelu, relu, linear, or fused into one scaled matrix")
    feed_norm: FeedNorm = hyperparameter("none", help="of its matrices: none, weight or spectral; scaled: of both summands")
    temperature_init: float | None = hyperparameter(None, gt=0, help="initial value of learned temperatures; null: none")
    scale_init: float = hyperparameter(1.0, gt=0, help="initial value of the scales α and β")
    iterations: int = hyperparameter(1200, ge=1, help="steps")
    report_every: int = hyperparameter(400, ge=1, help="steps in one round")
    batch_size: int = hyperparameter(16, ge=1, help="windows in a mini-batch, over all workers")
    learning_rate: float = hyperparameter(2e-3, gt=0, may_change=True, help="of AdamW at its largest")
    warmup: int = hyperparameter(40, ge=0, help="steps in which the learning rate rises")
    weight_decay: float = hyperparameter(0.1, ge=0, help="decoupled decay of matrices")
    gradient_clip: float = hyperparameter(1.0, gt=0, may_change=True, help="largest norm of a gradient")
    evaluated: int = hyperparameter(1000, ge=1, help="windows that the model is judged on, at most")

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Passed]:
        """The cross-entropy of the next token, as a pure function of its arguments.

        Args:
            model: the language model; to be called once.
            batch: the mini-batch.
            weights: the method's weights as attributes, numbers or scalar tensors.

        Returns:
            The scalar to minimize, and what the model gave.
        """
        found = model(batch.x)
        return cross_entropy(found.logits.flatten(0, 1), batch.y.flatten()), found

    def shape(self, data: Data) -> Shape:
        """The architecture on a data set."""
        return Shape(
            data.meta["vocabulary"],
            data.meta["context"],
            self.layers,
            self.width,
            self.heads,
            self.layer_norm,
            self.feed,
            self.feed_norm,
            self.temperature_init,
            None,
            self.scale_init,
        )

    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains for ``iterations`` and yields the mean objective and the evaluation after every ``report_every``."""
        network = LanguageModel(self.shape(run.data)).to(run.device)
        optimizer = torch.optim.AdamW(network.groups(self.weight_decay), lr=self.learning_rate, betas=(0.9, 0.95))
        model = self.prepare(network, run)
        run.restore(model=network, optimizer=optimizer)
        for number in run.rounds(self.rounds):
            means = Means()
            network.train()
            for step in self.steps(number):
                set_rate(optimizer, self.learning_rate * self.rate(step))
                rows = run.tensors(run.data.train)[0][run.draw(len(run.data.train), self.batch_size)].long()
                loss, _ = self.objective(model, Batch(rows[:, :-1], rows[:, 1:]), self.weight_values())
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), self.gradient_clip)
                optimizer.step()
                means.add(loss=loss)
            network.eval()
            yield means.metrics() | run.judge(lambda split: self.evaluate(network, split, run))

    def hidden(self, run: Run, count: int) -> Hidden:
        """The state of a window's last position, which the next token is read from; inputs are how often each token occurs."""
        split = run.data.validation
        windows = run.tensors(split)[0][fixed_rows(len(split), count, run.device)].long()
        given, following = windows[:, :-1], windows[:, -1]
        frequencies = one_hot(given, run.data.meta["vocabulary"]).float().mean(1)
        return Hidden(run.network.states(given)[0][:, -1], frequencies, following)

    def rate(self, step: int) -> float:
        """The factor on the learning rate in a step, from 1: up over the warm-up, then linearly down to the end."""
        if step <= self.warmup:
            return step / self.warmup
        return (self.iterations - step + 1) / max(1, self.iterations - self.warmup)

    def evaluate(self, network: Any, split: TensorDataset, run: Run) -> Metrics:
        """Metrics on the first ``evaluated`` windows of a split."""
        rows = run.tensors(split)[0][: self.evaluated].long()
        losses, entropies = [], []
        with torch.no_grad():
            for part in rows.split(EVALUATION_BATCH):
                found = network(part[:, :-1])
                losses.append(cross_entropy(found.logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum"))
                entropies.append(found.entropies.mean(3).sum(1))
        heads = torch.stack(entropies).sum(0) / len(rows) / largest_entropy(rows.shape[1] - 1)
        shares = {"overloaded": (heads > 0.75).double().mean().item(), "collapsed": (heads < 0.25).double().mean().item()}
        layers = {f"entropy/{number}": value for number, value in enumerate(heads.mean(1).tolist())}
        # A model that has diverged has a perplexity of ∞, which ends the trial with a message.
        perplexity = (torch.stack(losses).double().sum() / rows[:, 1:].numel()).exp().item()
        return {"perplexity": perplexity} | shares | layers
