import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss

from regbench.methods.classification.metrics import (
    area_under_risk_coverage,
    classification_metrics,
    excess_area_under_risk_coverage,
    expected_calibration_error,
)

P = torch.tensor([(0.9, 0.05, 0.05), (0.2, 0.7, 0.1), (0.6, 0.3, 0.1), (0.1, 0.15, 0.75), (0.5, 0.3, 0.2)], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1, 2, 0])


def random_predictions(seed, rows=200, classes=6, sharpness=2.0):
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=rows)
    logits = sharpness * random.normal(size=(rows, classes))
    logits[np.arange(rows), labels] += 2
    return logits, labels


def ece_by_bins(p, labels, bins=10):
    """Sorts every prediction into (lower, upper] by comparison."""
    confidence, right = p.max(1), p.argmax(1) == labels
    total = 0.0
    for lower in range(bins):
        inside = (confidence > lower / bins) & (confidence <= (lower + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def aurc_by_coverage(p, labels):
    """The error rate at every coverage, one after the other."""
    order = np.argsort(-p.max(1), kind="stable")
    wrong = (p.argmax(1) != labels)[order]
    return np.mean([wrong[:covered].mean() for covered in range(1, len(wrong) + 1)])


def test_values_by_hand():
    found = classification_metrics(P.log(), LABELS)
    assert found["accuracy"] == pytest.approx(0.8)
    assert found["error"] == pytest.approx(0.2)
    assert found["nll"] == pytest.approx(0.529368, abs=1e-6)
    assert expected_calibration_error(P, LABELS) == pytest.approx(0.35)
    assert found["aurc"] == pytest.approx(0.09)
    # The one error is fourth of five; at best it is last: 0.09 - (1/5) (1/5).
    assert found["e_aurc"] == pytest.approx(0.05)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sharpness", [0.3, 2.0])
def test_they_equal_reference_implementations(seed, sharpness):
    logits, labels = random_predictions(seed, sharpness=sharpness)
    p = softmax(logits, axis=1)
    found = classification_metrics(torch.tensor(logits), torch.tensor(labels))
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, p.argmax(1)))
    assert found["error"] == pytest.approx(1 - found["accuracy"])
    assert found["nll"] == pytest.approx(log_loss(labels, p))
    assert found["ece"] == pytest.approx(ece_by_bins(p, labels))
    assert found["aurc"] == pytest.approx(aurc_by_coverage(p, labels))


@pytest.mark.parametrize("seed", range(3))
def test_e_aurc_is_aurc_beyond_that_of_the_best_order(seed):
    logits, labels = random_predictions(seed)
    p = softmax(logits, axis=1)
    # The same predictions with confidences that put every wrong one behind every right one.
    wrong = p.argmax(1) != labels
    best = np.full_like(p, 0.0)
    best[np.arange(len(p)), p.argmax(1)] = np.where(wrong, 0.4, 0.6)
    expected = aurc_by_coverage(p, labels) - aurc_by_coverage(best, labels)
    assert excess_area_under_risk_coverage(torch.tensor(p), torch.tensor(labels)) == pytest.approx(expected)


@pytest.mark.parametrize("wrong", [0, 5])
def test_equal_predictions_have_no_excess(wrong):
    p = torch.tensor([[0.9, 0.1]] * 5)
    labels = torch.full((5,), 1 if wrong else 0)
    assert area_under_risk_coverage(p, labels) == pytest.approx(wrong / 5)
    assert excess_area_under_risk_coverage(p, labels) == pytest.approx(0, abs=1e-7)


def test_bins_are_closed_on_the_right():
    # 0.5 falls into (0.4, 0.5] and 0.55 into (0.5, 0.6]: |0 - 0.5| / 2 + |1 - 0.55| / 2; in one bin it would be 0.025.
    p = torch.tensor([(0.5, 0.3, 0.2), (0.55, 0.25, 0.2)], dtype=torch.float64)
    assert expected_calibration_error(p, torch.tensor([1, 0])) == pytest.approx(0.475)


def test_certainty_falls_into_the_last_bin():
    p = torch.tensor([(1.0, 0.0), (0.95, 0.05)], dtype=torch.float64)
    assert expected_calibration_error(p, torch.tensor([1, 0])) == pytest.approx(abs(0.5 - 0.975))


def test_extreme_logits_stay_finite():
    found = classification_metrics(torch.tensor([[1e4, 0.0], [0.0, -1e4]]), torch.tensor([1, 0]))
    assert np.isfinite(list(found.values())).all()
    assert found["nll"] == pytest.approx(5e3)
