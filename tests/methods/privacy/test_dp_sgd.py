"""DP-SGD: clipped sums against a loop over images, the noise it adds, its samples, and its account."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from regbench.methods import Run
from regbench.methods.privacy import networks
from regbench.methods.privacy.accountant import privacy_loss
from regbench.methods.privacy.dp_sgd import DPSGD, clipped_sums, separate
from regbench.methods.privacy.task import TRACK
from regbench.methods.privacy.undefended import Undefended
from regbench.methods.shared.data import load

SMALL = dict(TRACK.smoke)


def small_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10)).double()


def images(count):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 1, 8, 8, generator=generator, dtype=torch.float64), torch.arange(count) % 10


@pytest.mark.parametrize("norm", [0.01, 2.0, 1e6])
def test_clipped_sums_are_those_of_a_loop(norm, monkeypatch):
    monkeypatch.setattr("regbench.methods.privacy.dp_sgd.AT_ONCE", 5)
    network, (x, y) = separate(small_network()), images(12)
    sums, loss = clipped_sums(network, x, y, norm)
    expected = [torch.zeros_like(parameter) for parameter in network.parameters()]
    for image, label in zip(x, y, strict=True):
        gradient = torch.autograd.grad(cross_entropy(network(image[None]), label[None]), list(network.parameters()))
        length = math.sqrt(sum(part.square().sum().item() for part in gradient))
        for total, part in zip(expected, gradient, strict=True):
            total += part * min(1, norm / length)
    for found, total in zip(sums.values(), expected, strict=True):
        torch.testing.assert_close(found, total)
    assert loss.item() == pytest.approx(cross_entropy(network(x), y, reduction="sum").item())
    assert math.sqrt(sum(part.square().sum().item() for part in sums.values())) <= 12 * norm * (1 + 1e-9)


def test_an_empty_sample_adds_nothing():
    network, (x, y) = separate(small_network()), images(3)
    sums, loss = clipped_sums(network, x[:0], y[:0], 1.0)
    assert loss.item() == 0
    assert not any(part.any() for part in sums.values())


def test_group_normalization_treats_images_separately():
    network, (x, _) = separate(small_network()), images(4)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    torch.testing.assert_close(network(x)[:1], network(x[:1]))


class Still(DPSGD):
    """Keeps each step's gradient in the place of moving."""

    def build_optimizer(self, network):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
        self.__dict__["steps"], self.__dict__["network"] = [], network
        optimizer.step = lambda: self.steps.append([p.grad.clone() for p in network.parameters()])
        return optimizer


def steps_of(**settings):
    method = Still(**SMALL | {"epochs": 8, "report_every": 8} | settings)
    run = Run("private_digits")
    list(method.train(run))
    return method


def test_steps_are_clipped_sums_of_poisson_samples_plus_noise_of_the_right_size():
    noise, norm = 3.0, 0.5
    noisy = steps_of(noise_multiplier=noise, clip_norm=norm, batch_size=70)
    quiet = steps_of(noise_multiplier=1e-9, clip_norm=norm, batch_size=70)
    assert len(noisy.steps) == 80
    differences = torch.cat(
        [
            (a - b).flatten()
            for one, other in zip(noisy.steps, quiet.steps, strict=True)
            for a, b in zip(one, other, strict=True)
        ]
    )
    deviation = noise * norm / 70
    assert differences.std().item() == pytest.approx(deviation, rel=0.02)
    assert abs(differences.mean().item()) < 5 * deviation / math.sqrt(len(differences))
    # Without noise, a step is at most sample size x norm / batch size long, and about the gradient of the whole set on average.
    x, y = load("private_digits").train.tensors
    sums, _ = clipped_sums(quiet.network, x, y, norm)
    mean = [torch.stack(parts).mean(0) for parts in zip(*quiet.steps, strict=True)]
    found, expected = (torch.cat([part.flatten() for part in parts]) for parts in (mean, [s / len(x) for s in sums.values()]))
    assert (found - expected).norm() < 0.15 * expected.norm()


def test_the_account_is_that_of_all_steps_so_far():
    curve = list(DPSGD(**SMALL, noise_multiplier=2.0, batch_size=70).train(Run("private_digits")))
    assert [metrics["train/epsilon"] for metrics in curve] == [privacy_loss(0.1, 2.0, 10 * epoch, 1e-5) for epoch in (1, 2, 3)]


def test_switched_off_it_is_plain_training_bit_for_bit():
    off = DPSGD(**SMALL).baseline()
    assert list(off.train(Run("private_digits"))) == list(Undefended(**SMALL).train(Run("private_digits")))


def test_every_parameter_learns():
    Run("private_digits")  # seeds
    before = copy.deepcopy(networks.Classifier("mlp", (1, 8, 8), 10).state_dict())
    run = Run("private_digits")
    list(DPSGD(**SMALL | {"epochs": 1}).train(run))
    after = run.state()["state"]["model"]
    assert all(not torch.equal(before[name], after[name]) for name in before)
