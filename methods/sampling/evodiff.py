"""EVODiff: steps of a diffusion sampler that reduce the conditional variance of what they reach."""

from itertools import pairwise
from types import SimpleNamespace
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import sigmoid

from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.sampling.solvers import Denoiser, euler_step
from regbench.methods.sampling.task import SamplingMethod

# Added to the squared norms by which projections are divided: a constant denoiser has differences of norm 0.
TINY = 1e-20
# From this number of steps on, the released code scales the variance of a step otherwise.
MANY_STEPS = 20

FinalStep = Literal["heuristic", "first_order"]


class Controls(NamedTuple):
    """The sampler's constants, by default those of the released code; numbers, or scalar tensors to differentiate by.

    Attributes:
        correction_weight: share of the second-order terms, 1 in the paper; 0 is DDIM (an extension).
        balance_weight_max: of the projection against the base ratio.
        variance_temperature: τ.
        eta_scale: upper limit of η.
        zeta_shift: shift of the variance scale.
        variance_factor_min: lower limit of r_i, over ρ.
        variance_factor_max: upper limit of r_i, over ρ.
        projection_clip: limit of the size of a projection coefficient.
    """

    correction_weight: float | Tensor = 1.0
    balance_weight_max: float | Tensor = 0.5
    variance_temperature: float | Tensor = 0.25
    eta_scale: float | Tensor = 0.5
    zeta_shift: float | Tensor = 0.5
    variance_factor_min: float = 0.25
    variance_factor_max: float = 1.5
    projection_clip: float = 2.0


class Interval(NamedTuple):
    """The levels r > s > t of a step from s to t, after one from r to s, and the first and last level of the whole grid."""

    r: Tensor
    s: Tensor
    t: Tensor
    first: Tensor
    last: Tensor

    @property
    def length(self) -> Tensor:
        """The step in 1/σ: h = 1/t - 1/s."""
        return 1 / self.t - 1 / self.s

    @property
    def ratio(self) -> Tensor:
        """ρ = log(r/s) / log(s/t), of two steps in log-SNR."""
        return (self.r / self.s).log() / (self.s / self.t).log()


def inner(a: Tensor, b: Tensor) -> Tensor:
    """⟨a, b⟩ over the pixels of each channel, ``[B, C, 1, 1]`` of ``[B, C, H, W]``."""
    return (a * b).sum((2, 3), keepdim=True)


def projection(a: Tensor, b: Tensor, clip: float = 2.0) -> Tensor:
    """pc(a, b) = ⟨a, b⟩ / ⟨b, b⟩ within ±clip, ``[B, C, 1, 1]``; 0 where b is 0, where the released code divides by 0."""
    return (inner(a, b) / (inner(b, b) + TINY)).clamp(-clip, clip)


def balance(a: Tensor, b: Tensor, step: Interval, controls: Controls) -> Tensor:
    """The coefficient r = (1 - w) b₀ + w pc(a, b) of a balanced difference a - r b, ``[B, C, 1, 1]``.

    w = w_max (1 - t̄²) with t̄ = (t + t_N) / (t_0 + t_N), and b₀ = √((t/s) / (s/r)): released code, ``r1_balance``.

    Args:
        a: m at the later level ``[B, C, H, W]``.
        b: m at the one before.
        step: the levels.
        controls: the constants.
    """
    share = controls.balance_weight_max * (1 - ((step.t + step.last) / (step.first + step.last)) ** 2)
    base = (step.t / step.s / (step.s / step.r)).sqrt()
    return (1 - share) * base + share * projection(a, b, controls.projection_clip)


def variance_factor(r1: Tensor, step: Interval, controls: Controls) -> Tensor:
    """r_i = sigmoid(τ |r₁|) ρ, between its limits times ρ, ``[B, C, 1, 1]``."""
    scale = sigmoid(controls.variance_temperature * r1.abs())
    return scale.clamp(controls.variance_factor_min, controls.variance_factor_max) * step.ratio


class Probe(NamedTuple):
    """What a step knows before it calls the model.

    Attributes:
        euler: x^E, the step of first order ``[B, C, H, W]``.
        point: x^P, where the model is called.
        difference: D₁ = m₀ - r₁ m₁.
        factor: r_i ``[B, C, 1, 1]``.
    """

    euler: Tensor
    point: Tensor
    difference: Tensor
    factor: Tensor


def probe(x: Tensor, m0: Tensor, m1: Tensor, step: Interval, controls: Controls) -> Probe:
    """The predictor: x^P = x^E + ½ t h D₁ / r_i (times ``correction_weight``).

    Args:
        x: at level s ``[B, C, H, W]``.
        m0: m at s.
        m1: m at r.
        step: the levels.
        controls: the constants.
    """
    euler = euler_step(x, m0, step.s, step.t)
    r1 = balance(m0, m1, step, controls)
    difference, factor = m0 - r1 * m1, variance_factor(r1, step, controls)
    gain = controls.correction_weight * 0.5 * step.t * step.length
    return Probe(euler, euler + gain * difference / factor, difference, factor)


def mixing(backward: Tensor, forward: Tensor, controls: Controls) -> Tensor:
    """η = eta_scale sigmoid(|η*|) with η* = ½ pc(B₊ + B₋, B₊ - B₋), ``[B, C, 1, 1]``.

    Args:
        backward: B₋ = D₁ / (ρ h) ``[B, C, H, W]``.
        forward: B₊ = ρ D₂ / h.
        controls: the constants.
    """
    optimal = 0.5 * projection(forward + backward, forward - backward, controls.projection_clip)
    return controls.eta_scale * sigmoid(optimal.abs())


def variance_scale(
    residual: Tensor, found: Probe, m0: Tensor, m1: Tensor, step: Interval, steps: int, controls: Controls
) -> Tensor:
    """ζ, the scale of the corrector's variance, ``[B, C, 1, 1]``.

    ζ* = pc(P, D₁) / (h t), clipped before it is divided, and ζ = sigmoid(|ζ*| - shift) in a grid of at most 20 steps. Above,
    the released code takes ζ = sigmoid(-(|ζ*| - shift) c), c = sigmoid(pc(m₀, (m₀ - m₁)/h) (2 - (t/s)²)).

    Args:
        residual: P = x^P - x^E - ½ t h B_θ / r_i ``[B, C, H, W]``.
        found: the probe.
        m0: m at s.
        m1: m at r.
        step: the levels.
        steps: of the whole grid, N.
        controls: the constants.
    """
    optimal = projection(residual, found.difference, controls.projection_clip) / (step.length * step.t)
    shifted = optimal.abs() - controls.zeta_shift
    if steps <= MANY_STEPS:
        return sigmoid(shifted)
    slope = projection(m0, (m0 - m1) / step.length, controls.projection_clip)
    return sigmoid(-shifted * sigmoid(slope * (2 - (step.t / step.s) ** 2)))


def correct(found: Probe, m_t: Tensor, m0: Tensor, m1: Tensor, step: Interval, steps: int, controls: Controls) -> Tensor:
    """The corrector: x^E + ½ t h B_θ / ζ with B_θ = -(η/ρ) D₁ + ρ (1 - η) D₂, D₂ = m_t - r₂ m₀ (times ``correction_weight``).

    Args:
        found: the probe.
        m_t: m at the probe's point, level t ``[B, C, H, W]``.
        m0: m at s.
        m1: m at r.
        step: the levels.
        steps: of the whole grid, N.
        controls: the constants.
    """
    rho, h, backward = step.ratio, step.length, found.difference
    forward = m_t - balance(m_t, m0, step, controls) * m0
    eta = mixing(backward / (rho * h), rho * forward / h, controls)
    gradient = -eta / rho * backward + rho * (1 - eta) * forward
    gain = 0.5 * step.t * h
    # The probe as the paper takes it, whatever the share of the correction.
    residual = gain * (backward - gradient) / found.factor
    zeta = variance_scale(residual, found, m0, m1, step, steps, controls)
    return found.euler + controls.correction_weight * gain * gradient / zeta


def final_step(x: Tensor, m0: Tensor, m1: Tensor, s: Tensor, t: Tensor, weight: float | Tensor = 1.0) -> Tensor:
    """The released code's last step: (1 - √(s t)) x^E + ½ t h (m₀ - r_f m₁), of which ``weight`` of its change of x^E is made.

    r_f = 1 - ½ √q for q = t/s below ½ and 1 - ½ √(q - ½) else. It was tuned for a last level of 0.002: the first factor falls,
    and is negative once s t exceeds 1.

    Args:
        x: at level s ``[B, C, H, W]``.
        m0: m at s.
        m1: m at the level before.
        s: the last level but one, a scalar tensor.
        t: the last one.
        weight: ``correction_weight``.
    """
    euler, q = euler_step(x, m0, s, t), t / s
    factor = 1 - 0.5 * torch.where(q < 0.5, q, q - 0.5).sqrt()
    return euler + weight * (0.5 * (1 - q) * (m0 - factor * m1) - (s * t).sqrt() * euler)


def evodiff(
    denoiser: Denoiser,
    x: Tensor,
    levels: Tensor,
    controls: Controls | None = None,
    final: FinalStep = "heuristic",
) -> Tensor:
    """EVODiff as released: N calls of the model, whose output at the probe also stands for that at the corrected point.

    Args:
        denoiser: m.
        x: at the first level ``[B, C, H, W]``; float64, in single precision small steps lose the differences of m.
        levels: ``[N + 1]``, falling, N ≥ 2.
        controls: the constants; None: the released ones.
        final: the last step, as released or of first order.
    """
    controls, steps = controls or Controls(), len(levels) - 1
    m1 = denoiser(x, levels[0])
    x = euler_step(x, m1, levels[0], levels[1])
    m0 = denoiser(x, levels[1])
    for r, (s, t) in zip(levels, pairwise(levels[1:-1]), strict=False):
        step = Interval(r, s, t, levels[0], levels[-1])
        found = probe(x, m0, m1, step, controls)
        m_t = denoiser(found.point, t)
        x = correct(found, m_t, m0, m1, step, steps, controls)
        m1, m0 = m0, m_t
    if final == "first_order" or is_off(controls.correction_weight):
        return euler_step(x, m0, levels[-2], levels[-1])
    return final_step(x, m0, m1, levels[-2], levels[-1], controls.correction_weight)


class EVODiff(SamplingMethod):
    """Predicts and corrects in second order with coefficients that it computes from the model's outputs as it goes.

    A step that reduces the conditional entropy H(x_t | x_s) of a Gaussian transition reduces its variance. So differences of
    m are balanced by projections, their mixture η and the scale ζ of the step follow from inner products of outputs already
    computed, for each image and channel. The formulas are the released code's (the paper's body was not read), with 1e-20
    added to divisors. Its last step widens contrast, which ``final_step: first_order`` leaves out.

    ``correction_weight`` is an extension: 0 is DDIM. So is the tuning of the released constants.
    """

    paper: ClassVar[Paper | None] = Paper(
        "EVODiff: Entropy-aware Variance Optimized Diffusion Inference", "Li, Chen, Zeng", 2025, "NeurIPS", "2509.26096"
    )

    correction_weight: float = weight(
        1.0,
        off=0.0,
        ge=0,
        symbol="c",
        differentiable=True,
        help="share of the second-order terms (an extension); 1: the paper",
    )
    balance_weight_max: float = weight(
        0.5, off=0.0, ge=0, le=1, symbol="w", differentiable=True, help="weight of projections against the ratio of the grid"
    )
    variance_temperature: float = weight(
        0.25, off=0.0, ge=0, symbol="τ", differentiable=True, help="slope of the probe's variance in its balance"
    )
    eta_scale: float = weight(
        0.5, off=0.0, ge=0, le=1, symbol="η", differentiable=True, help="upper limit of the share of backward differences"
    )
    zeta_shift: float = weight(0.5, off=0.0, symbol="ζ", differentiable=True, help="shift of the corrector's variance scale")
    variance_factor_min: float = hyperparameter(0.25, gt=0, le=0.5, help="least r_i over ρ; never met, as sigmoid(|·|) is ≥ ½")
    variance_factor_max: float = hyperparameter(1.5, ge=1, help="largest r_i over ρ; never met, as sigmoid is < 1")
    projection_clip: float = hyperparameter(2.0, gt=0, help="limit of the size of a projection coefficient")
    final_step: FinalStep = hyperparameter("heuristic", help="last step: as released, or of first order")

    def solve(self, denoiser: Denoiser, x: Tensor, levels: Tensor, weights: SimpleNamespace) -> Tensor:
        """Follows the flow along a grid."""
        settings = {name: getattr(self, name) for name in Controls._fields if name not in vars(weights)}
        return evodiff(denoiser, x, levels, Controls(**settings, **vars(weights)), self.final_step)
