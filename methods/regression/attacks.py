"""Attacks on a regression: inputs moved within a small box so as to raise the squared error. Inputs have no limits."""

from collections.abc import Callable

import torch
from torch import Tensor

# The released attack: five steps of a sixth of the radius.
PGD_STEPS = 5
PGD_STEP = 1 / 6


def fgsm(predict: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, radius: float) -> Tensor:
    """The fast gradient sign method, x + radius · sign ∇_x (ŷ - y)², for inputs ``[B, d]`` and targets ``[B]``."""
    return x + radius * _direction(predict, x, y)


def pgd(predict: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, radius: float) -> Tensor:
    """Projected gradient ascent of the squared error in the l-inf ball, from the input itself, as released."""
    moved = x
    for _ in range(PGD_STEPS):
        moved = x + (moved + PGD_STEP * radius * _direction(predict, moved, y) - x).clamp(-radius, radius)
    return moved


def _direction(predict: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """The sign of the squared error's gradient in the inputs alone."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad((predict(x) - y).square().sum(), x)
    return gradient.sign()
