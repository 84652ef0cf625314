"""Attacks: inputs moved within a small ball so as to mislead a network, and the accuracy that is left."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from regbench.methods.shared.numerics import in_double

Norm = Literal["linf", "l2"]

# The range of every input of the track: what an attack may not leave.
LOWEST, HIGHEST = 0.0, 1.0

# The attacks of the evaluation: longer and with finer steps than those of training.
EVALUATION_STEPS = 20
EVALUATION_STEP = 1 / 8  # of the radius
EVALUATION_BATCH = 1024


@contextmanager
def in_evaluation(network: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Puts a network in evaluation mode within, and each of its modules back into its own afterwards.

    For an attack: batch normalization shall not take the attack's inputs into its statistics, nor dropout make the objective
    another one in each step. What is no module has no modes.
    """
    modules = list(network.modules()) if isinstance(network, nn.Module) else []
    modes = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def ascend(
    objective: Callable[[Tensor], Tensor],
    x: Tensor,
    radius: float | Tensor,
    *,
    norm: Norm,
    steps: int,
    step_size: float | Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Projected gradient ascent, x' ← Π(x' + step_size · direction), from a uniformly random point of a ball around the input.

    The direction is the gradient's sign (l-inf) or the gradient over its norm (l2), each the steepest in its norm; Π projects
    onto the ball, then clips to the range of the data. Gradients are taken in the inputs alone, none reaches a parameter.

    Args:
        objective: maps inputs ``[B, *shape]`` to one value each ``[B]``, to be raised; a value depends on its own input only.
        x: centres of the balls ``[B, *shape]``, within the range of the data.
        radius: of the balls, >= 0.
        norm: of the balls.
        steps: how many.
        step_size: length of a step in that norm.
        generator: draws the start, on the device of ``x``.

    Returns:
        The last point of each ascent ``[B, *shape]``, without gradient.
    """
    x = x.detach()
    moved = (x + random_in_ball(x, radius, norm, generator)).clamp(LOWEST, HIGHEST)
    for _ in range(steps):
        moved.requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(objective(moved).sum(), moved)
        direction = gradient.sign() if norm == "linf" else gradient / length(gradient).clamp(min=1e-30)
        moved = (x + project(moved.detach() + step_size * direction - x, radius, norm)).clamp(LOWEST, HIGHEST)
    return moved


def random_in_ball(x: Tensor, radius: float | Tensor, norm: Norm, generator: torch.Generator) -> Tensor:
    """Uniform points of the ball around 0, of the shape of ``x`` ``[B, *shape]``."""
    if norm == "linf":
        return radius * (2 * torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator) - 1)
    direction = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    # The share of a ball's volume within r is (r / radius)^d, so that its d-th root is uniform.
    share = torch.rand(len(x), dtype=x.dtype, device=x.device, generator=generator) ** (1 / x[0].numel())
    return radius * share.view(-1, *[1] * (x.ndim - 1)) * direction / length(direction)


def project(shift: Tensor, radius: float | Tensor, norm: Norm) -> Tensor:
    """The nearest points to ``[B, *shape]`` in the ball around 0."""
    if norm == "linf":
        bound = torch.as_tensor(radius, dtype=shift.dtype, device=shift.device)
        return shift.clamp(-bound, bound)
    return shift * (radius / length(shift).clamp(min=1e-30)).clamp(max=1)


@in_double
def length(x: Tensor) -> Tensor:
    """The 2-norm of each example, ``[B, 1, …]``, to be broadcast against ``x`` ``[B, *shape]``."""
    return x.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))


def robust_accuracy(
    model: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, ...]], radius: float, generator: torch.Generator
) -> float:
    """The share of inputs classified rightly as they are and after each of two l-inf attacks, in [0, 1].

    The attacks ascend the cross-entropy and the margin, ``EVALUATION_STEPS`` steps each. One is not enough: the gradient of
    cross-entropy vanishes where logits are large and pushes towards the average wrong class where they are small, so that a
    network could look robust by the scale of its logits alone. The result bounds the accuracy under the worst attack of that
    radius from above, and is at most the accuracy without one.

    Args:
        model: maps inputs to logits ``[B, K]``, in evaluation mode.
        batches: inputs ``[B, *shape]`` and labels ``[B]``, and what else a batch has.
        radius: of the attacks.
        generator: draws their starts.
    """
    return torch.cat([_withstand(model, x, y, radius, generator) for x, y, *_ in batches]).double().mean().item()


def _withstand(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, radius: float, generator: torch.Generator) -> Tensor:
    """Which inputs of a batch ``[B]`` are classified rightly throughout."""

    def moved(objective: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return ascend(
            lambda near: objective(model(near), y),
            x,
            radius,
            norm="linf",
            steps=EVALUATION_STEPS,
            step_size=EVALUATION_STEP * radius,
            generator=generator,
        )

    points = (x, moved(cross_entropy), moved(wrong_margin))
    with torch.no_grad():
        return torch.stack([model(point).argmax(1) == y for point in points]).all(0)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p_y of each example ``[B]``, for logits ``[B, K]`` and labels ``[B]``."""
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def wrong_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """max_{k≠y} h_k - h_y of each example ``[B]``, positive where it is misclassified; logits ``[B, K]``, labels ``[B]``."""
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return others - logits.gather(1, labels[:, None])[:, 0]
