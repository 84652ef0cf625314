import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from regbench.methods.imaging.field_of_experts import FieldOfExperts
from regbench.methods.imaging.noisy_image import NoisyImage
from regbench.methods.imaging.task import psnr, ssim
from regbench.methods.imaging.total_variation import TotalVariation, TotalVariationProblem
from regbench.methods.run import Run
from regbench.methods.shared.bilevel.lower import lbfgs, solve_lower
from regbench.methods.shared.bilevel.maid import Maid, MaidOptions
from regbench.methods.shared.data import load


def curve(method, data="natural_images", **options):
    return list(method.train(Run(data, **options)))


def test_metrics_are_those_of_scikit_image():
    noisy, clean = load("natural_images").test.tensors
    pairs = [(a.double().numpy(), b.double().numpy()) for a, b in zip(clean[:, 0], noisy[:, 0], strict=True)]
    np.testing.assert_allclose(psnr(noisy, clean), [peak_signal_noise_ratio(*pair, data_range=1.0) for pair in pairs])
    # Its window, truncated at 3.5 σ, is 11 pixels wide.
    expected = [
        structural_similarity(*pair, data_range=1.0, gaussian_weights=True, use_sample_covariance=False) for pair in pairs
    ]
    assert ssim(noisy, clean) == pytest.approx(np.mean(expected))
    assert ssim(clean, clean) == pytest.approx(1.0)


def test_the_noisy_image_has_the_noises_psnr():
    (metrics,) = curve(NoisyImage(), test=True)
    # 10 log10(1 / 0.1²), up to what 9,216 random numbers allow
    assert metrics["val/psnr"] == pytest.approx(20.0, abs=0.2)
    assert metrics["test/psnr"] == pytest.approx(20.0, abs=0.2)


@pytest.mark.parametrize("learner", ["none", "maid", "hoag", "fixed"])
@pytest.mark.parametrize("method", [TotalVariation, FieldOfExperts])
def test_without_its_weight_a_regularizer_leaves_the_noisy_image(method, learner):
    assert curve(method(learner=learner).baseline(), test=True) == curve(NoisyImage(), test=True)


def test_validation_images_are_restored_with_the_given_weights():
    method = TotalVariation(regularization_weight=0.2, smoothing=0.01, tolerance=1e-7)
    noisy, clean = (images.double() for images in load("natural_images").validation.tensors)
    problem = TotalVariationProblem(noisy, clean, torch.tensor([0.2, 0.01], dtype=torch.float64).log())
    expected = psnr(solve_lower(problem, problem.x0, problem.theta0, 1e-9, lbfgs, 10_000).x, clean).mean().item()
    assert curve(method)[0]["val/psnr"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("precision", ["single", "double"])
def test_total_variation_learns_what_a_grid_finds(precision):
    """From a start that hardly denoises; the grid sees the same training images."""
    start = {"regularization_weight": math.exp(-5), "smoothing": math.exp(-5)}
    learned = curve(TotalVariation(learner="maid", budget=1500, report_every=1500, precision=precision, **start))[-1]
    noisy, clean = (images.double() for images in load("natural_images").train.tensors)

    def loss(log_weight, log_smoothing):
        problem = TotalVariationProblem(noisy, clean, torch.tensor([log_weight, log_smoothing], dtype=torch.float64))
        x = solve_lower(problem, noisy, problem.theta0, 1e-3, lbfgs, 10_000).x
        return problem.upper(x, problem.theta0).mean().item()

    best = min(loss(a, b) for a in np.arange(-3.0, -1.4, 0.25) for b in (-5.0, -4.0, -3.0))
    assert learned["learn/upper_loss"] <= 1.01 * best
    assert learned["weight/regularization_weight"] > 10 * start["regularization_weight"]
    assert learned["val/psnr"] > curve(TotalVariation(**start))[0]["val/psnr"] + 5


def test_maid_reaches_the_reference_of_the_papers_small_benchmark():
    """There, noisy images are cut off at 0 and 1. The reference had 15,000 iterations of another lower solver."""
    noisy, clean = (images.double() for images in load("natural_images").train.tensors)
    problem = TotalVariationProblem(noisy.clamp(0, 1), clean, torch.tensor([-5.0, -5.0], dtype=torch.float64))
    assert psnr(problem.noisy, clean).mean().item() == pytest.approx(20.20, abs=0.01)

    def reached(theta):
        return psnr(solve_lower(problem, noisy, theta, 1e-3, lbfgs, 10_000).x, clean).mean().item()

    assert reached(problem.theta0) == pytest.approx(20.75, abs=0.05)
    theta = problem.theta0
    for record in Maid(problem, MaidOptions(check_descent=False, convex_upper=True, lower_solver=lbfgs, step_size_init=None)):
        if record.cost > 2000:
            break
        theta = record.theta
    assert theta[0].item() == pytest.approx(-2.17, abs=0.1)
    assert reached(theta) == pytest.approx(26.94, abs=0.3)


def test_learned_filters_denoise():
    settings = {"filters": 4, "filter_size": 3, "regularization_weight": 0.2, "expert_weight": 0.2}
    options = {"budget": 800, "report_every": 800, "barzilai_borwein": True, "nonmonotone": True}
    (random,) = curve(FieldOfExperts(learner="none", **settings))
    (learned,) = curve(FieldOfExperts(**settings, **options))
    assert learned["val/psnr"] > random["val/psnr"] + 3


def test_the_default_field_of_experts_has_the_papers_size():
    run = Run("natural_images")
    problem = FieldOfExperts().problem(run)
    assert problem.theta0.shape == (2449,)
    filters = problem.kernels(problem.theta0)
    assert filters.shape == (48, 1, 7, 7)
    torch.testing.assert_close(filters.sum((2, 3)), torch.zeros(48, 1, dtype=torch.float64), rtol=0, atol=1e-12)
    w, nu = problem.scales(problem.theta0)
    torch.testing.assert_close(w, torch.full((48, 1, 1), 0.1 * 0.05, dtype=torch.float64))
    torch.testing.assert_close(nu, torch.full((48, 1, 1), 0.03, dtype=torch.float64))
    other = FieldOfExperts().problem(Run("natural_images", seed=1))
    assert not torch.equal(other.theta0, problem.theta0)


def test_training_images_limits_what_is_learned_from():
    problem = TotalVariation(training_images=3).problem(Run("natural_images"))
    assert torch.equal(problem.clean, load("natural_images").train.tensors[1][:3].double())
