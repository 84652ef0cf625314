"""L2 on hidden layers alone, a layer's information as a penalty, and the published network."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from regbench.methods import load
from regbench.methods.classification.activations import ACTIVATIONS
from regbench.methods.classification.adaptive_mi import AdaptiveInformation, hidden_norm
from regbench.methods.classification.architectures import build
from regbench.methods.classification.task import Batch
from regbench.methods.shared.information.adaptive import kde_information


def batch(rows=40):
    x, y = (tensor[:rows] for tensor in load("binary_inputs").train.tensors)
    return Batch(x.double(), y, torch.arange(rows), 2, 1, 1, None, torch.Generator())


def model(**settings):
    torch.manual_seed(0)
    return AdaptiveInformation(**settings).build_model(load("binary_inputs")).double()


def test_the_l2_gradient_is_the_weights_of_hidden_layers():
    network = model()
    (0.3 * hidden_norm(network)).backward()
    *hidden, last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in (*hidden, last)] == [(10, 12), (7, 10), (5, 7), (4, 5), (3, 4), (2, 3)]
    for layer in hidden:
        assert torch.allclose(layer.weight.grad, 0.3 * layer.weight)
    assert last.weight.grad is None
    assert all(layer.bias.grad is None for layer in (*hidden, last))


@pytest.mark.parametrize("layer", ["last", "hidden"])
def test_the_objective(layer):
    method, network, given = AdaptiveInformation(mi_layer=layer, kde_noise_scale=0.05), model(), batch()
    loss, logits = method.objective(network, given, SimpleNamespace(l2_weight=0.1, mi_weight=0.2))
    plain = network.network
    t = plain(given.x).softmax(1) if layer == "last" else plain[:-1](given.x)
    squares = sum(plain[place].weight.square().sum() for place in (1, 3, 5, 7, 9)) / 2
    information = kde_information(t, 0.05 * t.max())
    assert torch.equal(logits, plain(given.x))
    assert loss.item() == pytest.approx((cross_entropy(logits, given.y) + 0.1 * squares + 0.2 * information).item())
    # The noise is no part of the gradient.
    (found,) = torch.autograd.grad(loss, plain[9].weight, retain_graph=True)
    fixed = cross_entropy(logits, given.y) + 0.1 * squares + 0.2 * kde_information(t, 0.05 * t.max().item())
    assert torch.allclose(found, torch.autograd.grad(fixed, plain[9].weight)[0])


@pytest.mark.parametrize(("activation", "gain"), [("relu", 2.0), ("tanh", 1.0), ("abs", 1.0), ("elu", 2.0)])
def test_initial_weights_are_cut_normal(activation, gain):
    torch.manual_seed(0)
    networks = [build("tapered_mlp", (12,), 2, activation) for _ in range(100)]
    weights = torch.cat([network[1].weight.flatten() for network in networks]) * math.sqrt(12) / gain
    assert weights.abs().max() <= 2
    # Of a standard normal distribution cut at two deviations.
    assert weights.std().item() == pytest.approx(0.8796, abs=0.01)
    assert not any(network[1].bias.any() for network in networks)


def test_activations():
    x = torch.tensor([-2.0, 0.0, 3.0, 7.0], dtype=torch.float64)
    values = {
        "abs": [2, 0, 3, 7],
        "srelu": [0, 0, 3, 7],
        "centred_softplus": [math.log1p(math.exp(value)) - math.log(2) for value in x.tolist()],
        "swish": [value / (1 + math.exp(-value)) for value in x.tolist()],
    }
    for name, expected in values.items():
        assert ACTIVATIONS[name]()(x).tolist() == pytest.approx(expected)
    shaped = ACTIVATIONS["srelu"]()
    with torch.no_grad():
        shaped.threshold.fill_(2.0)
        shaped.slope.fill_(0.5)
    assert shaped(x).tolist() == [0, 0, 2.5, 4.5]


def test_all_inputs_of_twelve_bits():
    data = load("binary_inputs")
    x, y = (
        torch.cat(parts) for parts in zip(*(split.tensors for split in (data.train, data.validation, data.test)), strict=True)
    )
    numbers = (x * 2 ** torch.arange(11, -1, -1)).sum(1).long()
    assert numbers.sort().values.equal(torch.arange(4096))
    assert y.sum().item() == 2118
    assert y.double().mean().item() == pytest.approx(0.517090, abs=1e-6)
    # What the card knows of the published split, the first four fifths in the order of counting.
    ordered = y[numbers.argsort()].double()
    assert ordered[:3277].mean().item() == pytest.approx(0.437, abs=1e-3)
    assert ordered[3277:].mean().item() == pytest.approx(0.836, abs=1e-3)
    # The rule grows with the number of ones.
    ones = x.sum(1)
    assert [y[ones == count].double().mean().item() for count in (4, 8)] == [0.0, 1.0]
    assert abs(data.train.tensors[1].double().mean().item() - 0.517) < 0.01
