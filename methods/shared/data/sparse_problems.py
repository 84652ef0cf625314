"""Sparse regression problems: embedded generators of training rows, unseen rows, and the truth behind them.

A row of a split is the seed of one problem. Each split is a pool, from which a run draws the problems that it solves; a problem
is drawn from its seed when it is needed, always the same one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset

POOL = {"train": 20, "validation": 200, "test": 200}

Outcome = Literal["continuous", "binary"]


@dataclass(frozen=True)
class Problem:
    """One regression problem; everything real is float64.

    Attributes:
        x: covariates of the training rows ``[n, p]``.
        y: their outcomes ``[n]``; 0 or 1 where binary.
        clusters: the cluster of each row, ascending from 0, int64 ``[n]``; each its own where rows are independent.
        held_x: covariates of unseen rows ``[m, p]``, of other clusters and never contaminated.
        held_y: their outcomes ``[m]``.
        coefficients: of the best linear predictor ``[p]``: 0 where an effect has no linear part.
        relevant: which covariates the outcome depends on, bool ``[p]``.
        outcome: continuous or binary.
    """

    x: Tensor
    y: Tensor
    clusters: Tensor
    held_x: Tensor
    held_y: Tensor
    coefficients: Tensor
    relevant: Tensor
    outcome: Outcome

    def to(self, device: torch.device) -> Self:
        """The problem on a device."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


class Problems(TensorDataset):
    """A pool of problems; a row is the seed of one, int64.

    Args:
        seeds: ``[P]``.
        design: makes a problem of random numbers.
    """

    def __init__(self, seeds: Tensor, design: Callable[[np.random.Generator], Problem]) -> None:
        super().__init__(seeds)
        self.design = design

    def draw(self, index: int) -> Problem:
        """The problem of a row."""
        return self.design(np.random.default_rng(int(self.tensors[0][index])))


def pools(name: str, covariates: int, design: Callable[[np.random.Generator], Problem], *, split: int = 0) -> Data:
    """A data set whose three splits are pools of problems of one design; splits of another number hold other problems."""
    splits = {}
    for (part, count), seed in zip(POOL.items(), np.random.SeedSequence(split).spawn(len(POOL)), strict=True):
        splits[part] = Problems(torch.tensor(seed.generate_state(count).astype(np.int64)), design)
    return Data(name, **splits, meta={"shape": (covariates,)}, pool=0)


def toeplitz_rows(rows: int, covariates: int, correlation: float, random: np.random.Generator) -> np.ndarray:
    """Gaussian rows ``[rows, covariates]`` with variance 1 and correlation τ^|j - k|, as a stationary autoregression over j."""
    from scipy.signal import lfilter  # takes a second to import, which every process would pay

    noise = random.standard_normal((rows, covariates))
    noise[:, 1:] *= np.sqrt(1 - correlation**2)
    return lfilter([1.0], [1.0, -correlation], noise, axis=1)


def problem_of(
    x: np.ndarray,
    signal: np.ndarray,
    train: int,
    coefficients: np.ndarray,
    relevant: np.ndarray,
    snr: float,
    outcome: Outcome,
    random: np.random.Generator,
) -> Problem:
    """Adds noise to a signal, and splits its rows.

    A continuous outcome is the signal plus Gaussian noise of variance var(signal) / SNR. A binary one is drawn from a logistic
    model, whose latent noise has variance π²/3; there signal and coefficients are scaled so that their ratio is the SNR.

    Args:
        x: all rows ``[n + m, p]``.
        signal: what the outcome depends on ``[n + m]``.
        train: n.
        coefficients: ``[p]``.
        relevant: ``[p]``.
        snr: variance of the signal over that of the noise.
        outcome: continuous or binary.
        random: draws the noise.
    """
    from scipy.special import expit

    if outcome == "continuous":
        y = signal + np.sqrt(signal.var() / snr) * random.standard_normal(len(signal))
    else:
        scale = np.sqrt(snr * np.pi**2 / 3 / signal.var())
        coefficients = scale * coefficients
        y = (random.random(len(signal)) < expit(scale * (signal - signal.mean()))).astype(np.float64)
    return Problem(
        x=torch.tensor(x[:train]),
        y=torch.tensor(y[:train]),
        clusters=torch.arange(train),
        held_x=torch.tensor(x[train:]),
        held_y=torch.tensor(y[train:]),
        coefficients=torch.tensor(coefficients),
        relevant=torch.tensor(relevant),
        outcome=outcome,
    )


def scattered_design(
    train: int, held: int, covariates: int, correlation: float, outcome: Outcome
) -> Callable[[np.random.Generator], Problem]:
    """Ten coefficients of size 1 to 3 and either sign at random places, Toeplitz rows, SNR 3."""

    def design(random: np.random.Generator) -> Problem:
        x = toeplitz_rows(train + held, covariates, correlation, random)
        places = random.permutation(covariates)[:10]
        beta = np.zeros(covariates)
        beta[places] = random.uniform(1, 3, 10) * random.choice([-1.0, 1.0], 10)
        return problem_of(x, x @ beta, train, beta, beta != 0, 3.0, outcome, random)

    return design


def block_design(
    train: int, held: int, correlation: float, snr: float, outcome: Outcome
) -> Callable[[np.random.Generator], Problem]:
    """Yang et al., 2023: 2050 covariates, five blocks of ten nonzeros, ever larger, with 500 zeros between them."""

    def design(random: np.random.Generator) -> Problem:
        beta = np.zeros(2050)
        for block, (mean, deviation) in enumerate([(0.5, 1), (5, 2), (10, 3), (20, 4), (50, 5)]):
            beta[block * 510 : block * 510 + 10] = random.normal(mean, deviation, 10)
        x = toeplitz_rows(train + held, len(beta), correlation, random)
        return problem_of(x, x @ beta, train, beta, beta != 0, snr, outcome, random)

    return design


def clustered_design(contaminated: float, slopes: int = 0) -> Callable[[np.random.Generator], Problem]:
    """60 clusters of 5 rows, 30 covariates of which 4 matter, random effects of variance 0.8 each, noise of variance 0.5.

    Args:
        contaminated: share of training clusters whose outcomes get noise of standard deviation 10 on top.
        slopes: how many leading covariates have random slopes beside the random intercept.
    """
    clusters, size, covariates = 60, 5, 30

    def design(random: np.random.Generator) -> Problem:
        beta = np.zeros(covariates)
        beta[:4] = [2.0, -1.5, 1.0, 1.0]
        x = random.standard_normal((2 * clusters, size, covariates))
        intercepts, varying = np.split(np.sqrt(0.8) * random.standard_normal((2 * clusters, 1 + slopes)), [1], axis=1)
        mean = x @ beta + intercepts + (x[:, :, :slopes] * varying[:, None, :]).sum(axis=2)
        y = mean + np.sqrt(0.5) * random.standard_normal((2 * clusters, size))
        bad = random.permutation(clusters)[: round(contaminated * clusters)]
        y[bad] += 10 * random.standard_normal((len(bad), size))
        flat, outcomes, n = torch.tensor(x.reshape(-1, covariates)), torch.tensor(y.ravel()), clusters * size
        return Problem(
            x=flat[:n],
            y=outcomes[:n],
            clusters=torch.arange(clusters).repeat_interleave(size),
            held_x=flat[n:],
            held_y=outcomes[n:],
            coefficients=torch.tensor(beta),
            relevant=torch.tensor(beta != 0),
            outcome="continuous",
        )

    return design


def squares_design(train: int, held: int, covariates: int) -> Callable[[np.random.Generator], Problem]:
    """The outcome is the sum of the squares of ten covariates, SNR 3: no covariate is correlated with it."""

    def design(random: np.random.Generator) -> Problem:
        x = random.standard_normal((train + held, covariates))
        relevant = np.zeros(covariates, dtype=bool)
        relevant[random.permutation(covariates)[:10]] = True
        signal = (x[:, relevant] ** 2).sum(axis=1)
        return problem_of(x, signal, train, np.zeros(covariates), relevant, 3.0, "continuous", random)

    return design


@dataset("sparse_toeplitz", help="10 of 500 covariates matter, 200 rows, neighbours correlated by 0.5: 20 / 200 / 200 problems")
def sparse_toeplitz(split: int = 0) -> Data:
    """The small benchmark of penalties."""
    return pools("sparse_toeplitz", 500, scattered_design(200, 200, 500, 0.5, "continuous"), split=split)


@dataset("sparse_toeplitz_09", help="as sparse_toeplitz, with neighbours correlated by 0.9: 20 / 200 / 200 problems")
def sparse_toeplitz_09(split: int = 0) -> Data:
    """Neighbours can hardly be told apart."""
    return pools("sparse_toeplitz_09", 500, scattered_design(200, 200, 500, 0.9, "continuous"), split=split)


@dataset("sparse_binary", help="10 of 300 covariates matter to a binary outcome, 300 rows: 20 / 200 / 200 problems")
def sparse_binary(split: int = 0) -> Data:
    """A logistic model."""
    return pools("sparse_binary", 300, scattered_design(300, 300, 300, 0.5, "binary"), split=split)


@dataset("squared_covariates", help="the outcome is a sum of 10 of 200 covariates' squares, 400 rows: 20 / 200 / 200 problems")
def squared_covariates(split: int = 0) -> Data:
    """The small benchmark of screening."""
    return pools("squared_covariates", 200, squares_design(400, 400, 200), split=split)


@dataset("clustered", help="60 clusters of 5 rows with random intercepts, 4 of 30 covariates matter: 20 / 200 / 200 problems")
def clustered(split: int = 0) -> Data:
    """A linear mixed model."""
    return pools("clustered", 30, clustered_design(0.0), split=split)


@dataset("clustered_outliers", help="as clustered, a tenth of the training clusters drowned in noise: 20 / 200 / 200 problems")
def clustered_outliers(split: int = 0) -> Data:
    """The small benchmark of robust mixed models."""
    return pools("clustered_outliers", 30, clustered_design(0.1), split=split)


@dataset("clustered_slopes", help="as clustered, with random slopes of the first 2 covariates too: 20 / 200 / 200 problems")
def clustered_slopes(split: int = 0) -> Data:
    """A linear mixed model with effects that vary."""
    return pools("clustered_slopes", 30, clustered_design(0.0, slopes=2), split=split)


@dataset("clustered_slopes_outliers", help="as clustered_slopes, contaminated as clustered_outliers: 20 / 200 / 200 problems")
def clustered_slopes_outliers(split: int = 0) -> Data:
    """Effects that vary, and clusters that cannot be trusted."""
    return pools("clustered_slopes_outliers", 30, clustered_design(0.1, slopes=2), split=split)


@dataset("toeplitz_blocks", help="50 of 2050 covariates matter, 1000 rows, SNR 3, correlation 0.5: 20 / 200 / 200 problems")
def toeplitz_blocks(split: int = 0) -> Data:
    """The design of Yang et al., 2023, continuous outcome."""
    return pools("toeplitz_blocks", 2050, block_design(1000, 1000, 0.5, 3.0, "continuous"), split=split)


@dataset("toeplitz_blocks_01", help="as toeplitz_blocks, with neighbours correlated by 0.1: 20 / 200 / 200 problems")
def toeplitz_blocks_01(split: int = 0) -> Data:
    """The same with covariates that are nearly independent."""
    return pools("toeplitz_blocks_01", 2050, block_design(1000, 1000, 0.1, 3.0, "continuous"), split=split)


@dataset("toeplitz_blocks_09", help="as toeplitz_blocks, with neighbours correlated by 0.9: 20 / 200 / 200 problems")
def toeplitz_blocks_09(split: int = 0) -> Data:
    """The same with neighbours that can hardly be told apart."""
    return pools("toeplitz_blocks_09", 2050, block_design(1000, 1000, 0.9, 3.0, "continuous"), split=split)


@dataset("toeplitz_blocks_binary", help="as toeplitz_blocks, with a binary outcome: 20 / 200 / 200 problems")
def toeplitz_blocks_binary(split: int = 0) -> Data:
    """The design of Yang et al., 2023, binary outcome."""
    return pools("toeplitz_blocks_binary", 2050, block_design(1000, 1000, 0.5, 3.0, "binary"), split=split)
