"""Inline, Tune and Train give the same numbers; interrupted trials go on; failures are recorded and the sweep goes on."""

import json
from pathlib import Path

import pytest
import ray
from rich.console import Console

from regbench.methods.errors import SurroundingsError
from regbench.platform import sweep as engine
from regbench.platform.execution.ray_cluster import cluster
from regbench.platform.execution.trial import Place, train
from regbench.platform.execution.tune import QueueSearcher
from regbench.platform.records.records import Records, Report, Trial
from regbench.platform.records.storage import Storage
from regbench.platform.search.search import Search
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import Suite, parse_suite

# Real clusters, which a loaded machine starts slowly.
pytestmark = pytest.mark.timeout(900)
QUIET = Console(quiet=True)
BASE = {
    "name": "small",
    "methods": ["label_smoothing"],
    "data": ["digits_noisy"],
    "settings": {"epochs": 4},
    "trials": 3,
    "sampler": "random",
    "confirm": {"seeds": 2},
    "checkpoint_seconds": 0,
}


@pytest.fixture(scope="module", autouse=True)
def two_cpus():
    """One private Ray cluster for all sweeps of this file."""
    with cluster(cpus=2, gpus=0) as resources:
        yield resources


def suite(**changes: object) -> Suite:
    return parse_suite(BASE | changes)


def run(folder: Path, **changes: object) -> tuple[engine.Outcome, Records]:
    storage = Storage(folder)
    spec = suite(**changes)
    return engine.start(spec, storage, "none", QUIET), Records(storage.child(spec.name))


def curves(records: Records) -> dict[tuple[str, int, str], float]:
    table = records.curves().to_pylist()
    return {(row["key"], row["round"], row["metric"]): row["value"] for row in table}


@pytest.fixture(scope="module")
def inline_curves(tmp_path_factory) -> dict[tuple[str, int, str], float]:
    outcome, records = run(tmp_path_factory.mktemp("inline"), execution="inline")
    assert outcome.complete
    return curves(records)


def test_tune_gives_the_curves_of_inline(tmp_path, inline_curves):
    # A folder whose name has what addresses, markup and shells take apart.
    outcome, records = run(tmp_path / "[v2] a?b #c%20d ü$x", execution="tune")
    assert outcome.complete
    assert not outcome.failed
    assert curves(records) == inline_curves


def test_diagnostics_add_to_the_curves_and_change_nothing_else(tmp_path, inline_curves):
    outcome, records = run(tmp_path, execution="tune", diagnostics={"names": ["dse", "dsmi"], "every": 2})
    assert outcome.complete
    found = curves(records)
    added = {where: value for where, value in found.items() if where[2].startswith("diagnostic/")}
    assert {where: value for where, value in found.items() if where not in added} == inline_curves
    assert {number for _, number, _ in added} == {1, 2, 4}
    assert {metric for _, _, metric in added} == {"diagnostic/dse", "diagnostic/dsmi"}
    assert {key for key, _, _ in added} == {key for key, _, _ in inline_curves}
    for row in records.trials().to_pylist():
        assert {"diagnostic/dse", "diagnostic/dsmi"} <= dict(row["metrics"]).keys()


def test_train_with_one_worker_gives_the_curves_of_inline(tmp_path, inline_curves):
    outcome, records = run(
        tmp_path / "[v2] a?b #c%20d ü$x", execution="train", methods=["cross_entropy"], trials=1, confirm={"seeds": 0}
    )
    assert outcome.complete
    found = curves(records)
    assert {key for key, _, _ in found} == {"cross_entropy-digits_noisy-tune-0000"}
    assert found == {where: inline_curves[where] for where in found}


@pytest.mark.parametrize("after", [1, 3])
def test_a_trial_interrupted_and_resumed_gives_the_curve_of_one_that_was_not(tmp_path, inline_curves, after):
    spec = suite()
    records = Records(Storage(tmp_path))
    study = next(study for study in studies(spec) if study.entry == "label_smoothing")
    trial = study.trial("tune", 0, spec.seed, study.defaults())
    place = Place(records.storage.uri, checkpoint_seconds=0)

    class Interrupted(Exception):
        pass

    def interrupt(report) -> None:
        if report.round == after:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(trial, place, interrupt)
    seen = []
    train(trial, place, seen.append)
    assert [report.round for report in seen] == list(range(after + 1, 5))
    records.finish(trial, "completed")
    found = curves(records)
    assert found == {where: value for where, value in inline_curves.items() if where[0] == trial.key}
    assert records.trials().to_pylist()[0]["attempts"] == 2


WILD = {"method": "cross_entropy", "space": {"learning_rate": [0.05, 1e20]}}
# Most of these rates hardly learn, so that whoever trains first, some trial takes over another one's model.
DECAYS = {"low": 0.0, "high": 0.01, "step": 0.002}
SLOW = {"space": {"learning_rate": {"low": 1e-6, "high": 0.1, "log": True}, "weight_decay": DECAYS}}


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median", "pbt"])
def test_schedulers_end_every_trial_and_confirm(tmp_path, scheduler):
    """Also where trials fail: one that does leaves its rung or bracket, and the others must not wait for it."""
    trials = 8 if scheduler == "hyperband" else 9
    outcome, records = run(
        tmp_path,
        scheduler={"name": scheduler} | ({} if scheduler == "hyperband" else {"grace": 2}),
        trials=trials,
        settings={"epochs": 9},
        methods={"half_wild": WILD, "cross_entropy": SLOW if scheduler == "pbt" else {}},
        confirm={"seeds": 1},
    )
    assert outcome.complete
    rows = records.trials().to_pylist()
    failed = [row for row in rows if row["status"] == "failed"]
    assert failed
    assert all("diverged" in row["reason"] for row in failed)
    # Under population-based training, also a trial whose rate was changed to that.
    assert all(json.loads(row["settings"])["learning_rate"] == 1e20 for row in failed)
    assert len([row for row in rows if row["stage"] == "tune"]) == 2 * trials

    sane = [row for row in rows if row["entry"] == "cross_entropy"]
    assert {row["number"] for row in sane if row["stage"] == "tune"} == set(range(trials))
    assert all(row["rounds"] == 9 for row in sane if row["status"] == "completed")
    tuned = [row for row in sane if row["stage"] == "tune"]
    stopped = [row for row in sane if row["status"] == "stopped"]
    assert all(row["rounds"] < 9 for row in stopped)
    if scheduler in ("asha", "median"):
        worst_kept = min(row["values"][0] for row in tuned if row["status"] == "completed")
        assert min(row["values"][0] for row in stopped) < worst_kept
    if scheduler == "hyperband":
        halves_full_brackets(records, tuned)
    if scheduler == "pbt":
        assert not stopped
        trains_its_population_together_and_records_what_it_changed(records, tuned)


def halves_full_brackets(records: Records, rows: list[dict]) -> None:
    """Of 8 trials of 9 rounds, 3 fill the first bracket, to train to the end, and 5 the second, of which 2 outlive round 3."""
    assert [row["status"] for row in rows].count("completed") == 5
    stopped = [row for row in rows if row["status"] == "stopped"]
    assert [row["rounds"] for row in stopped] == [3] * 3
    at_milestone = {row["key"]: records.log(row["key"]).reports[2].metrics["val/accuracy"] for row in rows}
    halved = [row for row in rows if row["attempts"] > 1 or row["status"] == "stopped"]
    kept = [at_milestone[row["key"]] for row in halved if row["status"] == "completed"]
    assert kept
    assert min(kept) >= max(at_milestone[row["key"]] for row in stopped)


def trains_its_population_together_and_records_what_it_changed(records: Records, rows: list[dict]) -> None:
    logs = [records.log(row["key"]) for row in rows]
    # On two CPUs: none is trained to its end before the others have begun, but for the one that has the other CPU and whose
    # process may just be starting.
    begun = sorted(log.attempts[0]["time"] for log in logs)
    assert begun[-2] < min(log.reports[-1].time for log in logs)
    planned = {trial.key: trial for trial in records.planned()}
    changed = 0
    for row, log in zip(rows, logs, strict=True):
        rounds = [report.round for report in log.reports]
        # A trial that takes over a model trained further goes on from that model's round.
        assert rounds == sorted(set(rounds))
        assert (rounds[0], rounds[-1]) == (1, 9)
        assert all(report.searched for report in log.reports)
        assert {round(1e3 * report.searched["weight_decay"], 9) for report in log.reports} <= {0, 2, 4, 6, 8, 10}
        changed += log.reports[-1].searched != planned[row["key"]].searched
        assert json.loads(row["searched"]) == log.reports[-1].searched
    assert changed


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe", "gp", "cmaes", "nsga2"])
def test_samplers_search_inside_their_ranges(tmp_path, sampler):
    """Its trials are distinct and within the space, and the first is the default."""
    trials = 9
    outcome, records = run(
        tmp_path,
        execution="inline",
        sampler={"name": sampler, "points": 3} | ({} if sampler in ("grid", "random", "nsga2") else {"startup": 3}),
        objectives=["accuracy", "nll"] if sampler == "nsga2" else None,
        trials=trials,
        settings={"epochs": 1},
        methods={"cross_entropy": {"space": {"learning_rate": {"low": 0.01, "high": 0.2, "log": True}}}},
        confirm={"seeds": 0},
    )
    assert outcome.complete
    assert not outcome.failed
    searched = [json.loads(row["searched"]) for row in records.trials().to_pylist()]
    assert len({tuple(sorted(values.items())) for values in searched}) == trials
    assert all(0.01 <= values["learning_rate"] <= 0.2 and 1e-5 <= values["weight_decay"] <= 1e-2 for values in searched)
    if sampler == "grid":
        assert len({values["learning_rate"] for values in searched}) == 3
    else:
        assert searched[0] == {"learning_rate": 0.05, "weight_decay": 5e-4}


def test_pbt_continues_an_interrupted_trial_with_the_values_that_it_had(tmp_path):
    spec = suite(scheduler={"name": "pbt"}, trials=4, confirm={"seeds": 0})
    search = Search(spec, studies(spec), Records(Storage(tmp_path)))
    interrupted = search.next()
    changed = interrupted.searched | {"learning_rate": 0.123}
    search.records.start_attempt(interrupted.key).report(Report(1, 0.0, 0.0, {"val/accuracy": 0.5}, changed))

    again = Search(spec, studies(spec), search.records)
    searcher = QueueSearcher(again, spec, Place(str(tmp_path)), capacity=2, watch=lambda trial, report: None)
    given = [searcher.suggest(str(number)) for number in range(4)]
    planned = [Trial.from_json(one["trial"]) for one in given]
    assert planned[0].key == interrupted.key
    assert [one["params"] for one in given] == [changed, *(trial.searched for trial in planned[1:])]


def test_a_resumed_sweep_runs_only_what_had_not_ended(tmp_path, inline_curves):
    """Two trials ended, one stands at epoch 2, the rest was never started: the end is that of a sweep left alone."""
    spec = suite(execution="inline")
    storage = Storage(tmp_path)
    records = Records(storage.child(spec.name))
    planned = studies(spec)
    records.storage.write("suite.json", json.dumps(engine.describe(spec, planned)).encode())
    search, place = Search(spec, planned, records), Place(records.storage.uri, checkpoint_seconds=0)
    for _ in range(2):
        trial = search.next()
        train(trial, place, lambda report: None)
        search.finish(trial.key, "completed")
    torn = search.next()

    class Killed(Exception):
        pass

    def kill(report) -> None:
        if report.round == 2:
            raise Killed

    with pytest.raises(Killed):
        train(torn, place, kill)
    ended_before = {key: records.storage.read(f"records/trials/{key}.parquet") for key in records.ended()}

    outcome = engine.resume(spec.name, storage, "none", QUIET)

    assert outcome.complete
    assert curves(records) == inline_curves
    assert {key: records.storage.read(f"records/trials/{key}.parquet") for key in ended_before} == ended_before
    attempts = {row["key"]: row["attempts"] for row in records.trials().to_pylist()}
    assert attempts.pop(torn.key) == 2
    assert set(attempts.values()) == {1}


def test_a_diverging_method_fails_with_its_reason_and_the_sweep_goes_on(tmp_path):
    wild = {"method": "cross_entropy", "settings": {"learning_rate": 1e20}}
    outcome, records = run(tmp_path, execution="inline", methods={"wild": wild, "cross_entropy": {}})
    assert outcome.complete
    assert outcome.barren == ["wild-digits_noisy"]
    assert len(outcome.failed) == 3
    assert all("diverged" in reason for reason in outcome.failed.values())
    statuses = {row["key"]: row["status"] for row in records.trials().to_pylist()}
    assert statuses["cross_entropy-digits_noisy-confirm-0001"] == "completed"


def test_a_damaged_checkpoint_stops_the_sweep_with_what_to_do(tmp_path):
    spec = suite(execution="inline", retries=0)
    storage = Storage(tmp_path)
    records = Records(storage.child(spec.name))
    planned = studies(spec)
    records.storage.write("suite.json", json.dumps(engine.describe(spec, planned)).encode())
    trial = Search(spec, planned, records).next()
    records.storage.write(f"checkpoints/{trial.key}.pt", b"not a checkpoint")
    with pytest.raises(SurroundingsError, match="delete it"):
        engine.resume(spec.name, storage, "none", QUIET)
    records.storage.delete(f"checkpoints/{trial.key}.pt")
    outcome = engine.resume(spec.name, storage, "none", QUIET)
    assert outcome.complete
    assert not outcome.failed


def test_a_trial_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(engine.ConfigError, match=r"one trial asks for 64 CPU, the cluster has 2 CPU"):
        run(tmp_path, resources={"cpu": 64})
    assert not list(tmp_path.iterdir()), "nothing is written before the cluster can hold a trial"
    assert run(tmp_path, resources={"cpu": 1}, trials=1)[0].complete


def test_what_no_process_trains_is_not_waited_for_for_ever(tmp_path):
    """A trial was handed out, and whoever trained it is gone without a word."""
    spec = suite(methods=["cross_entropy"], trials=1)
    search = Search(spec, studies(spec), Records(Storage(tmp_path)))
    lost = search.next()
    searcher = QueueSearcher(search, spec, Place(str(tmp_path)), 2, lambda trial, report: None)
    assert searcher.suggest("another") == "FINISHED"
    assert f"waits for {lost.key}" in str(searcher.problem)
    assert "regbench resume small" in str(searcher.problem)


def test_workers_find_the_standard_library_platform():
    @ray.remote(num_cpus=0)
    def system() -> str:
        import platform

        return platform.system()

    import platform

    assert ray.get(system.remote()) == platform.system()
