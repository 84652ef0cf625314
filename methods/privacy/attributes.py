"""Attribute inference: from a model's released prediction and what is known of a person, guess what is not."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.errors import ConfigError
from regbench.methods.method import Metrics, hyperparameter
from regbench.methods.run import Run
from regbench.methods.shared.data.private import PrivateData
from regbench.methods.training import Estimator


@dataclass(frozen=True)
class Model:
    """A fitted model and how its predictions are released.

    Attributes:
        predict: rows ``[N, F]`` to predictions ``[N]``, deterministic.
        release: predictions ``[N]`` to what is released of them ``[N]``; may draw from a generator.
        log_likelihood: log P(released | prediction), up to a constant, of tensors that broadcast.
        information: I(X; Ŷ) on the training rows, in nats.
    """

    predict: Callable[[Tensor], Tensor]
    release: Callable[[Tensor, torch.Generator], Tensor]
    log_likelihood: Callable[[Tensor, Tensor], Tensor]
    information: float


class AttributeMethod(Estimator):
    """Fits a model of private rows in one round and infers a sensitive attribute of the people behind them.

    A seed draws a share of the training rows. Two attackers know some columns of a person and what the model released, and
    have rows of their own (``PrivateData.auxiliary``); the more successful one gives ``attack_accuracy``:

    - one knows the model: for each value v of the attribute it multiplies P(v | known), by logistic regression on its rows,
      with the likelihood of what was released, averaged over its own rows of that value in the place of the columns that it
      does not know, and takes the larger product (after Fredrikson et al., USENIX Security 2014);
    - one may only ask: it fits logistic regression of the attribute on the known columns and released predictions.

    ``attack_advantage`` is the gain over guessing from the known columns alone. ``exposure`` is the attack accuracy plus what
    the utility lacks to ``utility_floor``: a model that says nothing is private and useless. Validation attacks the even
    drawn rows, testing the odd ones.
    """

    share: float = hyperparameter(0.8, gt=0, le=1, help="share of the training rows that a seed draws")
    utility_floor: float = hyperparameter(0.0, ge=0, le=1, help="utility below which exposure grows")

    @abstractmethod
    def fit(self, x: Tensor, y: Tensor, data: PrivateData) -> Model:
        """The model of rows ``[N, F]``, float64, and targets ``[N]``."""

    @abstractmethod
    def utility(self, released: Tensor, y: Tensor) -> Metrics:
        """How useful released predictions ``[N]`` are against targets ``[N]``; the first entry is what the floor is about."""

    def fit_and_judge(self, run: Run) -> Metrics:
        """Fits, releases and attacks."""
        data = run.data
        if not isinstance(data, PrivateData) or "sensitive" not in data.meta:
            raise ConfigError(f"{data.name} has no attribute to protect: choose one of {', '.join(self.track.data)}")
        x, y = run.tensors(data.train)[:2]
        order = torch.randperm(len(x), generator=run.generator("rows", shared=True))
        rows = order[: round(self.share * len(x))].sort().values.to(run.device)
        model = self.fit(x[rows], y[rows], data)
        return run.judge(lambda split: self.judge(model, x[rows], split, run))

    def judge(self, model: Model, people: Tensor, split: TensorDataset, run: Run) -> Metrics:
        """Utility on a split, and the success of the attacks on half of the people."""
        data, name = run.data, run.split_name(split)
        assert isinstance(data, PrivateData)
        noise = run.generator(f"release/{name}", run.device, shared=True)
        x, y = run.tensors(split)[:2]
        metrics = self.utility(model.release(model.predict(x), noise), y)
        utility = next(iter(metrics.values()))
        attack, advantage = attribute_attack(
            model,
            people[name == "test" :: 2],
            run.tensors(data.auxiliary)[0],
            data.meta["sensitive"],
            data.meta["known"],
            noise,
        )
        return metrics | {
            "exposure": attack + max(0.0, self.utility_floor - utility),
            "attack_accuracy": attack,
            "attack_advantage": advantage,
            "information": model.information,
        }


def attribute_attack(
    model: Model, people: Tensor, own: Tensor, sensitive: int, known: Sequence[int], noise: torch.Generator
) -> tuple[float, float]:
    """Accuracy of the better attack on a binary attribute, and its gain over guessing from what is known.

    Args:
        model: what was released.
        people: rows of those attacked ``[N, F]``.
        own: the attacker's rows ``[M, F]``.
        sensitive: column of the attribute, of two values.
        known: columns that the attacker knows of a person.
        noise: of the release.
    """
    columns = list(known)
    values = own[:, sensitive].unique()  # [2]
    released, own_released = (model.release(model.predict(rows), noise) for rows in (people, own))
    truth, own_truth = (rows[:, sensitive] == values[1] for rows in (people, own))

    prior = _logistic(own[:, columns], own_truth, people[:, columns])  # log P(v | known), [N, 2]
    scores = torch.stack(
        [
            prior[:, which]
            + _likelihood(model, people[:, columns], released, own[own_truth == bool(which)], columns, sensitive, value)
            for which, value in enumerate(values)
        ],
        dim=1,
    )
    learned = _logistic(
        torch.cat([own[:, columns], own_released[:, None]], dim=1),
        own_truth,
        torch.cat([people[:, columns], released[:, None]], dim=1),
    )
    guesses = [(table[:, 1] > table[:, 0]) == truth for table in (prior, scores, learned)]
    guessed, inferred, asked = (right.double().mean().item() for right in guesses)
    return max(inferred, asked), max(inferred, asked) - guessed


def _likelihood(
    model: Model, known: Tensor, released: Tensor, others: Tensor, columns: list[int], sensitive: int, value: Tensor
) -> Tensor:
    """The logarithm of the mean over others' rows ``[J, F]`` of P(released | prediction), known columns put in; ``[N]``."""
    rows = others.expand(len(known), -1, -1).clone()  # [N, J, F]
    rows[:, :, columns] = known[:, None]
    rows[:, :, sensitive] = value
    predicted = model.predict(rows.flatten(0, 1)).unflatten(0, (len(known), -1))
    return model.log_likelihood(released[:, None], predicted).logsumexp(1) - np.log(len(others))


def _logistic(x: Tensor, y: Tensor, new: Tensor) -> Tensor:
    """Log-probabilities ``[N, 2]`` of new rows by logistic regression on standardized columns."""
    mean, deviation = x.mean(0), x.std(0).clamp(min=1e-12)
    regression = LogisticRegression(C=100.0, max_iter=1000)
    regression.fit(((x - mean) / deviation).cpu().numpy(), y.cpu().numpy())
    found = regression.predict_log_proba(((new - mean) / deviation).cpu().numpy())
    return torch.from_numpy(found).to(new)
