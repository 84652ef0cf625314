"""regbench in Python: what it returns, what it refuses, objects in memory, and the page that is a notebook."""

import copy
import io
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from registrations import forget, look_anew
from rich.console import Console
from torch import nn
from torch.nn.functional import cross_entropy

import regbench as rb
from regbench.methods import registry
from regbench.methods.classification.task import ClassificationMethod
from regbench.methods.errors import ConfigError, DataError
from regbench.methods.method import Paper, weight
from regbench.methods.shared.data import load
from regbench.platform.execution import shown

ROOT = Path(__file__).parents[3]
SUITE = {
    "name": "blobs",
    "methods": ["label_smoothing", "small_logits"],
    "data": ["blobs"],
    "settings": {"epochs": 2, "architecture": "thin"},
    "trials": 2,
    "sampler": "random",
    "confirm": {"seeds": 2},
    "execution": "inline",
}


def blobs() -> tuple[np.ndarray, np.ndarray]:
    numbers = np.random.default_rng(0)
    y = numbers.integers(3, size=90)
    return numbers.normal(size=(90, 2)) + 2 * np.eye(3)[y][:, :2], y


def thin(shape, classes, width=8):
    return nn.Sequential(nn.Linear(shape[0], width), nn.Tanh(), nn.Linear(width, classes))


class SmallLogits(ClassificationMethod):
    """Cross-entropy plus λ times the mean squared logit."""

    paper: ClassVar[Paper | None] = None
    penalty: float = weight(0.01, off=0.0, ge=0, symbol="λ", differentiable=True, help="of squared logits", search=[0.01, 0.1])

    def objective(self, model, batch, weights):
        logits = model(batch.x)
        return cross_entropy(logits, batch.y) + weights.penalty * logits.square().mean(), logits


@pytest.fixture(scope="module")
def registered():
    """What the tests register, and nothing of it afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        forget(patch)
        patch.setattr(SmallLogits, "slug", SmallLogits.slug)
        rb.data("blobs", blobs())
        rb.register(thin)
        rb.register(SmallLogits)
        yield
    look_anew()


@pytest.fixture(scope="module")
def sweep(registered, tmp_path_factory):
    return rb.sweep(SUITE, storage=tmp_path_factory.mktemp("results"), tracking="none")


def test_the_table_is_that_of_the_comparison(sweep):
    entries = sweep.entries.set_index("entry")
    assert list(entries.index) == list(sweep.comparison.entries["entry"])
    assert set(entries.index) == {"cross_entropy", "label_smoothing", "small_logits"}
    test = sweep.trials.query("stage == 'confirm'").groupby("entry")["test/accuracy"].mean()
    pd.testing.assert_series_equal(entries["mean"].sort_index(), test, check_names=False)
    assert entries.loc["small_logits", "weights"].startswith("λ = ")
    assert sweep.headlines == repr(sweep).splitlines()
    assert "<table" in sweep._repr_html_()


def test_curves_have_a_row_for_each_trial_and_round(sweep):
    assert len(sweep.curves) == sweep.trials["rounds"].sum() == 2 * len(sweep.trials)
    last = sweep.curves.query("round == 2").set_index("key")["val/accuracy"]
    pd.testing.assert_series_equal(last, sweep.trials.set_index("key")["val/accuracy"], check_names=False)


def test_the_best_comes_trained(sweep):
    best = sweep.best("small_logits")
    x, y = load("blobs").validation.tensors
    assert (best.predict(x).argmax(1) == y).double().mean().item() == best.metrics["val/accuracy"]
    assert (
        best.metrics["val/accuracy"] == sweep.trials.query("entry == 'small_logits' and stage == 'tune'")["val/accuracy"].max()
    )
    assert best.method.penalty in (0.01, 0.1)
    assert list(best.curve.index) == [1, 2]


def test_the_same_call_returns_what_there_is_and_a_larger_one_goes_on(sweep):
    storage = Path(sweep.records.storage.uri).parent
    before = sweep.trials.set_index("key")["ended"]
    assert rb.sweep(SUITE, storage=storage, tracking="none").trials.set_index("key")["ended"].equals(before)
    grown = rb.sweep(SUITE | {"trials": 3, "methods": ["label_smoothing", "small_logits"]}, storage=storage, tracking="none")
    assert (grown.trials["stage"] == "tune").sum() == 3 * 3
    with pytest.raises(ConfigError, match="differs in settings"):
        rb.sweep(SUITE | {"settings": {"epochs": 3}}, storage=storage, tracking="none")
    again = rb.load("blobs", storage)
    assert again.trials.equals(grown.trials)
    assert len(rb.compare([again, "blobs"], storage).entries) == 2 * len(again.entries)


def test_charts_are_drawn_and_saved(sweep, tmp_path):
    for draw in (sweep.plot.forest, sweep.plot.curves, sweep.plot.sensitivity):
        assert draw("blobs")._repr_mimebundle_()["image/svg+xml"].startswith("<svg")
    sweep.plot.forest().save(tmp_path / "forest.svg")
    assert "label_smoothing" in (tmp_path / "forest.svg").read_text()
    sweep.report(tmp_path / "page.html")
    assert "<html" in (tmp_path / "page.html").read_text()


def test_what_is_not_there_is_refused_with_the_nearest(sweep, tmp_path):
    with pytest.raises(ConfigError, match="no entry 'small_logit' on blobs; did you mean 'small_logits'"):
        sweep.best("small_logit")
    with pytest.raises(ConfigError, match="no data set 'blob' here"):
        sweep.plot.forest("blob")
    with pytest.raises(ConfigError, match="did you mean 'label_smoothing'"):
        rb.run("label_smothing")
    with pytest.raises(ConfigError, match="unknown key 'method'; did you mean 'methods'"):
        rb.sweep({"name": "x", "method": ["mixup"]}, storage=tmp_path)
    with pytest.raises(ConfigError, match="there is a method called 'mixup' already"):
        rb.register(SmallLogits, "mixup")
    with pytest.raises(ConfigError, match="regbench has a data set called 'digits'"):
        rb.data("digits", blobs())
    x, y = blobs()
    for wrong, says in (
        ((x, y[1:]), "90 inputs, but 89 targets"),
        ((np.where(x > 1, np.nan, x), y), "must be finite numbers"),
        ((x, y - 1), "classes are numbered from 0, there is -1"),
    ):
        with pytest.raises(DataError, match=says):
            rb.data("wrong", wrong)


def test_a_network_in_memory_is_trained_from_its_own_start_and_left_alone(registered):
    network = thin((2,), 3)
    before = copy.deepcopy(network.state_dict())
    first, second = (rb.run("mixup", "blobs", model=network, epochs=2, seed=1) for _ in range(2))
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert first.curve.equals(second.curve)
    start = rb.run("cross_entropy", "blobs", model=network, epochs=1, learning_rate=1e-12, weight_decay=0.0)
    torch.testing.assert_close(start.network.state_dict(), before, rtol=0, atol=1e-8)
    with pytest.raises(ConfigError, match=r"maps inputs \[2, 2\] to \[2, 5\]; logits must be \[2, 3\]"):
        rb.run("mixup", "blobs", model=thin((2,), 5))


def test_data_in_memory_is_drawn_anew_for_another_split(registered):
    first, again, other = load("blobs"), load("blobs", 0), load("blobs", 1)
    assert [len(split) for split in (first.train, first.validation, first.test)] == [54, 18, 18]
    assert first.pool == 90
    assert first.test.tensors[0].equal(again.test.tensors[0])
    assert not first.test.tensors[0].equal(other.test.tensors[0])


def test_methods_are_listed(registered):
    found = rb.list_methods("classification")
    assert {"ps_kd", "small_logits"} <= set(found.index)
    assert found.loc["small_logits", "weights"] == "λ = 0.01 (off: 0.0)"
    assert set(rb.list_methods()["track"]) == set(registry.tracks())


# As a user's script: objects of the main module, trained in worker processes.
SCRIPT = """
import sys
import numpy as np
import regbench as rb
from torch import nn

if __name__ == "__main__":
    numbers = np.random.default_rng(0)
    y = numbers.integers(2, size=60)
    rb.data("mine", (numbers.normal(size=(60, 3)) + y[:, None], y))

    @rb.register
    def net(shape, classes):
        return nn.Linear(shape[0], classes)

    suite = {"name": "s", "methods": ["cross_entropy"], "data": ["mine"], "trials": 2, "confirm": {"seeds": 0}}
    settings = {"architecture": "net", "epochs": 2}
    sweep = rb.sweep(suite | {"settings": settings}, tracking="none", cpus=2)
    assert set(sweep.trials["status"]) == {"completed"}, sweep.trials["reason"].tolist()
"""


def test_worker_processes_get_what_is_registered_and_others_say_what_is_missing(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.raises(ConfigError, match="needs mine, net, which existed only in the Python process that started it"):
        rb.load("s", tmp_path / "regbench-results")


def test_what_a_sweep_in_memory_grew_by_is_missing_elsewhere_too(registered, tmp_path):
    suite = SUITE | {"methods": ["cross_entropy"], "trials": 1, "confirm": {"seeds": 0}}
    rb.sweep(suite, storage=tmp_path, tracking="none")
    rb.data("more", blobs())
    rb.sweep(suite | {"data": ["blobs", "more"]}, storage=tmp_path, tracking="none")
    with pytest.MonkeyPatch.context() as elsewhere:
        forget(elsewhere)
        with pytest.raises(ConfigError, match="needs blobs, more, thin, which existed only in the Python process"):
            rb.load("blobs", tmp_path)
    look_anew()


def test_a_bar_moves_in_notebooks_that_have_widgets_alone(monkeypatch):
    notebook, file = Console(force_jupyter=True), Console(file=io.StringIO())
    monkeypatch.setattr(shown, "find_spec", {"ipywidgets": object()}.get)
    assert (shown.lively(notebook), shown.lively(file)) == (True, False)
    monkeypatch.setattr(shown, "find_spec", {}.get)
    assert not shown.lively(notebook)


def test_the_page_is_a_notebook_that_runs(tmp_path):
    notebook = nbformat.read(ROOT / "docs" / "python.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs if "data" in output]
    assert any("image/svg+xml" in output["data"] for output in shown)
    assert any("label_smoothing" in output["data"].get("text/html", "") for output in shown)
