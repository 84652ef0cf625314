"""What people, editors and synchronizing programs leave in a sweep's folder costs a line, never a sweep, let alone others."""

import json
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from regbench.methods.classification.label_smoothing import LabelSmoothing
from regbench.methods.errors import ConfigError, RegbenchError, StorageError
from regbench.platform import sweep as engine
from regbench.platform.cli import app
from regbench.platform.mending import mend_suite_file
from regbench.platform.records.lease import last_driver, only_driver
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.records.suite_file import DamagedSuiteError, read_suite_file
from regbench.platform.records.sweeps import open_sweep, sweep_names
from regbench.platform.suite.recorded import recorded_plan
from regbench.platform.suite.spec import read_suite

SUITE = """
name: small
methods: [label_smoothing]
data: [digits_small]
settings: {epochs: 1}
trials: 3
sampler: random
execution: inline
confirm: {seeds: 2}
"""
QUIET = Console(quiet=True)
FOREIGN = [
    "{key}.json~", ".{key}.json.swp", "{key} (conflicted copy 2026-01-01).json", "{key}.sync-conflict-20260101.json",
    "Thumbs.db", "desktop.ini", "{key}.json.bak", "#{key}.json#", "{key} - Copy.json", "Kopie von {key}.json", "notes.json",
    "{key}.parquet~",
]  # fmt: skip
DAMAGE = {
    "empty": b"",
    "cut": b'{"schema": "2", "id": "0123456789abcdef0123456789abcdef", "suite": {"na',
    "no JSON": b"\x00\xff\xfe",
    "a list": b"[]",
    "null": b"null",
    "nested": b"[" * 100_000,
    "another shape": b'{"suite": {"name": 3}, "studies": {}, "provenance": []}',
    "numbers as text": b'{"suite": {"confirm": {"seeds": "2"}}, "studies": [{"trials": "3"}], "provenance": {}}',
    "no keys": b"{}",
    "newer": b'{"schema": "99", "suite": {}, "studies": [], "provenance": {"regbench": "9.1"}}',
    "no studies' facts": b'{"suite": {"name": "small"}, "studies": [{}], "provenance": {"started": "2026-01-01T00:00Z"}}',
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A storage folder with a complete sweep, whose suite lies beside it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.yaml").write_text(SUITE)
    result = CliRunner().invoke(app, ["sweep", str(folder / "small.yaml"), "--storage", str(folder), "--tracking", "none"])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def storage(trained, tmp_path) -> Storage:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return Storage(tmp_path)


@pytest.fixture
def records(storage) -> Records:
    return open_sweep("small", storage)


def run(storage: Storage, *words: str) -> tuple[int, str]:
    """Exit status and output of a command; what a user sees of an error is the last line."""
    result = CliRunner().invoke(app, [*words, "--storage", storage.uri])
    if result.exception is None or isinstance(result.exception, SystemExit):
        return result.exit_code, result.output
    assert isinstance(result.exception, RegbenchError), result.exception
    assert "\n" not in str(result.exception)
    return 2, f"error: {result.exception}"


def interrupt(records: Records, key: str) -> None:
    """As if the sweep had been interrupted in a trial that had begun."""
    for table in ("trials", "curves"):
        records.storage.delete(f"records/{table}/{key}.parquet")


TUNED, CONFIRMED = "label_smoothing-digits_small-tune-0002", "label_smoothing-digits_small-confirm-0001"


def test_files_of_other_programs_are_passed_over(records, storage, trained):
    before = (records.planned(), records.ended(), records.trials(), records.curves(), records.summary())
    for folder in ("trials", "records/trials", "records/curves", f"logs/{TUNED}", "checkpoints", "report"):
        for name in FOREIGN:
            records.storage.write(f"{folder}/{name.format(key=TUNED)}", b"foreign")
    copied = records.storage.read(f"records/trials/{TUNED}.parquet")
    records.storage.write(f"records/trials/{TUNED} (1).parquet", copied)
    # A copy under a name of ours, too.
    records.storage.write("records/trials/label_smoothing-digits_small-tune-0009.parquet", copied)
    records.storage.write("trials/label_smoothing-digits_small-tune-0008.json", records.storage.read(f"trials/{TUNED}.json"))
    log = records.log(TUNED)
    assert len(log.attempts) == len(log.reports) == 1
    after = (records.planned(), records.ended() - {"label_smoothing-digits_small-tune-0009"}, records.trials())
    assert after == before[:3]
    assert (records.curves(), records.summary()) == before[3:]
    for name in ("small (conflicted copy)", "small~", ".small"):
        storage.write(f"{name}/suite.json", b"{}")
    assert sweep_names(storage) == ["small"]


@pytest.mark.parametrize("content", [None, b"", b'{"sweep": "s', b"null", b'{"key": 3}', b"\xff", b'"text"'])
def test_the_specification_of_a_trial_that_has_ended_is_made_from_its_record(records, content):
    before = {trial.key: trial for trial in records.planned()}
    records.storage.delete(f"trials/{TUNED}.json")
    if content is not None:
        records.storage.write(f"trials/{TUNED}.json", content)
    assert {trial.key: trial for trial in records.planned()} == before
    assert records.damaged() == []


@pytest.mark.parametrize("key", [TUNED, CONFIRMED])
def test_a_specification_without_a_record_is_planned_anew(records, storage, key):
    path = f"trials/{key}.json"
    before, record = records.storage.read(path), {row["key"]: row["values"] for row in records.trials().to_pylist()}
    interrupt(records, key)
    records.storage.write(path, b"")
    status, shown = run(storage, "status", "small")
    assert (status, records.damaged()) == (0, [key])
    assert f"damaged {key}" in shown
    assert records.storage.read(path) == b"", "who looks writes nothing"
    status, shown = run(storage, "resume", "small", "--tracking", "none")
    assert (status, shown.count("planned anew")) == (0, 1)
    assert records.storage.read(path) == before
    assert {row["key"]: row["values"] for row in records.trials().to_pylist()} == record


@pytest.mark.parametrize("content", [b"", b"{}", b'{"id": "x"', b"null", b'{"id": 1, "host": [], "pid": "x"}',
                                     b'{"id": "x", "host": "h", "pid": -1}', b"\xff"])  # fmt: skip
def test_a_driver_that_cannot_be_read_is_waited_for(records, storage, content):
    records.storage.write("driver.json", content)
    assert not last_driver(records.storage).known
    interrupt(records, CONFIRMED)
    status, shown = run(storage, "status")
    assert status == 0
    assert "interrupted, unless it" in " ".join(shown.split())
    with only_driver(records.storage, QUIET, beat_s=0.05, patience_s=0.1):
        # A driver is not replaced by a file that is damaged while it runs: it shows itself again.
        mine = last_driver(records.storage)
        records.storage.write("driver.json", content)
        while not last_driver(records.storage).known:
            pass
        assert last_driver(records.storage).id == mine.id
    assert last_driver(records.storage) is None


@pytest.mark.parametrize("kind", [*DAMAGE, "missing"])
def test_a_damaged_suite_file_costs_a_line_and_hides_no_other_sweep(records, storage, kind):
    shutil.copytree(storage.local / "small", storage.local / "other")
    destroy(records, kind)
    status, shown = run(storage, "status")
    assert status == 0
    assert re.search(r"other\W+complete\W+12/12", shown)
    assert "small: " in shown
    for words in (["status", "small"], ["resume", "small", "--tracking", "none"]):
        status, shown = run(storage, *words)
        assert status == 2, shown
        assert "small/suite.json" in shown
        assert "install that version" if kind == "newer" else "regbench sweep SUITE --name small --continue" in shown
    status, shown = run(storage, "compare", "small")
    # What the records alone tell is told.
    assert status == (0 if kind in ("no keys", "no studies' facts") else 2)
    assert "suite.json" in shown or status == 0


def destroy(records: Records, kind: str) -> None:
    records.storage.delete("suite.json")
    if kind != "missing":
        records.storage.write("suite.json", DAMAGE[kind])


@pytest.mark.parametrize("kind", ["empty", "newer", "missing"])
def test_mlflow_is_shown_and_synchronized_without_the_sweep_that_is_damaged(records, storage, monkeypatch, kind):
    shutil.copytree(storage.local / "small", storage.local / "other")
    assert run(storage, "sync", "other")[0] == 0
    destroy(records, kind)
    status, shown = run(storage, "sync", "small")
    assert (status, "small/suite.json" in shown) == (2, True)
    monkeypatch.setattr("regbench.platform.tracking.ui.serve", lambda *_: 0)
    status, shown = run(storage, "ui")
    assert status == 0
    assert "small/suite.json" in shown
    assert "compare other on digits_small: http" in shown


@pytest.mark.parametrize("kind", [*(kind for kind in DAMAGE if kind != "newer"), "missing"])
def test_a_damaged_suite_file_is_written_anew_from_the_suite(records, storage, kind):
    before = read_suite_file(records.storage)
    destroy(records, kind)
    mend_suite_file(read_suite(storage.local / "small.yaml"), records, QUIET)
    after = read_suite_file(records.storage)
    assert after["suite"] == before["suite"]
    for old, new in zip(before["studies"], after["studies"], strict=True):
        assert new == {name: value for name, value in old.items() if name != "settings"}
    if kind == "cut":
        assert after["id"] == "0123456789abcdef0123456789abcdef"
    mend_suite_file(read_suite(storage.local / "small.yaml"), records, QUIET)
    assert read_suite_file(records.storage) == after, "what can be read is left alone"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("epochs: 1", "epochs: 2", "epochs: 1 there, 2 here"),
        ("trials: 3", "trials: 2", "has 3 trials there, 2 here"),
        ("data: [digits_small]", "data: [digits]", "no study cross_entropy-digits_small here"),
        ("[label_smoothing]", "{label_smoothing: {method: mixup}}", "method label_smoothing there, mixup here"),
        ("[label_smoothing]", "{label_smoothing: {settings: {learning_rate: 0.1}}}", "searched there"),
        ("[label_smoothing]", "{label_smoothing: {space: {smoothing: {low: 0.9, high: 0.95}}}}", "outside of the range here"),
    ],
)
def test_a_damaged_suite_file_is_not_written_anew_from_another_suite(records, storage, old, new, said):
    destroy(records, "empty")
    other = storage.local / "other.yaml"
    other.write_text(SUITE.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        mend_suite_file(read_suite(other), records, QUIET)
    assert records.storage.read("suite.json") == b""


def test_a_sweep_goes_on_with_its_suite_file_written_anew(records, storage):
    values = {row["key"]: row["values"] for row in records.trials().to_pylist()}
    interrupt(records, CONFIRMED)
    destroy(records, "empty")
    status, shown = run(storage, "sweep", str(storage.local / "small.yaml"), "--continue", "--tracking", "none")
    assert status == 0, shown
    assert "was written anew" in shown
    assert {row["key"]: row["values"] for row in records.trials().to_pylist()} == values
    assert run(storage, "status", "small")[0] == 0


def test_a_sweep_without_its_suite_file_is_not_started_over(records, storage):
    records.storage.delete("suite.json")
    status, shown = run(storage, "sweep", str(storage.local / "small.yaml"), "--tracking", "none")
    assert status == 2
    assert "--continue" in shown
    assert not records.storage.exists("suite.json")


def edit(records: Records, **changes) -> None:
    records.storage.write("suite.json", json.dumps(read_suite_file(records.storage) | changes).encode())


def renamed(records: Records, old: str, new: str) -> None:
    """Records of a sweep that names something else."""
    import pyarrow.parquet as pq

    recorded = read_suite_file(records.storage)
    for study in recorded["studies"]:
        study |= {key: new for key in ("method", "data", "track") if study[key] == old}
    edit(records, studies=recorded["studies"])
    for path in (records.storage.local / "records/trials").iterdir():
        table = pq.read_table(path)
        column = {"label_smoothing": "method", "digits_small": "data", "classification": "track"}[old]
        values = [new if value == old else value for value in table[column].to_pylist()]
        pq.write_table(table.set_column(table.schema.get_field_index(column), table.schema.field(column), [values]), path)
    for path in (records.storage.local / "trials").iterdir():
        path.write_text(path.read_text().replace(f'"{old}"', f'"{new}"'))


@pytest.mark.parametrize("old", ["label_smoothing", "digits_small", "classification"])
def test_what_is_no_longer_installed_can_be_compared_and_is_not_resumed(records, storage, old):
    renamed(records, old, "gone_since")
    status, shown = run(storage, "status")
    assert (status, "complete" in shown) == (0, True)
    assert run(storage, "status", "small")[0] == 0
    status, shown = run(storage, "compare", "small")
    assert (status, "label_smoothing" in shown) == (0, True)
    status, shown = run(storage, "resume", "small", "--tracking", "none")
    assert status == 2
    assert "gone_since" in shown
    assert "started with regbench" in shown


def test_the_recorded_plan_is_the_plan(records):
    from regbench.platform.suite.plan import studies
    from regbench.platform.suite.spec import parse_suite

    recorded = read_suite_file(records.storage)
    suite, found = recorded_plan(records)
    assert suite == parse_suite(recorded["suite"])
    for study, planned in zip(found, studies(suite), strict=True):
        assert study.describe() | {"fixed": {}} == planned.describe() | {"fixed": {}}
        assert planned.fixed.items() <= study.fixed.items()
        assert study.fixed.keys() | study.space.keys() == set(study.method.model_fields)


def test_a_default_space_that_has_changed_since_is_not_searched(records, storage, monkeypatch):
    from optuna.distributions import FloatDistribution

    from regbench.search_spaces import ranges

    for number in (1, 2):
        key = f"label_smoothing-digits_small-tune-{number:04d}"
        interrupt(records, key)
        records.storage.delete(f"trials/{key}.json")
    before = recorded_plan(records)[1]
    spaces = {slug: {"learning_rate": FloatDistribution(7.0, 8.0)} for slug in ranges.all_spaces()}
    monkeypatch.setattr(ranges, "all_spaces", lambda: spaces)
    found = recorded_plan(records)[1]
    assert [study.space for study in found] == [study.space for study in before]
    assert engine.resume("small", storage, "none", QUIET).complete
    for row in records.trials().to_pylist():
        assert json.loads(row["settings"])["learning_rate"] < 7


@pytest.mark.parametrize("noted", [True, False])
def test_a_default_that_has_changed_since_is_not_trained(records, storage, monkeypatch, noted):
    interrupt(records, CONFIRMED)
    records.storage.delete(f"trials/{CONFIRMED}.json")
    if not noted:
        # As older versions wrote it.
        studies = [{k: v for k, v in study.items() if k not in ("settings", "learning_rounds")}
                   for study in read_suite_file(records.storage)["studies"]]  # fmt: skip
        edit(records, studies=studies)
    before = {trial.key: trial for trial in records.planned()}
    other = next(trial for key, trial in before.items() if key == CONFIRMED.replace("0001", "0000"))
    monkeypatch.setattr(LabelSmoothing.model_fields["batch_size"], "default", 11)
    LabelSmoothing.model_rebuild(force=True)
    try:
        assert LabelSmoothing().batch_size == 11
        assert engine.resume("small", storage, "none", QUIET).complete
    finally:
        monkeypatch.undo()
        LabelSmoothing.model_rebuild(force=True)
    again = next(trial for trial in records.planned() if trial.key == CONFIRMED)
    assert again.settings == other.settings
    assert again.settings["batch_size"] != 11


def test_changed_versions_are_said_once_and_reported(records, storage):
    provenance = read_suite_file(records.storage)["provenance"]
    edit(records, provenance=provenance | {"torch": "1.0", "git": None, "python": "3.9.1"})
    said = []
    for _ in range(2):
        interrupt(records, CONFIRMED)
        status, shown = run(storage, "resume", "small", "--tracking", "none")
        assert status == 0
        said.append("Changed since this sweep was last run" in shown and "torch 1.0 → " in shown and "python 3.9.1 → " in shown)
    assert said == [True, False]
    recorded = read_suite_file(records.storage)
    assert [later["torch"] for later in recorded["resumed"]] == [provenance["torch"]]
    page = records.storage.read("report/report.html").decode()
    assert f"torch {provenance['torch']}" in page
    assert "torch 1.0" in page


def test_a_sweep_in_which_nothing_is_left_to_train_notes_no_versions(records, storage):
    edit(records, provenance=read_suite_file(records.storage)["provenance"] | {"torch": "1.0"})
    assert engine.resume("small", storage, "none", QUIET).complete
    assert "resumed" not in read_suite_file(records.storage)


def test_a_copy_that_goes_on_beside_its_original_is_another_sweep(records, storage):
    shutil.copytree(storage.local / "small", storage.local / "copy")
    shutil.copytree(storage.local / "small", storage.local / "elsewhere" / "copy")
    copy = open_sweep("copy", storage)
    identity = read_suite_file(records.storage)["id"]
    assert engine.resume("copy", storage, "none", QUIET).complete
    assert read_suite_file(copy.storage)["id"] == identity, "it has not gone on"
    for sweep, place in ((copy, storage), (Records(storage.child("elsewhere").child("copy")), storage.child("elsewhere"))):
        interrupt(sweep, CONFIRMED)
        assert engine.resume("copy", place, "none", QUIET).complete
    recorded = read_suite_file(copy.storage)
    assert recorded["id"] != identity
    assert recorded["copied_from"] == identity
    assert read_suite_file(storage.child("elsewhere").child("copy"))["id"] == identity, "a sweep that was moved is the same"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"id": 3}', b'{"cluster": {"kind": "slurm"}, "id": "1", "submitted": ""}'])
def test_a_damaged_job_file_costs_a_line(records, storage, content):
    records.storage.write("job.json", content)
    status, shown = run(storage, "status", "small")
    assert (status, "job.json cannot be read" in " ".join(shown.split())) == (0, True)
    for word in ("logs", "stop"):
        status, shown = run(storage, word, "small")
        assert (status, "job.json cannot be read" in shown) == (2, True)


def test_what_is_wrong_is_told_apart(tmp_path):
    with pytest.raises(DamagedSuiteError, match="is not there"):
        read_suite_file(Storage(tmp_path))
    Storage(tmp_path).write("suite.json", DAMAGE["newer"])
    with pytest.raises(StorageError, match=r"9\.1, schema 99"):
        read_suite_file(Storage(tmp_path))
    with pytest.raises(ConfigError, match="no sweep 'none'"):
        open_sweep("none", Storage(tmp_path))
