"""Smoothed classifiers trained: what learns, what is equal, and no adversarial example within any certified radius."""

import math

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from regbench.methods import Run
from regbench.methods.certified.consistency_smoothing import ConsistencySmoothing
from regbench.methods.certified.dual_smoothing import DualSmoothing
from regbench.methods.certified.networks import PartClassifiers, build
from regbench.methods.certified.randomized_smoothing import RandomizedSmoothing
from regbench.methods.certified.smoothing import noisy_parts, partition_masks, votes
from regbench.methods.certified.task import TRACK, Batch
from regbench.methods.classification.attacks import ascend
from regbench.methods.shared.data import Data, load

SMALL = dict(TRACK.smoke) | {"certify_stride": 1}
METHODS = [RandomizedSmoothing, ConsistencySmoothing, DualSmoothing]


def few():
    """Every tenth of the digits."""
    data = load("digits_16")
    splits = {
        name: TensorDataset(*(tensor[::10] for tensor in getattr(data, name).tensors))
        for name in ("train", "validation", "test")
    }
    return Data("few", meta=data.meta, **splits)


FEW = few()


def curve(method, **options):
    return list(method.train(Run(FEW, **options)))


def trained(method):
    """Networks after a training, in evaluation mode, and the masks of their parts."""
    run = Run("digits_16")
    list(method.train(run))
    masks = partition_masks(method.layout[0], run.data.meta["shape"])
    networks = PartClassifiers(build(method.architecture, run.data) for _ in masks)
    networks.load_state_dict(run.state()["state"]["parts"])
    return networks.eval(), masks


# Off values and equalities


@pytest.mark.parametrize("settings", [{}, {"num_noise": 2}, {"pretraining_epochs": 2, "report_every": 2}])
def test_switched_off_dual_smoothing_is_plain_smoothing_bit_for_bit(settings):
    settings = SMALL | settings
    off = DualSmoothing(**settings, sigma=0.3).baseline()
    plain = RandomizedSmoothing(
        **settings | {"n0": 40, "n": 200, "sigma": math.sqrt(2) * 0.3, "num_noise": settings.get("num_noise", 4)}
    )
    assert curve(off, test=True) == curve(plain, test=True)
    assert off.baseline() == off


@pytest.mark.parametrize("method", METHODS)
def test_a_training_in_two_stages_resumes_within_and_between_them(method):
    configured = method(**SMALL | {"pretraining_epochs": 2, "epochs": 2}, augmentation="shift_and_flip")
    whole = curve(configured)
    checkpoint, found = None, []
    for _ in range(configured.rounds):
        run = Run(FEW, checkpoint=checkpoint)
        found.append(next(configured.train(run)))
        checkpoint = run.state()
    assert found == whole


def test_both_halves_start_from_the_network_of_whole_images():
    method = DualSmoothing(**SMALL | {"pretraining_epochs": 2, "report_every": 2})
    run = Run(FEW)
    next(method.train(run))
    state = run.state()["state"]
    for name, value in state["whole"].items():
        assert torch.equal(state["parts"][f"0.{name}"], value)
        assert torch.equal(state["parts"][f"1.{name}"], value)


@pytest.mark.parametrize(("epochs", "report_every", "rounds"), [(60, 30, 2), (60, 40, 2), (5, 60, 1), (7, 2, 4)])
def test_rounds_cover_all_epochs(epochs, report_every, rounds):
    assert RandomizedSmoothing(epochs=epochs, report_every=report_every).rounds == rounds


def test_the_learning_rate_falls_where_the_paper_lets_it():
    """After 25 and 35 of 40 epochs."""
    method = RandomizedSmoothing(epochs=40, learning_rate=1.0)
    rates = [method._rate(epoch / 40) for epoch in range(40)]
    assert rates == pytest.approx([1.0] * 25 + [0.1] * 10 + [0.01] * 5)


# Gradients


def test_each_network_learns_from_its_own_half_alone():
    data = load("digits_16")
    torch.manual_seed(0)
    networks = PartClassifiers(build("mlp", data) for _ in range(2)).double()
    x, y = (tensor[:6] for tensor in data.train.tensors)
    noise = torch.randn(12, *x.shape[1:], dtype=torch.float64)
    masks = partition_masks("checkerboard", x.shape[1:]).double()
    parts = noisy_parts(x.double().repeat(2, 1, 1, 1), noise, masks, 0.3, "repeat")
    method = DualSmoothing(margin_weight=0.5)
    names, parameters = zip(*networks.named_parameters(), strict=True)
    both = torch.autograd.grad(method.objective(networks, Batch(parts, y, 2), method.weight_values())[0], parameters)
    assert all(gradient.abs().max() > 0 for gradient in both)
    moved = parts.clone()
    moved[1] += 1.0
    after = torch.autograd.grad(method.objective(networks, Batch(moved, y, 2), method.weight_values())[0], parameters)
    for name, before, now in zip(names, both, after, strict=True):
        assert torch.equal(before, now) == name.startswith("0.")


def test_augmentation_and_noise_do_not_reach_evaluation():
    """The same seed certifies the same images under the same noise, whatever training drew before."""
    found = [curve(RandomizedSmoothing(**SMALL | {"learning_rate": 1e-12}, num_noise=k))[-1] for k in (1, 3)]
    assert found[0]["val/average_certified_radius"] == found[1]["val/average_certified_radius"]


def test_swapping_halves_and_their_networks_changes_no_certificate():
    data = load("digits_16")
    torch.manual_seed(0)
    left, right = (build("mlp", data).eval() for _ in range(2))
    x, masks, method = data.test.tensors[0][:40], partition_masks("checkerboard", (1, 16, 16)), DualSmoothing(n0=20, n=100)
    found, swapped = (
        method.certify(PartClassifiers(pair), x, parts, 10, torch.Generator().manual_seed(1))
        for pair, parts in (((left, right), masks), ((right, left), masks.flip(0)))
    )
    np.testing.assert_array_equal(swapped.counts, found.counts[::-1])
    np.testing.assert_array_equal(swapped.prediction, found.prediction)
    np.testing.assert_array_equal(swapped.radius, found.radius)
    assert (found.counts[0] != found.counts[1]).any()


# What is reported


def test_metrics_by_hand():
    method = RandomizedSmoothing(sigma=0.5, n=100)

    class Found:
        """Four images: right with radius 0.6, right with 0.2, right without a certificate, wrong with 1."""

        prediction = np.array([1, 2, 3, 4])
        radius = np.array([0.6, 0.2, 0.0, 1.0])

    metrics = method.evaluate(Found, np.array([1, 2, 3, 0]))
    assert metrics["average_certified_radius"] == pytest.approx(0.2)
    assert [metrics[f"certified_accuracy_{r}"] for r in ("0.00", "0.25", "0.50", "0.75")] == [0.5, 0.25, 0.25, 0]
    assert metrics["accuracy"] == 0.75


def test_released_radii_are_reported_beside_the_certified_ones_and_are_not_smaller():
    metrics = curve(DualSmoothing(**SMALL | {"epochs": 20, "report_every": 20}, sigma=0.2))[-1]
    assert metrics["val/released_root_acr"] >= metrics["val/released_mean_acr"] >= metrics["val/average_certified_radius"] > 0.1


# Attacks


@pytest.mark.parametrize("method", [RandomizedSmoothing, DualSmoothing])
def test_no_attack_within_a_certified_radius_changes_the_vote(method):
    """Projected gradient ascent on the expected loss under noise, many restarts, judged by fresh votes.

    At every point found, the certified class must keep more votes than any other, up to 4 standard errors.
    """
    configured = method(
        epochs=15,
        report_every=15,
        sigma=0.5 / math.sqrt(1 if method is RandomizedSmoothing else 2),
        n0=50,
        n=500,
        certify_stride=100,
    )
    networks, masks = trained(configured)
    x = load("digits_16").test.tensors[0][::50]
    generator = torch.Generator().manual_seed(0)
    found = configured.certify(networks, x, masks, 10, generator)
    certified = torch.tensor(found.radius > 0)
    assert certified.float().mean() > 0.7
    beaten = attacked(networks, configured, masks, x[certified], found, certified, 0.999, generator)
    assert not beaten.any()
    # The same attack does find such points beyond the radii, so it is one.
    beyond = attacked(networks, configured, masks, x[certified], found, certified, 3.0, generator)
    assert beyond.float().mean() > 0.5


def attacked(networks, method, masks, x, found, certified, share, generator, restarts=6, steps=12, draws=12, samples=600):
    """Which images ``[N]`` lose their class to an attack of that share of their certified radius."""
    radius = share * torch.tensor(found.radius, dtype=torch.float32)[certified].repeat(restarts)[:, None, None, None]
    prediction = torch.tensor(found.prediction)[certified].repeat(restarts)
    centres = x.repeat(restarts, 1, 1, 1)
    noise = torch.randn(draws, *x.shape[1:], generator=generator)

    def loss(points):
        many = points.repeat_interleave(draws, dim=0)
        logits = networks(noisy_parts(many, noise.repeat(len(points), 1, 1, 1), masks, method.sigma, method.layout[1]))
        share = logits.softmax(2).unflatten(1, (-1, draws)).mean((0, 2))  # [N, K]
        return -share.gather(1, prediction[:, None])[:, 0].log()

    points = ascend(loss, centres, radius, norm="l2", steps=steps, step_size=radius / 4, generator=generator)
    assert ((points - centres).flatten(1).norm(dim=1) <= radius.flatten() * (1 + 1e-4)).all()
    counts = votes(
        networks, points, masks, method.sigma, method.layout[1], samples=samples, classes=10, generator=generator
    ).sum(0)
    own = counts.gather(1, prediction[:, None])[:, 0]
    others = counts.scatter(1, prediction[:, None], 0).amax(1)
    lost = others - own > 4 * (others + own).float().sqrt()
    return lost.unflatten(0, (restarts, -1)).any(0)


# Data


def test_enlarged_digits_keep_splits_labels_and_range():
    data, small = load("digits_16"), load("digits")
    for name in ("train", "validation", "test"):
        (x, y), (before, labels) = getattr(data, name).tensors, getattr(small, name).tensors
        assert torch.equal(y, labels)
        assert x.shape == (len(before), 1, 16, 16)
        assert x.min() >= 0
        assert x.max() <= 1
        # Bilinear weights between centres: an inner mean over 2 x 2 pixels lies between its neighbours'.
        torch.testing.assert_close(x[:, :, 0, 0], before[:, :, 0, 0])
    assert isinstance(data, Data)
    assert data.meta == {"classes": 10, "shape": (1, 16, 16)}
