"""SimGCD's losses (Wen, Zhao, Qi, ICCV 2023), as LegoGCD states them (equations 1 to 5).

Each takes two views of B images, one after the other: row i and row B + i are of the same image. Logits are cosines of features
with prototypes. A loss of labelled rows is 0 where there are none.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize


def unsupervised_contrastive(projections: Tensor, temperature: float = 1.0) -> Tensor:
    """Equation 1: the cross-entropy of finding the other view among all other rows, mean over rows.

    L^u_rep = 1/(2B) Σ_i -log exp(z_iᵀ z_i' / τ) / Σ_{j ≠ i} exp(z_iᵀ z_j / τ), z of unit length; a scalar.

    Args:
        projections: ``[2B, P]``, of any length.
        temperature: τ; 1 in the released code, where the paper has 0.07.
    """
    similarity = _similarities(projections, temperature)
    count = len(projections)
    other = torch.arange(count, device=projections.device).roll(count // 2)
    return cross_entropy(similarity, other)


def supervised_contrastive(projections: Tensor, labels: Tensor, labelled: Tensor, temperature: float = 0.07) -> Tensor:
    """Equation 2: the mean over labelled rows of how surely they find the rows of their class among the labelled ones.

    L^s_rep = mean_i mean_{p ∈ P(i)} -log exp(z_iᵀ z_p / τ) / Σ_{a ≠ i} exp(z_iᵀ z_a / τ), where P(i) are the other rows of the
    class of i, its other view among them (Khosla et al., 2020); a scalar.

    Args:
        projections: ``[2B, P]``, of any length.
        labels: of the images ``[B]``.
        labelled: which images have one, bool ``[B]``.
        temperature: τ.
    """
    rows, y = projections[labelled.repeat(2)], labels[labelled].repeat(2)
    if not len(rows):
        return projections.sum() * 0.0
    log_p = _similarities(rows, temperature).log_softmax(1)
    alike = (y[:, None] == y).fill_diagonal_(False)
    return -(log_p.masked_fill(~alike, 0.0).sum(1) / alike.sum(1)).mean()


def _similarities(projections: Tensor, temperature: float) -> Tensor:
    """z_iᵀ z_j / τ of normalized rows ``[M, M]``, -inf on the diagonal."""
    z = normalize(projections, dim=1)
    return (z @ z.T / temperature).masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), -math.inf)


def self_distillation(logits: Tensor, teacher_temperature: float, student_temperature: float = 0.1) -> Tensor:
    """Equations 4 and 5: the cross-entropy of each view against the other's sharper distribution, which has no gradient.

    L^u_cls = 1/(2B) Σ_i [ℓ(q'_i, p_i) + ℓ(q_i, p'_i)], ℓ(q, p) = -Σ_k q_k log p_k, p = softmax(s / τ_s),
    q = softmax(s / τ_t); a scalar.

    Args:
        logits: cosines s ``[2B, K]``.
        teacher_temperature: τ_t.
        student_temperature: τ_s.
    """
    q = (logits.detach() / teacher_temperature).softmax(1)
    return cross_entropy(logits / student_temperature, q.roll(len(q) // 2, 0))


def supervised_cross_entropy(logits: Tensor, labels: Tensor, labelled: Tensor, student_temperature: float = 0.1) -> Tensor:
    """L^s_cls of equation 5: the mean over both views of labelled images of the cross-entropy of softmax(s / τ_s); a scalar.

    Args:
        logits: cosines s ``[2B, K]``.
        labels: of the images ``[B]``.
        labelled: which images have one, bool ``[B]``.
        student_temperature: τ_s.
    """
    rows = labelled.repeat(2)
    if not rows.any():
        return logits.sum() * 0.0
    return cross_entropy(logits[rows] / student_temperature, labels[labelled].repeat(2))


def mean_entropy_gap(logits: Tensor, student_temperature: float = 0.1) -> Tensor:
    """What the mean prediction p̄ = 1/(2B) Σ_i softmax(s_i / τ_s) lacks of the largest entropy, log K - H(p̄) ≥ 0; a scalar.

    Minimized, it maximizes the mean prediction's entropy: the term -ε H(p̄) of equation 5, up to a constant.
    """
    log_p = (logits / student_temperature).log_softmax(1)
    # From logarithms, so that a class without mass has a gradient.
    log_mean = log_p.logsumexp(0) - math.log(len(logits))
    return math.log(logits.shape[1]) + (log_mean.exp() * log_mean).sum()


def teacher_temperature(epoch: int, first: float, last: float, warmup: int, schedule: str = "linear") -> float:
    """τ_t in an epoch, from 1: from ``first`` to ``last`` over the first ``warmup`` epochs, then constant.

    Args:
        epoch: from 1.
        first: in the first epoch.
        last: from epoch ``warmup`` on.
        warmup: epochs.
        schedule: linear, as the released code has it, or cosine, as the paper says.
    """
    if epoch > warmup:
        return last
    share = (epoch - 1) / max(warmup - 1, 1)
    if schedule == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    return first + (last - first) * share
