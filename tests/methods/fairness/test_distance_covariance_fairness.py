"""The penalized objective, calibration, and what the method claims on its generated data."""

from types import SimpleNamespace

import pytest
import torch

from regbench.methods import Run
from regbench.methods.errors import ConfigError
from regbench.methods.fairness.distance_covariance import estimate
from regbench.methods.fairness.distance_covariance_fairness import DistanceCovarianceFairness
from regbench.methods.fairness.plain_prediction import PlainPrediction
from regbench.methods.fairness.task import TRACK, Batch
from regbench.methods.run import Alone
from regbench.methods.shared.data import Data

SMALL = dict(TRACK.smoke)


def batch(target="real", n=12):
    generator = torch.Generator().manual_seed(0)
    x, s = (torch.rand(n, width, dtype=torch.float64, generator=generator) for width in (3, 4))
    y = (torch.rand(n, generator=generator) < 0.5).double()
    return Batch(x, s.view(n, 2, 2), y, 0.5 + x[:, 0], (2, 2), target)


def curve(method, data="gerrymandering", **options):
    return list(method.train(Run(data, **options)))


@pytest.mark.parametrize("penalty", ["sum", "ccdcov", "jdcov"])
@pytest.mark.parametrize("target", ["real", "binary", "count"])
def test_the_penalty_is_on_the_scale_of_the_response(target, penalty):
    rows = batch(target)
    method = DistanceCovarianceFairness(penalty=penalty, fairness_weight=3.0, jdcov_c=0.5)
    found, score = method.objective(lambda x: x[:, 0], rows, method.weight_values())
    plain, _ = PlainPrediction().objective(lambda x: x[:, 0], rows, SimpleNamespace())
    prediction = {"real": score, "binary": 1 / (1 + (-score).exp()), "count": rows.exposure * score.exp()}[target]
    torch.testing.assert_close(found - plain, 3 * estimate(penalty, prediction, rows.s, rows.widths, 0.5))


def test_the_derivative_in_c_is_that_of_finite_differences():
    rows = batch()
    gradcheck = torch.autograd.gradcheck
    assert gradcheck(
        lambda c: estimate("jdcov", rows.x[:, 0], rows.s, rows.widths, c), torch.tensor(0.7).double().requires_grad_()
    )


@pytest.mark.parametrize("penalty", ["sum", "ccdcov", "jdcov"])
def test_every_parameter_learns_from_the_penalty_but_what_shifts_all_predictions(penalty):
    method = DistanceCovarianceFairness(penalty=penalty, width=8)
    rows = batch()
    torch.manual_seed(1)
    network = method.build_model(Data("x", None, None, None, {"shape": (3,)})).double()
    loss, _ = method.objective(network, rows, SimpleNamespace(fairness_weight=1.0))
    plain, _ = PlainPrediction().objective(network, rows, SimpleNamespace())
    names, parameters = zip(*network.named_parameters(), strict=True)
    gradients = dict(zip(names, torch.autograd.grad(loss - plain, parameters), strict=True))
    still = {name for name, gradient in gradients.items() if gradient.abs().max() < 1e-12}
    assert still == {names[-1]}
    assert all(gradient.isfinite().all() for gradient in gradients.values())


def test_a_batch_of_three_has_no_penalty():
    rows = batch(n=3)
    method = DistanceCovarianceFairness(fairness_weight=3.0)
    found = method.objective(lambda x: x[:, 0], rows, method.weight_values())[0]
    assert found == PlainPrediction().objective(lambda x: x[:, 0], rows, SimpleNamespace())[0]


@pytest.mark.parametrize("penalty", ["sum", "jdcov"])
def test_off_is_plain_training(penalty):
    assert curve(DistanceCovarianceFairness(penalty=penalty, **SMALL).baseline()) == curve(PlainPrediction(**SMALL))


def test_joint_penalties_find_what_marginal_ones_miss():
    """Half of the training of the card's benchmark; its figures after 20 epochs fall by 40 %, and by nothing for the sum."""
    found = {
        name: curve(method.replace(epochs=10))[-1]
        for name, method in {
            "plain": PlainPrediction(),
            "sum": DistanceCovarianceFairness(penalty="sum", fairness_weight=50.0),
            "ccdcov": DistanceCovarianceFairness(penalty="ccdcov", fairness_weight=50.0),
            "jdcov": DistanceCovarianceFairness(penalty="jdcov", fairness_weight=50.0),
        }.items()
    }
    for metric in ("val/jsd", "val/ccdcov", "val/uf", "val/distance_correlation"):
        assert found["sum"][metric] > 0.9 * found["plain"][metric]
        assert found["ccdcov"][metric] < 0.75 * found["plain"][metric]
        assert found["jdcov"][metric] < found["ccdcov"][metric]
    assert found["plain"]["val/error"] < found["ccdcov"]["val/error"] < 0.8


# Calibration

CALIBRATED = DistanceCovarianceFairness(
    penalty="jdcov", jsd_level=0.2, fairness_weight=60.0, calibration_points=3, calibration_seeds=2, epochs=2, width=16
)


@pytest.mark.parametrize(
    ("level", "found", "chosen"),
    [
        (0.2, [0.5, 0.3, 0.2, 0.18, 0.1, 0.1], 1),
        (0.2, [0.1, 0.2, 0.0, 0.0, 0.0, 0.0], 0),
        (0.01, [0.5, 0.3, 0.1, 0.1, 0.2, 0.1], 1),
    ],
)
def test_the_smallest_weight_that_attains_the_level_is_chosen(level, found, chosen):
    assert CALIBRATED.replace(jsd_level=level).chosen(found) == chosen


@pytest.fixture(scope="module")
def rounds():
    return curve(CALIBRATED)


def test_calibration_trains_the_grid_then_the_chosen_weight(rounds):
    assert len(rounds) == CALIBRATED.rounds == 14
    weights = [metrics["train/fairness_weight"] for metrics in rounds]
    assert weights[:12] == [0] * 4 + [30] * 4 + [60] * 4
    assert weights[12] == weights[13]
    assert weights[12] in (0, 30, 60)
    for metrics in rounds[12:]:
        assert metrics["calibration/reached"] == (metrics["calibration/jsd"] <= 0.2)


def test_networks_of_a_calibration_start_afresh_and_differ_by_seed(rounds):
    losses = [metrics["train/loss"] for metrics in rounds]
    assert losses[0] != losses[2]
    assert losses[2] > losses[1]


def test_an_interrupted_calibration_goes_on_as_if_nothing_had_happened(rounds):
    run = Run("gerrymandering")
    training = CALIBRATED.train(run)
    for _ in range(7):
        next(training)
    assert curve(CALIBRATED, checkpoint=run.state()) == rounds[7:]


def test_no_calibration_where_the_method_is_off():
    assert CALIBRATED.baseline().rounds == CALIBRATED.epochs


def test_workers_need_four_rows_each():
    class Three(Alone):
        size = 3

    with pytest.raises(ConfigError, match="batch_size 8 is too small for 3 workers"):
        curve(PlainPrediction(batch_size=8, **SMALL), world=Three())
