import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import nn
from torch.autograd import gradcheck
from torch.nn.utils import parametrize

from regbench.methods.classification.task import Batch
from regbench.methods.classification.weight_compander import (
    FUNCTIONS,
    Compander,
    Pair,
    WeightCompander,
    compand,
    companded,
    release,
    step_in_weights,
)
from regbench.methods.errors import ConfigError
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data import load


def tensor(values, **options):
    return torch.tensor(values, dtype=torch.float64, **options)


def compander(a, b, function="arctan", *, learn=False):
    return Compander(Pair(a, b, learn=learn).double(), function)


def scalar_layer(w, a, b, **options):
    """A linear layer of one weight w without bias, companded, in double precision."""
    layer = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(layer.weight, w)
    return compand(layer, a, b, **options)


def small_network(*, norm=False):
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)] if norm else [nn.Conv2d(1, 3, 3, padding=1)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 5))


def batches(count, *, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        x = torch.rand(8, 1, 8, 8, generator=generator, dtype=dtype)
        y = torch.randint(10, (8,), generator=generator)
        yield Batch(x, y, torch.arange(8), 10, 1, 1, None, generator)


def train(method, steps):
    """The weights of the method's MLP after some steps from one start, in double precision."""
    torch.manual_seed(0)
    network = method.build_model(load("digits")).double()
    optimizer = method.build_optimizer(network)
    method.set_rates(optimizer, network, 1)
    for batch in batches(steps):
        loss, _ = method.objective(network, batch, method.weight_values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [
        p.detach().clone() for layer in network.modules() if isinstance(layer, nn.Linear) for p in (layer.weight, layer.bias)
    ]


@pytest.mark.parametrize(
    ("a", "b", "v", "value", "slope"),
    [
        (1, 1, 1, 0.785398, 0.5),
        (1, 0.6, 0.3, 0.463648, 1.333333),
        (0.8, 0.5, -0.25, -0.370918, 1.28),
        (0.7, 0.8, 2, 0.833203, 0.120690),
    ],
)
def test_values_and_slopes_by_hand(a, b, v, value, slope):
    psi, at = compander(a, b), tensor([v])
    assert psi(at).item() == pytest.approx(value, abs=1e-6)
    assert psi.slope(at).item() == pytest.approx(slope, abs=1e-6)
    assert a / b * math.cos(psi(at).item() / a) ** 2 == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "w", "v"), [(1, 0.6, 0.1, 0.060201), (0.5, 0.7, 0.3, 0.478896), (0.8, 0.5, -0.2, -0.127671)]
)
def test_inverses_by_hand(a, b, w, v):
    assert compander(a, b).right_inverse(tensor([w])).item() == pytest.approx(v, abs=1e-6)


@pytest.mark.parametrize(
    ("function", "reference"), [("arctan", np.arctan), ("erf", erf), ("arsinh", lambda x: np.log(x + np.sqrt(1 + x**2)))]
)
@pytest.mark.parametrize(("a", "b"), [(1, 1), (1, 0.6), (0.5, 0.7)])
def test_every_function_is_that_of_numpy_odd_and_increasing(function, reference, a, b):
    psi, v = compander(a, b, function), np.linspace(-3, 3, 61)
    w = psi(tensor(v))
    np.testing.assert_allclose(w, a * reference(v / b), atol=1e-12)
    torch.testing.assert_close(psi(-tensor(v)), -w)
    # The error function is 1 to the last digit beyond some six of its scales.
    assert (w.diff() > 0).all() or function == "erf"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_inverse_and_slope_agree_with_the_function(function):
    psi = compander(0.8, 0.5, function)
    w = tensor(np.linspace(-0.75, 0.75, 31))
    v = psi.right_inverse(w)
    torch.testing.assert_close(psi(v), w, rtol=0, atol=1e-12)
    v.requires_grad_()
    (slope,) = torch.autograd.grad(psi(v).sum(), v)
    torch.testing.assert_close(psi.slope(v), slope)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients_in_v_and_in_learned_a_and_b(function):
    psi = compander(0.8, 0.5, function, learn=True)
    v = tensor([-2.0, -0.3, 0.0, 0.3, 1.5], requires_grad=True)

    def value(v, a, b):
        return torch.func.functional_call(psi, {"pair.scale": a, "pair.stretch": b}, (v,))

    assert gradcheck(value, (v, tensor(0.8, requires_grad=True), tensor(0.5, requires_grad=True)))


def test_gradients_in_a_and_b_by_hand():
    psi = compander(0.8, 0.5, learn=True)
    w = psi(tensor([0.3]))
    w.sum().backward()
    assert w.item() == pytest.approx(0.432336, abs=1e-6)
    assert psi.pair.scale.grad.item() == pytest.approx(0.540420, abs=1e-6)
    assert psi.pair.stretch.grad.item() == pytest.approx(-0.705882, abs=1e-6)


@pytest.mark.parametrize("learned", ["fixed", "network", "layer"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_registering_keeps_the_function_and_touches_weights_only(function, learned):
    network = small_network(norm=True).eval()
    x = torch.rand(6, 1, 4, 4)
    before, others = network(x), {name: p for name, p in network.named_parameters() if p.ndim == 1}
    compand(network, 0.9, 0.7, function=function, learned=learned)
    torch.testing.assert_close(network(x), before, rtol=0, atol=1e-6)
    now = dict(network.named_parameters())
    assert all(now[name] is p for name, p in others.items())
    assert {name for name in now if name not in others and "pair" not in name} == {
        "0.parametrizations.weight.original",
        "4.parametrizations.weight.original",
    }
    pairs = {"fixed": 0, "network": 2, "layer": 4}[learned]
    assert len(now) == len(others) + 2 + pairs


def test_releasing_leaves_a_plain_network_of_the_same_outputs():
    plain, network = small_network(), small_network()
    compand(network, 0.9, 0.7, learned="layer")
    x = torch.rand(6, 1, 4, 4)
    with torch.no_grad():
        for _, _, v in companded(network):
            v.mul_(3)
    expected = network(x)
    assert release(network) is network
    assert {name: p.shape for name, p in network.named_parameters()} == {name: p.shape for name, p in plain.named_parameters()}
    assert torch.equal(network(x), expected)
    assert not companded(network)


@pytest.mark.parametrize(("function", "bound"), [("arctan", 0.3 * math.pi / 2), ("erf", 0.3)])
def test_weights_beyond_the_bound_are_refused(function, bound):
    scalar_layer(bound - 1e-3, 0.3, 1.0, function=function)
    with pytest.raises(ConfigError, match=r"beyond the compander's bound .* raise wc_scale above 0\.30"):
        scalar_layer(bound + 1e-3, 0.3, 1.0, function=function)


def test_shared_and_parametrized_weights_are_refused():
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    with pytest.raises(ConfigError, match="'0' is shared"):
        compand(tied, 1.0, 1.0)
    with pytest.raises(ConfigError, match="has a parametrization already"):
        compand(compand(nn.Sequential(nn.Linear(3, 3)), 1.0, 1.0), 1.0, 1.0)


def test_a_step_of_sgd_by_hand():
    layer = scalar_layer(0.1, 1.0, 0.6)
    ((_, psi, v),) = companded(layer)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    assert v.item() == pytest.approx(0.060201, abs=1e-6)
    assert psi.slope(v).item() == pytest.approx(1.650055, abs=1e-6)
    ((layer.weight - 1) ** 2 / 2).sum().backward()
    optimizer.step()
    assert v.item() == pytest.approx(0.208706, abs=1e-6)
    assert layer.weight.item() == pytest.approx(0.334752, abs=1e-6)


@pytest.mark.parametrize("decay_free", [False, True])
def test_adam_steps_by_the_rule_written_out(decay_free):
    a, b, rate, decay, betas = 1.0, 0.6, 0.1, 0.05, (0.9, 0.999)
    layer = scalar_layer(0.1, a, b)
    ((_, _, v),) = companded(layer)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=rate, weight_decay=decay)
    step_in_weights(optimizer, layer, decay_free=decay_free)
    expected, first, second = b * math.tan(0.1 / a), 0.0, 0.0
    for step in range(1, 6):
        w, slope = a * math.atan(expected / b), a * b / (b**2 + expected**2)
        gradient = w - 1
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        unit = first / (1 - betas[0] ** step) / (math.sqrt(second / (1 - betas[1] ** step)) + 1e-8)
        expected -= rate * (slope * unit + decay * (expected if decay_free else slope * w))
        optimizer.zero_grad()
        ((layer.weight - 1) ** 2 / 2).sum().backward()
        optimizer.step()
        assert v.item() == pytest.approx(expected, abs=1e-10)


def test_the_first_step_of_adam_by_hand():
    layer = scalar_layer(0.1, 1.0, 0.6)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.0)
    step_in_weights(optimizer, layer, decay_free=False)
    ((layer.weight - 1) ** 2 / 2).sum().backward()
    optimizer.step()
    assert companded(layer)[0][2].item() == pytest.approx(0.225206, abs=1e-6)


def test_gradients_are_clipped_in_the_weights_that_adam_steps_in():
    """The gradient in v is Ψ'(v) times that in w; from the second step on Adam tells how they were clipped."""
    method = WeightCompander(optimizer="adam", weight_decay=0.0, gradient_clip=0.5, wc_scale=1.0, wc_stretch=0.1)
    layer = scalar_layer(0.1, 1.0, 0.1)
    network = nn.Sequential(layer)
    ((_, psi, v),) = companded(network)
    optimizer = method.build_optimizer(network)
    (0.3 * layer.weight).sum().backward()
    assert v.grad.item() == pytest.approx(0.3 * psi.slope(v).item())
    assert v.grad.item() > 2
    (size,) = method.stepped_gradients(network)
    assert size.item() == pytest.approx(0.3)
    nn.utils.clip_grads_with_norm_(network.parameters(), method.gradient_clip, nn.utils.get_total_norm([size]))
    optimizer.step()
    assert optimizer.state[v]["exp_avg"].item() == pytest.approx(0.1 * 0.3)


def test_adam_stands_still_where_the_slope_vanishes():
    layer = scalar_layer(0.0, 1.0, 1.0, function="erf")
    ((_, psi, v),) = companded(layer)
    nn.init.constant_(v, 40.0)
    assert psi.slope(v).item() == 0
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.0)
    step_in_weights(optimizer, layer, decay_free=False)
    layer.weight.sum().backward()
    optimizer.step()
    assert v.item() == 40.0


@pytest.mark.parametrize(("a", "error"), [(1, 8.54e-3), (10, 9.00e-5), (100, 9.00e-7)])
def test_it_becomes_the_identity_as_a_and_b_grow(a, error):
    assert 0.3 - compander(a, a)(tensor([0.3])).item() == pytest.approx(error, rel=2e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("learned", ["fixed", "layer"])
def test_with_large_a_and_b_it_trains_like_the_plain_network(optimizer, learned):
    # The decay too: half of PyTorch's decay times the squared weights, or with Adam decoupled.
    settings = {"optimizer": optimizer, "learning_rate": 0.05 if optimizer == "sgd" else 1e-3, "weight_decay": 0.1}
    mine = train(WeightCompander(**settings, wc_scale=1e4, wc_stretch=1e4, wc_learnable=learned), 20)
    # Biases decay in the plain network as they do beside companded weights.
    plain = train(create("cross_entropy", settings), 20)
    for ours, theirs in zip(mine, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_decay_of_w_reaches_v_by_the_chain_rule():
    layer = scalar_layer(0.1, 1.0, 0.6)
    ((_, _, v),) = companded(layer)
    network = nn.Sequential(nn.Flatten(), layer)
    batch = Batch(torch.zeros(2, 1, dtype=torch.float64), torch.zeros(2, dtype=torch.int64), torch.arange(2), 1, 1, 1, None,
                  torch.Generator())  # fmt: skip
    # λ = 5e-4 of λ wᵀw is half of PyTorch's 1e-3; inputs of 0 leave nothing but the decay.
    method = WeightCompander(weight_decay=1e-3)
    loss, _ = method.objective(network, batch, SimpleNamespace(wc_scale=1.0, wc_stretch=0.6))
    loss.backward()
    assert v.grad.item() == pytest.approx(1.6501e-4, abs=1e-8)


def test_learned_pairs_never_decay_and_v_decays_by_the_optimizer():
    method = WeightCompander(wc_learnable="layer", weight_decay=0.25)
    network = method.build_model(load("digits"))
    optimizer = method.build_optimizer(network)
    method.set_rates(optimizer, network, 1)
    rest, free, pairs = optimizer.param_groups
    assert (rest["weight_decay"], free["weight_decay"], pairs["weight_decay"]) == (0.25, 0.25, 0.0)
    assert (len(rest["params"]), len(free["params"]), len(pairs["params"])) == (3, 3, 6)
    plain = method.objective(network, *_batch_and(method))[0]
    assert torch.equal(plain, method.replace(weight_decay=0.0).objective(network, *_batch_and(method))[0])


def _batch_and(method):
    return next(batches(1, dtype=torch.float32)), method.weight_values()


def test_fixed_weights_decay_in_the_loss_alone():
    method = WeightCompander(weight_decay=0.25)
    network = method.build_model(load("digits"))
    optimizer = method.build_optimizer(network)
    method.set_rates(optimizer, network, 1)
    rest, free = optimizer.param_groups
    assert (rest["weight_decay"], free["weight_decay"]) == (0.25, 0.0)
    loss = method.objective(network, *_batch_and(method))[0]
    bare = method.replace(weight_decay=0.0).objective(network, *_batch_and(method))[0]
    squares = sum(layer.weight.square().sum() for layer in network.modules() if isinstance(layer, nn.Linear))
    torch.testing.assert_close(loss - bare, 0.125 * squares)


def test_the_objective_takes_a_and_b_from_its_weights():
    method = WeightCompander(wc_scale=1.0, wc_stretch=0.6)
    network = method.build_model(load("digits"))
    batch = next(batches(1, dtype=torch.float32))
    other = copy.deepcopy(network)
    for _, psi, _ in companded(other):
        psi.pair.scale.fill_(0.7)
        psi.pair.stretch.fill_(0.9)
    given, _ = method.objective(network, batch, SimpleNamespace(wc_scale=0.7, wc_stretch=0.9))
    expected, _ = method.objective(other, batch, SimpleNamespace(wc_scale=0.7, wc_stretch=0.9))
    assert torch.equal(given, expected)
    assert not torch.equal(given, method.objective(network, batch, method.weight_values())[0])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weights_stay_below_the_bound_however_large_the_steps(optimizer):
    method = WeightCompander(wc_scale=0.3, wc_stretch=0.3, epochs=1, optimizer=optimizer, learning_rate=0.2)
    (metrics,) = method.train(Run("digits"))
    assert 0.15 < metrics["weights/largest"] < 0.3 * math.pi / 2


@pytest.mark.parametrize("learned", ["fixed", "network", "layer"])
@pytest.mark.parametrize("architecture", ["mlp", "tiny_vit"])
def test_everything_that_should_learn_gets_a_gradient(architecture, learned):
    method = WeightCompander(architecture=architecture, wc_learnable=learned)
    network = method.build_model(load("digits"))
    method.objective(network, *_batch_and(method))[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert not any(buffer.requires_grad for buffer in network.buffers())
    assert not any("scale" in name for name in network.state_dict()) or learned != "fixed"


def test_learned_pairs_are_recorded():
    method = WeightCompander(wc_learnable="layer", wc_scale=0.5, wc_stretch=1.0, epochs=1)
    (metrics,) = method.train(Run("digits"))
    found = {name: value for name, value in metrics.items() if name.startswith(("scale/", "stretch/"))}
    assert set(found) == {f"{kind}/{layer}" for kind in ("scale", "stretch") for layer in range(3)}
    assert not set(found.values()) & {0.5, 1.0}


def test_small_weights_of_the_first_layer_are_counted():
    method = WeightCompander()
    network = method.build_model(load("digits"))
    ((_, _, first), (_, _, second), _) = companded(network)
    with torch.no_grad():
        first.fill_(1.0)
        first[:64] = 0.0
        second.fill_(-3.0)
    found = method.diagnostics(network)
    assert found["weights/small"] == 0.25
    assert found["weights/largest"] == pytest.approx(math.atan(3.0 / 0.6), abs=1e-6)


@pytest.mark.parametrize("missing", ["wc_scale", "wc_stretch"])
def test_one_of_a_and_b_alone_is_refused(missing):
    with pytest.raises(ConfigError, match="give both wc_scale and wc_stretch"):
        create("weight_compander", {missing: None})


def test_weight_normalization_starts_unchanged_and_separates_length_from_direction():
    torch.manual_seed(0)
    plain = create("cross_entropy", {}).build_model(load("digits"))
    torch.manual_seed(0)
    network = create("weight_normalization", {}).build_model(load("digits"))
    x = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(network(x), plain(x))
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert all(parametrize.is_parametrized(layer, "weight") for layer in layers)
    with torch.no_grad():
        for layer in layers:
            length, direction = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
            direction.mul_(7)
            torch.testing.assert_close(layer.weight.norm(dim=1, keepdim=True), length)
    torch.testing.assert_close(network(x), plain(x))
