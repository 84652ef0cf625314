"""LegoGCD's terms against figures computed by hand and closed forms; what it adds to SimGCD, and that it trains."""

from types import SimpleNamespace

import pytest
import torch

from regbench.methods.discovery import losses
from regbench.methods.discovery.lego_gcd import (
    LegoGCD,
    confident_known_rows,
    local_entropy,
    updated_frequencies,
    view_divergence,
)
from regbench.methods.discovery.networks import Found
from regbench.methods.discovery.simgcd import SimGCD
from regbench.methods.discovery.task import Batch
from regbench.methods.run import Run
from regbench.methods.shared.data import load

COSINES = [[0.9, 0.1, -0.2], [0.8, 0.3, 0.0], [0.7, 0.2, -0.1], [0.6, 0.5, 0.1]]
SECOND_LABELLED = torch.tensor([False, True])
UNIFORM = torch.full((1, 3), 1 / 3, dtype=torch.float64)
PAIR = [[0.5, 0.2, 0.1], [0.4, 0.3, 0.1]]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def tensor(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


# Divergence of the views


@DTYPES
@pytest.mark.parametrize(("form", "expected"), [("paper", 0.172755), ("attached", 0.172755), ("released", 0.148211)])
def test_divergence_of_a_pair(dtype, form, expected):
    assert view_divergence(tensor(PAIR, dtype), form=form).item() == pytest.approx(expected, abs=2e-6)


def test_divergence_is_a_mean_over_images_and_0_for_equal_views():
    assert view_divergence(tensor(COSINES)).item() == pytest.approx(0.144503, abs=1e-6)
    assert view_divergence(tensor(COSINES[:2] * 2)).item() == pytest.approx(0, abs=1e-15)


def test_the_second_view_has_a_gradient_only_if_asked_for():
    for form, second in (("paper", False), ("attached", True), ("released", True)):
        s = tensor(COSINES).requires_grad_()
        (gradient,) = torch.autograd.grad(view_divergence(s, form=form), s)
        assert gradient[:2].any()
        assert bool(gradient[2:].any()) == second
    # d KL(p ‖ p') / ds' = (p' - p) / τ_s
    s = tensor(COSINES).requires_grad_()
    (gradient,) = torch.autograd.grad(view_divergence(s, form="attached"), s)
    p = (s.detach() / 0.1).softmax(1)
    torch.testing.assert_close(gradient[2:], (p[2:] - p[:2]) / 0.1 / 2)


# Local entropy


@DTYPES
def test_local_entropy_of_one_selected_row(dtype):
    s = tensor([PAIR[0]] * 4, dtype)
    frequencies = tensor([[0.5, 0.3, 0.2]], dtype)
    for rows, factor in ([True] * 4, 1), ([True, False, False, False], 0.25):
        selected = torch.tensor(rows)
        plain = local_entropy(s, selected, frequencies, 0.0).item()
        assert plain == pytest.approx(factor * 0.020317, abs=1e-6)
        assert local_entropy(s, selected, frequencies, 0.4).item() == pytest.approx(factor * 0.020385, abs=1e-6)


@pytest.mark.parametrize("margin", [0.0, 0.4, 1.0])
def test_with_uniform_frequencies_it_is_the_entropy_with_the_entropys_gradient(margin):
    s, selected = tensor(COSINES).requires_grad_(), torch.tensor([True, True, False, True])
    loss = local_entropy(s, selected, UNIFORM, margin)
    log_p = (s.detach() / 0.05).log_softmax(1)
    entropy = -(log_p.exp() * log_p).sum(1)
    assert loss.item() == pytest.approx((entropy * selected).sum().item() / 4)
    expected = -log_p.exp() * (log_p + entropy[:, None]) / 0.05 / 4 * selected[:, None]
    torch.testing.assert_close(torch.autograd.grad(loss, s)[0], expected, atol=1e-14, rtol=1e-12)


def test_confident_rows_without_label_that_are_predicted_as_known_are_selected():
    found = confident_known_rows(tensor(COSINES), SECOND_LABELLED, known=2, threshold=0.85)
    assert found.tolist() == [True, False, True, False]
    neither = torch.tensor([False, False])
    # 0.73 is the probability of the last row's class: not confident.
    assert confident_known_rows(tensor(COSINES), neither, 2, 0.85).tolist() == [True, True, True, False]
    assert not confident_known_rows(tensor(COSINES).flip(1), neither, 2, 0.85).any()


def test_frequencies_move_by_a_thousandth_at_temperature_1():
    found = updated_frequencies(UNIFORM, tensor(COSINES))
    torch.testing.assert_close(found, tensor([[0.333483, 0.333301, 0.333216]]), atol=1e-6, rtol=0)
    assert found.sum().item() == pytest.approx(1)
    torch.testing.assert_close(updated_frequencies(UNIFORM, tensor(COSINES), 0.0), tensor(COSINES).softmax(1).mean(0)[None])


# The objective


def given(s, z):
    return lambda x: Found(s, z)


def a_batch(y=(-1, 0), frequencies=UNIFORM, epoch=99):
    y = torch.tensor(y)
    return Batch(torch.zeros(4, 1), y, y >= 0, 2, epoch, frequencies)


def test_the_objective_is_its_terms_by_their_weights():
    s = tensor(COSINES)
    z = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    method = LegoGCD()
    weights = SimpleNamespace(ler_weight=1.5, dkl_weight=0.7, map_margin=0.4, memax_weight=3.0, sup_weight=0.2)
    batch = a_batch(frequencies=tensor([[0.5, 0.3, 0.2]]))
    y, labelled = batch.y, batch.labelled
    supervised = losses.supervised_contrastive(z, y, labelled) + 0.162612
    unsupervised = losses.unsupervised_contrastive(z) + 0.177994 + 3 * 0.833636 + 0.7 * 0.144503
    entropy = local_entropy(s, torch.tensor([True, False, True, False]), batch.frequencies, 0.4)
    expected = 0.8 * unsupervised + 0.2 * supervised + 1.5 * entropy
    assert method.objective(given(s, z), batch, weights)[0].item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("y", [(-1, 0), (-1, -1), (1, 0)])
def test_switched_off_it_is_simgcd_bit_for_bit_gradients_too(y):
    gradients = []
    for method in (LegoGCD().baseline(), SimGCD()):
        s, z = tensor(COSINES).requires_grad_(), tensor(COSINES).requires_grad_()
        loss, _ = method.objective(given(s, z), a_batch(y, epoch=3), method.weight_values())
        gradients.append((loss, *torch.autograd.grad(loss, (s, z))))
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_labels_of_unlabelled_rows_are_not_there():
    train = load("digits_discovery").train
    _, y, labelled = train.tensors
    assert (y[~labelled] == -1).all()
    assert set(y[labelled].tolist()) == set(range(5))
    assert (y[labelled].bincount() == torch.tensor([89, 91, 88, 92, 90])).all()


# Training


def test_it_learns_known_classes_and_counts_what_it_forgets():
    settings = {"epochs": 6, "pretraining_epochs": 4, "feature_dim": 32, "teacher_warmup_epochs": 4, "batch_size": 64}
    curve = list(LegoGCD(**settings).train(Run("digits_discovery", test=True)))
    known = [metrics["val/known_accuracy"] for metrics in curve]
    # A known class is one of ten.
    assert max(known) > 0.35
    for epoch, metrics in enumerate(curve, start=1):
        assert metrics["val/forgetting"] == pytest.approx(max(known[:epoch]) - known[epoch - 1])
    assert curve[-1]["test/forgetting"] >= 0


def test_frequencies_follow_the_predictions_of_training():
    run = Run("digits_discovery")
    settings = {"epochs": 1, "pretraining_epochs": 0, "feature_dim": 4, "projector_dim": 4, "qhat_momentum": 0.9}
    list(LegoGCD(**settings).train(run))
    frequencies = run.part("memory")["frequencies"]
    assert frequencies.sum().item() == pytest.approx(1, abs=1e-5)
    assert not torch.allclose(frequencies, torch.full((1, 10), 0.1))


def test_in_mixed_precision_it_trains_on_losses_in_single_precision():
    run = Run("digits_discovery")
    settings = {"epochs": 1, "pretraining_epochs": 0, "feature_dim": 8, "projector_dim": 8, "batch_size": 256}
    (metrics,) = LegoGCD(**settings, mixed_precision=True).train(run)
    (single,) = LegoGCD(**settings).train(Run("digits_discovery"))
    assert run.part("memory")["frequencies"].dtype == torch.float32
    assert metrics["train/loss"] != single["train/loss"]
    assert metrics["train/loss"] == pytest.approx(single["train/loss"], rel=0.05)
