"""Information and entropy of latents: the card's figures, closed forms, and other ways to the same numbers."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch.autograd import gradcheck

from regbench.methods.dynamics.information import (
    batch_info_nce,
    covariance,
    gaussian_information,
    von_neumann_entropy,
    window_info_nce,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def circle(points):
    angle = 2 * math.pi * torch.arange(points, dtype=torch.float64) / points
    return torch.stack([angle.cos(), angle.sin()], dim=1)[None]


# Entropy


@pytest.mark.parametrize(("diagonal", "entropy"), [((0.7, 0.2, 0.1), 0.801819), ((7.0, 2.0, 1.0), 0.801819), ((1, 0, 0), 0.0)])
def test_entropy_of_diagonal_covariances(diagonal, entropy):
    C = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    assert von_neumann_entropy(C).item() == pytest.approx(entropy, abs=1e-6)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_entropy_of_the_identity_is_the_logarithm_of_its_size(size):
    assert von_neumann_entropy(torch.eye(size).double()).item() == pytest.approx(math.log(size), abs=1e-9)


def test_latents_that_are_all_equal_have_no_entropy_and_a_finite_gradient():
    z = torch.ones(5, 3, requires_grad=True)
    entropy = von_neumann_entropy(covariance(z))
    entropy.backward()
    assert entropy.item() == 0
    assert z.grad.isfinite().all()


def test_the_cards_six_latents():
    e = torch.eye(3).double()
    assert von_neumann_entropy(covariance(torch.cat([e, -e]) * torch.tensor([1, 1, 0.5]))).item() == pytest.approx(
        0.964963, abs=1e-6
    )


def test_covariance_is_numpys_over_all_steps_of_all_windows():
    z = normal(4, 6, 3)
    np.testing.assert_allclose(covariance(z), np.cov(z.reshape(-1, 3).T.numpy(), bias=True))


def test_entropy_by_the_logarithm_of_the_matrix():
    C = covariance(normal(50, 5) * torch.tensor([1, 2, 3, 4, 5]))
    rho = (C / C.trace()).numpy()
    assert von_neumann_entropy(C).item() == pytest.approx(-np.trace(rho @ scipy.linalg.logm(rho)), abs=1e-12)


def test_its_gradient_in_rho_is_minus_log_rho_and_one_also_for_equal_eigenvalues():
    """Perturbations of trace 0, under which tr ρ stays 1."""
    for diagonal in ([0.5, 0.3, 0.2], [0.25, 0.25, 0.5]):
        C = torch.diag(torch.tensor(diagonal, dtype=torch.float64)).requires_grad_()
        (gradient,) = torch.autograd.grad(von_neumann_entropy(C), C)
        expected = torch.diag(-(torch.tensor(diagonal, dtype=torch.float64).log() + 1))
        difference = gradient - expected
        torch.testing.assert_close(difference, difference.trace() / 3 * torch.eye(3).double(), atol=1e-12, rtol=0)


def test_a_direction_without_variance_grows_and_moves_nothing_else():
    C = torch.diag(torch.tensor([0.6, 0.4, 0.0], dtype=torch.float64)).requires_grad_()
    entropy = von_neumann_entropy(C)
    (gradient,) = torch.autograd.grad(entropy, C)
    assert entropy.item() == pytest.approx(-0.6 * math.log(0.6) - 0.4 * math.log(0.4), abs=1e-13)
    assert (gradient[0, 0] - gradient[1, 1]).item() == pytest.approx(math.log(0.4) - math.log(0.6), abs=1e-12)
    assert 20 < (gradient[2, 2] - gradient[0, 0]).item() < 40


def test_entropy_and_information_of_single_precision_are_those_of_double_precision():
    C = covariance(normal(30, 4) * torch.tensor([1e-4, 1e-2, 1, 100])).float()
    K, noise = 0.3 * normal(4, 4, seed=1).float(), 1e-6 * torch.eye(4)
    assert von_neumann_entropy(C).item() == pytest.approx(von_neumann_entropy(C.double()).item(), rel=1e-6)
    exact = gaussian_information(K.double(), C.double(), noise.double(), 3).item()
    assert gaussian_information(K, C, noise, 3).item() == pytest.approx(exact, rel=1e-6)


def test_entropy_does_not_see_scale_rotation_or_translation():
    z, rotation = normal(40, 4), torch.linalg.qr(normal(4, 4, seed=1)).Q
    moved = 3 * z @ rotation + normal(4, seed=2)
    assert von_neumann_entropy(covariance(moved)).item() == pytest.approx(von_neumann_entropy(covariance(z)).item(), abs=1e-9)


def test_entropy_gradient_by_finite_differences():
    assert gradcheck(lambda z: von_neumann_entropy(covariance(z)), normal(12, 3).requires_grad_())


# InfoNCE


@pytest.mark.parametrize(("steps", "neighbours"), [(8, 2), (9, 1), (16, 3)])
def test_equal_latents_are_told_apart_by_chance(steps, neighbours):
    found = window_info_nce(torch.ones(2, steps, 3).double(), neighbours, 0.1).item()
    assert found == pytest.approx(math.log((steps - 1) / (2 * neighbours)))
    if steps == 8:
        assert found == pytest.approx(0.559616, abs=1e-6)


@pytest.mark.parametrize(("temperature", "expected", "tolerance"), [(1.0, 0.201776, 1e-6), (0.1, 7.4e-7, 1e-8)])
def test_points_on_a_circle(temperature, expected, tolerance):
    assert window_info_nce(circle(8), 2, temperature).item() == pytest.approx(expected, abs=tolerance)


def test_the_released_loss_by_loops():
    z, k, tau = normal(3, 7, 4).numpy(), 2, 0.3
    unit = z / np.linalg.norm(z, axis=2, keepdims=True)
    losses = []
    for window in unit:
        for n in range(k, 7 - k):
            score = np.exp(window @ window[n] / tau)
            positive = sum(score[n + i] + score[n - i] for i in range(1, k + 1))
            losses.append(-np.log(positive / (score.sum() - score[n])))
    assert window_info_nce(torch.tensor(z), k, tau).item() == pytest.approx(np.mean(losses))


def test_the_printed_loss_by_loops():
    z, k, tau = normal(3, 7, 4).numpy(), 2, 0.8
    terms = [
        np.log(np.exp(z[b, n] @ z[b, n + i] / tau) / np.exp(z[:, n] @ z[b, n] / tau).sum())
        for b in range(3)
        for n in range(k, 7 - k)
        for i in (-2, -1, 1, 2)
    ]
    assert batch_info_nce(torch.tensor(z), k, tau).item() == pytest.approx(-np.mean(terms))


def test_cosines_do_not_see_the_length_of_latents_but_see_translation():
    z = normal(2, 8, 3)
    scaled = z * normal(2, 8, 1, seed=1).exp()
    assert window_info_nce(scaled, 2, 0.5).item() == pytest.approx(window_info_nce(z, 2, 0.5).item())
    assert window_info_nce(z + 1, 2, 0.5).item() != pytest.approx(window_info_nce(z, 2, 0.5).item(), abs=1e-2)


@pytest.mark.parametrize("loss", [window_info_nce, batch_info_nce])
def test_info_nce_gradients_and_windows_too_short(loss):
    z = normal(2, 6, 3).requires_grad_()
    assert gradcheck(lambda z: loss(z, 2, 0.5), z)
    assert loss(z[:, :4], 2, 0.5).item() == 0


# The closed form


CARD = torch.diag(torch.tensor([0.9, 0.5])).double(), torch.diag(torch.tensor([1.0, 2.0])).double(), 0.1 * torch.eye(2).double()


@pytest.mark.parametrize(("lag", "expected"), [(1, 2.000017), (2, 1.112297), (5, 0.358120)])
def test_the_cards_linear_gaussian_information(lag, expected):
    assert gaussian_information(*CARD, lag).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("lag", [1, 3])
def test_information_from_the_determinants_of_the_joint_covariance(lag):
    """I = ½ log(det Σ_x det Σ_y / det Σ_xy) of the joint normal distribution of z_{t-n} and z_t."""
    K = 0.4 * normal(3, 3).numpy()
    A, B = normal(3, 3, seed=1).numpy(), normal(3, 3, seed=2).numpy()
    C, noise = A @ A.T + np.eye(3), B @ B.T + np.eye(3)
    later = C
    for _ in range(lag):
        later = K @ later @ K.T + noise
    cross = np.linalg.matrix_power(K, lag) @ C
    joint = np.block([[C, cross.T], [cross, later]])
    expected = 0.5 * (np.linalg.slogdet(C)[1] + np.linalg.slogdet(later)[1] - np.linalg.slogdet(joint)[1])
    assert gaussian_information(*map(torch.tensor, (K, C, noise)), lag).item() == pytest.approx(expected)


def test_information_falls_with_the_lag_and_is_the_same_in_all_coordinates():
    found = [gaussian_information(*CARD, lag).item() for lag in range(1, 8)]
    assert found == sorted(found, reverse=True)
    A = normal(2, 2) + 2 * torch.eye(2)
    K, C, noise = CARD
    moved = gaussian_information(A @ K @ A.inverse(), A @ C @ A.T, A @ noise @ A.T, 2)
    assert moved.item() == pytest.approx(found[1])


def test_information_gradient_by_finite_differences():
    K, C, noise = (tensor.clone().requires_grad_() for tensor in CARD)
    assert gradcheck(lambda K, C, noise: gaussian_information(K, C @ C.T, noise @ noise.T, 2), (K, C, noise))
