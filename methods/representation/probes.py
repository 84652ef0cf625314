"""Linear probes: how well each factor is read off a representation by softmax regression."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

# Of the sum of squared coefficients, beside the mean cross-entropy: what makes the optimum one.
RIDGE = 1e-4
ITERATIONS = 100


class LinearProbes:
    """A softmax regression for each factor, on standardized features, all fitted at once by L-BFGS in double precision.

    Args:
        features: ``[N, d]``.
        factors: labels ``[N, F]``, int64.
        classes: how many each factor has.
    """

    def __init__(self, features: Tensor, factors: Tensor, classes: tuple[int, ...]) -> None:
        x = features.double()
        self._mean = x.mean(0)
        deviation = x.std(0, correction=0)
        self._deviation = torch.where(deviation > 0, deviation, 1.0)
        x = self._standardized(features)
        most = max(classes)
        # Classes that a factor does not have get no probability.
        self._present = torch.arange(most, device=x.device) < torch.tensor(classes, device=x.device)[:, None]  # [F, K]
        self._slopes = x.new_zeros(len(classes), x.shape[1], most, requires_grad=True)
        self._offsets = x.new_zeros(len(classes), 1, most, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [self._slopes, self._offsets], max_iter=ITERATIONS, line_search_fn="strong_wolfe", tolerance_grad=1e-6
        )
        target = factors.T.flatten()

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = len(classes) * cross_entropy(self._logits(x).flatten(0, 1), target) + RIDGE * self._slopes.square().sum()
            value.backward()
            return value

        with torch.enable_grad():
            optimizer.step(loss)
        self._slopes.requires_grad_(False)
        self._offsets.requires_grad_(False)

    def accuracies(self, features: Tensor, factors: Tensor) -> Tensor:
        """The share of rows whose factor is named, for each factor ``[F]``, float64."""
        named = self._logits(self._standardized(features)).argmax(2)  # [F, N]
        return (named == factors.T).double().mean(1)

    def _standardized(self, features: Tensor) -> Tensor:
        return (features.double() - self._mean) / self._deviation

    def _logits(self, x: Tensor) -> Tensor:
        """``[F, N, K]``."""
        logits = x @ self._slopes + self._offsets
        return logits.masked_fill(~self._present[:, None], -torch.inf)
