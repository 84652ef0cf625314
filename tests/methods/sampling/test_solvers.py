"""Solvers of the probability flow against exact flows, orders of convergence and published tables."""

import math

import pytest
import torch

from regbench.methods.sampling.evodiff import evodiff
from regbench.methods.sampling.mixtures import GaussianMixture
from regbench.methods.sampling.solvers import (
    ddim,
    dpm_solver,
    euler_step,
    heun,
    multistep_step,
    noise_levels,
    unipc,
    unipc_scales,
)
from regbench.methods.sampling.task import frechet
from regbench.methods.shared.data import load

DEVIATION, LARGEST = 0.5, 80.0
GRIDS = ("logSNR", "edm", "time_uniform", "time_quadratic")


def gaussian(x, sigma):
    """The denoiser of N(0, s²) data."""
    return DEVIATION**2 * x / (DEVIATION**2 + sigma**2)


def exact_flow(x, levels):
    """Where the flow of Gaussian data takes x, from the first level to the last."""
    first, last = levels[0], levels[-1]
    return x * ((DEVIATION**2 + last**2) / (DEVIATION**2 + first**2)).sqrt()


def start():
    return LARGEST * torch.tensor([1.0, -0.5], dtype=torch.float64).reshape(1, 1, 1, 2)


def error(sampler, steps, grid="logSNR", **options):
    levels = noise_levels(grid, steps)
    return (sampler(gaussian, start(), levels, **options) - exact_flow(start(), levels)).abs().max().item()


@pytest.mark.parametrize("grid", GRIDS)
def test_grids_fall_from_the_largest_to_the_smallest_level(grid):
    levels = noise_levels(grid, 12)
    assert levels.shape == (13,)
    assert levels.dtype == torch.float64
    assert (levels.diff() < 0).all()
    assert torch.allclose(levels[[0, -1]], torch.tensor([80.0, 0.002], dtype=torch.float64), rtol=1e-12)
    transform = {"logSNR": torch.log, "edm": lambda s: s ** (1 / 7), "time_uniform": lambda s: s, "time_quadratic": torch.sqrt}
    gaps = transform[grid](levels).diff()
    assert torch.allclose(gaps, gaps[:1].expand_as(gaps), rtol=1e-9)


@pytest.mark.parametrize(
    ("sampler", "errors"),
    [
        (ddim, [0.1163, 0.0620, 0.0320, 0.0163]),
        (dpm_solver, [0.0183, 0.0078, 0.0021, 0.00055]),
        (lambda *given: evodiff(*given, final="first_order"), [0.0396, 0.0378, 0.0220, 0.0115]),
        (evodiff, [0.0023, 0.0248, 0.0087, 0.0033]),
    ],
    ids=["ddim", "dpm_solver", "evodiff_first_order", "evodiff"],
)
def test_errors_on_gaussian_data_are_those_of_an_independent_implementation(sampler, errors):
    found = [error(sampler, steps) for steps in (10, 20, 40, 80)]
    assert found == pytest.approx(errors, abs=6e-5)


@pytest.mark.parametrize(("sampler", "order"), [(ddim, 1), (dpm_solver, 2), (unipc, 2), (heun, 2)])
def test_order_of_convergence(sampler, order):
    coarse, fine = error(sampler, 160), error(sampler, 320)
    # The last, first-order step of the multistep solvers vanishes with the last level.
    assert math.log2(coarse / fine) > order - 0.15


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
def test_the_right_hand_side_of_unipc_follows_its_recursion(variant):

    h = torch.tensor(0.7, dtype=torch.float64)
    scale, b1, b2 = unipc_scales(h, variant)
    z = -0.7
    phi = [(math.exp(z) - 1) / z]
    for n in (1, 2):
        phi.append((phi[-1] - 1 / math.factorial(n)) / z)
    assert scale.item() == pytest.approx(z if variant == "bh1" else math.expm1(z))
    assert (b1 * scale).item() == pytest.approx(phi[1] * z)
    assert (b2 * scale).item() == pytest.approx(2 * phi[2] * z)


def test_a_step_of_2m_by_hand():
    r, s, t = torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)
    m0, m1 = torch.tensor([0.3]), torch.tensor([0.1])
    # r₀ = 1: (t/s) x + (1 - t/s)(m₀ + (m₀ - m₁) / 2)
    assert multistep_step(torch.tensor([2.0]), m0, m1, r, s, t).item() == pytest.approx(0.5 * 2 + 0.5 * 0.4)
    assert torch.equal(multistep_step(m0, m0, m0, r, s, t), euler_step(m0, m0, s, t))


@pytest.mark.parametrize("sampler", [ddim, dpm_solver, unipc, evodiff])
@pytest.mark.parametrize("steps", [2, 3, 9, 24])
def test_as_many_calls_of_the_model_as_steps_and_no_randomness(sampler, steps):
    calls = []

    def counted(x, sigma):
        calls.append(sigma.item())
        return gaussian(x, sigma)

    levels = noise_levels("edm", steps)
    first = sampler(counted, start(), levels)
    assert calls == levels[:-1].tolist()
    assert torch.equal(first, sampler(gaussian, start(), levels))


def test_mixture_of_one_component_is_the_gaussian():
    one = GaussianMixture(torch.zeros(1, 1, 1, 2, dtype=torch.float64), torch.ones(1, dtype=torch.float64), DEVIATION)
    sigma = torch.tensor(1.3, dtype=torch.float64)
    assert torch.allclose(one(start(), sigma), gaussian(start(), sigma))


def test_score_of_a_mixture_is_the_gradient_of_its_log_density():
    stream = torch.Generator().manual_seed(0)
    means = torch.randn(5, 1, 2, 2, generator=stream, dtype=torch.float64)
    mixture = GaussianMixture(means, torch.rand(5, generator=stream, dtype=torch.float64), 0.4)
    x = torch.randn(7, 1, 2, 2, generator=stream, dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor(0.6, dtype=torch.float64)
    normal = torch.distributions.MultivariateNormal(means.flatten(1), (0.36 + 0.16) * torch.eye(4, dtype=torch.float64))
    density = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(mixture.shares), normal)
    (slope,) = torch.autograd.grad(density.log_prob(x.flatten(1)).sum(), x)
    assert torch.allclose(mixture.score(x.detach(), sigma), slope, atol=1e-10)


def test_moments_of_a_mixture_are_those_of_its_samples():
    data = load("digit_mixture")
    mixture = GaussianMixture(data.means, data.shares, data.deviation)
    mean, covariance = mixture.moments()
    samples = torch.cat([split.tensors[0] for split in (data.train, data.validation, data.test)]).flatten(1).double()
    deviation = covariance.diagonal().sqrt()
    assert ((samples.mean(0) - mean).abs() < 4.5 * deviation / math.sqrt(len(samples))).all()
    assert torch.linalg.norm(samples.T.cov() - covariance) < 0.1 * torch.linalg.norm(covariance)
    # The mean power of a pixel, as the samplers' `contrast` is to come out.
    assert ((covariance.trace() + mean @ mean) / 64).sqrt().item() == pytest.approx(0.80, abs=0.005)


def test_frechet_distance_of_exact_samples_is_that_of_a_finite_sample():
    data = load("digit_mixture")
    mixture = GaussianMixture(data.means, data.shares, data.deviation)
    images = data.validation.tensors[0].double()
    # The floor of 1,000 exact samples is about 0.085.
    assert 0.05 < frechet(mixture, images, data, data.validation, torch.device("cpu")) < 0.13
    assert frechet(mixture, 1.1 * images, data, data.validation, torch.device("cpu")) > 0.25
