import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from regbench.methods.disentanglement.divergences import annealed, decompose, kl_loss
from regbench.methods.disentanglement.task import reconstruction_loss, signal_to_noise

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def posteriors(dtype, rows=5, latents=3):
    stream = torch.Generator().manual_seed(0)
    mean, noise = (torch.randn(rows, latents, generator=stream, dtype=torch.float64).to(dtype) for _ in range(2))
    deviation = torch.rand(rows, latents, generator=stream, dtype=torch.float64).to(dtype) + 0.1
    return mean + deviation * noise, mean, deviation


@DTYPES
def test_the_divergence_is_torchs(dtype):
    _, mean, deviation = posteriors(dtype)
    expected = kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).mean(1)
    torch.testing.assert_close(kl_loss(mean, deviation), expected.to(dtype))


@DTYPES
def test_the_parts_are_those_of_log_densities_image_by_image(dtype):
    z, mean, deviation = posteriors(dtype)
    rows, size = 100, len(z)
    parts = decompose(z, mean, deviation, rows)
    for i in range(size):
        each = torch.stack([Normal(mean[k], deviation[k]).log_prob(z[i]) for k in range(size)]).double()  # [B, n_z]
        joint = each.sum(1).exp().sum().log() - math.log(size * rows)
        product = (each.exp().sum(0).log() - math.log(size * rows)).sum()
        prior = Normal(0.0, 1.0).log_prob(z[i]).sum().double()
        expected = each[i].sum() - joint, joint - product, product - prior
        for part, value in zip(parts, expected, strict=True):
            assert part[i].item() == pytest.approx(value.item(), rel=2e-5, abs=2e-5)
    assert all(part.dtype == dtype for part in parts)


def test_the_parts_add_up_to_the_log_ratio():
    z, mean, deviation = posteriors(torch.float64)
    ratio = (Normal(mean, deviation).log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(1)
    torch.testing.assert_close(sum(decompose(z, mean, deviation, 50)), ratio)


def test_deviations_too_small_to_square_keep_values_and_gradients_in_single_precision():
    _, mean, _ = posteriors(torch.float32)
    log_deviation = torch.full_like(mean, -45.0, requires_grad=True)
    parts = decompose(mean, mean, log_deviation.exp(), 50, log_deviation)
    exact = decompose(mean.double(), mean.double(), log_deviation.double().exp(), 50, log_deviation.double())
    for part, value in zip(parts, exact, strict=True):
        torch.testing.assert_close(part, value.float())
    sum(part.sum() for part in parts).backward()
    torch.testing.assert_close(log_deviation.grad, torch.full_like(mean, -1.0))


def test_weights_rise_linearly():
    assert [annealed(4.0, step, 4) for step in (1, 3, 5, 9)] == [0, 2, 4, 4]
    assert annealed(4.0, 1, 0) == 4


@DTYPES
def test_reconstruction_loss_is_the_mean_of_binary_cross_entropies(dtype):
    stream = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 4, 4, generator=stream, dtype=torch.float64).to(dtype)
    x = torch.rand(3, 2, 4, 4, generator=stream, dtype=torch.float64).to(dtype)
    p = logits.double().sigmoid()
    expected = -(x.double() * p.log() + (1 - x.double()) * (1 - p).log()).mean((1, 2, 3))
    torch.testing.assert_close(reconstruction_loss(logits, x), expected.to(dtype))
    assert reconstruction_loss(1e4 * logits, x).isfinite().all()


def test_a_tenth_of_error_is_twenty_decibels():
    x = torch.zeros(2, 1, 3, 3)
    assert signal_to_noise(x + 0.1, x).tolist() == pytest.approx([20, 20], abs=1e-5)
    assert signal_to_noise(x, x).isfinite().all()
