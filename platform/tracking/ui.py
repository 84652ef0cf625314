"""MLflow's UI on the results: the command that serves it, and its pages that compare a sweep's runs."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from urllib.parse import quote, urlencode

from regbench.platform.records.records import Records, Trial
from regbench.platform.tracking.connection import ENVIRONMENT, connect, explained, sqlite_file
from regbench.platform.tracking.description import IDENTITY, SweepDescription, experiment_name
from regbench.platform.tracking.moved import artifacts_in
from regbench.platform.tracking.names import mlflow_name
from regbench.platform.tracking.views import TAG, view_key, view_page


def ui_command(uri: str, host: str = "127.0.0.1", port: int = 5000) -> tuple[list[str], dict[str, str]]:
    """The command that serves the MLflow UI on a database, and the environment that it needs besides the present one."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    if (database := sqlite_file(uri)) is not None:
        command += ["--artifacts-destination", artifacts_in(database.parent)]
    # The address of a database may hold a password, and any user can list the arguments of a process.
    # Without the last, MLflow starts eight more processes for jobs that we do not have.
    settings = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return command, ENVIRONMENT | settings


def serve(uri: str, host: str = "127.0.0.1", port: int = 5000) -> int:
    """Serves the MLflow UI on a database until it is interrupted or terminated, and leaves no process behind.

    Returns:
        MLflow's exit status; 0 where it was asked to end.
    """
    command, environment = ui_command(uri, host, port)
    # A group of its own: MLflow starts processes that a signal to it alone would leave behind.
    process = subprocess.Popen(command, env=os.environ | environment, process_group=0)
    asked = threading.Event()

    def end(*_: object) -> None:
        asked.set()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    status = process.wait()
    wanted = asked.is_set()
    # What MLflow started and did not wait for.
    end()
    return 0 if wanted else status


def pages(records: Records, uri: str, trials: bool = False) -> dict[str, str]:
    """The pages on a sweep that MLflow has, below the UI's address, by what they show.

    A table of studies has a page of its own once it is compared; until then there is the page of all its trials so far.

    Args:
        records: of the sweep.
        uri: of MLflow.
        trials: also the tuning trials of each study.

    Raises:
        TrackingError: MLflow cannot be reached.
    """
    sweep = SweepDescription(records)
    studies = {(trial.track, trial.data, trial.entry): trial for trial in records.planned()}
    tables = {(trial.track, trial.data): trial for trial in studies.values()}
    with explained(uri, "start the server, or correct --tracking"):
        client = connect(uri)
        experiments = {track: client.get_experiment_by_name(experiment_name(track)) for track, _ in tables}
    found = {}
    for (track, data), trial in sorted(tables.items()):
        if (experiment := experiments[track]) is None:
            continue
        key = view_key(sweep, track, data)
        there = TAG + key in experiment.tags
        page = view_page(experiment.experiment_id, key) if there else trials_page(sweep, trial, experiment.experiment_id)
        found[f"{'compare' if there else 'trials of'} {sweep.name} on {data}"] = page
        for _, _, entry in sorted(study for study in studies if trials and study[:2] == (track, data)):
            if TAG + (key := view_key(sweep, track, data, entry)) in experiment.tags:
                found[f"tuning of {entry} on {data}"] = view_page(experiment.experiment_id, key)
    return found


def trials_page(sweep: SweepDescription, trial: Trial, experiment_id: str) -> str:
    """The UI's page, below its address, with charts of a table's trials, the best first.

    Sorted by the metric: sorted by date, the UI folds the runs into the sweep's own and shows none of them.

    Args:
        sweep: whose trials.
        trial: one of the table.
        experiment_id: of the track's experiment.
    """
    query = {
        "workflowType": "machine_learning",
        "compareRunsMode": "CHART",
        "searchFilter": f"tags.`{IDENTITY}` = '{sweep.identity}' AND tags.data = '{trial.data}'",
        "orderByKey": f"metrics.`{mlflow_name(f'best/{trial.objectives[0]}')}`",
        "orderByAsc": "true" if trial.modes[0] == "min" else "false",
    }
    return f"/#/experiments/{experiment_id}/runs?{urlencode(query, quote_via=quote)}"
