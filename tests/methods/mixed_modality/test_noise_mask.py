import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import beta as scipy_beta
from torch import nn
from torch.nn.functional import cross_entropy

from regbench.methods.mixed_modality.networks import build_classifier, build_features
from regbench.methods.mixed_modality.noise_mask import (
    Episode,
    NoiseMask,
    Policy,
    cell_distribution,
    reinforce_loss,
    released_loss,
)
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data import load

ALPHA = [[2, 1, 3, 1.5], [1, 2, 2, 4]]
BETA = [[2, 1, 1, 2.5], [3, 2, 1, 1]]
CELLS = [[0.5, 0.25, 0.9, 0.4], [0.1, 0.6, 0.7, 0.8]]


def tensor(values, **options):
    return torch.tensor(values, dtype=torch.float64, **options)


def logarithms():
    return tensor(ALPHA).log().requires_grad_(), tensor(BETA).log().requires_grad_()


def densities(a, b, cells=CELLS):
    """Log-densities of cells under Beta(e^a, e^b), by the code: with a mix of 1 the heads are all there is."""
    bases = torch.zeros(1, a.shape[1]), torch.zeros(1, a.shape[1])
    return cell_distribution(bases, (a, b), 1.0).log_prob(torch.as_tensor(cells, dtype=a.dtype))


def policy(**settings):
    torch.manual_seed(0)
    found = NoiseMask(**settings).build_policy(load("digit_modalities"))
    assert isinstance(found, Policy)
    return found


def images(count=32):
    return tuple(rows[:count] for rows in load("digit_modalities").train.tensors)


def test_log_densities_by_hand_and_by_scipy():
    found = densities(*logarithms())
    expected = [[0.405465, 0, 0.887891, 0.403475], [0.887891, 0.364643, 0.336472, 0.716864]]
    np.testing.assert_allclose(found.detach(), expected, atol=1e-6)
    np.testing.assert_allclose(found.detach(), scipy_beta.logpdf(CELLS, ALPHA, BETA), atol=1e-10)
    np.testing.assert_allclose(found.detach().logsumexp(1), [1.860511, 1.990337], atol=1e-6)
    np.testing.assert_allclose(found.detach().sum(1), [1.696831, 2.305870], atol=1e-6)


def test_the_released_loss_and_its_gradient_by_hand():
    a, b = logarithms()
    loss = released_loss(densities(a, b), tensor([0.4, 1.0]))
    loss.backward()
    assert loss.item() == pytest.approx(1.347797, abs=1e-6)
    by_a = [[0.022903, -0.021037, 0.090504, 0.037094], [-0.054537, 0.044423, 0.019194, 0.010522]]
    by_b = [[0.022903, 0.038791, -0.062097, 0.008588], [0.079485, -0.011427, 0.019821, 0.046418]]
    np.testing.assert_allclose(a.grad, by_a, atol=1e-6)
    np.testing.assert_allclose(b.grad, by_b, atol=1e-6)


def test_the_textbook_loss_without_its_baseline_by_hand():
    # A constant may be added to the costs of both images: their mean, which the loss takes as its baseline, is put back.
    a, b = logarithms()
    log_density, cost = densities(a, b), tensor([0.4, 1.0])
    (cost * log_density.sum(1)).mean().backward(retain_graph=True)
    np.testing.assert_allclose(a.grad[0], (0.056074, -0.077259, 0.136784, 0.091001), atol=1e-6)
    assert (cost * log_density.sum(1)).mean().item() == pytest.approx(1.492301, abs=1e-6)
    found = reinforce_loss(log_density, cost) + 0.7 * log_density.sum(1).mean() - 0.7
    assert found.item() == pytest.approx(1.492301, abs=1e-6)


def test_the_textbook_loss_is_the_cost_and_a_centred_score():
    a, b = logarithms()
    cost = tensor([0.4, 1.0], requires_grad=True)
    reinforce_loss(densities(a, b), cost).backward()
    np.testing.assert_allclose(cost.grad, [0.5, 0.5])
    plain = logarithms()
    rows = densities(*plain).sum(1)
    # Advantages -0.3 and 0.3, averaged over two images.
    (0.15 * (rows[1] - rows[0])).backward()
    torch.testing.assert_close(a.grad, plain[0].grad)
    torch.testing.assert_close(b.grad, plain[1].grad)


def test_images_of_equal_cost_teach_the_textbook_policy_nothing():
    a, b = logarithms()
    reinforce_loss(densities(a, b), tensor([0.7, 0.7])).backward()
    assert not a.grad.any()
    assert not b.grad.any()


@pytest.mark.parametrize(("cells", "factor"), [(4, 1.386294), (64, 4.158883), (4096, 8.317766)])
def test_uniform_cells_multiply_the_classifiers_gradient_by_the_logarithm_of_their_number(cells, factor):
    zeros = torch.zeros(2, cells, dtype=torch.float64, requires_grad=True)
    log_density = densities(zeros, zeros, np.full((2, cells), 0.3))
    assert not log_density.any()
    cost = tensor([0.4, 1.0], requires_grad=True)
    released_loss(log_density, cost).backward()
    np.testing.assert_allclose(cost.grad, [factor / 2, factor / 2], atol=1e-6)
    zeros.grad = None
    reinforce_loss(densities(zeros, zeros, np.full((2, cells), 0.3)), cost.detach()).backward()
    assert zeros.grad.any()


def test_sharp_cells_can_turn_the_factor_negative():
    a = tensor([[6.0, 6.0]])
    assert densities(a, a, [[0.2, 0.9]]).logsumexp(1).item() < 0


def test_the_score_has_mean_zero_under_its_own_distribution():
    generator = np.random.default_rng(0)
    count = 1_000_000
    a, b = (torch.full((count, 1), math.log(value), dtype=torch.float64, requires_grad=True) for value in (2, 3))
    densities(a, b, generator.beta(2, 3, (count, 1))).sum().backward()
    assert abs(a.grad.mean().item()) < 5e-3
    assert abs(b.grad.mean().item()) < 5e-3


def test_bases_and_heads_are_mixed():
    found = cell_distribution((tensor([[0.5]]), tensor([[0.0]])), (tensor([[-1.0]]), tensor([[2.0]])), 0.1)
    assert found.concentration1.item() == pytest.approx(math.exp(0.35))
    assert found.concentration0.item() == pytest.approx(math.exp(0.2))


class Constant(nn.Module):
    """A head that gives the same number for each image and cell."""

    def __init__(self, value, cells):
        super().__init__()
        self.value = nn.Parameter(torch.full((cells,), value))

    def forward(self, x):
        return self.value.expand(len(x), -1)


def test_bases_follow_the_heads_after_they_were_used():
    method, acting = NoiseMask(), policy()
    acting.a, acting.b = Constant(-1.0, 16), Constant(2.0, 16)
    acting.base_a.fill_(0.5)
    acting.base_b.fill_(0.0)
    network = build_classifier("cnn", (1, 8, 8), 30)
    used = []

    class Watching(NoiseMask):
        paper = None

        def objective(self, model, batch, weights):
            used.append([base.mean().item() for base in batch.bases])
            return super().objective(model, batch, weights)

    for _ in range(2):
        Watching(**method.model_dump()).heat(network, acting, *images(), Run("digit_modalities"))
    assert used[0] == pytest.approx([0.5, 0.0])
    assert used[1] == pytest.approx([0.485, 0.02])
    assert not acting.base_a.requires_grad
    assert not acting.base_b.requires_grad
    assert {name for name, _ in acting.named_buffers() if name.startswith("base")} == {"base_a", "base_b"}


def test_bases_start_uniformly():
    found = torch.cat([policy(grid_size=8).base_a, policy(grid_size=8).base_b])
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.mean().item() == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("objective", ["logsumexp", "reinforce"])
def test_both_networks_learn_in_every_part(objective):
    method = NoiseMask(policy_objective=objective)
    acting, network = policy(), build_classifier("cnn", (1, 8, 8), 30)
    method.heat(network, acting, *images(), Run("digit_modalities"))[0].backward()
    for name, parameter in [*network.named_parameters(), *acting.named_parameters()]:
        # A bias before batch normalization has none but rounding.
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_no_gradient_flows_through_the_sample():
    method, acting, network = NoiseMask(), policy(), build_classifier("cnn", (1, 8, 8), 30)
    x, y = images()
    seen = []

    class Watching(nn.Module):
        def forward(self, masked):
            seen.append(masked.requires_grad)
            return network(masked)

    method.heat(Watching(), acting, x, y, Run("digit_modalities"))
    assert seen == [False]


# The textbook objective holds the cost constant in its second term, so that it has another gradient in mask_strength.
@pytest.mark.parametrize(
    ("name", "objective"), [("mask_strength", "logsumexp"), ("policy_mix", "logsumexp"), ("policy_mix", "reinforce")]
)
def test_the_objective_is_differentiable_in_the_weights_for_given_cells(name, objective):
    torch.manual_seed(0)
    method = NoiseMask(policy_objective=objective)
    network = build_classifier("cnn", (1, 8, 8), 30).double().eval()
    heads = tuple(torch.randn(8, 16, dtype=torch.float64) for _ in range(2))
    bases = tuple(torch.rand(1, 16, dtype=torch.float64) for _ in range(2))
    x, y = images(8)
    episode = Episode(x.double(), y, bases, heads, torch.rand(8, 16, dtype=torch.float64))
    values = {"mask_strength": 0.6, "policy_mix": 0.3}

    def value(weight):
        return method.objective(network, episode, SimpleNamespace(**values | {name: weight}))[0]

    weight = tensor(values[name], requires_grad=True)
    value(weight).backward()
    slope = (value(values[name] + 1e-6) - value(values[name] - 1e-6)).item() / 2e-6
    assert weight.grad.item() == pytest.approx(slope, rel=1e-5)


def test_the_objective_sees_the_classifiers_cost_under_the_mask():
    torch.manual_seed(0)
    method = NoiseMask(blur_kernel=1, grid_size=8)
    network = build_classifier("cnn", (1, 8, 8), 30).eval()
    x, y = images(6)
    cells = torch.rand(6, 64)
    zeros = torch.zeros(6, 64)
    episode = Episode(x, y, (zeros[:1], zeros[:1]), (zeros, zeros), cells)
    loss, log_density = method.objective(network, episode, method.weight_values())
    expected = cross_entropy(network(x * cells.view(6, 1, 8, 8)), y) * math.log(64)
    torch.testing.assert_close(loss, expected)
    assert log_density.shape == (6, 64)


def test_samples_at_the_edge_keep_the_loss_finite():
    method, acting = NoiseMask(policy_mix=1.0), policy()
    acting.a, acting.b = Constant(-8.0, 16), Constant(-8.0, 16)
    loss, facts = method.heat(build_classifier("cnn", (1, 8, 8), 30), acting, *images(), Run("digit_modalities"))
    loss.backward()
    assert loss.isfinite()
    assert acting.a.value.grad.isfinite().all()
    assert facts["factor"].isfinite()


def test_reinforce_lowers_the_one_cell_that_costs():
    torch.manual_seed(0)
    a, b = (torch.zeros(1, 4, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.SGD([a, b], lr=0.05)
    zeros = torch.zeros(1, 4)
    for _ in range(400):
        distribution = cell_distribution((zeros, zeros), (a.expand(64, -1), b.expand(64, -1)), 1.0)
        cells = distribution.sample().clamp(1e-6, 1 - 1e-6)
        optimizer.zero_grad()
        reinforce_loss(distribution.log_prob(cells), cells[:, 0]).backward()
        optimizer.step()
    means = (a.exp() / (a.exp() + b.exp())).detach()[0]
    assert means[0] < 0.3
    assert (means[1:] - 0.5).abs().max() < 0.08


def test_without_a_mask_there_is_no_policy():
    assert NoiseMask(mask_strength=0.0).build_policy(load("digit_modalities")) is None


def test_the_policy_looks_at_images_with_a_lighter_network():
    acting = policy()
    features, width = build_features("cnn", (1, 8, 8))
    heads = 2 * (2 * (width * width + width + 2 * width) + width * 16 + 16)
    assert sum(p.numel() for p in acting.parameters()) == sum(p.numel() for p in features.parameters()) + heads


def test_what_happens_to_the_masks_is_recorded_in_pretraining_only():
    method = create("noise_mask", {"heating_epochs": 1, "finetune_epochs": 1})
    first, second = method.train(Run("digit_modalities"))
    assert {"train/factor", "train/negative_factor", "train/mask_entropy"} <= set(first)
    # Nearly uniform cells: about the logarithm of their number, never negative, and an entropy near 0.
    assert first["train/factor"] == pytest.approx(math.log(16), abs=0.3)
    assert first["train/negative_factor"] == 0
    assert -0.3 < first["train/mask_entropy"] < 0
    assert not any(name in second for name in ("train/factor", "train/mask_entropy"))
