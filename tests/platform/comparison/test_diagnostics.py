"""Diagnostics of a comparison: curves of confirmation trials, rank correlations over tuning trials, and their figures."""

import pytest
from scipy import stats
from test_compare import BASE, BETTER, Sweep

from regbench.platform.comparison import diagnostic_charts
from regbench.platform.comparison.compare import compare
from regbench.platform.comparison.looks import looks
from regbench.platform.comparison.report import render

pytestmark = pytest.mark.filterwarnings("error")

ACCURACIES = [0.5, 0.7, 0.6, 0.9, 0.8, 0.85]
MEASURED = [1.0, 3.0, 2.0, 6.0, 5.0, 4.0]


def measured(step, shift=0.0):
    return {f"diagnostic/{layer}ebab_{about}": step + shift for layer in ("", "model.1/") for about in "xy"} | {
        "diagnostic/dse": 4 - step
    }


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    made = Sweep(tmp_path_factory.mktemp("sweep"))
    for entry, values in (("cross_entropy", BASE), ("label_smoothing", BETTER)):
        for number, value in enumerate(values):
            rounds = [{"val/accuracy": value, **(measured(step, number / 10) if step != 1 else {})} for step in range(3)]
            rounds[-1] |= {"test/accuracy": value}
            made.trial(entry, "confirm", number, rounds, seed=1000 + number)
    for entry, sign in (("cross_entropy", 1), ("label_smoothing", -1)):
        for number, (accuracy, value) in enumerate(zip(ACCURACIES, MEASURED, strict=True)):
            rounds = [{"val/accuracy": accuracy, "diagnostic/dsmi": sign * value, "diagnostic/dse": 1.0}]
            made.trial(entry, "tune", number, rounds, planned=1)
    # Neither one that was stopped nor one without a measurement counts.
    made.trial("cross_entropy", "tune", 6, [{"val/accuracy": 0.1, "diagnostic/dsmi": 99.0}], status="stopped")
    made.trial("cross_entropy", "tune", 7, [{"val/accuracy": 0.1}], planned=1)
    made.describe()
    return compare(made.records)


def test_curves(comparison):
    found = comparison.diagnostics
    assert set(found["diagnostic"]) == {"ebab_x", "ebab_y", "model.1/ebab_x", "model.1/ebab_y", "dse"}
    one = found[(found["entry"] == "label_smoothing") & (found["seed"] == 1002) & (found["diagnostic"] == "model.1/ebab_y")]
    assert list(zip(one["round"], one["value"], strict=True)) == [(1, 0.2), (3, 2.2)]


def test_rank_correlations_are_those_of_scipy(comparison):
    found = comparison.predictors.set_index("entry")
    assert set(found["diagnostic"]) == {"dsmi"}
    expected = stats.spearmanr(MEASURED, ACCURACIES)
    own = found.loc["cross_entropy"]
    assert (own["correlation"], own["p"], own["trials"]) == pytest.approx((expected.statistic, expected.pvalue, 6))
    assert found.loc["label_smoothing"]["correlation"] == pytest.approx(-expected.statistic)
    together = stats.spearmanr([*MEASURED, *(-value for value in MEASURED)], 2 * ACCURACIES)
    assert found.loc[""]["correlation"] == pytest.approx(together.statistic)
    assert found.loc[""]["trials"] == 12


def test_what_is_to_be_small_turns_the_sign(tmp_path):
    made = Sweep(tmp_path, objectives=("val/nll",), modes=("min",))
    for number, (loss, value) in enumerate(zip(ACCURACIES, MEASURED, strict=True)):
        made.trial("cross_entropy", "tune", number, [{"val/nll": loss, "diagnostic/dsmi": value}], planned=1)
    made.describe()
    found = compare(made.records).predictors
    assert found["correlation"].tolist() == pytest.approx([-stats.spearmanr(MEASURED, ACCURACIES).statistic])


def drawn(draw, comparison):
    entries = looks(comparison.entries["entry"])
    return [chart.svg("chart") for chart in draw(comparison, "classification", "digits", entries)]


def test_charts(comparison):
    planes = drawn(diagnostic_charts.information_plane, comparison)
    assert len(planes) == 2
    assert all("adaptive bins" in plane and "I(X; T), bits" in plane for plane in planes)
    over = drawn(diagnostic_charts.over_training, comparison)
    assert [name for name in ("ebab_x", "model.1/ebab_y", "dse") if any(name in chart for chart in over)] == [
        "ebab_x",
        "model.1/ebab_y",
        "dse",
    ]
    (prediction,) = drawn(diagnostic_charts.prediction, comparison)
    assert "rank correlation with val/accuracy" in prediction
    assert "Diagnostics of hidden representations" in render(comparison)


def test_without_diagnostics_there_is_nothing(tmp_path):
    made = Sweep(tmp_path)
    made.confirm("cross_entropy", BASE)
    made.describe()
    found = compare(made.records)
    assert found.diagnostics.empty
    assert found.predictors.empty
    draws = (diagnostic_charts.over_training, diagnostic_charts.information_plane, diagnostic_charts.prediction)
    assert [drawn(draw, found) for draw in draws] == [[], [], []]
    assert "Diagnostics of hidden representations" not in render(found)
