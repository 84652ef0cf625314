"""The records: appended while a trial trains, written once when it has ended, read back whatever a crash has left."""

import io
import json
import math
from dataclasses import replace

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from regbench.methods.errors import CheckpointError, ConfigError, DivergedError
from regbench.methods.registry import create
from regbench.platform import sweep as engine
from regbench.platform.execution.trial import Place, train
from regbench.platform.records.records import Records, Report, Trial
from regbench.platform.records.storage import Storage
from regbench.platform.records.sweeps import open_sweep
from regbench.platform.records.tables import CURVES, TRIALS
from regbench.platform.suite.spec import parse_suite

SETTINGS = create("label_smoothing", {"epochs": 2}).model_dump()
TRIAL = Trial(
    sweep="s",
    key="ls-digits-tune-0000",
    stage="tune",
    track="classification",
    entry="ls",
    method="label_smoothing",
    arxiv="1512.00567",
    data="digits",
    number=0,
    seed=0,
    objectives=("val/accuracy",),
    modes=("max",),
    planned_rounds=2,
    settings=SETTINGS,
    searched={"smoothing": 0.1},
)
ONE_TRIAL = {
    "name": "s",
    "methods": ["label_smoothing"],
    "settings": {"epochs": 1},
    "trials": 1,
    "execution": "inline",
    "confirm": {"seeds": 1},
}


@pytest.fixture
def records(tmp_path) -> Records:
    return Records(Storage(tmp_path))


def report(round_: int, accuracy: float = 0.5, **changes: object) -> Report:
    return replace(Report(round_, 100.0 + round_, float(round_), {"val/accuracy": accuracy, "val/nll": 1.0}), **changes)


def newest_log(records: Records) -> str:
    """The path of the newest attempt's log."""
    return f"logs/{TRIAL.key}/{records.storage.names(f'logs/{TRIAL.key}')[-1]}"


def crash_after(records: Records, text: bytes) -> None:
    """What a killed process leaves at the end of a log."""
    records.storage.append(newest_log(records), text)


def test_a_trial_survives_json(records):
    records.plan(TRIAL)
    assert records.planned() == [TRIAL]


def test_a_log_is_read_as_appended(records):
    attempt = records.start_attempt(TRIAL.key, host="here")
    attempt.report(report(1))
    attempt.report(report(2, 0.75))
    log = records.log(TRIAL.key)
    assert log.reports == [report(1), report(2, 0.75)]
    assert [attempt["host"] for attempt in log.attempts] == ["here"]


def test_a_trial_that_never_started_has_an_empty_log(records):
    assert records.log(TRIAL.key).reports == records.log(TRIAL.key).attempts == []


@pytest.mark.parametrize("torn", [b'{"report": {"round": 2, "ti', b'{"att', b"\xff\xfe", b"{"])
def test_a_torn_last_line_is_passed_over_and_hurts_nothing_that_follows(records, torn):
    attempt = records.start_attempt(TRIAL.key, host="first")
    attempt.report(report(1))
    crash_after(records, torn)
    assert records.log(TRIAL.key).reports == [report(1)]
    attempt = records.start_attempt(TRIAL.key, host="second")
    attempt.report(report(2))
    log = records.log(TRIAL.key)
    assert log.reports == [report(1), report(2)]
    assert [attempt["host"] for attempt in log.attempts] == ["first", "second"]


def test_a_whole_last_line_without_its_end_counts(records):
    attempt = records.start_attempt(TRIAL.key, host="first")
    attempt.report(report(1))
    path = newest_log(records)
    records.storage.write(path, records.storage.read(path).rstrip(b"\n"))
    attempt = records.start_attempt(TRIAL.key, host="second")
    assert records.log(TRIAL.key).reports == [report(1)]
    assert len(records.log(TRIAL.key).attempts) == 2


def test_an_object_store_has_the_whole_log_once_it_is_flushed(tmp_path):
    """Such a store cannot append: lines wait until a checkpoint or the end asks for them."""
    records = Records(Storage(f"fsspec+memory://{tmp_path.name}"))
    attempt = records.start_attempt(TRIAL.key, host="here")
    for round_ in (1, 2):
        attempt.report(report(round_))
    attempt.flush()
    attempt.report(report(3))
    attempt.flush()
    assert records.log(TRIAL.key).reports == [report(1), report(2), report(3)]


def test_an_attempt_that_was_given_up_and_lives_on_changes_nothing(records):
    """Its machine was thought dead; its late words are older than the new attempt's, whenever they come."""
    given_up = records.start_attempt(TRIAL.key, host="lost")
    given_up.report(report(1, 0.1))
    attempt = records.start_attempt(TRIAL.key, host="found")
    attempt.report(report(1, 0.2))
    given_up.report(report(2, 0.1))
    attempt.report(report(2, 0.3))
    given_up.report(report(3, 0.1))
    assert records.log(TRIAL.key).reports == [report(1, 0.2), report(2, 0.3)]


def test_a_round_that_a_later_attempt_repeats_counts_once(records):
    """The first attempt died after round 3, its checkpoint was of round 1: what came after it is no longer true."""
    attempt = records.start_attempt(TRIAL.key)
    for round_ in (1, 2, 3):
        attempt.report(report(round_, 0.1))
    attempt = records.start_attempt(TRIAL.key)
    attempt.report(report(2, 0.9))
    assert records.log(TRIAL.key).reports == [report(1, 0.1), report(2, 0.9)]
    row = records.finish(TRIAL, "completed")
    assert (row["rounds"], row["values"], row["attempts"]) == (2, [0.9], 2)
    rounds = [(line["round"], line["value"]) for line in records.curves().to_pylist() if line["metric"] == "val/accuracy"]
    assert rounds == [(1, 0.1), (2, 0.9)]


def test_a_finished_trial_is_read_back(records):
    attempt = records.start_attempt(TRIAL.key, host="here", device="cpu")
    attempt.report(report(1, 0.25))
    attempt.report(report(2, 0.75))
    records.finish(TRIAL, "completed")
    row = records.trials().to_pylist()[0]
    assert row == records.trial(TRIAL.key)
    assert records.ended() == {TRIAL.key}
    assert (row["status"], row["reason"], row["rounds"], row["seconds"]) == ("completed", None, 2, 2.0)
    assert (row["host"], row["device"]) == ("here", "cpu")
    assert dict(row["metrics"]) == {"val/accuracy": 0.75, "val/nll": 1.0}
    assert json.loads(row["settings"]) == SETTINGS
    assert json.loads(row["searched"]) == {"smoothing": 0.1}


def test_a_change_of_configuration_while_training_is_what_is_recorded(records):
    attempt = records.start_attempt(TRIAL.key)
    attempt.report(report(1, searched={"smoothing": 0.1}))
    attempt.report(report(2, searched={"smoothing": 0.12}))
    row = records.finish(TRIAL, "completed")
    assert json.loads(row["searched"]) == {"smoothing": 0.12}
    assert json.loads(row["settings"]) == SETTINGS | {"smoothing": 0.12}


def test_a_trial_that_fails_before_its_first_report_has_a_row_and_no_curve(records):
    records.finish(TRIAL, "failed", "it would not start")
    row = records.trials().to_pylist()[0]
    assert (row["status"], row["reason"], row["values"], row["rounds"]) == ("failed", "it would not start", [], 0)
    assert records.curves().num_rows == 0


def test_finishing_twice_changes_nothing_but_the_time(records):
    attempt = records.start_attempt(TRIAL.key)
    attempt.report(report(1))
    first = records.finish(TRIAL, "completed")
    second = records.finish(TRIAL, "completed")
    assert {k: v for k, v in first.items() if k != "ended"} == {k: v for k, v in second.items() if k != "ended"}
    assert records.trials().num_rows == 1
    assert records.curves().num_rows == 2


def test_a_curve_without_a_row_is_not_an_ended_trial(records):
    """A crash between the two files: the row, written last, is what counts."""
    attempt = records.start_attempt(TRIAL.key)
    attempt.report(report(1))
    records.finish(TRIAL, "completed")
    records.storage.delete(f"records/trials/{TRIAL.key}.parquet")
    assert records.ended() == set()
    assert records.trials().num_rows == 0


def test_a_half_written_file_is_no_record(records):
    """Left by a process that was killed while it wrote."""
    records.finish(TRIAL, "failed", "x")
    content = records.storage.read(f"records/trials/{TRIAL.key}.parquet")
    records.storage.write("records/trials/.other.parquet.123", content[:100])
    assert records.ended() == {TRIAL.key}
    assert records.trials().num_rows == 1


def test_a_table_of_another_kind_is_no_record_and_costs_no_other(records):
    """A number where a whole number belongs cannot be read as one."""
    records.plan(TRIAL)
    records.finish(TRIAL, "completed")
    other = replace(TRIAL, key=f"{TRIAL.key[:-4]}0007")
    buffer = io.BytesIO()
    pq.write_table(pa.table({"key": [other.key], "number": [0.05]}), buffer)
    records.storage.write(f"records/trials/{other.key}.parquet", buffer.getvalue())
    assert records.trials()["key"].to_pylist() == [TRIAL.key]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_stay_what_they_are(records, value):
    attempt = records.start_attempt(TRIAL.key)
    attempt.report(report(1, value))
    row = records.finish(TRIAL, "completed")
    assert row["values"] == pytest.approx([value], nan_ok=True)
    read = records.trials().to_pylist()[0]
    assert read["values"] == pytest.approx([value], nan_ok=True)
    assert records.curves().to_pylist()[0]["value"] == pytest.approx(value, nan_ok=True)


def test_tables_are_sorted_and_typed_also_when_empty(records):
    assert records.trials().schema.equals(TRIALS)
    assert records.curves().schema.equals(CURVES)
    for number in (2, 0, 1):
        trial = replace(TRIAL, key=f"ls-digits-tune-000{number}", number=number)
        attempt = records.start_attempt(trial.key)
        for round_ in (1, 2):
            attempt.report(report(round_))
        records.finish(trial, "completed")
    assert [row["number"] for row in records.trials().to_pylist()] == [0, 1, 2]
    curve = [(row["key"], row["round"]) for row in records.curves().to_pylist()]
    assert curve == sorted(curve)


def test_every_file_names_the_schemas_version(records):
    attempt = records.start_attempt(TRIAL.key)
    attempt.report(report(1))
    records.finish(TRIAL, "completed")
    for table in ("trials", "curves"):
        metadata = pq.read_metadata(f"{records.storage.root}/records/{table}/{TRIAL.key}.parquet").metadata
        assert metadata[b"regbench.schema"] == b"2"


def test_columns_that_an_older_file_lacks_are_empty(records):
    records.finish(TRIAL, "failed", "x")
    path = f"{records.storage.root}/records/trials/{TRIAL.key}.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["device", "attempts"]), path)
    row = records.trials().to_pylist()[0]
    assert (row["device"], row["attempts"], row["reason"]) == (None, None, "x")


def test_a_specification_of_an_earlier_version_is_read(records):
    """Version 1 knew no trial that learns."""
    raw = json.loads(TRIAL.to_json())
    del raw["learned"], raw["ranges"]
    assert Trial.from_json(json.dumps(raw)) == TRIAL


def test_any_parquet_reader_takes_the_folder_as_one_table(records):
    for number in range(3):
        records.finish(replace(TRIAL, key=f"k{number}", number=number), "failed", "x")
    frame = ds.dataset(f"{records.storage.root}/records/trials").to_table().to_pandas()
    assert sorted(frame["key"]) == ["k0", "k1", "k2"]


def test_a_sweep_runs_on_a_file_system_that_is_not_local(tmp_path):
    storage = Storage(f"fsspec+memory://{tmp_path.name}")
    assert engine.start(parse_suite(ONE_TRIAL), storage, "none", Console(quiet=True)).complete
    records = open_sweep("s", storage)
    # Two tuned, two confirmed, one with its weight off.
    assert len(records.ended()) == records.trials().num_rows == 5
    assert storage.exists("s/report/report.html")


def test_a_record_that_was_damaged_afterwards_is_made_again(tmp_path):
    spec = parse_suite(ONE_TRIAL | {"confirm": {"seeds": 0}, "methods": ["cross_entropy"]})
    storage = Storage(tmp_path)
    assert engine.start(spec, storage, "none", Console(quiet=True)).complete
    records = open_sweep("s", storage)
    before = records.trials().to_pylist()[0]
    storage.write(f"s/records/trials/{before['key']}.parquet", b"damaged")
    assert engine.resume("s", storage, "none", Console(quiet=True)).complete
    assert records.trials().to_pylist()[0]["values"] == before["values"]


def place(records: Records) -> Place:
    return Place(records.storage.uri, checkpoint_seconds=0)


def test_a_training_that_diverges_says_in_which_metric_and_round(records):
    wild = replace(TRIAL, settings=create("label_smoothing", {"epochs": 2, "learning_rate": 1e20}).model_dump())
    with pytest.raises(DivergedError, match=r"became (nan|inf) in round 1: training diverged; lower the learning rate"):
        train(wild, place(records), lambda entry: None)
    assert records.log(TRIAL.key).reports == []


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_says_what_to_delete(records, content):
    path = f"checkpoints/{TRIAL.key}.pt"
    if content is None:
        train(TRIAL, place(records), lambda entry: None)
        content = records.storage.read(path)[:-2000]
    records.storage.write(path, content)
    with pytest.raises(CheckpointError, match=rf"{path} is damaged .*: delete it and the trial starts again from round 1"):
        train(TRIAL, place(records), lambda entry: None)


def test_a_checkpoint_runs_no_code(records, tmp_path):
    class Trap:
        def __reduce__(self) -> tuple:
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"seconds": 0.0, "run": Trap()}, tmp_path / "trap.pt")
    records.storage.write(f"checkpoints/{TRIAL.key}.pt", (tmp_path / "trap.pt").read_bytes())
    with pytest.raises(CheckpointError):
        train(TRIAL, place(records), lambda entry: None)
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_of_another_method_is_refused(records):
    train(TRIAL, place(records), lambda entry: None)
    other = replace(TRIAL, method="sinkhorn", data="gaussian_clouds", settings={}, objectives=("val/penalized_gap",))
    with pytest.raises(CheckpointError, match="this method needs"):
        train(other, place(records), lambda entry: None)


def test_an_objective_that_is_not_reported_is_named(records):
    trial = replace(TRIAL, objectives=("val/psnr",))
    with pytest.raises(
        ConfigError, match=r"label_smoothing reports no val/psnr, which the suite optimizes; did you mean 'val/nll'"
    ):
        train(trial, place(records), lambda entry: None)


def test_test_data_is_used_for_confirmation_only(records):
    seen = {}
    for stage in ("tune", "confirm"):
        trial = replace(TRIAL, key=stage, stage=stage)
        reports: list[Report] = []
        train(trial, place(records), reports.append)
        seen[stage] = [any(name.startswith("test/") for name in entry.metrics) for entry in reports]
    assert seen == {"tune": [False, False], "confirm": [False, True]}
