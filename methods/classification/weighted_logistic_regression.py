"""Multinomial logistic regression whose weight decays are learned: one for all, or one for each class, feature or parameter."""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.data import TensorDataset

from regbench.methods.classification.task import TRACK, judged
from regbench.methods.method import Metrics, Paper, Track, hyperparameter, weight
from regbench.methods.run import Run
from regbench.methods.shared.bilevel.learning import DTYPES, LearnedMethod
from regbench.methods.shared.bilevel.lower import lbfgs
from regbench.methods.shared.bilevel.maid import PAPER
from regbench.methods.shared.bilevel.problem import BilevelProblem, Operator

Groups = Literal["scalar", "class", "feature", "parameter"]


class LogisticRegressionProblem(BilevelProblem):
    """h = mean CE(xᵀa_i, b_i) + ½ Σ_dk e^θ_dk x_dk² over rows to fit, and g = mean CE over held-out rows.

    One lower problem, N = 1, without intercept. θ holds one logarithm for all parameters, for each class, feature or parameter.

    Args:
        fit: features ``[n, D]`` and labels ``[n]``.
        held_out: likewise.
        classes: K.
        log_decay: where every entry of θ starts.
        groups: what shares an entry.
    """

    upper_convex = True

    def __init__(
        self, fit: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], classes: int, log_decay: float, groups: Groups
    ) -> None:
        self.A, self.b = fit
        self.B, self.c = held_out
        self.onehot, self.held_onehot = (one_hot(labels, classes).to(self.A) for labels in (self.b, self.c))
        features = self.A.shape[1]
        shapes = {"scalar": (1, 1), "class": (1, classes), "feature": (features, 1), "parameter": (features, classes)}
        self.shape = shapes[groups]
        self.x0 = self.A.new_zeros(1, features, classes)
        self.theta0 = self.A.new_full((math.prod(self.shape),), log_decay)
        self.curvature, self.upper_curvature = (torch.linalg.eigvalsh(F.mT @ F)[-1].item() / len(F) for F in (self.A, self.B))
        self.cube = self.A.norm(dim=1).pow(3).mean().item()

    def decays(self, theta: Tensor) -> Tensor:
        """e^θ in a shape that multiplies the parameters ``[D, K]``."""
        return theta.exp().reshape(self.shape)

    def lower(self, x: Tensor, theta: Tensor) -> Tensor:
        """The lower objective h ``[1]``."""
        return (cross_entropy(self.A @ x[0], self.b) + (self.decays(theta) * x[0].square()).sum() / 2)[None]

    def upper(self, x: Tensor, theta: Tensor) -> Tensor:
        """The upper objective g ``[1]``."""
        return cross_entropy(self.B @ x[0], self.c)[None]

    def residuals(self, x: Tensor, theta: Tensor) -> Tensor:
        """The root of each held-out row's share of g."""
        return (cross_entropy(self.B @ x[0], self.c, reduction="none") / len(self.c)).sqrt()

    def strong_convexity(self, theta: Tensor) -> Tensor:
        """The least decay."""
        return theta.min().exp()

    def smoothness(self, theta: Tensor) -> Tensor:
        """The Hessian of CE in the logits is at most ½."""
        return self.curvature / 2 + theta.max().exp()

    def upper_smoothness(self, theta: Tensor) -> float:
        """As the smoothness, without a decay."""
        return self.upper_curvature / 2

    def jacobian_lipschitz(self, theta: Tensor) -> Tensor:
        """J has disjoint columns e^θ_j x_j, where x_j are the parameters of group j."""
        return theta.max().exp()

    def inverse_hessian_lipschitz(self, theta: Tensor) -> Tensor:
        """L_H / μ². The third derivative of CE in the logits is E[(u - Eu)² (w - Ew)] ≤ ½ ‖u‖² √2 ‖w‖ under the softmax."""
        return self.cube / math.sqrt(2) * (-2 * theta.min()).exp()

    def jacobian_norm(self, x: Tensor, theta: Tensor) -> Tensor:
        """Exact: the largest e^θ_j ‖x_j‖."""
        return (theta.exp() * self._group_sums(x[0].square()).sqrt()).max()

    def lower_gradient(self, x: Tensor, theta: Tensor) -> Tensor:
        """Aᵀ(softmax(Ax) - onehot) / n + e^θ x."""
        residual = (self.A @ x[0]).softmax(1) - self.onehot
        return (self.A.mT @ residual / len(self.A) + self.decays(theta) * x[0])[None]

    def upper_gradients(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """As the lower gradient, without a decay; and 0."""
        residual = (self.B @ x[0]).softmax(1) - self.held_onehot
        return (self.B.mT @ residual / len(self.B))[None], torch.zeros_like(theta)

    def hessian(self, x: Tensor, theta: Tensor) -> Operator:
        """Maps v to Aᵀ(P ∘ (Av - rowsum(P ∘ Av))) / n + e^θ v with P = softmax(Ax)."""
        p, decays = (self.A @ x[0]).softmax(1), self.decays(theta)

        def product(v: Tensor) -> Tensor:
            change = self.A @ v[0]
            change = p * (change - (p * change).sum(1, keepdim=True))
            return (self.A.mT @ change / len(self.A) + decays * v[0])[None]

        return product

    def jacobian_transposed(self, x: Tensor, theta: Tensor, q: Tensor) -> Tensor:
        """e^θ_j ⟨x_j, q_j⟩ for each group j."""
        return theta.exp() * self._group_sums(x[0] * q[0])

    def _group_sums(self, values: Tensor) -> Tensor:
        """Sums ``[m]`` over the groups of values ``[D, K]``."""
        return values.sum_to_size(self.shape).flatten()


class WeightedLogisticRegression(LearnedMethod):
    """A linear classifier with weight decay; the decays of groups of parameters are given, or learned on held-out rows.

    min_x mean CE(xᵀa_i, b_i) + ½ Σ_j e^θ_j ‖x_j‖², θ from minimizing CE on other rows (Salehi et al., section 4). The paper
    takes those from the test set. Here a random part of the training split, other in each run, is held out while θ is learned,
    so that validation metrics stay what they are for other methods; the classifier that is judged is then fitted to the whole
    split. CE is a mean, so that its decays keep their meaning there.

    Switched off, it is logistic regression without a penalty, stopped at a small gradient: a model of its own, not the network
    of the track's plain method.
    """

    track: ClassVar[Track] = TRACK
    paper: ClassVar[Paper | None] = PAPER
    off_equals: ClassVar[str | None] = None

    decay: float = weight(
        1e-3,
        off=0.0,
        ge=0,
        symbol="e^θ",
        differentiable=True,
        may_change=False,
        help="weight decay of all parameters, or where learning starts",
    )
    groups: Groups = hyperparameter(
        "scalar", help="which parameters share a learned decay: scalar (all), those of a class or a feature, parameter (none)"
    )
    held_out: float = hyperparameter(0.5, gt=0, lt=1, help="share of the training rows that the decays are learned on")
    tolerance: float = hyperparameter(1e-6, gt=0, help="norm of the gradient at which the final fit stops")

    search_range: ClassVar[tuple[float, float] | None] = (-12.0, 0.0)
    bounds_jacobian: ClassVar[bool] = True

    def problem(self, run: Run) -> LogisticRegressionProblem:
        """Splits the training rows."""
        features, labels = self._rows(run.data.train, run)
        count = max(1, round(self.held_out * len(labels)))
        if self.learns:
            order = torch.randperm(len(labels), generator=run.generator("held-out rows", shared=True)).to(run.device)
            held, fit = order[:count], order[count:]
            return self._pose((features[fit], labels[fit]), (features[held], labels[held]), run)
        return self._pose((features, labels), (features, labels), run)

    def evaluate(self, theta: Tensor, split: TensorDataset, run: Run) -> Metrics:
        """Fits the whole training split with these decays, and judges the fit."""
        rows = self._rows(run.data.train, run)
        problem = self._pose(rows, rows, run)
        target = problem.per_sample(self.tolerance)
        x = lbfgs(problem, problem.x0, theta, target, self.max_lower_iterations).x[0]
        features, labels = self._rows(split, run)
        return judged(features @ x, labels)

    def learned(self, theta: Tensor) -> Metrics:
        """The decays, or where there are many of them, their range."""
        decays = theta.exp()
        if len(decays) == 1:
            return {"decay": decays.item()}
        return {"least_decay": decays.min().item(), "largest_decay": decays.max().item()}

    def _rows(self, split: TensorDataset, run: Run) -> tuple[Tensor, Tensor]:
        x, y = run.tensors(split)[:2]
        return x.flatten(1).to(DTYPES[self.precision]), y

    def _pose(self, fit: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], run: Run) -> LogisticRegressionProblem:
        log_decay = math.log(self.decay) if self.decay else -math.inf
        return LogisticRegressionProblem(fit, held_out, run.data.meta["classes"], log_decay, self.groups)
