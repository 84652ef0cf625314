"""A mixture of experts whose router is sparsity-constrained optimal transport: no expert gets more tokens than it holds."""

import math
from types import SimpleNamespace
from typing import ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from regbench.methods.classification import architectures
from regbench.methods.classification.expert_transformer import RoutedExperts, with_experts
from regbench.methods.classification.task import Batch, ClassificationMethod, Logits, judged
from regbench.methods.classification.transformer import VisionTransformer
from regbench.methods.errors import DivergedError
from regbench.methods.hidden import Hidden, fixed_rows, penultimate
from regbench.methods.method import Metrics, Paper, hyperparameter, weight
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.transport.dual import SemiDual, ascend
from regbench.methods.transport.linear_program import solve_exactly


class Experts(nn.Module):
    """A linear router and expert networks with one hidden layer.

    Every expert is computed for every token, and routing drops what it does not need: at this size that is faster than
    gathering each expert's tokens, and the gradients are the same.
    """

    def __init__(self, inputs: int, classes: int, experts: int, width: int, activation: architectures.Activation) -> None:
        super().__init__()
        self.router = nn.Linear(inputs, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, width), architectures.ACTIVATIONS[activation](), nn.Linear(width, classes))
            for _ in range(experts)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the router and logits of the experts for inputs ``[m, *shape]``, side by side: ``[m, n, 1 + K]``."""
        tokens = x.flatten(1)
        logits = torch.stack([expert(tokens) for expert in self.experts], 1)
        return torch.cat([self.router(tokens)[:, :, None], logits], 2)


def route(scores: Tensor, quadratic_weight: float | Tensor, max_nonzeros: int | None, solver_steps: int) -> Tensor:
    """A transport plan of m tokens to n experts, each token with mass 1/m, each expert with room for 1/n; no gradient.

    The cost of a token at an expert is how far its score is below the token's best one, relative to the largest such distance.
    Costs that differ by a constant in each row have the same plans, so this is the cost -W, and -log softmax(W) too.

    Args:
        scores: W ``[m, n]``.
        quadratic_weight: γ ≥ 0, relative to the largest cost; 0 solves the linear program.
        max_nonzeros: k ≥ 1, tokens per expert; None is no limit. Needs γ > 0.
        solver_steps: at most so many iterations of L-BFGS on the semi-dual. Where it stops on a kink of that, which a small k
            brings, loads are within their limits and the tokens' masses less exact.

    Returns:
        T ``[m, n]``, float64. With γ > 0 its columns sum to 1/n and have at most k nonzeros even before the solver converges.

    Raises:
        DivergedError: a score is not finite.
    """
    if not scores.isfinite().all():
        raise DivergedError("the router's scores are not finite: lower learning_rate")
    m, n = scores.shape
    regret = (scores.amax(1, keepdim=True) - scores).detach().double()
    cost = regret / regret.max().clamp(min=torch.finfo(torch.float32).tiny)
    a, b = cost.new_full((m,), 1 / m), cost.new_full((n,), 1 / n)
    if not quadratic_weight:
        return solve_exactly(cost, a, b)[0]
    semi_dual = SemiDual(cost, a, b, quadratic_weight, max_nonzeros)
    return semi_dual.plan(ascend(semi_dual, solver_steps)[0])


def combine(experts: Tensor, plan: Tensor) -> Tensor:
    """Σ_j 1[T_ij > 0] softmax(W_i)_j f_j(x_i): logits ``[m, K]`` of what ``Experts`` returns, ``[m, n, 1 + K]``, and a plan."""
    probabilities = experts[:, :, 0].softmax(1) * (plan > 0)
    return (probabilities[:, :, None] * experts[:, :, 1:]).sum(1)


class SparseRouter(ClassificationMethod):
    """A mixture-of-experts classifier routed by sparsity-constrained transport (Liu et al., 2023): a reconstruction.

    The images of a mini-batch are m tokens, to be sent to n experts. A linear router gives scores W ``[m, n]``. The plan T
    minimizes ⟨T, C⟩ + γ/2 ‖T‖² with C = -W (scaled), T1 = 1/m, Tᵀ1 = 1/n, and at most k nonzeros per column, through the
    semi-dual and without gradient. Token i goes to the experts with T_ij > 0, at most k tokens to each by construction, and
    Σ_j 1[T_ij > 0] softmax(W_i)_j f_j(x_i) are its logits: the router learns through the softmax. Nothing is rescaled, and a
    token that no expert takes has equal logits.

    Of the paper, its transport problem and its dual are certain, and the combination with softmax probabilities is known from
    a third party's quotation. The rest is reconstructed: the cost, the marginals, L-BFGS until it converges (100 steps of
    Adam leave most tokens without expert when γ is small), and the following. k is meant for a full mini-batch; the last one
    of an epoch, or one worker's share, has k in proportion, rounded up. Validation and test images are routed like training
    ones, in equal batches of at most ``batch_size`` in the split's order: room is what a batch shares, and the token's own
    choice would send tokens to experts that never learned from their like. So a prediction depends on the others in its batch.

    With architecture deit_ti, the tokens are instead the patches of all images of the mini-batch, as in the paper, and the
    experts stand for the MLPs of the last block and the one two before it (V-MoE); k counts as many tokens as k images have.

    Switched off (γ = 0, k = None), the plan is that of unregularized transport, an exact linear program: as the quadratic
    term vanishes, nearly every token has one expert, and loads are equal only in mass. k = None alone is quadratic transport
    without limit, whose plan becomes dense as γ grows, up to a mixture of all experts for all tokens.

    ``val/unrouted`` is the share of tokens without expert, ``val/load_cv`` the standard deviation of the experts' numbers of
    tokens over their mean in a batch, ``val/experts_per_token`` the mean number of experts of a token.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Sparsity-Constrained Optimal Transport", "Liu, Puigcerver, Blondel", 2023, "ICLR", "2209.15466"
    )

    # The experts are another network than the track's.
    off_equals: ClassVar[str | None] = None

    quadratic_weight: float = weight(
        0.1, off=0.0, ge=0, symbol="γ", differentiable=False, help="strength of γ/2 ‖T‖², relative to the largest cost"
    )
    max_nonzeros: int | None = weight(
        20, off=None, ge=1, symbol="k", differentiable=False, help="most images of a mini-batch for one expert; None: no limit"
    )
    architecture: Literal["mlp", "deit_ti"] = hyperparameter(
        "mlp",
        help="mlp: tokens are images, experts perceptrons; deit_ti: tokens are patches, experts MLPs of two blocks",
    )
    batch_size: int = hyperparameter(128, ge=1, help="mini-batch size over all workers")
    optimizer: Literal["sgd", "adam"] = hyperparameter("adam", help="sgd (Nesterov momentum 0.9) or adam (decoupled decay)")
    learning_rate: float = hyperparameter(0.03, gt=0, may_change=True, help="initial learning rate")
    attack_radius: float = hyperparameter(
        0.0, ge=0, le=0, help="0: no attack, which would move all images of a batch and with them each other's experts"
    )
    experts: int = hyperparameter(8, ge=1, help="number n of experts")
    expert_width: int = hyperparameter(16, ge=1, help="hidden units of an expert; of deit_ti they are as many as its MLPs have")
    solver_steps: int = hyperparameter(500, ge=1, help="at most so many iterations of L-BFGS on the semi-dual")

    @model_validator(mode="after")
    def _limit_fits(self) -> Self:
        if self.max_nonzeros is None:
            return self
        if self.quadratic_weight == 0:
            raise ValueError(
                f"max_nonzeros={self.max_nonzeros} needs quadratic_weight > 0: with 0 the exact plan is computed, "
                "so set max_nonzeros to None"
            )
        if self.max_nonzeros * self.experts < self.batch_size:
            raise ValueError(
                f"{self.experts} experts with max_nonzeros={self.max_nonzeros} cannot hold a batch of {self.batch_size}: "
                f"set max_nonzeros to at least {-(-self.batch_size // self.experts)}"
            )
        return self

    def build_model(self, data: Data) -> nn.Module:
        """Routers and experts, with fresh parameters."""
        if self.architecture == "deit_ti":
            network = super().build_model(data)
            assert isinstance(network, VisionTransformer)
            active = architectures.ACTIVATIONS[self.activation]
            return with_experts(network, self.experts, active, lambda scores: self.plan(scores, self.weight_values()))
        inputs, classes = math.prod(data.meta["shape"]), data.meta["classes"]
        return Experts(inputs, classes, self.experts, self.expert_width, self.activation)

    def objective(self, model: Logits, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the combined logits."""
        if self.architecture == "deit_ti":
            return super().objective(model, batch, weights)
        experts = model(batch.x)
        logits = combine(experts, self.plan(experts[:, :, 0], weights))
        return nn.functional.cross_entropy(logits, batch.y), logits

    def plan(self, scores: Tensor, weights: SimpleNamespace) -> Tensor:
        """The plan ``[m, n]`` of tokens with these scores, with the limit in proportion to their number."""
        limit = weights.max_nonzeros
        if limit is not None:
            limit = -(-limit * len(scores) // self.batch_size)
        return route(scores, weights.quadratic_weight, limit, self.solver_steps)

    def hidden(self, run: Run, count: int) -> Hidden:
        """Of the perceptrons, the hidden units of all experts, side by side."""
        network = run.network
        if not isinstance(network, Experts):
            return super().hidden(run, count)
        split = run.data.validation
        x, y = run.rows(split, fixed_rows(len(split), count, run.device))[:2]
        units = [penultimate(expert, x.flatten(1)) for expert in network.experts]
        return Hidden(torch.cat(units, 1), x, y)

    def evaluate(self, model: nn.Module, split: TensorDataset, run: Run) -> Metrics:
        """The track's metrics, and how the tokens were routed."""
        logits, labels, routed = [], [], []
        parts = torch.arange(len(split)).tensor_split(-(-len(split) // self.batch_size))
        with torch.no_grad():
            for x, y, *_ in run.batches(split, [len(part) for part in parts]):
                labels.append(y)
                output = model(x)
                if self.architecture == "deit_ti":
                    logits.append(output)
                    routed += [layer.taken for layer in model.modules() if isinstance(layer, RoutedExperts)]
                else:
                    plan = self.plan(output[:, :, 0], self.weight_values())
                    logits.append(combine(output, plan))
                    routed.append(plan > 0)
        loads = torch.stack([part.sum(0) for part in routed]).double()  # [batches, n]
        choices = torch.cat(routed).sum(1).double()  # [N]
        return judged(torch.cat(logits), torch.cat(labels)) | {
            "unrouted": (choices == 0).double().mean().item(),
            "load_cv": (loads.std(1, correction=0) / loads.mean(1)).mean().item(),
            "experts_per_token": choices.mean().item(),
        }
