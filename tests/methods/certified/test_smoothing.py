"""Parts of images, noise on them, fills, votes, and the consistency and margin terms."""

import math

import numpy as np
import pytest
import torch
from scipy.special import ndtr, ndtri, rel_entr
from scipy.stats import entropy
from torch.nn.functional import cross_entropy

from regbench.methods.certified.consistency_smoothing import ConsistencySmoothing, spread_and_entropy
from regbench.methods.certified.dual_smoothing import DualSmoothing, margins
from regbench.methods.certified.networks import build
from regbench.methods.certified.smoothing import noisy_parts, partition_masks, votes
from regbench.methods.certified.task import Batch
from regbench.methods.errors import ConfigError
from regbench.methods.shared.data import load

FILLS = ["repeat", "block_maximum", "none"]


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Parts


def test_the_checkerboard():
    left, right = partition_masks("checkerboard", (1, 4, 4))
    assert left.int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]] * 2
    torch.testing.assert_close(left + right, torch.ones(4, 4))
    assert not (left * right).any()
    assert left.sum() == right.sum()


@pytest.mark.parametrize("shape", [(1, 5, 4), (1, 4, 5)])
def test_halves_of_odd_images_are_refused(shape):
    with pytest.raises(ConfigError, match="even height and width, not"):
        partition_masks("checkerboard", shape)


def test_what_is_no_image_is_refused():
    with pytest.raises(ConfigError, match=r"needs images, not inputs of shape \(7,\)"):
        partition_masks("whole", (7,))


@pytest.mark.parametrize("fill", FILLS)
def test_a_half_depends_on_its_own_pixels_alone(fill):
    """The Jacobian of a half in the pixels and in the noise of the other one is zero."""
    masks, x, noise = partition_masks("checkerboard", (2, 4, 4)).double(), images(1, 2, 4, 4), images(1, 2, 4, 4, seed=1) - 0.5
    inputs = (x, noise)
    for jacobian in torch.autograd.functional.jacobian(lambda x, e: noisy_parts(x, e, masks, 0.5, fill), inputs):
        for half in range(2):
            reach = jacobian[half].abs().sum(tuple(range(4)))[0]  # [C, H, W]
            assert not (reach * masks[1 - half]).any()
            assert (reach[:, masks[half].bool()] > 0).all()


def test_noise_is_on_kept_pixels_alone():
    masks, x, noise = partition_masks("checkerboard", (1, 4, 4)).double(), images(3, 1, 4, 4), images(3, 1, 4, 4, seed=1)
    found = noisy_parts(x, noise, masks, 0.3, "none")
    for half, mask in enumerate(masks.bool()):
        torch.testing.assert_close(found[half][:, :, mask], (x + 0.3 * noise)[:, :, mask])
        assert not found[half][:, :, ~mask].any()


def test_fills_by_hand():
    x = torch.tensor([[[[1.0, 2.0, -3.0, 4.0], [5.0, -6.0, 7.0, -8.0]]]])
    masks = partition_masks("checkerboard", (1, 2, 4))
    repeat, block = (noisy_parts(x, torch.zeros_like(x), masks, 1.0, fill)[:, 0, 0].tolist() for fill in FILLS[:2])
    assert repeat == [[[1, 1, -3, -3], [-6, -6, -8, -8]], [[2, 2, 4, 4], [5, 5, 7, 7]]]
    # Left: blocks hold 1, -6 and -3, -8 besides zeros, so that their maxima are 1 and 0.
    assert block == [[[2, 0, -3, 0], [0, -5, 0, -8]], [[0, 7, 0, 11], [10, 0, 14, 0]]]


def test_one_part_of_all_pixels_is_the_noisy_image():
    x, noise = images(2, 1, 4, 4), images(2, 1, 4, 4, seed=1)
    for fill in FILLS:
        found = noisy_parts(x, noise, partition_masks("whole", (1, 4, 4)).double(), 0.3, fill)
        torch.testing.assert_close(found, (x + 0.3 * noise)[None])


# Votes


def half_spaces(weights, offsets):
    """Two-class half-spaces ``[P, C, H, W]`` as classifiers of parts: class 1 on the positive side."""

    def classify(parts):
        score = (parts * weights[:, None]).sum((2, 3, 4)) + offsets[:, None]
        return torch.stack([torch.zeros_like(score), score], dim=2)

    return classify


def test_votes_are_shares_of_a_gaussian_and_add_up():
    """Against the distribution function, at 4 standard errors, over images that need several passes."""
    weights = torch.tensor([[[[1.0, 0, -2, 0]]], [[[0, 2.0, 0, 0.5]]]])
    offsets = torch.tensor([0.1, -0.3])
    masks = torch.tensor([[[1.0, 0, 1, 0]], [[0, 1.0, 0, 1]]])
    x, samples = images(5, 1, 1, 4).float(), 20_000
    generator = torch.Generator().manual_seed(0)
    found = votes(half_spaces(weights, offsets), x, masks, 0.5, "none", samples=samples, classes=2, generator=generator)
    assert (found.sum(2) == samples).all()
    distance = ((weights[:, None] * x).sum((2, 3, 4)) + offsets[:, None]) / weights.flatten(1).norm(dim=1)[:, None]
    p = ndtr(distance.numpy() / 0.5)
    error = np.abs(found[:, :, 1].numpy() / samples - p)
    assert (error < 4 * np.sqrt(p * (1 - p) / samples)).all()


def test_votes_do_not_depend_on_how_images_fit_into_passes(monkeypatch):
    """Shares agree, and every image gets all of its votes, however small a pass is."""
    classify = half_spaces(torch.ones(1, 1, 2, 2), torch.tensor([-2.0]))
    x, masks = images(7, 1, 2, 2).float(), torch.ones(1, 2, 2)
    shares = []
    for room in (1, 4 * 3, 4 * 7 * 9, 2**22):
        monkeypatch.setattr("regbench.methods.certified.smoothing.PASS", room)
        generator = torch.Generator().manual_seed(1)
        found = votes(classify, x, masks, 0.5, "none", samples=1000, classes=2, generator=generator)
        assert (found.sum(2) == 1000).all()
        shares.append(found[0, :, 1] / 1000)
    assert torch.stack(shares).std(0).max() < 0.03


# Terms of the objective


def given(p):
    """A model whose predictions are given: probabilities ``[P, k, B, K]``."""
    return lambda parts: torch.tensor(p, dtype=torch.float64).log().flatten(1, 2)


def test_the_cards_consistency():
    p = [[[[0.7, 0.2, 0.1]], [[0.5, 0.3, 0.2]]]]
    divergence, spread = spread_and_entropy(torch.tensor(p, dtype=torch.float64).log())
    assert divergence.item() == pytest.approx(0.022388, abs=1e-6)
    assert spread.item() == pytest.approx(0.937637, abs=1e-6)
    mean = np.mean(p, axis=(0, 1))[0]
    assert divergence.item() == pytest.approx(np.mean([rel_entr(mean, q[0]).sum() for q in p[0]]), abs=1e-12)
    assert spread.item() == pytest.approx(entropy(mean), abs=1e-12)
    # Not the Jensen-Shannon divergence, which has the mean on the other side.
    assert abs(divergence.item() - np.mean([rel_entr(q[0], mean).sum() for q in p[0]])) > 1e-4


def loss(method, model, labels, draws, **weights):
    parts = torch.zeros(1, draws * len(labels), 1, 2, 2)
    return method.objective(model, Batch(parts, torch.tensor(labels), draws), method.replace(**weights).weight_values())[
        0
    ].item()


def test_the_cards_consistency_loss_comes_on_top_of_cross_entropy():
    model = given([[[[0.7, 0.2, 0.1]], [[0.5, 0.3, 0.2]]]])
    plain = -(math.log(0.7) + math.log(0.5)) / 2
    for method in (ConsistencySmoothing(), DualSmoothing()):
        assert loss(method, model, [0], 2, consistency_weight=15.0, entropy_weight=0.05) == pytest.approx(
            plain + 1.039044, abs=1e-5
        )
        assert loss(method, model, [0], 2, consistency_weight=0.0) == pytest.approx(plain, abs=1e-12)


def test_identical_predictions_have_no_divergence():
    logits = images(2, 1, 3, 5).expand(2, 4, 3, 5)
    torch.testing.assert_close(spread_and_entropy(logits)[0], torch.zeros(2, 3, dtype=torch.float64), atol=1e-12, rtol=0)


def test_halves_add_up_and_draws_and_images_are_averaged():
    logits = images(2, 3, 4, 5)
    y = torch.tensor([0, 1, 2, 4])
    method = DualSmoothing(consistency_weight=2.0, entropy_weight=0.5, margin_weight=0.3)
    batch = Batch(torch.zeros(2, 12, 1, 2, 2), y, 3)
    found = method.objective(lambda parts: logits.flatten(1, 2), batch, method.weight_values())[0].item()
    expected = 0.0
    for half in logits.numpy():
        p = np.exp(half) / np.exp(half).sum(2, keepdims=True)
        mean = p.mean(0)
        expected += np.mean([cross_entropy(torch.tensor(draw), y).item() for draw in half])
        expected += 2.0 * np.mean([rel_entr(mean, draw).sum(1) for draw in p]) + 2.0 * 0.5 * entropy(mean, axis=1).mean()
        right = p.argmax(2) == y.numpy()
        expected -= 0.3 * (right * ndtri(np.minimum(p.max(2), 0.99))).mean()
    assert found == pytest.approx(expected, abs=1e-9)


def test_margins_count_what_is_right_up_to_a_confidence():
    p = torch.tensor([[[[0.7, 0.3], [0.2, 0.8], [0.999, 0.001]]]], dtype=torch.float64)
    found = margins(p.log(), torch.tensor([0, 0, 0]))
    assert found.flatten().tolist() == pytest.approx([ndtri(0.7), 0, ndtri(0.99)])
    logits = p.log().requires_grad_()
    margins(logits, torch.tensor([0, 0, 0])).sum().backward()
    assert (logits.grad.abs().sum(3).flatten() > 0).tolist() == [True, False, False]


def test_gradients_of_the_terms():
    logits = (4 * images(2, 2, 2, 3)).requires_grad_()
    assert torch.autograd.gradcheck(spread_and_entropy, logits)
    assert torch.autograd.gradcheck(lambda value: margins(value, torch.tensor([0, 1])), logits)


# Networks


def test_resnet110_has_its_depth_and_the_papers_size():
    data = load("digits_16")
    layers = [layer for layer in build("resnet110", data).modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    in_shortcuts = sum(isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (1, 1) for layer in layers)
    assert len(layers) - in_shortcuts == 110
    rgb = sum(layer.weight.numel() for layer in layers) + 2 * 9 * 16
    assert rgb / 1e6 == pytest.approx(1.73, abs=0.01)  # He et al., table 6: 1.7 M


def test_networks_standardize_by_the_training_images():
    data = load("digits_16")
    network = build("mlp", data)
    standardized = network[0](data.train.tensors[0])
    assert standardized.mean().item() == pytest.approx(0, abs=1e-5)
    assert standardized.std(correction=0).item() == pytest.approx(1, abs=1e-5)
