"""The penalties are what their estimators say of the last layer's inputs; the guide takes the lowest entropy."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from regbench.methods import Run, load
from regbench.methods.classification.diffusion_spectral_entropy import (
    DEVIATIONS,
    DiffusionSpectralEntropy,
    guide,
    redraw,
)
from regbench.methods.classification.task import Batch
from regbench.methods.shared.information.diffusion import diffusion_spectral_entropy, diffusion_spectral_information


def batch(rows=60):
    x, y = (tensor[:rows] for tensor in load("digits").train.tensors)
    return Batch(x.double(), y, torch.arange(rows), 10, 1, 1, None, torch.Generator())


@pytest.mark.parametrize(("direction", "sign"), [("compress", 1), ("spread", -1)])
@pytest.mark.parametrize("architecture", ["mlp", "cnn", "tiny_vit"])
def test_the_objective(direction, sign, architecture):
    method = DiffusionSpectralEntropy(
        dse_direction=direction, architecture=architecture, kernel_bandwidth=0.5, diffusion_time=2
    )
    model, given = method.build_model(load("digits")).double(), batch()
    weights = SimpleNamespace(dse_weight=0.3, dsmi_weight=0.2)
    loss, logits = method.objective(model, given, weights)
    seen = []
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    handle = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    expected = model(given.x)
    handle.remove()
    z = seen[0] / seen[0].norm(dim=1, keepdim=True)
    entropy = diffusion_spectral_entropy(z, 0.5, 2)
    information = diffusion_spectral_information(z, given.y, 0.5, 2)
    assert torch.equal(logits, expected)
    assert loss.item() == pytest.approx((cross_entropy(expected, given.y) + sign * 0.3 * entropy - 0.2 * information).item())


def test_the_penalty_moves_the_entropy_of_unseen_rows_as_asked():
    found = {}
    for direction in ("compress", "spread"):
        method = DiffusionSpectralEntropy(dse_weight=0.3, dsmi_weight=0.0, dse_direction=direction, epochs=4)
        run = Run("digits")
        for _ in method.train(run):
            pass
        hidden = method.hidden(run, 128).representation.detach()
        found[direction] = diffusion_spectral_entropy(nn.functional.normalize(hidden, dim=1), 0.3).item()
    assert found["compress"] < found["spread"] - 1


def test_initial_weights():
    torch.manual_seed(0)
    method = DiffusionSpectralEntropy(initialization="normal", conv_init_std=0.2, architecture="cnn")
    layers = [layer for layer in method.build_model(load("digits")).modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert layers[1].weight.std().item() == pytest.approx(0.2, rel=0.03)
    assert layers[2].weight.std().item() < 0.1
    network = nn.Sequential(nn.Linear(50, 60), nn.ReLU(), nn.Linear(60, 5))
    kept = network[2].weight.clone()
    redraw(network, 0.4)
    assert network[0].weight.std().item() == pytest.approx(0.4, rel=0.05)
    assert torch.equal(network[2].weight, kept)


def test_the_guide_takes_the_lowest_entropy():
    torch.manual_seed(0)
    x = load("digits").train.tensors[0][:100]
    network = DiffusionSpectralEntropy(architecture="cnn").build_model(load("digits")).network
    chosen = guide(network, x, 0.3, 1)
    assert chosen in DEVIATIONS
    entropies = {}
    for deviation in DEVIATIONS:
        redraw(network, deviation)
        with torch.no_grad():
            z = nn.functional.normalize(network[:-1](x), dim=1)
        entropies[deviation] = diffusion_spectral_entropy(z, 0.3).item()
    # Other draws of each deviation, of which that one is still among the lowest.
    assert entropies[chosen] < min(entropies.values()) + 0.05 < max(entropies.values()) - 1
    guided = DiffusionSpectralEntropy(initialization="guided", architecture="cnn").build_model(load("digits"))
    assert guided.network[0].weight.std() < 0.1
