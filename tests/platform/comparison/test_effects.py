"""Measured effects are those of the sweep, and every claim names what its suite has."""

import io

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from regbench.methods.errors import ConfigError
from regbench.methods.registry import all_methods
from regbench.platform import sweep as engine
from regbench.platform.comparison.compare import compare
from regbench.platform.comparison.effects import (
    COLUMNS,
    Claim,
    claims,
    effects_of,
    effects_page,
    measured,
    measured_methods,
    note,
)
from regbench.platform.comparison.frames import FRAMES
from regbench.platform.comparison.measurement import PLOTTED, WEIGHTS_OFF, measure, plotted
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import parse_suite, read_suite

CLAIM = Claim(
    suite="tiny",
    entry="label_smoothing",
    competitors=["confidence_penalty"],
    data="digits_noisy",
    metrics=["accuracy", "nll"],
    metric="accuracy",
    direction="higher",
    claim="smoothing helps",
)
SEEDS = (1000, 1001, 1002)


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Records:
    storage = Storage(tmp_path_factory.mktemp("effects"))
    suite = parse_suite(
        {
            "name": "tiny",
            "methods": ["label_smoothing", "confidence_penalty"],
            "data": ["digits_noisy"],
            "settings": {"epochs": 2},
            "trials": 1,
            "execution": "inline",
            "confirm": {"seeds": len(SEEDS)},
        }
    )
    engine.start(suite, storage, "none", Console(quiet=True))
    return Records(storage.child("tiny"))


def values(records: Records, entry: str, stage: str, metric: str) -> np.ndarray:
    rows = {row["seed"]: row for row in records.trials().to_pylist() if (row["entry"], row["stage"]) == (entry, stage)}
    return np.array([dict(rows[seed]["metrics"])[f"test/{metric}"] for seed in SEEDS])


def test_an_effect_is_the_paired_difference_of_the_confirmed_runs(records):
    rows = measure("label_smoothing", CLAIM, records, compare(records))
    assert list(rows) == COLUMNS
    assert list(rows["against"]) == ["cross_entropy", "confidence_penalty", WEIGHTS_OFF] * 2
    opponents = {"cross_entropy": ("cross_entropy", "confirm"), "confidence_penalty": ("confidence_penalty", "confirm")}
    opponents[WEIGHTS_OFF] = ("label_smoothing", "ablate")
    for row in rows.to_dict("records"):
        own = values(records, "label_smoothing", "confirm", row["metric"])
        other = values(records, *opponents[row["against"]], row["metric"])
        interval = stats.ttest_rel(own, other).confidence_interval()
        assert row["seeds"] == len(SEEDS)
        assert row["mean"] == pytest.approx(own.mean())
        assert row["difference"] == pytest.approx((own - other).mean())
        assert [row["difference_low"], row["difference_high"]] == pytest.approx([interval.low, interval.high])
        assert row["mode"] == {"accuracy": "max", "nll": "min"}[row["metric"]]
        assert row["standardized"] == pytest.approx((own - other).mean() / (own - other).std(ddof=1), nan_ok=True)
        assert (row["unit"], row["units"], row["design"]) == ("seed", len(SEEDS), "3 seeds, one tuning")
        assert row["weights"].startswith("ε = ")
        assert row["cost"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entry": "label_smoothign"}, "no entry 'label_smoothign'"),
        ({"metrics": ["acuracy"]}, "did you mean 'accuracy'"),
        ({"competitors": ["mixup"]}, "no confirmed accuracy of 'mixup'"),
    ],
)
def test_a_claim_that_the_sweep_cannot_answer_is_refused(records, change, message):
    with pytest.raises(ConfigError, match=message):
        measure("label_smoothing", CLAIM.model_copy(update=change), records, compare(records))


@pytest.mark.parametrize(
    ("slug", "claim"),
    [pytest.param(slug, claim, id=f"{slug}-{claim.data}") for slug, found in claims().items() for claim in found],
)
def test_a_claim_names_what_its_suite_has(slug, claim):
    found = {(study.entry, study.data): study for study in studies(read_suite(claim.suite))}
    study = found[claim.entry, claim.data]
    assert study.method is all_methods()[slug]
    assert all((entry, claim.data) in found for entry in claim.competitors)
    assert set(claim.metrics) <= {metric.name for metric in study.method.track.metrics}
    assert claim.metric in claim.metrics
    assert claim.against in {"baseline", WEIGHTS_OFF, *claim.competitors}
    assert note(slug)


def test_measured_effects_belong_to_claims_and_are_shown():
    claimed = {(slug, claim.suite, claim.data) for slug, found in claims().items() for claim in found}
    assert {(row["method"], row["suite"], row["data"]) for row in measured()} <= claimed
    console = Console(width=120, file=io.StringIO())
    console.print(effects_page(measured_methods()))
    text = console.file.getvalue()
    assert all(slug in text for slug in measured_methods())


def test_kept_plots_belong_to_what_was_measured():
    for name in PLOTTED:
        kept = getattr(plotted(), name)
        assert list(kept) == list(FRAMES[name])
        assert set(kept["data"]) <= {row["data"] for row in measured()}
        assert set(kept["entry"]) <= set(plotted().entries["entry"])


def test_a_method_without_a_measurement_has_no_effects():
    assert effects_of("cross_entropy") == []
