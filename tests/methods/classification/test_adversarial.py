import itertools
from functools import cache

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.autograd import gradcheck
from torch.distributions import Categorical, kl_divergence
from torch.func import functional_call

from regbench.methods.classification.adversarial_comp_sum import AdversarialCompSum, margin_change
from regbench.methods.classification.attacks import ascend, random_in_ball, robust_accuracy
from regbench.methods.classification.comp_sum import CompSum
from regbench.methods.classification.pgd_adversarial_training import PGDAdversarialTraining
from regbench.methods.classification.task import Batch
from regbench.methods.classification.trades import TRADES, divergence
from regbench.methods.errors import ConfigError
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data import load
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import parse_suite, read_suite

SCORER = ((1.0, 0.0, 0.5), (0.0, 1.0, -0.5), (-1.0, 0.5, 0.0))
POINT = (0.3, -0.2, 0.4)
SHIFT = 0.5  # moves the card's point into the range of the data
NORMS = ("linf", "l2")
ADVERSARIAL = (AdversarialCompSum, PGDAdversarialTraining, TRADES)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def linear(weight, shift=0.0):
    """A linear network with scores W (x - shift)."""
    weight = torch.as_tensor(weight, dtype=torch.float64)
    network = nn.Linear(weight.shape[1], weight.shape[0]).double()
    network.load_state_dict({"weight": weight, "bias": -weight.sum(1) * shift})
    return network


def batch_of(x, y, classes, seed=0):
    return Batch(x, y, torch.arange(len(y)), classes, 1, 1, None, generator(seed))


def digits_batch(count=64):
    x, y = load("digits").train.tensors
    return batch_of(x[:count], y[:count], 10)


def digits_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def attack(objective, x, radius, norm="linf", steps=20, seed=0):
    return ascend(objective, x, radius, norm=norm, steps=steps, step_size=radius / 4, generator=generator(seed))


@cache
def trained(slug, epochs=10, attack_radius=0.1):
    """The last metrics of a training on the digits."""
    settings = {"optimizer": "adam", "learning_rate": 1e-3, "schedule": "constant"}
    *_, metrics = create(slug, settings | {"epochs": epochs, "attack_radius": attack_radius}).train(Run("digits"))
    return metrics


def distance(x, moved, norm):
    shift = (moved - x).flatten(1)
    return shift.abs().amax(1) if norm == "linf" else shift.norm(dim=1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attack_stays_in_ball_and_range(norm, dtype):
    x, y = load("digits").train.tensors
    network = digits_network().to(dtype)
    for radius in (0.01, 0.1, 1.5):
        moved = attack(lambda near: nn.functional.cross_entropy(network(near), y, reduction="none"), x.to(dtype), radius, norm)
        assert moved.dtype == dtype
        assert moved.shape == x.shape
        assert not moved.requires_grad
        assert (distance(x, moved, norm) <= radius * (1 + 1e-5)).all()
        assert moved.min() >= 0
        assert moved.max() <= 1


@pytest.mark.parametrize(("norm", "dimension"), [("linf", 3), ("l2", 3), ("l2", 1)])
def test_start_is_uniform_in_the_ball(norm, dimension):
    """The radius within which a share s of a uniform ball lies is s^(1/d) of its own; and no direction is preferred."""
    points = random_in_ball(torch.zeros(20000, 1, dimension).double(), 0.4, norm, generator())
    reached = distance(torch.zeros_like(points), points, norm) / 0.4
    shares = tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(reached.quantile(shares), shares ** (1 / dimension), atol=0.01, rtol=0)
    torch.testing.assert_close(points.mean(0), torch.zeros(1, dimension).double(), atol=0.01, rtol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_attack_of_a_linear_objective_is_exact(norm):
    """max g·(x' - x) over a ball is the radius times the dual norm of g."""
    x = torch.full((5, 2, 3), 0.5).double()
    g = torch.randn(5, 2, 3, generator=generator(), dtype=torch.float64)
    moved = attack(lambda near: (g * near).flatten(1).sum(1), x, 0.2, norm)
    gain = (g * (moved - x)).flatten(1).sum(1)
    best = 0.2 * (g.flatten(1).abs().sum(1) if norm == "linf" else g.flatten(1).norm(dim=1))
    torch.testing.assert_close(gain, best, rtol=1e-9 if norm == "linf" else 1e-3, atol=0)


def test_attack_repeats_with_its_seed():
    x = torch.rand(4, 3, generator=generator())
    first, again, other = (attack(lambda near: near.square().sum(1), x, 0.1, steps=1, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_objective_without_gradient_is_no_error():
    x = torch.rand(4, 3, generator=generator())
    for norm in NORMS:
        moved = attack(lambda near: 0 * near.sum(1), x, 0.1, norm)
        assert moved.isfinite().all()


# Adversarial comp-sum


@pytest.mark.parametrize(("norm", "largest"), [("l2", 0.261578), ("linf", 0.424264)])
@pytest.mark.parametrize(("tau", "rho", "clean"), [(1.0, 1.0, 0.595060), (0.0, 1.0, 0.813139), (1.0, 0.5, 0.285628)])
def test_smooth_adversarial_loss_by_hand(norm, largest, tau, rho, clean):
    """No start finds more than the exact supremum, most find it; the others end at a lower corner of the ball."""
    network = linear(SCORER, SHIFT)
    method = AdversarialCompSum(tau=tau, rho=rho, nu=1.0, radius=0.1, norm=norm, pgd_steps=20)
    found = []
    for seed in range(32):
        batch = batch_of((tensor(POINT) + SHIFT)[None], torch.tensor([0]), 3, seed)
        loss, logits = method.objective(network, batch, method.weight_values())
        torch.testing.assert_close(logits, tensor([[0.5, -0.4, -0.4]]))
        found.append(loss.item() - clean)
    assert 0.99 * largest <= np.median(found) <= max(found) <= largest + 1e-6


@pytest.mark.parametrize("label", [0, 1, 2])
def test_margin_change_drops_the_label(label):
    h, others = tensor([[2.0, 0.5, -1.0]]), tensor([[1.0, 0.7, -3.0]])
    before, after = ([z[0, label].item() - z[0, other].item() for other in range(3) if other != label] for z in (h, others))
    expected = np.linalg.norm(np.subtract(before, after))
    assert margin_change(h, others, torch.tensor([label])).item() == pytest.approx(expected)


@pytest.mark.parametrize("setting", ["nu", "radius"])
def test_without_nu_or_radius_it_is_comp_sum(setting):
    plain = CompSum(tau=1.7, rho=0.8)
    method = AdversarialCompSum(tau=1.7, rho=0.8, **{setting: 0.0})
    network = digits_network()
    for one, other in zip(
        method.objective(network, digits_batch(), method.weight_values()),
        plain.objective(network, digits_batch(), plain.weight_values()),
        strict=True,
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("norm", NORMS)
def test_constant_network_has_no_penalty(norm):
    network = linear(np.zeros((3, 3)))
    method = AdversarialCompSum(nu=5.0, norm=norm)
    batch = batch_of(torch.rand(6, 3, generator=generator()).double(), torch.tensor([0, 1, 2] * 2), 3)
    loss, _ = method.objective(network, batch, method.weight_values())
    assert loss.item() == pytest.approx(np.log(3), abs=1e-12)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("tau", [0.0, 1.0, 1.7])
@pytest.mark.parametrize("rho", [0.3, 1.0])
def test_it_bounds_the_adversarial_margin_loss(tau, rho):
    """With ν = √(K - 1) / ρ, the adversarial comp-sum ρ-margin loss is nowhere in the ball larger."""
    random = np.random.default_rng(0)
    for seed in range(5):
        weight, x, label = random.normal(size=(4, 3)), random.uniform(0.2, 0.8, size=3), int(random.integers(4))
        method = AdversarialCompSum(tau=tau, rho=rho, nu=np.sqrt(3) / rho, radius=0.15, pgd_steps=20)
        batch = batch_of(tensor(x).expand(16, 3), torch.full((16,), label), 4, seed)
        bound = method.objective(linear(weight), batch, method.weight_values())[0].item()
        corners = np.array(list(itertools.product((-0.15, 0.15), repeat=3)))
        for shift in np.concatenate([corners, random.uniform(-0.15, 0.15, size=(50, 3))]):
            h = weight @ (x + shift)
            u = np.clip(1 - (h[label] - np.delete(h, label)) / rho, 0, 1).sum()
            assert (np.log1p(u) if tau == 1 else ((1 + u) ** (1 - tau) - 1) / (1 - tau)) <= bound


# TRADES


def test_divergence_equals_torch_distributions():
    logits, others = torch.randn(2, 7, 5, generator=generator(), dtype=torch.float64)
    expected = kl_divergence(Categorical(logits=logits), Categorical(logits=others))
    torch.testing.assert_close(divergence(logits, others), expected)
    torch.testing.assert_close(divergence(logits, logits + 3.0), torch.zeros(7).double())


def test_trades_attack_finds_the_largest_divergence():
    """Over the corners of the ball, where a convex function has its maximum (KL is convex in the shift of a linear scorer)."""
    network = linear(SCORER, SHIFT)
    x = tensor(POINT) + SHIFT
    corners = tensor(list(itertools.product((-0.1, 0.1), repeat=3)))
    with torch.no_grad():
        largest = divergence(network(x).expand(8, 3), network(x + corners)).max().item()
    method = TRADES(beta=1.0, pgd_steps=20)
    batch = batch_of(x.expand(64, 3), torch.zeros(64, dtype=torch.long), 3)
    loss, _ = method.objective(network, batch, method.weight_values())
    clean = nn.functional.cross_entropy(network(batch.x), batch.y).item()
    assert clean + 0.9 * largest <= loss.item() <= clean + largest + 1e-9


# Adversarial training


def test_adversarial_training_of_a_linear_scorer_is_logistic_regression_at_the_dual_norm():
    """For two classes the worst input costs the margin the radius times ‖w_0 - w_1‖₁, in closed form."""
    weight = tensor([[0.7, -0.2, 0.5], [-0.4, 0.3, 0.1]])
    x, y = 0.3 + 0.4 * torch.rand(10, 3, generator=generator()).double(), torch.tensor([0, 1] * 5)
    network = linear(weight)
    method = PGDAdversarialTraining(radius=0.1, pgd_steps=10)
    loss, logits = method.objective(network, batch_of(x, y, 2), method.weight_values())
    torch.testing.assert_close(logits, x @ weight.T)
    margin = (x @ (weight[0] - weight[1])) * (1 - 2 * y) - 0.1 * (weight[0] - weight[1]).abs().sum()
    assert loss.item() == pytest.approx(torch.log1p(torch.exp(-margin)).mean().item(), rel=1e-6)


# All three


@pytest.mark.parametrize("method", [AdversarialCompSum(nu=0.7), PGDAdversarialTraining(), TRADES(beta=2.0)])
def test_gradient_flows_through_both_points_and_not_through_the_attack(method):
    """Finite differences in parameters: near a linear scorer, whose worst points are corners and stay where they are."""
    x, y = 0.3 + 0.4 * torch.rand(5, 3, generator=generator()).double(), torch.tensor([0, 1, 2, 1, 0])
    network = linear(SCORER)
    weights = method.weight_values()

    def loss(weight, bias):
        def model(near):
            return functional_call(network, {"weight": weight, "bias": bias}, (near,))

        return method.replace(pgd_steps=12).objective(model, batch_of(x, y, 3), weights)[0]

    assert gradcheck(loss, tuple(parameter.detach().clone().requires_grad_() for parameter in network.parameters()))


@pytest.mark.parametrize(("method", "name"), [(AdversarialCompSum(), "nu"), (TRADES(), "beta")])
def test_objective_is_affine_in_its_weight(method, name):
    network = digits_network()
    values = method.weight_values()

    def loss(value):
        setattr(values, name, value)
        return method.objective(network, digits_batch(), values)[0]

    weight = torch.tensor(0.0, requires_grad=True)
    at_zero = loss(weight)
    (slope,) = torch.autograd.grad(at_zero, weight)
    assert slope > 0
    assert loss(2.5).item() == pytest.approx(at_zero.item() + 2.5 * slope.item(), rel=1e-5)


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_attack_leaves_nothing_in_the_model(kind):
    method, network, batch = kind(), digits_network(), digits_batch()
    network.train()
    before = [parameter.clone() for parameter in network.parameters()]
    method.worst(network, batch, 0.1, lambda logits: logits.square().sum(1))
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True))
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize(("kind", "passes"), [(AdversarialCompSum, 2), (PGDAdversarialTraining, 1), (TRADES, 2)])
def test_attacks_add_nothing_to_running_statistics_and_are_not_disturbed_by_dropout(kind, passes):
    """Only the forward passes that are trained count; a module that was in evaluation mode stays in it."""
    torch.manual_seed(0)
    frozen = nn.BatchNorm1d(32).eval()
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), frozen, nn.Dropout(0.5), nn.Linear(32, 10)
    )
    modes, seen = [module.training for module in network.modules()], []
    network[5].register_forward_hook(lambda module, *_: seen.append(module.training))
    method = kind(pgd_steps=7)
    method.objective(network, digits_batch(), method.weight_values())[0].backward()
    assert network[2].num_batches_tracked == sum(seen) == passes
    assert frozen.num_batches_tracked == 0
    assert [module.training for module in network.modules()] == modes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_have_their_length_where_squares_of_the_gradient_underflow(dtype):
    """A saturated network's gradient of 1e-25, whose square single precision rounds to 0."""
    x = torch.full((2, 3), 0.5, dtype=dtype)
    slope = torch.tensor([3e-25, 4e-25, 0], dtype=dtype)
    options = {"norm": "l2", "steps": 1, "step_size": 0.1}
    moved = ascend(lambda near: near @ slope, x, 1e9, generator=generator(), **options)
    start = ascend(lambda near: near @ slope, x, 1e9, generator=generator(), **options | {"steps": 0})
    inside = (moved > 0) & (moved < 1) & (start > 0) & (start < 1)
    step = torch.tensor([0.06, 0.08, 0], dtype=dtype).expand(2, 3)
    torch.testing.assert_close((moved - start)[inside], step[inside])


@pytest.mark.parametrize("kind", ADVERSARIAL)
@pytest.mark.parametrize("settings", [{"norm": "l1"}, {"radius": -0.1}, {"pgd_steps": 0}, {"pgd_step_size": 0.0}])
def test_wrong_settings_are_refused(kind, settings):
    with pytest.raises(ValidationError, match=next(iter(settings))):
        kind(**settings)


@pytest.mark.parametrize("slug", ["pgd_adversarial_training", "trades", "adversarial_comp_sum"])
def test_robust_training_withstands_attacks(slug):
    plain, robust = trained("cross_entropy"), trained(slug)
    assert robust["val/robust_accuracy"] > plain["val/robust_accuracy"] + 0.1
    assert robust["val/accuracy"] > 0.85


# Evaluation under attack


def test_robust_accuracy_of_a_linear_scorer_is_exact():
    """An input withstands every attack when its margin exceeds the radius times ‖w_0 - w_1‖₁: whatever the scale of logits."""
    weight = torch.randn(2, 6, generator=generator(), dtype=torch.float64)
    x = 0.2 + 0.6 * torch.rand(400, 6, generator=generator(1)).double()
    network = linear(weight, SHIFT)
    y = network(x).argmax(1)
    y[:20] = 1 - y[:20]
    gap = weight[0] - weight[1]
    margin = ((x - SHIFT) @ gap) * (1 - 2 * y)
    for radius in (0.02, 0.1):
        expected = (margin > radius * gap.abs().sum()).double().mean().item()
        assert 0.1 < expected < 0.9
        for scale in (1e-3, 1.0, 1e4):
            found = robust_accuracy(lambda near, scale=scale: scale * network(near).float(), [(x, y)], radius, generator())
            assert found == pytest.approx(expected, abs=1e-9)


def test_no_input_recovers_under_attack():
    """Even where logits do not move at all, robust accuracy is at most accuracy; with radius 0 they are equal."""
    x, y = load("digits").validation.tensors
    network = digits_network()
    accuracy = (network(x).argmax(1) == y).double().mean().item()
    assert robust_accuracy(network, [(x, y)], 0.0, generator()) == accuracy
    assert robust_accuracy(network, [(x, y)], 0.1, generator()) <= accuracy
    assert robust_accuracy(lambda near: network(near) * 0 + nn.functional.one_hot(y, 10), [(x, y)], 0.1, generator()) == 1.0


def test_wider_attacks_reduce_accuracy_more():
    narrow, wide = trained("cross_entropy", attack_radius=0.03), trained("cross_entropy")
    assert narrow["val/accuracy"] == wide["val/accuracy"]
    assert narrow["val/accuracy"] - 0.02 > narrow["val/robust_accuracy"] > wide["val/robust_accuracy"] + 0.1


def test_evaluation_repeats_and_disturbs_nothing():
    attacked, again, quiet = (
        list(create("pgd_adversarial_training", {"epochs": 2, "attack_radius": radius}).train(Run("digits", seed=3)))
        for radius in (0.1, 0.1, 0.0)
    )
    assert attacked == again
    for one, other in zip(attacked, quiet, strict=True):
        assert "val/robust_accuracy" not in other
        assert other == {name: value for name, value in one.items() if name != "val/robust_accuracy"}


def test_test_metrics_include_robust_accuracy():
    run = Run("digits", test=True)
    *_, metrics = create("cross_entropy", {"epochs": 1, "attack_radius": 0.1}).train(run)
    assert 0 <= metrics["test/robust_accuracy"] <= metrics["test/accuracy"]


# In suites


def suite(**parts):
    return parse_suite({"name": "attacked", "methods": ["trades"], "objectives": ["accuracy", "robust_accuracy"]} | parts)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"settings": {"attack_radius": 0.0}},
        {
            "settings": {"epochs": 3},
            "methods": {"trades": {"settings": {"attack_radius": 0.1}}},
        },  # its baseline is not attacked
        {"methods": {"cross_entropy": {"space": {"attack_radius": {"low": 0.0, "high": 0.1}}}}},
    ],
)
def test_objective_that_is_not_measured_is_refused(parts):
    with pytest.raises(ConfigError, match=r"cross_entropy.*robust_accuracy.*positive attack_radius.*`settings`") as refusal:
        studies(suite(**parts))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("settings", [{"attack_radius": 0.05}, {"attack_radius": 1}])
def test_objective_that_is_measured_is_accepted(settings):
    for study in studies(suite(settings=settings)):
        assert [metric.name for metric in study.objectives] == ["accuracy", "robust_accuracy"]


def test_ready_made_suite_tunes_on_robust_accuracy():
    found = {study.entry: study for study in studies(read_suite("robustness"))}
    assert set(found) == {"cross_entropy", "pgd_adversarial_training", "trades", "adversarial_comp_sum"}
    for study in found.values():
        assert [metric.name for metric in study.objectives] == ["robust_accuracy"]
        assert study.fixed["attack_radius"] == 0.1
        assert set(study.space) & set(study.method.weights()) or study.entry == "cross_entropy"
