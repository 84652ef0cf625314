"""EVODiff against worked steps of the released formulas, bounds of its coefficients and invariances."""

import math

import pytest
import torch

from regbench.methods.method import is_off
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.sampling.evodiff import (
    Controls,
    Interval,
    balance,
    correct,
    evodiff,
    final_step,
    mixing,
    probe,
    projection,
    variance_factor,
    variance_scale,
)
from regbench.methods.sampling.mixtures import GaussianMixture
from regbench.methods.sampling.solvers import ddim, noise_levels
from regbench.methods.sampling.task import reference, starts
from regbench.methods.shared.data import load

CPU = torch.device("cpu")


def pixels(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype).reshape(1, 1, 1, -1)


def interval(r, s, t, first=80.0, last=0.002):
    return Interval(*torch.tensor([r, s, t, first, last], dtype=torch.float64))


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_worked_step():
    x, m1, m0, m_t = pixels(3, -1), pixels(0.8, -0.2), pixels(1, -0.1), pixels(1.1, 0.1)
    step, controls = interval(4.0, 2.0, 1.0), Controls()
    assert projection(m0, m1).item() == pytest.approx(1.205882, abs=1e-6)
    assert balance(m0, m1, step, controls).item() == pytest.approx(1.102925, abs=2e-6)
    found = probe(x, m0, m1, step, controls)
    assert found.euler.flatten().tolist() == pytest.approx([2, -0.55])
    assert found.difference.flatten().tolist() == pytest.approx([0.117660, 0.120585], abs=2e-6)
    assert found.factor.item() == pytest.approx(0.568499, abs=1e-6)
    assert found.point.flatten().tolist() == pytest.approx([2.051741, -0.496972], abs=1e-6)
    assert balance(m_t, m0, step, controls).item() == pytest.approx(1.039598, abs=1e-6)
    forward = m_t - balance(m_t, m0, step, controls) * m0
    assert forward.flatten().tolist() == pytest.approx([0.060402, 0.203960], abs=2e-6)
    eta = mixing(found.difference / step.length, forward / step.length, controls)
    assert eta.item() == pytest.approx(0.347567, abs=1e-6)
    gradient = -eta * found.difference + (1 - eta) * forward
    assert gradient.flatten().tolist() == pytest.approx([-0.001486, 0.091159], abs=2e-6)
    residual = found.point - found.euler - 0.5 * step.t * step.length * gradient / found.factor
    assert variance_scale(residual, found, m0, m1, step, 10, controls).item() == pytest.approx(0.511079, abs=1e-6)
    reached = correct(found, m_t, m0, m1, step, 10, controls)
    assert reached.flatten().tolist() == pytest.approx([1.999273, -0.505409], abs=1e-6)


def test_scale_of_the_variance_in_grids_of_many_steps():
    x, m1, m0 = pixels(3, -1), pixels(0.8, -0.2), pixels(1, -0.1)
    step, controls = interval(4.0, 2.0, 1.0), Controls()
    found, residual = probe(x, m0, m1, step, controls), pixels(0.05, 0.02)
    # ⟨P, D₁⟩ / ⟨D₁, D₁⟩ / (h t), by hand
    d1 = found.difference.flatten()
    optimal = float(d1 @ residual.flatten() / (d1 @ d1)) / 0.5
    slope = pixels(0.2, 0.1) / 0.5
    consistency = 1 / (1 + math.exp(-min(2.0, float((m0 * slope).sum() / slope.square().sum())) * (2 - 0.25)))
    expected = 1 / (1 + math.exp((abs(optimal) - 0.5) * consistency))
    assert variance_scale(residual, found, m0, m1, step, 21, controls).item() == pytest.approx(expected, rel=1e-10)
    few = 1 / (1 + math.exp(-(abs(optimal) - 0.5)))
    assert variance_scale(residual, found, m0, m1, step, 20, controls).item() == pytest.approx(few, rel=1e-10)


def test_worked_last_step():
    s, t = torch.tensor([0.0065, 0.002], dtype=torch.float64)
    reached = final_step(pixels(0.5), pixels(0.5), pixels(0.4), s, t)
    assert reached.item() == pytest.approx(0.571215, abs=1e-6)
    assert final_step(pixels(0.5), pixels(0.5), pixels(0.4), s, t, weight=0.0).item() == pytest.approx(0.5)
    # From q = ½ on, r_f = 1 - ½ √(q - ½).
    s, t = torch.tensor([0.0025, 0.002], dtype=torch.float64)
    shrunk = 1 - math.sqrt(0.0025 * 0.002)
    expected = shrunk * 0.5 + 0.5 * 0.2 * (0.5 - (1 - 0.5 * math.sqrt(0.3)) * 0.4)
    assert final_step(pixels(0.5), pixels(0.5), pixels(0.4), s, t).item() == pytest.approx(expected, rel=1e-12)


def test_coefficients_keep_within_their_bounds():
    step, controls = interval(3.0, 2.0, 1.2), Controls()
    for seed in range(20):
        m1, m0, residual = (random(4, 3, 2, 2, seed=3 * seed + place) * 10 ** (seed % 5 - 2) for place in range(3))
        factor = variance_factor(balance(m0, m1, step, controls), step, controls) / step.ratio
        assert ((factor >= 0.5) & (factor < 1)).all()
        assert ((mixing(m1, m0, controls) >= 0.25) & (mixing(m1, m0, controls) <= 0.3656)).all()
        found = probe(m0, m0, m1, step, controls)
        zeta = variance_scale(residual, found, m0, m1, step, 9, controls)
        assert ((zeta >= 0.3775) & (zeta < 1)).all()


@pytest.mark.parametrize("steps", [5, 25])
def test_a_constant_denoiser_gives_ddim(steps):
    levels, constant = noise_levels("logSNR", steps), random(2, 1, 3, 3)
    x = 80 * random(2, 1, 3, 3, seed=1)
    found = evodiff(lambda *_: constant, x, levels, final="first_order")
    assert torch.allclose(found, ddim(lambda *_: constant, x, levels), atol=1e-12)
    assert found.isfinite().all()


def mixture(scale=1.0):
    means = random(6, 2, 2, 2, seed=3) * scale
    return GaussianMixture(means, torch.ones(6, dtype=torch.float64), 0.3 * scale)


@pytest.mark.parametrize("steps", [9, 24])
def test_images_of_a_batch_and_scales_do_not_mix(steps):
    levels, x = noise_levels("logSNR", steps), 80 * random(5, 2, 2, 2)
    found = evodiff(mixture(), x, levels)
    order = torch.tensor([3, 1, 4, 0, 2])
    assert torch.allclose(evodiff(mixture(), x[order], levels), found[order], atol=1e-10)

    def scaled(x, sigma):
        return 7 * mixture()(x / 7, sigma)

    assert torch.allclose(evodiff(scaled, 7 * x, levels), 7 * found, atol=1e-9)


def test_channels_have_coefficients_of_their_own():
    levels, x = noise_levels("logSNR", 9), 80 * random(3, 2, 2, 2)

    def separate(x, sigma):
        return torch.tanh(x) * 0.25 / (0.25 + sigma**2)

    together = evodiff(separate, x, levels)
    apart = [evodiff(separate, x[:, channel : channel + 1], levels) for channel in range(2)]
    assert torch.allclose(together, torch.cat(apart, 1), atol=1e-12)


def test_without_correction_it_is_ddim_to_the_last_bit():
    levels, x = noise_levels("edm", 9), 80 * random(3, 2, 2, 2)
    for final in ("heuristic", "first_order"):
        found = evodiff(mixture(), x, levels, Controls(correction_weight=0.0), final)
        assert torch.equal(found, ddim(mixture(), x, levels))
    assert is_off(Controls(correction_weight=0.0).correction_weight)


NAMES = ("correction_weight", "balance_weight_max", "variance_temperature", "eta_scale", "zeta_shift")


@pytest.mark.parametrize("final", ["heuristic", "first_order"])
def test_the_end_of_a_sampler_is_differentiable_in_its_weights(final):
    levels, x = noise_levels("logSNR", 6), 80 * random(2, 2, 2, 2)

    def end(*weights):
        return evodiff(mixture(), x, levels, Controls(**dict(zip(NAMES, weights, strict=True))), final)

    weights = [torch.tensor(getattr(Controls(), name), dtype=torch.float64, requires_grad=True) for name in NAMES]
    assert torch.autograd.gradcheck(end, weights, atol=1e-6)
    slopes = torch.autograd.grad(end(*weights).square().sum(), weights)
    assert all(slope != 0 for slope in slopes)


def test_single_precision_works_on_its_own():
    levels, x = noise_levels("logSNR", 6), 80 * random(2, 2, 2, 2)
    exact = evodiff(mixture(), x, levels)
    assert evodiff(mixture(), x.float(), levels.float()).dtype == torch.float32
    assert torch.allclose(evodiff(mixture(), x.float(), levels.float()).double(), exact, atol=5e-3)


def test_errors_on_the_digit_mixture_are_those_of_the_reference_results():
    # Noise of 300 images, of 1,000 in the table.
    data = load("digit_mixture")
    x = starts(data, 0, 300, CPU)
    target = reference(data, None, 0, 300, 80, True, CPU)
    table = {"ddim": 0.164, "dpm_solver": 0.132, "evodiff": 0.143}
    found = {}
    for slug in table:
        images = create(slug, {}).sample(GaussianMixture(data.means, data.shares, data.deviation), x)
        found[slug] = (images - target).square().mean().sqrt().item()
    assert found == pytest.approx(table, rel=0.1)
    first_order = create("evodiff", {"final_step": "first_order"})
    images = first_order.sample(GaussianMixture(data.means, data.shares, data.deviation), x)
    assert (images - target).square().mean().sqrt().item() < found["dpm_solver"]
    # The heuristic last step widens the contrast.
    (metrics,) = create("evodiff", {"samples": 150, "reference_steps": 0}).train(Run(data))
    assert metrics["val/contrast"] > 0.85
    assert "val/rmse" not in metrics
