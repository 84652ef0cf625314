"""How much of two cores a sweep of short trainings really uses: regbench, plain Ray Tune, and Optuna in two processes.

All three run 32 trainings of the same length (cross-entropy on noisy digits; learning rate and weight decay sampled by TPE) and
log every epoch to MLflow, side by side in one run on two logical CPUs. A trial's training seconds are measured inside it.
The ideal is the time that inline training takes, divided by two; efficiency = ideal / wall time after start-up, where start-up
ends with the first trial's first report.

    python benchmarks/overhead.py --repeats 3

writes ``benchmarks/results/overhead.csv``.
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
from pathlib import Path
from statistics import median

TRIALS, EPOCHS = 32, 50
METHOD, DATA = "cross_entropy", "digits_noisy"
RESULTS = Path(__file__).parent / "results" / "overhead.csv"
FIELDS = ["repeat", "runner", "trials", "startup_seconds", "wall_seconds", "training_seconds", "ideal_seconds", "efficiency"]


def training(settings: dict[str, float]) -> Iterator[dict[str, float]]:
    """The training that every runner does: yields the metrics of each epoch."""
    import torch

    from regbench.methods.registry import create
    from regbench.methods.run import Run

    torch.set_num_threads(1)
    yield from create(METHOD, settings | {"epochs": EPOCHS}).train(Run(DATA, seed=0))


def run_inline(folder: Path, mark: Path) -> None:
    """The ideal's numerator: the same number of trainings, one after the other, with nothing around them."""
    for _ in training({"learning_rate": 0.05}):
        pass
    mark.write_text(str(time.time()))
    for index in range(8):
        for _ in training({"learning_rate": 0.02 + 0.01 * index}):
            pass


def run_regbench(folder: Path, mark: Path) -> None:
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
            "settings": {"epochs": EPOCHS},
            "trials": TRIALS,
            "confirm": {"seeds": 0},
        }
    )
    outcome = start(suite, Storage(folder / "results"), None, Console(quiet=True), cpus=2)
    assert outcome.complete
    assert not outcome.failed
    logs = (folder / "results" / "overhead" / "logs").glob("*/*.jsonl")
    times = [json.loads(line)["report"]["time"] for log in logs for line in log.read_text().splitlines() if "report" in line]
    mark.write_text(str(min(times)))


def run_tune(folder: Path, mark: Path) -> None:
    """(b) Plain Ray Tune with OptunaSearch and the stock MLflow callback, as its documentation shows them."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    def trainable(config: dict[str, float]) -> None:
        for metrics in training(config):
            if not mark.exists():
                mark.write_text(str(time.time()))
            tune.report({name.replace("/", "_"): value for name, value in metrics.items()})

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"learning_rate": tune.loguniform(0.01, 0.3), "weight_decay": tune.loguniform(1e-5, 1e-2)},
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(), metric="val_accuracy", mode="max", num_samples=TRIALS, max_concurrent_trials=2
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder / "tune"),
            verbose=0,
            callbacks=[MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="overhead")],
        ),
    ).fit()
    ray.shutdown()


def run_optuna(folder: Path, mark: Path) -> None:
    """(c) ``optuna.optimize`` in two processes that share a SQLite study, each logging to MLflow."""
    import mlflow
    import optuna

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("overhead")
    storage = f"sqlite:///{folder}/optuna.db"
    optuna.create_study(study_name="overhead", storage=storage, direction="maximize")
    worker = [sys.executable, __file__, "--runner", "optuna-worker", "--folder", str(folder), "--mark", str(mark)]
    for process in [subprocess.Popen(worker) for _ in range(2)]:
        assert process.wait() == 0


def run_optuna_worker(folder: Path, mark: Path) -> None:
    """One of the two processes of (c)."""
    import mlflow
    import optuna
    from optuna.study import MaxTrialsCallback

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("overhead")

    def objective(trial: optuna.Trial) -> float:
        settings = {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True),
        }
        with mlflow.start_run():
            mlflow.log_params(settings)
            for epoch, metrics in enumerate(training(settings), start=1):
                if not mark.exists():
                    mark.write_text(str(time.time()))
                mlflow.log_metrics(metrics, step=epoch)
        return metrics["val/accuracy"]

    study = optuna.load_study(study_name="overhead", storage=f"sqlite:///{folder}/optuna.db")
    study.optimize(objective, n_trials=TRIALS // 2, callbacks=[MaxTrialsCallback(TRIALS)])


RUNNERS = {
    "inline": run_inline,
    "regbench": run_regbench,
    "ray-tune-mlflow": run_tune,
    "optuna-2-processes-mlflow": run_optuna,
    "optuna-worker": run_optuna_worker,
}


def measure(runner: str) -> tuple[float, float]:
    """Start-up and wall seconds after it, of a runner in a fresh process."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    with tempfile.TemporaryDirectory() as name:
        folder, mark = Path(name), Path(name) / "first-report"
        began = time.time()
        command = [sys.executable, __file__, "--runner", runner, "--folder", str(folder), "--mark", str(mark)]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        ended, first = time.time(), float(mark.read_text())
    return first - began, ended - first


def main() -> None:
    """Measures each runner several times, in turn, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--runner", choices=RUNNERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--mark", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.runner:
        RUNNERS[options.runner](options.folder, options.mark)
        return
    rows = []
    for repeat in range(options.repeats):
        _, eight = measure("inline")
        ideal = eight / 8 * TRIALS / 2
        for runner in ("regbench", "ray-tune-mlflow", "optuna-2-processes-mlflow"):
            startup, wall = measure(runner)
            rows.append(
                [
                    repeat,
                    runner,
                    TRIALS,
                    round(startup, 2),
                    round(wall, 2),
                    round(eight / 8, 3),
                    round(ideal, 2),
                    round(ideal / wall, 3),
                ]
            )
            print(dict(zip(FIELDS, rows[-1], strict=True)), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *rows])
    for runner in dict.fromkeys(row[1] for row in rows):
        print(runner, "median efficiency", median(row[-1] for row in rows if row[1] == runner))


if __name__ == "__main__":
    main()
