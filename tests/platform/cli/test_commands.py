"""The installed ``regbench`` command, run as a user runs it: every command, every refusal, Ctrl-C and resume."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml
from in_process import refusal

from regbench.methods.shared import data as data_sets

REGBENCH = Path(sys.executable).parent / "regbench"
DEADLINE = 240
TINY = {
    "name": "tiny",
    "methods": ["label_smoothing"],
    "data": ["digits_noisy"],
    "settings": {"epochs": 2},
    "trials": 2,
    "sampler": "random",
    "execution": "inline",
    "confirm": {"seeds": 2},
}
# Long enough to be interrupted in the middle of its first trial.
LONG = TINY | {
    "name": "long",
    "methods": ["cross_entropy"],
    "settings": {"epochs": 36},
    "confirm": {"seeds": 1},
    "checkpoint_seconds": 0,
}


def environment(**changes: str) -> dict[str, str]:
    """This process's, without what would redirect the command."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REGBENCH_", "MLFLOW_", "RAY_"))}
    return kept | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"} | changes


def regbench(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [REGBENCH, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(**changes), capture_output=True, text=True, timeout=DEADLINE, check=False
    )


def succeeds(folder: Path, *arguments: str, **changes: str) -> str:
    done = regbench(folder, *arguments, **changes)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(folder: Path, *arguments: str, **changes: str) -> str:
    """The one line on standard error with which a command refuses."""
    done = regbench(folder, *arguments, **changes)
    return refusal(done.returncode, done.stdout, done.stderr)


def write(folder: Path, suite: dict[str, object]) -> str:
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    return "suite.yaml"


def records_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (folder / "records").rglob("*.parquet")}


def test_the_installed_command_has_help_and_a_version(tmp_path):
    assert "Usage: regbench" in succeeds(tmp_path, "--help")
    assert succeeds(tmp_path, "--version").startswith("regbench 0.")


def test_methods_are_listed_by_track(tmp_path, here):
    everything = here.succeeds(tmp_path, "list")
    assert "label_smoothing" in everything
    assert "sinkhorn" in everything
    track = here.succeeds(tmp_path, "list", "--track", "classification")
    assert "label_smoothing" in track
    assert "sinkhorn" not in track


def test_a_method_is_shown_with_paper_settings_and_ranges(tmp_path, here):
    page = here.succeeds(tmp_path, "show", "ps_kd")
    for fact in ("2006.12000", "final_alpha α_T", "0.8", "0 … 0.95"):
        assert fact in page


def test_one_training_prints_its_metrics(tmp_path):
    output = succeeds(tmp_path, "run", "label_smoothing", "--set", "epochs=2", "--set", "smoothing=0.2", "--seed", "3")
    assert "label_smoothing on digits, seed 3" in output
    assert "val/accuracy" in output
    assert "test/" not in output
    assert list(tmp_path.iterdir()) == []


def test_data_sets_are_listed_with_where_their_files_go(tmp_path, here, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", "/data")
    assert "embedded" in here.succeeds(tmp_path, "data", "list")
    assert here.succeeds(tmp_path, "data", "where", "fashion_mnist").startswith("/data/")
    assert "embedded" in here.succeeds(tmp_path, "data", "where", "digits")
    assert "class 9" in here.succeeds(tmp_path, "data", "show", "digits", "--split", "1")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["show", "ps_kdd"], "unknown method 'ps_kdd'; did you mean 'ps_kd'?"),
        (["list", "--track", "clasification"], "did you mean 'classification'?"),
        (["data", "where", "digit"], "did you mean 'digits'?"),
        (["run", "label_smoothing", "--set", "smothing=0.2"], "did you mean 'smoothing'?"),
        (["run", "label_smoothing", "--set", "smoothing=2"], "smoothing: must be at most 1 (got 2)"),
        (["run", "label_smoothing", "--set", "smoothing"], "--set takes KEY=VALUE, not 'smoothing'"),
        (["run", "label_smoothing", "--set", "smoothing=["], "--set smoothing: '[' is not a YAML value"),
        (["run", "label_smoothing", "--data", "digit"], "did you mean 'digits'?"),
        (["run", "label_smoothing", "--data", "gaussian_clouds"], "does not fit track classification"),
        (["run", "label_smoothing", "--device", "tpu"], "--device tpu cannot be used"),
        (["run", "label_smoothing", "--set", "learning_rate=1e20"], "training diverged"),
        (["status", "--storage", "none"], "there is no folder"),
        (["sweep", "quickstat"], "no suite and no file 'quickstat'; did you mean 'quickstart'?"),
        (["sweep", "none.yaml"], "cannot read suite none.yaml: No such file or directory"),
        (["sweep", "quickstart", "--name", "../x"], "name: must be at most 64 letters, digits"),
        (["sweep", "quickstart", "--storage", "s4://bucket"], "cannot use 's4://bucket' as storage"),
        (["status", "../x"], "cannot name a folder"),
        (["resume", "none"], "no sweep 'none'"),
        (["compare", "none"], "no sweep 'none'"),
        (["sync", "none"], "no sweep 'none'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_that_says_what_to_change(tmp_path, here, arguments, reason):
    assert reason in here.refused(tmp_path, *arguments)
    assert not list(tmp_path.rglob("suite.json"))


def test_what_a_new_sweep_must_not_have_is_refused_by_a_dry_run_too(tmp_path, here):
    suite = write(tmp_path, TINY | {"seed": 1001})
    for command in (["sweep", suite], ["sweep", suite, "--dry-run"], ["launch", suite, "--cluster", "existing", "--dry-run"]):
        assert "those must be fresh; change confirm.first_seed" in here.refused(tmp_path, *command)


def test_a_mistake_in_the_installed_command_has_no_traceback(tmp_path):
    assert "did you mean 'ps_kd'?" in refused(tmp_path, "show", "ps_kdd")


def test_an_unknown_option_exits_with_2(tmp_path):
    done = regbench(tmp_path, "sweep", "quickstart", "--trails", "3")
    assert done.returncode == 2
    assert "No such option: --trails" in done.stderr


def test_missing_data_says_where_to_put_it(tmp_path, here, monkeypatch):
    monkeypatch.delenv("REGBENCH_DATA", raising=False)
    data_sets._loaded.cache_clear()
    suite = write(tmp_path, TINY | {"data": ["fashion_mnist"]})
    message = here.refused(tmp_path, "sweep", suite)
    assert "REGBENCH_DATA" in message
    assert "fashion_mnist" in message
    assert not (tmp_path / "regbench-results" / "tiny").exists()


def test_a_dead_tracking_server_is_noticed_before_anything_runs(tmp_path, here):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    message = here.refused(tmp_path, "sweep", write(tmp_path, TINY), "--tracking", address)
    assert address in message
    assert "--tracking none" in message
    assert not (tmp_path / "regbench-results" / "tiny").exists()


def test_a_ray_that_does_not_start_is_told_in_one_line_and_nothing_is_lost(tmp_path):
    suite = write(tmp_path, TINY | {"execution": "tune"})
    message = refused(tmp_path, "sweep", suite, "--tracking", "none", RAY_TMPDIR="/proc/none")
    assert "Ray does not start on this machine" in message
    assert not (tmp_path / "regbench-results" / "tiny").exists()


@pytest.mark.parametrize("tracking", [[], ["--tracking", "none"]])
def test_a_storage_that_cannot_be_written_is_noticed_before_anything_runs(tmp_path, here, tracking):
    (tmp_path / "taken").write_text("a file")
    assert str(tmp_path / "taken") in here.refused(tmp_path, "sweep", write(tmp_path, TINY), "--storage", "taken", *tracking)


def test_a_dry_run_shows_the_studies_and_writes_nothing(tmp_path, here):
    suite = write(tmp_path, TINY)
    output = here.succeeds(tmp_path, "sweep", suite, "--dry-run")
    assert "cross_entropy-digits_noisy" in output
    assert "smoothing: 0 … 0.5" in output
    assert [path.name for path in tmp_path.iterdir()] == [suite]


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> tuple[Path, str]:
    """A folder in which the tiny suite was swept, and what that printed."""
    folder = tmp_path_factory.mktemp("swept")
    return folder, succeeds(folder, "sweep", write(folder, TINY))


def test_a_sweep_ends_with_the_ranked_comparison_and_what_to_do_next(swept):
    folder, output = swept
    for fact in ("classification on digits_noisy: test accuracy", "label_smoothing", "baseline", "regbench ui"):
        assert fact in output
    assert f"Report: {folder}/regbench-results/tiny/report/report.html" in output


def test_a_sweep_leaves_records_a_report_and_an_mlflow_store(swept):
    sweep = swept[0] / "regbench-results" / "tiny"
    trials = ds.dataset(sweep / "records" / "trials").to_table().to_pandas()
    # Two entries tuned twice and confirmed twice; label smoothing also with its weight off.
    assert trials.groupby("stage").size().to_dict() == {"tune": 4, "confirm": 4, "ablate": 2}
    assert (trials["status"] == "completed").all()
    csv, parquet = pd.read_csv(sweep / "report" / "entries.csv"), pq.read_table(sweep / "report" / "entries.parquet")
    assert set(csv["entry"]) == set(parquet["entry"].to_pylist()) == {"cross_entropy", "label_smoothing"}
    assert "<svg" in (sweep / "report" / "report.html").read_text()
    assert (swept[0] / "regbench-results" / "mlflow.db").is_file()
    assert not (sweep / "driver.json").exists()


def test_status_tells_of_all_sweeps_and_of_one(swept, here):
    overview = here.succeeds(swept[0], "status")
    assert "tiny" in overview
    assert "complete" in overview
    assert "10/10" in overview
    assert "label_smoothing-digits_noisy" in here.succeeds(swept[0], "status", "tiny")


def test_characters_that_the_terminal_lacks_are_replaced(swept):
    command = [REGBENCH, "compare", "tiny"]
    done = subprocess.run(
        command, cwd=swept[0], env=environment(PYTHONIOENCODING="latin-1"), capture_output=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "digits_noisy" in done.stdout.decode("latin-1")


def test_status_without_a_sweep_says_how_to_start_one(tmp_path, here):
    assert "regbench sweep quickstart" in here.succeeds(tmp_path, "status")


def test_compare_prints_the_table_again_and_writes_where_it_is_told(swept, here):
    output = here.succeeds(swept[0], "compare", "tiny", "--out", "elsewhere")
    assert "classification on digits_noisy: test accuracy" in output
    names = {path.name for path in (swept[0] / "elsewhere").iterdir()}
    assert {"report.html", "entries.csv", "entries.parquet"} <= names


def test_sync_makes_what_mlflow_lacks_and_then_adds_nothing(swept, here):
    elsewhere = ["--tracking", f"sqlite:///{swept[0]}/other.db"]
    # Ten trials, two studies, and the sweep's own run.
    assert "13 runs created" in here.succeeds(swept[0], "sync", "tiny", *elsewhere)
    assert "up to date" in here.succeeds(swept[0], "sync", "tiny", *elsewhere)


def test_sync_compares_anew_what_an_earlier_version_compared(swept, here):
    report = swept[0] / "regbench-results" / "tiny" / "report"
    (report / "weights.parquet").unlink()
    assert "13 runs created" in here.succeeds(swept[0], "sync", "tiny", "--tracking", f"sqlite:///{swept[0]}/again.db")
    assert (report / "weights.parquet").is_file()


def test_a_folder_is_no_tracking_server(swept, here):
    assert "MLflow no longer writes to folders" in here.refused(swept[0], "sync", "tiny", "--tracking", "folder")


def test_sync_of_a_sweep_that_is_in_mlflow_adds_nothing(swept, here):
    assert "up to date" in here.succeeds(swept[0], "sync", "tiny")


def test_a_sweep_started_again_is_refused_with_how_to_continue_it(swept, here):
    message = here.refused(swept[0], "sweep", "suite.yaml")
    assert "regbench resume tiny" in message
    assert "--name" in message


def test_continuing_a_complete_sweep_runs_nothing(swept):
    folder = swept[0] / "regbench-results" / "tiny"
    before = records_of(folder)
    assert "classification on digits_noisy: test accuracy" in succeeds(swept[0], "sweep", "suite.yaml", "--continue")
    assert records_of(folder) == before


def test_a_changed_suite_does_not_continue_the_old_one(swept, here):
    (swept[0] / "changed.yaml").write_text(yaml.safe_dump(TINY | {"sampler": "tpe", "seed": 1, "trials": 1}))
    message = here.refused(swept[0], "sweep", "changed.yaml", "--continue")
    assert "differs in sampler, seed, trials" in message
    assert "--name" in message


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + DEADLINE
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_ctrl_c_loses_nothing_and_resume_finishes(tmp_path, here):
    """Of a sweep without Ray; test_faults.py interrupts one with Ray."""
    suite = write(tmp_path, LONG)
    command = [REGBENCH, "sweep", suite, "--tracking", "none", "--cpus", "1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=-1, stderr=-1, text=True, start_new_session=True
    )
    sweep = tmp_path / "regbench-results" / "long"
    logs = sweep / "logs" / "cross_entropy-digits_noisy-tune-0000"
    wait_for(lambda: any(log.read_bytes().count(b"\n") > 5 for log in logs.glob("*.jsonl")), process)
    # A terminal sends Ctrl-C to every process that it started.
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert "regbench resume long" in output
    assert "Traceback" not in errors
    ended = records_of(sweep)
    assert len(ended) < 2 * 3
    assert "interrupted" in here.succeeds(tmp_path, "status")

    resumed = succeeds(tmp_path, "resume", "long", "--tracking", "none", "--cpus", "1")

    assert "classification on digits_noisy: test accuracy" in resumed
    trials = ds.dataset(sweep / "records" / "trials").to_table().to_pandas().set_index("key")
    assert sorted(trials.index) == [f"cross_entropy-digits_noisy-{name}" for name in ("confirm-0000", "tune-0000", "tune-0001")]
    assert (trials["status"] == "completed").all()
    assert (trials["rounds"] == LONG["settings"]["epochs"]).all()
    assert trials["attempts"].to_dict() == {key: 2 if key.endswith("tune-0000") else 1 for key in trials.index}
    assert records_of(sweep).items() >= ended.items()
    _, second = sorted(logs.glob("*.jsonl"))
    first_report = json.loads(second.read_text().splitlines()[1])
    assert first_report["report"]["round"] > 1, "it went on from its checkpoint"
