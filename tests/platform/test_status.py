"""How far a sweep has come is read off its records, and told as text."""

import io
import json

import pytest
from rich.console import Console

from regbench.methods.errors import ConfigError, StorageError
from regbench.platform.records.records import Records, Report, Trial
from regbench.platform.records.storage import Storage
from regbench.platform.records.sweeps import open_sweep, require_folder
from regbench.platform.status import SweepStatus, overview, sweep_status

REASON = "[/pytorch/third_party/gloo/pair.cc:598] Connection closed by peer"
STUDY = {"entry": "a", "data": "digits", "trials": 2, "modes": ["max"], "weights": ["w"]}


def sweep(folder, studies=(STUDY,), seeds=1, ablate=True) -> Records:
    records = Records(Storage(folder).child("s"))
    described = {
        "suite": {"name": "s", "confirm": {"seeds": seeds, "ablate": ablate}},
        "studies": list(studies),
        "provenance": {"started": "2026-01-01T00:00:00+00:00"},
    }
    records.storage.write("suite.json", json.dumps(described).encode())
    return records


def end(records, stage, number, status="completed", value=0.5, reason=None, mode="max"):
    key = f"a-digits-{stage}-{number:04d}"
    trial = Trial("s", key, stage, "t", "a", "m", None, "digits", number, 0, ("val/x",), (mode,), 1, {}, {})
    records.plan(trial)
    records.start_attempt(key).report(Report(1, 0.0, 0.0, {"val/x": value}))
    records.finish(trial, status, reason)


def shown(renderable, markup=True) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(renderable, markup=markup)
    return console.file.getvalue()


def test_a_sweep_is_complete_when_the_best_is_confirmed_and_ablated(tmp_path):
    records = sweep(tmp_path)
    for stage, number in (("tune", 0), ("tune", 1), ("confirm", 0)):
        end(records, stage, number, value=number)
        assert SweepStatus("s", records).state.startswith("interrupted: regbench resume s")
    end(records, "ablate", 0)
    found = SweepStatus("s", records)
    assert (found.state, found.total, len(found.rows)) == ("complete", 4, 4)
    assert found.studies[0].best == 1.0


def test_where_all_tuning_failed_there_is_nothing_to_confirm(tmp_path):
    records = sweep(tmp_path)
    for number in (0, 1):
        end(records, "tune", number, "failed", reason=REASON)
    found = SweepStatus("s", records)
    assert found.state == "complete"
    assert found.studies[0].best is None


def test_a_method_without_weights_is_not_ablated(tmp_path):
    records = sweep(tmp_path, studies=[STUDY | {"weights": []}], seeds=3)
    assert SweepStatus("s", records).total == 2 + 3


def test_the_best_of_a_loss_is_the_least(tmp_path):
    records = sweep(tmp_path, studies=[STUDY | {"modes": ["min"]}])
    for number, value in enumerate((0.7, 0.4)):
        end(records, "tune", number, value=value, mode="min")
    assert SweepStatus("s", records).studies[0].best == 0.4


def test_reasons_and_places_are_text_and_no_markup(tmp_path):
    folder = tmp_path / "[v2] results"
    records = sweep(folder)
    end(records, "tune", 0, "failed", reason=REASON)
    assert REASON in shown(sweep_status("s", Storage(folder)))
    assert "[v2] results" in " ".join(shown(overview(Storage(folder))[0]).split())


def test_a_folder_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(StorageError, match=r"there is no folder .*none: correct --storage"):
        require_folder(Storage(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"no sweep 's' in .*none: there is no such folder"):
        open_sweep("s", Storage(tmp_path / "none"))
