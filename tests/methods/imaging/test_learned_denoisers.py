import math
from types import SimpleNamespace

import pytest
import torch

from regbench.methods.imaging.denoisers import Batch
from regbench.methods.imaging.dncnn import DnCNN, ResidualDenoiser
from regbench.methods.imaging.learned_proximal import LearnedProximal
from regbench.methods.imaging.noisy_image import NoisyImage
from regbench.methods.imaging.total_variation import TotalVariation, TotalVariationProblem
from regbench.methods.run import Run
from regbench.methods.shared.bilevel.lower import lbfgs, solve_lower
from regbench.methods.shared.data import load
from regbench.methods.shared.proximal.potentials import ConvolutionalPotential

SMALL = {"hidden_channels": 4, "batch_size": 8, "steps": 12, "steps_per_round": 12, "loop_iterations": 1}


def trained(method, data="blurred_digits"):
    """A run's last metrics, its network and the denoiser made of it."""
    run = Run(data)
    *_, metrics = method.train(run)
    channels, height, _ = run.data.meta["shape"]
    size = min(method.patch_size, height)
    network = method.build_network(channels, size)
    network.load_state_dict(run.state()["state"]["network"])
    network.eval()
    return metrics, network, method.denoiser(network, size)


def test_the_schedule_is_l1_first_and_then_halved_widths():
    method = LearnedProximal(steps=100, pretrain_fraction=0.2, num_gamma_stages=4, proximal_gamma_min=0.1)
    assert method.pretraining == 20
    assert [method.rate(step) for step in (0, 19, 20, 99)] == [1.0, 1.0, 0.1, 0.1]
    assert [method.width(step, 16) for step in (20, 39, 40, 60, 80, 99)] == pytest.approx([3.2, 3.2, 1.6, 0.8, 0.4, 0.4])


def test_trained_networks_are_proximal_operators():
    """On an image of the set: the Jacobian is symmetric, and its eigenvalues are at least 2α."""
    method = LearnedProximal(strong_convexity=0.02, initial_log_weight=-3.0, learning_rate=0.01, **SMALL)
    _, network, _ = trained(method)
    assert min(p.min() for p in network.nonnegative()) >= 0
    y = load("blurred_digits").train.tensors[0][:1].double().repeat(144, 1, 1, 1)
    directions = torch.eye(144, dtype=torch.float64).reshape(y.shape)
    exact = network.double()
    _, rows = torch.autograd.functional.vjp(lambda v: exact(v, 0.02), y, directions)
    matrix = rows.reshape(144, 144)
    torch.testing.assert_close(matrix, matrix.T, rtol=0, atol=1e-10)
    assert torch.linalg.eigvalsh(matrix).min() >= 0.04 - 1e-10


def test_each_loss_by_its_definition():
    """Of one batch: absolute error before matching and with l1, squared error with l2, matching of the stage's width after."""
    torch.manual_seed(0)
    network = ConvolutionalPotential(1, 6, 3).double()
    clean = torch.rand(4, 1, 6, 6, dtype=torch.float64)
    weights = SimpleNamespace(strong_convexity=0.1)
    early, late = (Batch(clean + 0.1, clean, step) for step in (0, 99))
    error = network(early.noisy, 0.1) - clean
    matching = LearnedProximal(steps=100, proximal_gamma_min=0.3)
    expected = {
        (matching, early): error.abs().mean(),
        (matching, late): (1 - torch.exp(-error.square().flatten(1).sum(1) / (36 * 0.3**2))).mean(),
        (matching.replace(loss="l1"), late): error.abs().mean(),
        (matching.replace(loss="l2"), late): error.square().mean(),
    }
    for (method, batch), value in expected.items():
        torch.testing.assert_close(method.objective(network, batch, weights)[0], value)


def test_without_the_constraint_weights_become_negative():
    _, network, _ = trained(LearnedProximal(constrained=False, learning_rate=0.01, **SMALL))
    assert min(p.min() for p in network.nonnegative()) < 0


def test_larger_images_are_restored_by_overlapping_patches():
    method = LearnedProximal(patch_size=8, **SMALL)
    _, network, denoise = trained(method, "natural_images")
    x = load("natural_images").test.tensors[0][:1]
    found = denoise(x)
    assert found.shape == x.shape
    alone = network(x[:, :, :8, :8], 0.01).detach()
    torch.testing.assert_close(found[:, :, :4, :4], alone[:, :, :4, :4])


def test_the_unconstrained_network_is_dncnn():
    network = ResidualDenoiser(1, 64, 17)
    # 3 x 3 convolutions; biases at both ends, normalizations in between.
    assert sum(p.numel() for p in network.parameters()) == 640 + 15 * (9 * 64**2 + 2 * 64) + 9 * 64 + 1
    _, network, denoise = trained(DnCNN(num_layers=3, **SMALL))
    x = torch.rand(2, 1, 9, 11)
    torch.testing.assert_close(denoise(x), (x - network.noise(x)).detach())
    assert not denoise(x).requires_grad


def test_networks_learn_to_restore_what_is_measured():
    settings = {"hidden_channels": 4, "batch_size": 16, "steps": 60, "steps_per_round": 60, "learning_rate": 0.03}
    metrics, _, _ = trained(LearnedProximal(data_fidelity_scale=2.0, loop_iterations=5, **settings))
    (plain,) = NoisyImage(data_fidelity_scale=0.1).train(Run("blurred_digits"))
    assert metrics["val/psnr"] > plain["val/psnr"]


def test_plugged_in_total_variation_minimizes_its_energy_with_the_measurements_residual():
    """The loop's end against a minimization of s ‖Ax - b‖² + ρ w/2 TV(x) as a whole, by L-BFGS."""
    settings = {"regularization_weight": 0.3, "smoothing": 0.05}
    method = TotalVariation(**settings, admm_penalty=1.0, data_fidelity_scale=0.5, loop_iterations=60)
    data = load("blurred_digits")
    operator, b = data.meta["operator"], data.validation.tensors[0][:1].double()

    def denoise(noisy):
        theta = torch.tensor([0.3, 0.05], dtype=torch.float64).log()
        problem = TotalVariationProblem(noisy, noisy, theta)
        return solve_lower(problem, noisy, theta, 1e-5, lbfgs, 10_000).x

    found = method.restore(denoise, operator, b)
    x = operator.adjoint(b).requires_grad_()
    optimizer = torch.optim.LBFGS([x], max_iter=500, tolerance_grad=1e-8, tolerance_change=0, line_search_fn="strong_wolfe")

    def energy():
        rows, columns = x.diff(dim=2), x.diff(dim=3)
        total = sum((part.square() + 0.05**2).sqrt().sum() for part in (rows, columns))
        loss = 0.5 * (operator.forward(x) - b).square().sum() + 0.3 / 2 * total
        (x.grad,) = torch.autograd.grad(loss, x)
        return loss.detach()

    optimizer.step(energy)
    torch.testing.assert_close(found, x.detach(), rtol=0, atol=5e-3)


@pytest.mark.parametrize("loop", ["admm", "gradient"])
def test_without_noise_a_denoiser_is_the_identity(loop):
    settings = {"loop": loop, "data_fidelity_scale": 0.3, "loop_iterations": 3}
    plain = list(NoisyImage(**settings).train(Run("projected_digits", test=True)))
    assert list(LearnedProximal(noise_level=0.0, **settings).train(Run("projected_digits", test=True))) == plain
    assert math.isfinite(plain[0]["test/psnr"])
