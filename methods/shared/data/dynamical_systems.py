"""Trajectories of dynamical systems, simulated when they are loaded: oscillators, chaos, two wells and a wake.

A split holds one tensor of trajectories ``[N, L, D]``, float32, sampled every ``meta["dt"]``, in units of the training split's
mean and standard deviation of each component. Only training trajectories may be noisy. Where all trajectories end on a limit
cycle, ``meta["frequency"]`` is its angular frequency.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset

Array = np.ndarray

COUNTS = {"train": 40, "validation": 20, "test": 20}
OBSERVATION_SEED = 0
TOLERANCE = 1e-9


def simulate(field: Callable[[Array], Array], start: Array, steps: int, dt: float) -> Array:
    """Trajectories ``[N, steps, d]`` of x' = field(x) from ``start [N, d]``, which is their first state.

    Args:
        field: the right-hand side, states ``[N, d]`` to velocities ``[N, d]``.
        start: initial states.
        steps: number of states of a trajectory.
        dt: time between two of them.
    """
    from scipy.integrate import solve_ivp

    found = solve_ivp(
        lambda _, x: field(x.reshape(start.shape)).ravel(),
        (0.0, dt * (steps - 1)),
        start.ravel(),
        method="DOP853",
        t_eval=dt * np.arange(steps),
        rtol=TOLERANCE,
        atol=TOLERANCE,
    )
    return found.y.reshape(*start.shape, steps).transpose(0, 2, 1)


def trajectory_data(
    name: str,
    draw: Callable[[np.random.Generator, int], Array],
    *,
    noise: float = 0.0,
    meta: Mapping[str, Any],
    split: int,
) -> Data:
    """A data set of 40 / 20 / 20 trajectories, which in each split have initial states and noise of their own.

    Args:
        name: the name of the data set.
        draw: gives so many clean trajectories ``[N, L, D]``.
        noise: standard deviation of Gaussian noise on training trajectories.
        meta: facts; the shape of a state is added.
        split: the number of the split.
    """
    splits = {}
    for (part, count), seed in zip(COUNTS.items(), np.random.SeedSequence(split).spawn(len(COUNTS)), strict=True):
        random = np.random.default_rng(seed)
        splits[part] = draw(random, count)
        if part == "train":
            splits[part] = splits[part] + noise * random.standard_normal(splits[part].shape)
    return Data(name, **standardized(splits, axes=(0, 1)), meta={"shape": splits["train"].shape[2:], **meta}, pool=0)


def standardized(splits: Mapping[str, Array], axes: tuple[int, ...]) -> dict[str, TensorDataset]:
    """Splits in units of the training split's mean and standard deviation over the given axes."""
    mean, deviation = splits["train"].mean(axes, keepdims=True), splits["train"].std(axes, keepdims=True)
    deviation = np.where(deviation > 0, deviation, 1.0)
    return {name: TensorDataset(torch.tensor((x - mean) / deviation, dtype=torch.float32)) for name, x in splits.items()}


def van_der_pol_field(x: Array) -> Array:
    """x₁' = x₂, x₂' = (1 - x₁²) x₂ - x₁."""
    return np.stack([x[:, 1], (1 - x[:, 0] ** 2) * x[:, 1] - x[:, 0]], axis=1)


@dataset("van_der_pol", help="the van der Pol oscillator seen through 20 noisy sines: 40 / 20 / 20 trajectories of 80 steps")
def van_der_pol(split: int = 0) -> Data:
    """sin(0.7 x W + φ) of the state x, with noise 0.1 in training; dt 0.1; W and φ are the same in every split."""
    shared = np.random.default_rng(OBSERVATION_SEED)
    W, phase = shared.standard_normal((2, 20)), shared.uniform(0, 2 * np.pi, 20)

    def draw(random: np.random.Generator, count: int) -> Array:
        states = simulate(van_der_pol_field, random.uniform(-2, 2, (count, 2)), 80, 0.1)
        return np.sin(0.7 * states @ W + phase)

    # The period is 6.66328686 for a damping of 1.
    return trajectory_data("van_der_pol", draw, noise=0.1, meta={"dt": 0.1, "frequency": 2 * np.pi / 6.66328686}, split=split)


def lorenz_field(x: Array) -> Array:
    """X' = 10 (y - x), y' = x (28 - z) - y, z' = x y - 8 z / 3."""
    a, b, c = x.T
    return np.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], axis=1)


@dataset("lorenz63", help="the Lorenz attractor, three states: 40 / 20 / 20 trajectories of 200 steps of 0.1")
def lorenz63(split: int = 0) -> Data:
    """Trajectories that have run on the attractor for 10 time units before their first state."""

    def draw(random: np.random.Generator, count: int) -> Array:
        return simulate(lorenz_field, random.normal([0, 0, 25], 8, (count, 3)), 300, 0.1)[:, 100:]

    return trajectory_data("lorenz63", draw, meta={"dt": 0.1}, split=split)


@dataset(
    "pendulum", help="a pendulum without friction, seen as cosine, sine and velocity: 40 / 20 / 20 trajectories of 80 steps"
)
def pendulum(split: int = 0) -> Data:
    """θ'' = -sin θ with θ(0) in (-2.5, 2.5), at rest: each energy has its own frequency; dt 0.1, noise 0.02 in training."""

    def draw(random: np.random.Generator, count: int) -> Array:
        start = np.stack([random.uniform(-2.5, 2.5, count), np.zeros(count)], axis=1)
        angle, velocity = np.moveaxis(simulate(lambda x: np.stack([x[:, 1], -np.sin(x[:, 0])], axis=1), start, 80, 0.1), 2, 0)
        return np.stack([np.cos(angle), np.sin(angle), velocity], axis=2)

    return trajectory_data("pendulum", draw, noise=0.02, meta={"dt": 0.1}, split=split)


@dataset(
    "double_well", help="a particle with friction in two wells, position and velocity: 40 / 20 / 20 trajectories of 80 steps"
)
def double_well(split: int = 0) -> Data:
    """X'' = x - x³ - x' / 2 from (-2, 2)²: two attracting fixed points; dt 0.1, noise 0.02 in training."""

    def draw(random: np.random.Generator, count: int) -> Array:
        return simulate(
            lambda x: np.stack([x[:, 1], x[:, 0] - x[:, 0] ** 3 - x[:, 1] / 2], axis=1),
            random.uniform(-2, 2, (count, 2)),
            80,
            0.1,
        )

    return trajectory_data("double_well", draw, noise=0.02, meta={"dt": 0.1}, split=split)


def wake_field(x: Array) -> Array:
    """The mean-field model of the cylinder wake (Noack et al., J. Fluid Mech. 497, 2003).

    x' = 0.1 (1 - z) x - y, y' = 0.1 (1 - z) y + x, z' = 10 (x² + y² - z): an unstable steady flow, a slow manifold
    z = x² + y², and shedding of frequency 1 on the unit circle.
    """
    a, b, c = x.T
    growth = 0.1 * (1 - c)
    return np.stack([growth * a - b, growth * b + a, 10 * (a**2 + b**2 - c)], axis=1)


@dataset(
    "cylinder_wake",
    help="transients of a model wake on 64 points, three modes and noise: 40 / 20 / 20 trajectories of 120 steps",
)
def cylinder_wake(split: int = 0) -> Data:
    """A travelling pair of modes and a shift mode behind a body; dt 0.2, noise 0.05 in training."""
    place = np.linspace(0, 1, 64)
    envelope = place * np.exp(-2 * place)
    modes = np.stack([envelope * np.cos(6 * np.pi * place), envelope * np.sin(6 * np.pi * place), np.exp(-4 * place)])
    modes /= np.linalg.norm(modes, axis=1, keepdims=True)

    def draw(random: np.random.Generator, count: int) -> Array:
        radius, angle = random.uniform(0.05, 1.2, count), random.uniform(0, 2 * np.pi, count)
        start = np.stack([radius * np.cos(angle), radius * np.sin(angle), radius**2], axis=1)
        return simulate(wake_field, start, 120, 0.2) @ modes

    return trajectory_data("cylinder_wake", draw, noise=0.05, meta={"dt": 0.2, "frequency": 1.0}, split=split)
