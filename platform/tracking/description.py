"""How a sweep and its trials are told apart and described in MLflow: keys, names, tags, parameters, data sets."""

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from regbench.platform.records.records import Records, Trial
from regbench.platform.records.suite_file import read_suite_file

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

KEY, SWEEP, STATUS, RUNNING = "regbench.key", "regbench.sweep", "status", "running"
# A sweep's name is only its owner's: on a shared server two people may both run `quickstart`.
IDENTITY = "regbench.id"
NOTE = "mlflow.note.content"
VERSIONS = ("regbench", "torch", "ray", "optuna")


def sweep_name(records: Records) -> str:
    """The name of a sweep: of its folder."""
    return records.storage.name


def experiment_name(track: str) -> str:
    """The experiment that holds the runs of a track, of all sweeps."""
    return f"regbench/{track}"


def title(trial: Trial) -> str:
    """A run's name: what tells runs of a sweep apart comes first, because the UI cuts names off."""
    again = f" in replicate {trial.replicate}" if trial.replicate else ""
    return f"{trial.entry} {trial.stage} {trial.number} on {trial.data}{again}"


class SweepDescription:
    """What MLflow is told about a sweep, from its ``suite.json``.

    Args:
        records: of the sweep.

    Attributes:
        name: the sweep's.
        identity: tells it from others of its name.
        started: when, in seconds since 1970; None where that is not known.
        confirms: whether it has a confirmation stage.
        changing: whether running trials get new settings (population-based training).
    """

    def __init__(self, records: Records) -> None:
        suite = read_suite_file(records.storage)
        self._spec, self._provenance = _part(suite, "suite"), _part(suite, "provenance")
        self._studies: list[dict[str, Any]] = suite.get("studies", [])
        self.name = sweep_name(records)
        self.identity = str(suite.get("id", self.name))
        started = self._provenance.get("started")
        self.started = datetime.fromisoformat(started).timestamp() if started else None
        self.confirms = _part(self._spec, "confirm").get("seeds") != 0
        self.changing = _part(self._spec, "scheduler").get("name") == "pbt"

    def key(self, name: str) -> str:
        """The key of a run: of a trial by its own key, of the sweep's own run by its track."""
        return f"{self.name}/{name}"

    def tags(self, track: str, name: str) -> dict[str, str]:
        """The tags that all runs have."""
        tags = {KEY: self.key(name), SWEEP: self.name, IDENTITY: self.identity, "track": track, STATUS: RUNNING}
        tags |= {f"version.{package}": str(self._provenance[package]) for package in VERSIONS if self._provenance.get(package)}
        return tags | ({"mlflow.source.git.commit": str(self._provenance["git"])} if self._provenance.get("git") else {})

    def sweep_tags(self) -> dict[str, str]:
        """Further tags of the sweep's own run in a track."""
        tags = {name: str(self._provenance[name]) for name in ("host",) if self._provenance.get(name)}
        tags |= {f"version.{name}": str(self._provenance[name]) for name in ("python", "mlflow") if self._provenance.get(name)}
        return tags | {NOTE: self.note({}), "stage": "sweep"}

    def note(self, pages: dict[str, str]) -> str:
        """What the sweep compares, with links to pages by their titles; MLflow shows it beside the sweep's run."""
        links = (f"[{title}]({page})" for title, page in pages.items())
        return "\n\n".join([(self._spec.get("description") or "").strip(), *links]).strip()

    def trial_tags(self, trial: Trial, parent: str) -> dict[str, str]:
        """Further tags of a trial's run.

        Args:
            trial: the trial.
            parent: id of the run of which it is a part.
        """
        return {
            "mlflow.parentRunId": parent,
            "method": trial.method,
            "entry": trial.entry,
            "data": trial.data,
            "seed": str(trial.seed),
            "stage": trial.stage,
            "replicate": str(trial.replicate),
            "objective": ", ".join(trial.objectives),
        } | {name: value for name, value in (("arxiv", trial.arxiv), ("learned", trial.learned)) if value}

    def shared(self, track: str) -> dict[str, Any]:
        """What all trials of a track share: on the sweep's own run, so that their parameters show only what varies."""
        spec = self._spec
        studies = [study for study in self._studies if study.get("track") == track]
        shared: dict[str, Any] = {name: spec[name] for name in ("trials", "seed", "execution", "workers") if name in spec}
        shared |= {name: _part(spec, name)["name"] for name in ("sampler", "scheduler") if "name" in _part(spec, name)}
        shared |= {f"confirm.{name}": value for name, value in _part(spec, "confirm").items()}
        shared |= {name: ", ".join(dict.fromkeys(study[name] for study in studies)) for name in ("entry", "data") if studies}
        for entry, details in _part(spec, "methods").items():
            if not studies or any(study["entry"] == entry for study in studies):
                shared |= {f"{entry}.{name}": value for name, value in _part(details, "settings").items()}
        return shared | _part(spec, "settings")

    def searched(self, trial: Trial) -> dict[str, Any]:
        """A trial's parameters that are known from its start; what is learned while it trains is none before the end."""
        known = {name: value for name, value in trial.searched.items() if name not in trial.ranges}
        return {"entry": trial.entry, "seed": trial.seed} | known

    def data(self, trial: Trial) -> "DatasetInput":
        """The data set that a trial trains on."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        digest = hashlib.sha256(f"{trial.data} {self._provenance.get('regbench', '')}".encode()).hexdigest()[:16]
        data = Dataset(name=trial.data, digest=digest, source_type="code", source=json.dumps({"loader": trial.data}))
        return DatasetInput(data, [InputTag("mlflow.data.context", "train")])


def _part(mapping: Any, *path: str) -> dict[str, Any]:
    """The mapping at a path of keys; an empty one where there is none, as in suites of other versions."""
    for name in path:
        mapping = mapping.get(name) if isinstance(mapping, dict) else None
    return mapping if isinstance(mapping, dict) else {}
