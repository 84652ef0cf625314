"""A sweep's records as MLflow gets them, and everything that MLflow holds."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mlflow import MlflowClient

from regbench.platform.comparison.compare import compare
from regbench.platform.records.records import Records, Report, Stage, Trial
from regbench.platform.records.storage import Storage

TRIAL = Trial(
    sweep="demo",
    key="ps_kd-digits-tune-0000",
    stage="tune",
    track="classification",
    entry="ps_kd",
    method="ps_kd",
    arxiv="2006.12000",
    data="digits",
    number=0,
    seed=0,
    objectives=("val/accuracy",),
    modes=("max",),
    planned_rounds=3,
    settings={"final_alpha": 0.8, "epochs": 3},
    searched={"final_alpha": 0.8},
)
ACCURACIES = [0.5, 0.9, 0.7]


def sweep(folder: Path, scheduler: str = "none") -> Records:
    records = Records(Storage(folder).child("demo"))
    suite = {
        "trials": 3,
        "sampler": {"name": "tpe"},
        "scheduler": {"name": scheduler},
        "confirm": {"seeds": 1},
        "seed": 0,
        "execution": "tune",
        "methods": {"ps_kd": {}},
        "settings": {"epochs": 3},
    }
    provenance = {"regbench": "0.1.0", "git": "abc", "host": "here", "started": "2026-01-01T00:00:00+00:00"}
    records.storage.write("suite.json", json.dumps({"id": uuid.uuid4().hex, "suite": suite, "provenance": provenance}).encode())
    return records


def train(records: Records, trial: Trial, rounds: int = 3, searched: list[dict] | None = None) -> None:
    records.plan(trial)
    done = len(records.log(trial.key).reports)
    attempt = records.start_attempt(trial.key, host="here", device="cpu")
    for index in range(done, rounds):
        values = searched[index] if searched else trial.searched
        metrics = {"val/accuracy": ACCURACIES[index], "train/loss": 1.0 / (index + 1)}
        if trial.stage == "confirm" and index == 2:
            metrics["test/accuracy"] = 0.75
        attempt.report(Report(index + 1, 1.7e9 + index, index + 1.0, metrics, values))


def finished(folder: Path) -> Records:
    """Two tuning trials, one of them failed, and a confirmed one."""
    records = sweep(folder)
    train(records, TRIAL)
    records.finish(TRIAL, "completed")
    records.storage.write(f"checkpoints/{TRIAL.key}.pt", b"weights")
    broken = replace(TRIAL, key="ps_kd-digits-tune-0001", number=1, searched={"final_alpha": 0.3})
    train(records, broken, rounds=1)
    records.finish(broken, "failed", "it diverged")
    confirmed = replace(TRIAL, key="ps_kd-digits-confirm-0000", stage="confirm", seed=1000)
    train(records, confirmed)
    records.finish(confirmed, "completed")
    records.storage.write("report/report.html", b"<p>report</p>")
    return records


def compared(folder: Path, data: Sequence[str] = ("digits",), gain: float = 0.06) -> Records:
    """A sweep with its comparison: a baseline, and label smoothing that is better by ``gain`` on each of three seeds."""
    records = sweep(folder)
    for place in data:
        for entry, better in (("cross_entropy", 0.0), ("label_smoothing", gain)):
            common = replace(TRIAL, entry=entry, method=entry, arxiv=None, data=place, planned_rounds=1)
            for number, rate in enumerate((0.01, 0.1, 0.3)):
                searched = {"learning_rate": rate} | ({"smoothing": rate} if better else {})
                _train_once(records, common, "tune", number, number, searched, 0.8 - abs(rate - 0.1))
            chosen = {"learning_rate": 0.1} | ({"smoothing": 0.1} if better else {})
            for number in range(3):
                accuracy = 0.8 + better + 0.01 * number + better * number / 10
                _train_once(records, common, "confirm", number, 1000 + number, chosen, accuracy)
    compare(records).write(records.storage.child("report"))
    return records


def _train_once(records: Records, common: Trial, stage: Stage, number: int, seed: int, searched: dict, accuracy: float) -> None:
    key = f"{common.entry}-{common.data}-{stage}-{number:04d}"
    trial = replace(common, key=key, stage=stage, number=number, seed=seed, searched=searched, settings=searched)
    records.plan(trial)
    metrics = {"val/accuracy": accuracy} | ({"test/accuracy": accuracy} if stage == "confirm" else {})
    records.start_attempt(key, host="here", device="cpu").report(Report(1, 1.7e9 + number, 1.0, metrics, searched))
    records.finish(trial, "completed")


def dump(uri: str) -> dict[str, object]:
    """Everything in MLflow, by track and trial; the sweep's own run goes by its track."""
    client = MlflowClient(uri)
    found = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id], max_results=1000):
            histories = {
                name: [(point.step, point.timestamp, point.value) for point in client.get_metric_history(run.info.run_id, name)]
                for name in run.data.metrics
            }
            name = run.data.tags["regbench.key"].partition("/")[2]
            found[f"{experiment.name}/{name}"] = {
                "id": run.info.run_id,
                "name": run.info.run_name,
                "status": run.info.status,
                "times": (run.info.start_time, run.info.end_time),
                "params": run.data.params,
                "tags": run.data.tags,
                "metrics": histories,
                "inputs": [item.dataset.name for item in run.inputs.dataset_inputs],
                "artifacts": sorted(item.path for item in client.list_artifacts(run.info.run_id)),
            }
    return found
