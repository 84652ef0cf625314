"""How long 32 short trainings take on two cores, from the command to its end: regbench, plain Ray Tune, two Optuna processes.

All three run 32 trainings of the same length (cross-entropy on noisy digits; learning rate and weight decay sampled by TPE) and
log every epoch to MLflow, one after the other on two logical CPUs. Measured from the start of the process:

- first step: until the first epoch of a training has ended;
- total: until the process has ended;
- closing: from the last epoch of the last training to that end;
- efficiency: the ideal, the time that inline training takes divided by two, over the time from the first step to the end.

Each runner first trains a little without being measured, so that the first one measured does not compile and read from disk
what the others find there.

    python benchmarks/overhead.py --repeats 3                                                  # all, into results/overhead.csv
    python benchmarks/overhead.py --repeats 3 --only regbench optuna-2-processes-mlflow        # printed alone
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

TRIALS, EPOCHS = 32, 80
# Of a training that is not measured: trials and epochs.
SHORT = (2, 2)
# How many inline trainings tell how long one takes.
INLINE = 8
SUMMARY = ("first_step_seconds", "total_seconds", "closing_seconds", "efficiency")
METHOD, DATA = "cross_entropy", "digits_noisy"
RESULTS = Path(__file__).parent / "results" / "overhead.csv"
FIELDS = [
    "repeat", "runner", "trials", "first_step_seconds", "total_seconds", "closing_seconds", "training_seconds", "ideal_seconds",
    "efficiency",
]  # fmt: skip


@dataclass(frozen=True)
class Task:
    """What a runner does: trainings of so many epochs, in a folder; the times of first and last epochs go into a file."""

    trials: int
    epochs: int
    folder: Path
    mark: Path

    def training(self, settings: dict[str, float]) -> Iterator[dict[str, float]]:
        """One training: marks its first and its last epoch."""
        for epoch, metrics in enumerate(training(settings, self.epochs), start=1):
            if epoch in (1, self.epochs):
                self.note(time.time())
            yield metrics

    def note(self, *times: float) -> None:
        """Marks times."""
        with self.mark.open("a") as file:
            file.write("".join(f"{moment}\n" for moment in times))


def training(settings: dict[str, float], epochs: int) -> Iterator[dict[str, float]]:
    """The training that every runner does: yields the metrics of each epoch."""
    import torch

    from regbench.methods.registry import create
    from regbench.methods.run import Run

    torch.set_num_threads(1)
    yield from create(METHOD, settings | {"epochs": epochs}).train(Run(DATA, seed=0))


def run_inline(task: Task) -> None:
    """The ideal's numerator: trainings one after the other, with nothing around them; the first is not measured."""
    for index in range(task.trials + 1):
        for _ in training({"learning_rate": 0.02 + 0.01 * index}, task.epochs):
            pass
        if index in (0, task.trials):
            task.note(time.time())


def run_regbench(task: Task) -> None:
    """(a) One regbench sweep, default tracking."""
    from rich.console import Console

    from regbench.platform.records.storage import Storage
    from regbench.platform.suite.spec import parse_suite
    from regbench.platform.sweep import start

    suite = parse_suite(
        {
            "name": "overhead",
            "methods": [METHOD],
            "data": [DATA],
            "settings": {"epochs": task.epochs},
            "trials": task.trials,
            "confirm": {"seeds": 0},
        }
    )
    outcome = start(suite, Storage(task.folder / "results"), None, Console(quiet=True), cpus=2)
    assert outcome.complete
    assert not outcome.failed
    logs = (task.folder / "results" / "overhead" / "logs").glob("*/*.jsonl")
    times = [json.loads(line)["report"]["time"] for log in logs for line in log.read_text().splitlines() if "report" in line]
    task.note(min(times), max(times))


def run_tune(task: Task) -> None:
    """(b) Plain Ray Tune with OptunaSearch and the stock MLflow callback, as its documentation shows them."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    def trainable(config: dict[str, float]) -> None:
        for metrics in task.training(config):
            tune.report({name.replace("/", "_"): value for name, value in metrics.items()})

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"learning_rate": tune.loguniform(0.01, 0.3), "weight_decay": tune.loguniform(1e-5, 1e-2)},
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(), metric="val_accuracy", mode="max", num_samples=task.trials, max_concurrent_trials=2
        ),
        run_config=tune.RunConfig(
            storage_path=str(task.folder / "tune"),
            verbose=0,
            callbacks=[MLflowLoggerCallback(tracking_uri=f"sqlite:///{task.folder}/mlflow.db", experiment_name="overhead")],
        ),
    ).fit()
    ray.shutdown()


def run_optuna(task: Task) -> None:
    """(c) ``optuna.optimize`` in two processes that share a SQLite study, each logging to MLflow."""
    import mlflow
    import optuna

    mlflow.set_tracking_uri(f"sqlite:///{task.folder}/mlflow.db")
    mlflow.set_experiment("overhead")
    storage = f"sqlite:///{task.folder}/optuna.db"
    optuna.create_study(study_name="overhead", storage=storage, direction="maximize")
    for process in [subprocess.Popen(command("optuna-worker", task)) for _ in range(2)]:
        assert process.wait() == 0


def run_optuna_worker(task: Task) -> None:
    """One of the two processes of (c)."""
    import mlflow
    import optuna
    from optuna.study import MaxTrialsCallback

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    mlflow.set_tracking_uri(f"sqlite:///{task.folder}/mlflow.db")
    mlflow.set_experiment("overhead")

    def objective(trial: optuna.Trial) -> float:
        settings = {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True),
        }
        with mlflow.start_run():
            mlflow.log_params(settings)
            for epoch, metrics in enumerate(task.training(settings), start=1):
                mlflow.log_metrics(metrics, step=epoch)
        return metrics["val/accuracy"]

    study = optuna.load_study(study_name="overhead", storage=f"sqlite:///{task.folder}/optuna.db")
    study.optimize(objective, n_trials=task.trials // 2, callbacks=[MaxTrialsCallback(task.trials)])


RUNNERS = {
    "inline": run_inline,
    "regbench": run_regbench,
    "ray-tune-mlflow": run_tune,
    "optuna-2-processes-mlflow": run_optuna,
    "optuna-worker": run_optuna_worker,
}


COMPETITORS = ["regbench", "ray-tune-mlflow", "optuna-2-processes-mlflow"]


def command(runner: str, task: Task) -> list[str]:
    """The command that runs a task in a process of its own."""
    return [sys.executable, __file__, "--runner", runner, str(task.trials), str(task.epochs), str(task.folder), str(task.mark)]


def measure(runner: str, trials: int, epochs: int = EPOCHS) -> tuple[float, float, float]:
    """Seconds until the first step, to the end, and from the last step to the end, of a runner in a fresh process."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    # Where it is set, every process compiles anew what it imports.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as name:
        task = Task(trials, epochs, Path(name), Path(name) / "marks")
        began = time.time()
        subprocess.run(command(runner, task), env=environment, check=True, stdout=subprocess.DEVNULL)
        ended = time.time()
        steps = [float(line) for line in task.mark.read_text().splitlines()]
    return min(steps) - began, ended - began, ended - max(steps)


def main() -> None:
    """Measures each runner several times, in turn; writes the table, or prints the rows of some runners."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=COMPETITORS, default=COMPETITORS, help="runners to measure and print")
    parser.add_argument("--runner", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.runner:
        runner, trials, epochs, folder, mark = options.runner
        RUNNERS[runner](Task(int(trials), int(epochs), Path(folder), Path(mark)))
        return
    for runner in options.only:
        measure(runner, *SHORT)
    rows = []
    for repeat in range(options.repeats):
        first, total, rest = measure("inline", INLINE)
        each = (total - first - rest) / INLINE
        ideal = each * TRIALS / 2
        for runner in options.only:
            first, total, closing = measure(runner, TRIALS)
            seconds = [round(value, 2) for value in (first, total, closing, each, ideal)]
            rows.append([repeat, runner, TRIALS, *seconds, round(ideal / (total - first), 3)])
            print(dict(zip(FIELDS, rows[-1], strict=True)), flush=True)
    if options.only == COMPETITORS:
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("w", newline="") as file:
            csv.writer(file).writerows([FIELDS, *rows])
    for runner in options.only:
        values = {name: median(row[FIELDS.index(name)] for row in rows if row[1] == runner) for name in SUMMARY}
        print(f"{runner}, medians:", ", ".join(f"{name} {value}" for name, value in values.items()))


if __name__ == "__main__":
    main()
