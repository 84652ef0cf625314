"""How good predictions are, and how much they depend on groups."""

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, one_hot
from torch.special import entr, gammaincc, xlogy

from regbench.methods.fairness.targets import Target

# Of the kernel density estimate, in units of the prediction, and the points where it is evaluated.
BANDWIDTH = 0.15
POINTS = 1000
# The ranked probability score of a count compares distribution functions from 0 to this.
LARGEST_COUNT = 10


def accuracy_metrics(target: Target, prediction: Tensor, y: Tensor) -> dict[str, float]:
    """``error`` and ``deviance`` of predictions ``[N]`` on the scale of the response; for binary targets also ``accuracy``.

    ``error`` is the root mean squared error of real targets, and the ranked probability score Σ_k (F(k) - [y <= k])² of binary
    ones, where it is (p - y)², and of counts, k from 0 to 10. ``deviance`` is Gaussian (the mean squared error), binomial or
    Poisson.
    """
    if target == "real":
        square = (prediction - y).square().mean()
        return {"error": square.sqrt().item(), "deviance": square.item()}
    if target == "binary":
        return {
            "error": (prediction - y).square().mean().item(),
            "deviance": 2 * binary_cross_entropy(prediction, y).item(),
            "accuracy": ((prediction > 0.5) == (y > 0.5)).double().mean().item(),
        }
    k = torch.arange(LARGEST_COUNT + 1, dtype=y.dtype, device=y.device)
    distribution = gammaincc(k + 1, prediction[:, None])
    return {
        "error": (distribution - (y[:, None] <= k).to(y.dtype)).square().sum(1).mean().item(),
        "deviance": 2 * (xlogy(y, y / prediction) - (y - prediction)).mean().item(),
    }


def jensen_shannon(prediction: Tensor, groups: Tensor) -> float:
    """H(Σ_g π_g p_g) - Σ_g π_g H(p_g) in bits: 0 for equal distributions, the entropy of π for disjoint ones.

    p_g is a Gaussian kernel density estimate, bandwidth 0.15, on 1000 points from the least to the largest prediction, made to
    sum to 1. The bandwidth is absolute: it suits probabilities and targets of unit variance, and blurs what is smaller.

    Args:
        prediction: ``[N]``.
        groups: the group of each, int64 ``[N]``.
    """
    members = one_hot(groups).T.to(prediction.dtype)  # [G, N]
    members = members[members.sum(1) > 0]
    share = members.mean(1)
    lowest, highest = prediction.aminmax()
    points = lowest + (highest - lowest) * torch.linspace(0, 1, POINTS, dtype=prediction.dtype, device=prediction.device)
    density = members @ (-0.5 * ((prediction[:, None] - points) / BANDWIDTH).square()).exp()
    p = density / density.sum(1, keepdim=True)  # [G, points]
    return (entropy(share @ p) - share @ entropy(p)).item()


def entropy(p: Tensor) -> Tensor:
    """In bits, of probabilities ``[..., K]``, as ``[...]``."""
    return entr(p).sum(-1) / math.log(2)


def unfairness(prediction: Tensor, groups: Tensor) -> float:
    """The variance of the groups' means, each counting once, over that of all predictions ``[N]``; 0 for constant ones."""
    members = one_hot(groups).to(prediction.dtype)
    members = members[:, members.sum(0) > 0]
    variance = prediction.var()
    means = prediction @ members / members.sum(0)
    return (means.var() / variance).item() if variance > 0 else 0.0
