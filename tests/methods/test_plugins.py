"""What is refused of plugins, and with which line."""

from pathlib import Path

import pytest
import torch
from registrations import forget, look_anew

from regbench.methods import metrics, plugins, registry
from regbench.methods.errors import ConfigError, RegbenchError, SurroundingsError
from regbench.methods.registry import all_methods, create, data_of, find_method
from regbench.methods.shared import data

METHOD = """
from typing import ClassVar
from regbench.methods import Paper
from regbench.methods.classification.task import ClassificationMethod

class Mine(ClassificationMethod):
    "Nothing new."
    slug: ClassVar[str] = "{slug}"
    paper: ClassVar[Paper | None] = None
"""
DATA = """
from regbench.methods import dataset

@dataset("{name}", help="nothing", tracks=["{track}"])
def nothing(split: int = 0):
    return None
"""
METRIC = """
from regbench.methods.metrics import metric

@metric("{name}", track="{track}", mode="max")
def nothing(predictions, targets):
    return 0.0
"""


ARCHITECTURE = """
from regbench.methods.shared.factories import architecture

@architecture("{name}")
def net(shape, classes):
    return None
"""


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch):
    """As in a process that has seen none, before and after."""
    with monkeypatch.context() as patched:
        forget(patched)
        yield
    look_anew()


def activate(folder: Path, code: str, name: str = "mine") -> None:
    (folder / f"{name}.py").write_text(code)
    plugins.activate(plugins.find(f"{name}.py", folder))


def test_a_file_may_hold_several_methods_and_a_folder_modules_of_its_own(tmp_path):
    activate(tmp_path, METHOD.format(slug="first") + METHOD.format(slug="second").replace("Mine", "Other"), "two")
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .parts import Mine\n")
    (folder / "parts.py").write_text(METHOD.format(slug="third"))
    plugins.activate(plugins.find(str(folder)))
    assert {"first", "second", "third", "mixup"} <= all_methods().keys()
    assert find_method("third").track.name == "classification"
    assert list(plugins.active()) == ["two", "large"]


TRACK = """
from typing import ClassVar
from regbench.methods import Metric, NetworkMethod, Paper, Track, dataset
from regbench.methods.shared.data.digits import digits

@dataset("numbers", help="digits again", tracks=["counting"])
def numbers(split: int = 0):
    return digits(split)

TRACK = Track("{name}", "how many", (Metric("count", "max"),), ("numbers",), "plain", {{}})

class Plain(NetworkMethod):
    "Nothing at all."
    slug: ClassVar[str] = "plain"
    track: ClassVar[Track] = TRACK
    paper: ClassVar[Paper | None] = None
"""


def test_a_plugin_may_bring_a_track_but_none_of_a_taken_name(tmp_path):
    activate(tmp_path, TRACK.format(name="counting"))
    assert registry.tracks()["counting"].baseline == "plain"
    assert all_methods()["plain"].off_equals == "plain"
    assert data_of(registry.tracks()["counting"]) == ["numbers"]
    activate(tmp_path, TRACK.format(name="transport").replace("plain", "other").replace("numbers", "more"), "second")
    with pytest.raises(ConfigError, match="plugin second: there is a track called 'transport' already"):
        all_methods()


def test_a_digest_is_of_code_and_names_not_of_what_python_leaves_there(tmp_path):
    folder = tmp_path / "large"
    (folder / "__pycache__").mkdir(parents=True)
    code = folder / "__init__.py"
    code.write_text("x = 1\n")
    before = plugins.digest(folder)
    (folder / "__pycache__" / "x.pyc").write_text("left")
    (folder / ".hidden").write_text("left")
    assert plugins.digest(folder) == before
    code.write_text("x = 2\n")
    assert plugins.digest(folder) != before


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("gone.py", "there is no such file"),
        ("folder", "the folder has no __init__.py"),
        ("no-name.py", "'no-name' is no name of a Python module"),
        ("not_installed_anywhere", "neither a .py file, nor a folder, nor a module that can be imported"),
    ],
)
def test_what_is_no_plugin_is_refused(tmp_path, reference, says):
    (tmp_path / "folder").mkdir()
    (tmp_path / "no-name.py").write_text("")
    with pytest.raises(ConfigError, match=says):
        plugins.find(reference, tmp_path)


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        ("x = 1\n1 / 0\n", ConfigError, r"plugin mine cannot be imported \(.*mine.py, line 2\): ZeroDivisionError"),
        ("def broken(:\n", ConfigError, r"plugin mine cannot be imported \(.*mine.py, line 1\): SyntaxError"),
        ("import no_such_package\n", SurroundingsError, "plugin mine needs no_such_package, which is not installed here"),
        (METHOD.format(slug="mixup"), ConfigError, "plugin mine: there is a method called 'mixup' already"),
        (DATA.format(name="digits", track="classification"), ConfigError, "two data sets are called 'digits'"),
        (METRIC.format(name="x", track="clasification"), ConfigError, "unknown track 'clasification'; did you mean"),
        (METRIC.format(name="accuracy", track="classification"), ConfigError, "track classification has one of that name"),
        (METRIC.format(name="x", track="transport"), ConfigError, "track transport has no predictions"),
        (ARCHITECTURE.format(name="cnn"), ConfigError, "plugin mine: regbench has an architecture called 'cnn'"),
        (2 * ARCHITECTURE.format(name="a"), ConfigError, "plugin mine: two architectures are called 'a'"),
        (METHOD.format(slug="a") + METHOD.format(slug="a").replace("Mine", "B"), ConfigError, "two methods of one slug"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_refused_in_a_line(tmp_path, code, error, says):
    activate(tmp_path, code)
    with pytest.raises(error, match=says) as refusal:
        all_methods()
    assert "\n" not in str(refusal.value)


def test_two_plugins_of_one_name_are_refused(tmp_path):
    activate(tmp_path, METHOD.format(slug="first"))
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="two plugins are called 'mine'"):
        activate(tmp_path / "other", METHOD.format(slug="second"))


def test_a_data_set_fits_the_tracks_that_it_names(tmp_path):
    activate(tmp_path, DATA.format(name="mine", track="regression"))
    track = all_methods()["mean_squared_error"].track
    assert data_of(track) == [*track.data, "mine"]
    assert "mine" not in data_of(all_methods()["mixup"].track)


NETWORKS = """
import torch
from torch import nn
from regbench.methods.shared.factories import architecture

@architecture("linear")
def linear(shape, classes, bias=True):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes, bias=bias))

def nothing(shape, classes):
    return 3

def wrong(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes + 1))

def refuses(shape, classes):
    raise ValueError("not today")

def sine(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.GELU(), nn.Linear(8, classes))
"""
SHAPE = {"shape": (1, 8, 8), "classes": 10}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"architecture": "liner"}, "unknown architecture 'liner'; did you mean 'linear'?"),
        ({"architecture": "mine:gone"}, "mine has no function 'gone'"),
        ({"architecture": "no_such_module:net"}, "there is no module no_such_module here"),
        ({"architecture": "mine:nothing"}, "returned int, not a torch.nn.Module"),
        ({"architecture": "mine:wrong"}, r"maps inputs \[2, 1, 8, 8\] to \[2, 11\]; logits must be \[2, 10\]"),
        ({"architecture": "mine:refuses"}, "ValueError: not today"),
        ({"architecture": "linear", "architecture_settings": {"size": 3}}, "unexpected keyword argument 'size'"),
        ({"architecture": "linear", "activation": "gelu"}, "has activations of its own"),
        ({"architecture": "mlp", "architecture_settings": {"size": 3}}, "mlp has none"),
        ({"initial_weights": "gone.pt"}, "there is no file gone.pt"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused_in_a_line(tmp_path, settings, says):
    activate(tmp_path, NETWORKS)
    with pytest.raises(RegbenchError, match=says) as refusal:
        create("cross_entropy", settings).build_model(data.Data("x", None, None, None, SHAPE))
    assert "\n" not in str(refusal.value)


def test_methods_that_cannot_work_with_a_network_say_why(tmp_path):
    activate(tmp_path, NETWORKS)
    with pytest.raises(ConfigError, match=r"CRReLU takes the place of nn\.ReLU modules: mine:sine has GELU"):
        create("crrelu", {"architecture": "mine:sine"}).build_model(data.Data("x", None, None, None, SHAPE))
    with pytest.raises(ConfigError, match="must be one of 'mlp' or 'deit_ti'"):
        create("sparse_router", {"architecture": "linear"})


def test_a_metric_of_torchmetrics_is_one(tmp_path):
    pytest.importorskip("torchmetrics")
    code = "import torchmetrics\nfrom regbench.methods.metrics import metric\n"
    code += (
        "metric('f1', track='classification', mode='max')(torchmetrics.F1Score('multiclass', num_classes=3, average='macro'))\n"
    )
    activate(tmp_path, code)
    track = all_methods()["mixup"].track
    assert metrics.metrics_of(track)[-1].name == "f1"
    logits, labels = torch.eye(3)[[0, 1, 2, 2]], torch.tensor([0, 1, 1, 2])
    # Twice, since it remembers what it has seen.
    found = [metrics.added_metrics(track, logits, labels)["f1"] for _ in range(2)]
    assert found == pytest.approx([(1 + 2 / 3 + 2 / 3) / 3] * 2)


@pytest.mark.parametrize(("code", "says"), [("1 / 0", "ZeroDivisionError: division by zero"), ("predictions", "ValueError: ")])
def test_a_metric_that_gives_no_number_is_named(tmp_path, code, says):
    track = all_methods()["mixup"].track
    activate(tmp_path, METRIC.format(name="odd", track="classification").replace("0.0", code))
    with pytest.raises(ConfigError, match=rf"metric 'odd' gives no number for \[4, 2\] and \[4\]: {says}") as refusal:
        metrics.added_metrics(track, torch.zeros(4, 2), torch.zeros(4))
    assert "\n" not in str(refusal.value)


def test_a_metric_is_known_where_nothing_else_of_its_plugin_is(tmp_path):
    track = all_methods()["mixup"].track
    activate(tmp_path, METRIC.format(name="nothing", track="classification"))
    assert metrics.metrics_of(track)[-1].name == "nothing"
    assert metrics.added_metrics(track, torch.zeros(1, 2), torch.zeros(1)) == {"nothing": 0.0}
