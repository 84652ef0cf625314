"""What keeps its digits in single precision, near a removable singularity, and at the ends of its range."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")

# Below this |x|, (eˣ - 1)/x is summed as a series: from here on the difference loses less than two bits.
SERIES_BELOW = 0.5
# Terms of the series, after which its remainder is below double precision.
SERIES_TERMS = 16


def in_double(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Computes a function in double precision, and returns its value in the type of its first floating-point tensor.

    The rule for ratios and differences of sums that nearly cancel: dependences and divergences from kernels, distance
    covariances, entropies of spectra, determinants, and norms, whose squares leave the range of single precision long before
    the norms do. Their rounding in single precision can exceed their value, where a batch hardly varies. Gradients pass
    through, and come back in the type of each argument.
    """

    @wraps(function)
    def doubled(*arguments: P.args, **options: P.kwargs) -> Tensor:
        given = [value for value in (*arguments, *options.values()) if _floats(value)]
        found = function(*map(_double, arguments), **{name: _double(value) for name, value in options.items()})
        return found.to(given[0].dtype)  # type: ignore[attr-defined]

    return doubled


def power_difference(s: Tensor, gap: float | Tensor) -> Tensor:
    """(e^(gap s) - 1) / gap, and its limit s at gap = 0, with as many correct digits in value and derivatives as s has.

    The Box-Cox transform of eˢ. Both expressions that it is computed by see arguments at which they are finite only: a branch
    of ``torch.where`` that is not taken sends 0 · ∞ = nan into the gradient if it overflows.

    Args:
        s: of any shape.
        gap: broadcasts with s.
    """
    gap = torch.as_tensor(gap, dtype=s.dtype, device=s.device)
    x = gap * s
    near = x.abs() < SERIES_BELOW
    small = torch.where(near, x, 0.0)
    series = torch.ones_like(x)
    for term in range(SERIES_TERMS, 1, -1):
        series = 1 + small / term * series
    # Not expm1, whose derivative PyTorch forms as expm1(x) + 1: 0 for x < -17 in single precision.
    quotient = (torch.exp(torch.where(near, 0.0, x)) - 1) / torch.where(near, 1.0, gap)
    return torch.where(near, s * series, quotient)


def _floats(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _double(value: Any) -> Any:
    return value.double() if _floats(value) else value
