"""RDTF's curriculum from easy to hard configurations: a ramp, and a controller that the training's losses drive.

What is known of it are the constants of a PID controller and that the entropy of a sample has a static and an adaptive part.
The formulas are a reconstruction: the paper's method section was not read.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

# Averages of the losses, of which the controller's error is the relative difference; and that of a configuration's own losses.
SLOW, FAST, OWN = 0.99, 0.9, 0.99

Selection = Literal["hard", "soft"]
SOFTNESS = 0.05


class Gains(NamedTuple):
    """Of a PID controller: K_p, K_i and K_d."""

    proportional: float
    integral: float
    derivative: float


class Control(NamedTuple):
    """What a controller remembers: the sum of its errors, and the last one (NaN before the first)."""

    total: float = 0.0
    last: float = float("nan")


def control(state: Control, error: float, gains: Gains) -> tuple[float, Control]:
    """U = K_p e + K_i Σe + K_d (e - e₋₁), and the state after it; the first derivative is 0, Σe is kept within ±1/K_i."""
    total = state.total + error
    if gains.integral:
        total = max(-1 / gains.integral, min(1 / gains.integral, total))
    change = 0.0 if state.last != state.last else error - state.last
    output = gains.proportional * error + gains.integral * total + gains.derivative * change
    return output, Control(total, error)


def improvement(slow: float, fast: float) -> float:
    """The controller's error e = (slow - fast) / slow, above 0 while the loss falls; of its two exponential averages."""
    return (slow - fast) / slow


def curriculum_level(progress: float, fraction: float, smallest: float, feedback: float = 0.0) -> float:
    """D = clip(D_stat + feedback, D_min, 1) with the ramp D_stat = D_min + (1 - D_min) min(1, progress / fraction).

    Args:
        progress: share of training that is done.
        fraction: share of it at which the ramp is up; 0: at once.
        smallest: D_min.
        feedback: κ u; 0: the linear curriculum.
    """
    ramp = min(1.0, progress / fraction) if fraction else 1.0
    return min(1.0, max(smallest, smallest + (1 - smallest) * ramp + feedback))


def selected(shares: Tensor, entropy: Tensor, level: float, selection: Selection) -> Tensor:
    """How configurations are drawn at a level of the curriculum, ``[…, C]``, rows of sum 1.

    ``hard`` keeps those of entropy at most the level, and where a clip has none so easy, its easiest; ``soft`` multiplies by
    exp(-[h - D]₊ / 0.05).

    Args:
        shares: how they are drawn without a curriculum ``[…, C]``.
        entropy: h ``[C]``.
        level: D.
        selection: which rule.
    """
    if selection == "soft":
        kept = shares * (-(entropy - level).clamp_min(0) / SOFTNESS).exp()
    else:
        possible = entropy.expand_as(shares).masked_fill(shares == 0, torch.inf)
        bound = possible.amin(-1, keepdim=True).clamp_min(level)
        kept = shares * (entropy <= bound)
    return kept / kept.sum(-1, keepdim=True).clamp_min(torch.finfo(kept.dtype).tiny)


class Losses:
    """Averages of the losses, each divided by its own configuration's first, so that harder ones do not read as regress.

    Args:
        memory: where they are kept, changed in place: ``own`` ``[C]`` (NaN before the first), ``slow`` and ``fast``.
    """

    def __init__(self, memory: dict[str, Tensor]) -> None:
        self.memory = memory

    @staticmethod
    def fresh(count: int, device: torch.device) -> dict[str, Tensor]:
        """A memory of no losses, for that many configurations."""
        nothing = torch.full((count,), torch.nan, dtype=torch.float64, device=device)
        return {"own": nothing, "slow": nothing[0].clone(), "fast": nothing[0].clone()}

    def add(self, losses: Tensor, rows: Tensor) -> None:
        """Takes the losses ``[B]`` of clips and their configurations ``[B]``."""
        own, losses = self.memory["own"], losses.detach().double()
        relative = torch.where(own[rows].isnan(), 1.0, losses / own[rows]).mean()
        for name, keep in (("slow", SLOW), ("fast", FAST)):
            before = self.memory[name]
            self.memory[name] = torch.where(before.isnan(), relative, keep * before + (1 - keep) * relative)
        count = torch.zeros_like(own).index_add(0, rows, torch.ones_like(losses))
        mean = torch.zeros_like(own).index_add(0, rows, losses) / count.clamp_min(1)
        moved = torch.where(own.isnan(), mean, OWN * own + (1 - OWN) * mean)
        self.memory["own"] = torch.where(count > 0, moved, own)

    def improvement(self) -> float:
        """The controller's error; 0 before the first losses."""
        slow, fast = self.memory["slow"].item(), self.memory["fast"].item()
        return improvement(slow, fast) if slow == slow else 0.0
