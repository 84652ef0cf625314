"""Metrics of bags against scikit-learn, of attention against SciPy and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score
from torch.autograd import gradcheck

from regbench.methods.multiple_instance.metrics import attention_metrics, bag_metrics, negative_entropy


def maps(*rows):
    """One bag's attention maps from their logits."""
    return torch.tensor([rows], dtype=torch.float64)


CARD = maps([0.0, 1.0, 2.0, -1.0])
MIXED = torch.tensor(np.random.default_rng(0).normal(size=(3, 2, 7)) * 3)
PADDED = MIXED.clone()
PADDED[1, :, 3:] = -math.inf
PADDED[2, :, 1:] = -math.inf


# The paper's term


def test_the_cards_example():
    logits = CARD.clone().requires_grad_()
    a = logits.softmax(2)
    np.testing.assert_allclose(a.detach()[0, 0], [0.087144, 0.236883, 0.643914, 0.032059], atol=1e-6)
    term = negative_entropy(logits)
    assert term.item() == pytest.approx(-0.947537, abs=1e-6)
    term.sum().backward()
    np.testing.assert_allclose(logits.grad[0, 0], [-0.130076, -0.116701, 0.326688, -0.079911], atol=1e-6)
    torch.testing.assert_close(logits.grad, a * (a.log() - term))
    assert logits.grad.sum().item() == pytest.approx(0, abs=1e-12)


def test_maps_are_averaged():
    assert negative_entropy(maps([0.0, 0.0, 0.0], [1.0, 0.0, -1.0])).item() == pytest.approx(-0.965504, abs=1e-6)


def test_the_term_is_that_of_scipy():
    expected = [-np.mean([entropy(a) for a in bag]) for bag in PADDED.softmax(2).numpy()]
    np.testing.assert_allclose(negative_entropy(PADDED), expected, atol=1e-12)


def test_the_term_is_the_divergence_from_uniform_attention():
    a = CARD.softmax(2)[0, 0].numpy()
    divergence = entropy(a, np.full(4, 0.25))
    assert divergence == pytest.approx(0.438757, abs=1e-6)
    assert negative_entropy(CARD).item() + math.log(4) == pytest.approx(divergence)
    assert entropy(np.full(4, 0.25), a) == pytest.approx(0.553895, abs=1e-6)  # the other direction is another term


@pytest.mark.parametrize("size", [1, 2, 60])
def test_uniform_attention_reaches_the_bound(size):
    assert negative_entropy(maps([0.7] * size)).item() == pytest.approx(-math.log(size), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_attention_gives_zero_and_a_finite_gradient(dtype):
    logits = torch.tensor([[[1000.0, 0.0, -1000.0, -math.inf]]], dtype=dtype, requires_grad=True)
    term = negative_entropy(logits)
    term.sum().backward()
    assert term.item() == 0
    assert logits.grad.isfinite().all()


def test_padding_counts_for_nothing():
    for number, count in enumerate((7, 3, 1)):
        assert torch.equal(negative_entropy(PADDED)[number], negative_entropy(MIXED[number : number + 1, :, :count])[0])
    logits = PADDED.clone().requires_grad_()
    negative_entropy(logits).sum().backward()
    assert logits.grad.isfinite().all()
    assert (logits.grad[PADDED.isneginf()] == 0).all()


def test_invariances():
    term = negative_entropy(MIXED)
    torch.testing.assert_close(negative_entropy(MIXED + 5.0), term)
    torch.testing.assert_close(negative_entropy(MIXED.flip(2)), term)
    torch.testing.assert_close(negative_entropy(torch.cat([MIXED, MIXED], 2)), term - math.log(2))


def test_its_gradient_agrees_with_finite_differences():
    assert gradcheck(negative_entropy, MIXED.clone().requires_grad_())


# What is recorded of attention


def test_spread_of_attention():
    found = attention_metrics(PADDED, None)
    a = PADDED.softmax(2).numpy()
    entropies = entropy(a, axis=2).mean(1)
    np.testing.assert_allclose(found["attention_entropy"], entropies, atol=1e-12)
    np.testing.assert_allclose(found["attention_spread"], [entropies[0] / np.log(7), entropies[1] / np.log(3), 1.0])
    np.testing.assert_allclose(found["attention_largest"], a.max(2).mean(1))
    assert found.keys() == {"attention_entropy", "attention_spread", "attention_largest"}


def test_attention_on_witnesses():
    witnesses = torch.zeros(3, 7, dtype=torch.bool)
    witnesses[0, [1, 4]] = True
    witnesses[2, 0] = True
    found = attention_metrics(PADDED, witnesses)["attention_on_witnesses"]
    assert found[0].item() == pytest.approx(PADDED.softmax(2)[0][:, [1, 4]].sum(1).mean().item())
    assert found[1].isnan()
    assert found[2].item() == pytest.approx(1.0)


# How good a classifier is


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("rounding", [8, 1])
def test_bag_metrics_are_those_of_scikit_learn(classes, rounding):
    random = np.random.default_rng(classes)
    labels = random.permutation(np.arange(60) % classes)
    # Rounded scores have ties; sums of whole 64ths are exact.
    scores = random.dirichlet(np.ones(classes), 60).round(rounding) + np.eye(classes)[labels] * 0.3
    p = scores / scores.sum(1, keepdims=True)
    found = bag_metrics(torch.tensor(p), torch.tensor(labels))
    auc = roc_auc_score(labels, p[:, 1]) if classes == 2 else roc_auc_score(labels, p, multi_class="ovr", average="macro")
    assert found["auroc"] == pytest.approx(auc, abs=1e-12 if classes > 2 or rounding > 1 else 0.01)
    assert found["f1"] == pytest.approx(f1_score(labels, p.argmax(1), average="macro"))
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, p.argmax(1)))
    assert found["nll"] == pytest.approx(log_loss(labels, p.clip(1e-300)), abs=1e-9)


def test_a_class_that_is_never_predicted_has_no_f1():
    p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]], dtype=torch.float64)
    assert bag_metrics(p, torch.tensor([0, 1, 0]))["f1"] == pytest.approx(0.4)


def test_ties_count_half():
    p = torch.tensor([[0.5, 0.5]] * 4, dtype=torch.float64)
    assert bag_metrics(p, torch.tensor([0, 1, 1, 0]))["auroc"] == 0.5


def test_scores_that_are_not_numbers_show():
    p = torch.tensor([[math.nan, math.nan], [0.4, 0.6]], dtype=torch.float64)
    found = bag_metrics(p, torch.tensor([0, 1]))
    assert math.isnan(found["auroc"])
