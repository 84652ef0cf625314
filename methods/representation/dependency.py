"""Measures of dependency between two variables, estimated with a critic's scores of a batch of pairs.

Scores are ``S [B, B]``, S_ij = f(x_i, y_j): pairs that belong together on the diagonal, products of the marginals elsewhere.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def contrastive_objective(scores: Tensor) -> Tensor:
    """J = mean_i [f(x_i, y_i) - log Σ_j e^f(x_i, y_j)] of CPC (InfoNCE), and with a Lipschitz critic of WPC; at most 0.

    J + log B is at most the mutual information and at most log B; with a 1-Lipschitz critic it is also at most (B - 1) / B
    times the Wasserstein dependency.
    """
    return -cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def wasserstein_objective(scores: Tensor) -> Tensor:
    """mean_i f(x_i, y_i) - mean_{i ≠ j} f(x_i, y_j), the dual of W₁(p(x, y), p(x) p(y)) where f is 1-Lipschitz."""
    together, count = scores.diagonal(), len(scores)
    return together.mean() - (scores.sum() - together.sum()) / (count * (count - 1))
