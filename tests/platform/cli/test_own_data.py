"""Sweeps on a user's files: what is recorded of them, what is refused, and how they go on when files move or change."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from own_files import draw_photos

from regbench.methods.registry import create
from regbench.methods.shared.data.files.reading import read
from regbench.methods.shared.data.files.spec import FileData
from regbench.methods.training import NetworkMethod
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage

MINE = Path(__file__).parent / "own" / "mine.py"
TABLE = {"csv": "flowers.csv", "target": "kind"}
SUITE = {
    "name": "flowers",
    "methods": ["label_smoothing"],
    "data": {"flowers": TABLE},
    "settings": {"epochs": 2},
    "trials": 1,
    "confirm": {"seeds": 2},
    "execution": "inline",
}
ROWS = 60
NETS = {"plugins": ["nets.py"]}
CODE = """
from torch import nn

def nothing(shape, classes):
    return 3

def narrow(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(1))
"""


def table(kinds: tuple[str, ...] = ("rose", "tulip")) -> str:
    """Numbers that tell the kind, a text, and a gap."""
    numbers = np.random.default_rng(0)
    lines = ["length,colour,kind"]
    for row in range(ROWS):
        kind = kinds[row % len(kinds)]
        length = "" if row == 7 else f"{numbers.normal() + 2 * kinds.index(kind):.3f}"
        lines.append(f"{length},{('red', 'white', 'blue')[row % 3]},{kind}")
    return "\n".join(lines)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_TRACKING", "none")
    (tmp_path / "flowers.csv").write_text(table())
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(SUITE))
    return tmp_path


def trials(folder: Path, name: str = "flowers") -> list[dict]:
    return Records(Storage(folder / "regbench-results" / name)).trials().to_pylist()


def test_a_table_is_swept_recorded_and_goes_on_where_it_has_moved(desk, fresh):
    assert "classification on flowers" in fresh.succeeds(desk, "sweep", "suite.yaml")
    recorded = json.loads((desk / "regbench-results" / "flowers" / "suite.json").read_text())
    assert recorded["suite"]["data"] == {"flowers": {"csv": {"all": str(desk / "flowers.csv")}, "target": "kind"}}
    before = {row["key"]: row["ended"] for row in trials(desk)}
    (desk / "elsewhere").mkdir()
    shutil.move(desk / "flowers.csv", desk / "elsewhere")
    shutil.move(desk / "suite.yaml", desk / "elsewhere")
    more = ["--storage", str(desk / "regbench-results"), "--continue", "--set", "trials=2"]
    fresh.succeeds(desk / "elsewhere", "sweep", "suite.yaml", *more)
    after = {row["key"]: row["ended"] for row in trials(desk)}
    assert after.items() > before.items()
    assert {row["status"] for row in trials(desk)} == {"completed"}
    moved = json.loads((desk / "regbench-results" / "flowers" / "suite.json").read_text())
    assert moved["files"] == recorded["files"]
    assert moved["suite"]["data"]["flowers"]["csv"]["all"] == str(desk / "elsewhere" / "flowers.csv")


def test_a_file_that_has_changed_stops_a_sweep_that_goes_on(desk, fresh):
    fresh.succeeds(desk, "sweep", "suite.yaml")
    (desk / "flowers.csv").write_text(table().replace("rose", "lily"))
    said = fresh.refused(desk, "resume", "flowers", "--set", "trials=2")
    assert "the files of data set 'flowers' have changed since sweep 'flowers' was started" in said
    (desk / "flowers.csv").write_text(table())
    fresh.succeeds(desk, "resume", "flowers", "--set", "trials=2")


def test_weights_that_have_changed_stop_a_sweep_that_goes_on(desk, fresh):
    data = read("flowers", FileData.model_validate(TABLE).resolved(desk))
    network = create("cross_entropy", {}).build_model(data)
    torch.save(network.state_dict(), desk / "start.pt")
    weights = {"settings": {"epochs": 1, "initial_weights": "start.pt"}, "confirm": {"seeds": 0}}
    (desk / "suite.yaml").write_text(yaml.safe_dump(SUITE | weights))
    fresh.succeeds(desk, "sweep", "suite.yaml")
    torch.save(create("cross_entropy", {}).build_model(data).state_dict(), desk / "start.pt")
    said = fresh.refused(desk / "..", "resume", "flowers", "--storage", str(desk / "regbench-results"), "--set", "trials=2")
    assert f"what {desk / 'start.pt'} holds has changed since sweep 'flowers' was started" in said
    torch.save(network.state_dict(), desk / "start.pt")
    fresh.succeeds(desk, "resume", "flowers", "--set", "trials=2")


def test_another_set_joins_a_sweep(desk, fresh):
    fresh.succeeds(desk, "sweep", "suite.yaml")
    (desk / "more.csv").write_text(table(("oak", "elm", "ash")))
    (desk / "suite.yaml").write_text(yaml.safe_dump(SUITE | {"data": {"flowers": TABLE, "trees": TABLE | {"csv": "more.csv"}}}))
    fresh.succeeds(desk, "extend", "flowers", "suite.yaml")
    assert {row["data"] for row in trials(desk)} == {"flowers", "trees"}
    assert json.loads((desk / "regbench-results" / "flowers" / "suite.json").read_text())["files"].keys() == {
        "flowers",
        "trees",
    }


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": {"flowers": TABLE | {"target": "kidn"}}}, "no column 'kidn'; did you mean 'kind'?"),
        ({"data": {"flowers": TABLE | {"csv": "gone.csv"}}}, "gone.csv"),
        ({"data": {"flowers": TABLE | {"taget": "kind"}}}, "unknown key 'taget'; did you mean 'target'?"),
        ({"data": {"digits": TABLE}}, "regbench has a data set called 'digits': give yours another name"),
        ({"methods": ["cs_ib"]}, "has 2 categories, which are no numbers: track regression needs such"),
        ({"methods": ["sinkhorn"]}, "fits track transport"),
        ({"settings": {"architecture": "cnn"}}, "architecture cnn needs images, not inputs of shape"),
        (
            NETS | {"settings": {"architecture": "nets:nothing"}},
            "architecture nets:nothing returned int, not a torch.nn.Module",
        ),
        (NETS | {"settings": {"architecture": "nets:narrow"}}, "to [2, 1]; logits must be [2, 2]"),
        (NETS | {"settings": {"architecture": "nets:narrow"}, "data": ["digits"]}, "to [2, 1]; logits must be [2, 10]"),
        ({"settings": {"initial_weights": "gone.pt"}}, "initial_weights: there is no file "),
        (
            {"settings": {"architecture": "mlp"}, "methods": ["weighted_logistic_regression"]},
            "weighted_logistic_regression trains a model of its own, no `architecture`",
        ),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(desk, fresh, changes, says):
    (desk / "nets.py").write_text(CODE)
    (desk / "suite.yaml").write_text(yaml.safe_dump(SUITE | changes))
    assert says in fresh.refused(desk, "sweep", "suite.yaml", "--dry-run")
    assert says in fresh.refused(desk, "sweep", "suite.yaml")
    assert not (desk / "regbench-results" / "flowers").exists()


def test_one_training_on_a_file_named_in_the_command(desk, fresh):
    said = fresh.succeeds(desk, "run", "mixup", "--data", "{csv: flowers.csv, target: kind}", "--set", "epochs=2")
    assert "mixup on flowers, seed 0" in said
    assert "no value in row 8 of flowers.csv" in fresh.refused(
        desk, "run", "mixup", "--data", "{csv: flowers.csv, target: length}"
    )


def test_splits_are_drawn_anew_for_replicates(desk, fresh):
    more = {"replicates": 2, "resplit": True, "confirm": {"seeds": 1}}
    (desk / "suite.yaml").write_text(yaml.safe_dump(SUITE | more))
    fresh.succeeds(desk, "sweep", "suite.yaml")
    assert {(row["replicate"], row["split"]) for row in trials(desk)} == {(0, 0), (1, 1)}
    given = {"train": "flowers.csv", "validation": "flowers.csv", "test": "flowers.csv"}
    (desk / "suite.yaml").write_text(yaml.safe_dump(SUITE | more | {"data": {"flowers": TABLE | {"csv": given}}}))
    assert "leave resplit out" in fresh.refused(desk, "sweep", "suite.yaml", "--name", "fixed")


def test_an_interrupted_sweep_of_ones_own_ends_as_if_nothing_had_happened(desk, fresh):
    shutil.copy(MINE, desk)
    draw_photos(desk / "photos")
    data = {"flowers": TABLE, "photos": {"images": "photos", "in_memory": False}}
    own = {"plugins": ["mine.py"], "methods": ["logit_penalty"], "data": data, "checkpoint_seconds": 0, "confirm": {"seeds": 1}}
    settings = {"settings": {"architecture": "normalized_net", "epochs": 3}}
    (desk / "suite.yaml").write_text(yaml.safe_dump(SUITE | own | settings))
    fresh.succeeds(desk, "sweep", "suite.yaml")
    epochs, train_epoch = itertools.count(), NetworkMethod.train_epoch

    def interrupted(*arguments: object) -> dict[str, float]:
        if next(epochs) == 7:
            raise KeyboardInterrupt
        return train_epoch(*arguments)

    with fresh.monkeypatch.context() as patch:
        patch.setattr(NetworkMethod, "train_epoch", interrupted)
        status, output, _ = fresh(desk, "sweep", "suite.yaml", "--name", "again")
    assert (status, "Nothing is lost" in output) == (130, True)
    assert 0 < len(trials(desk, "again")) < len(trials(desk))
    fresh.succeeds(desk, "resume", "again")
    whole, again = (
        {row["key"]: (row["status"], row["metrics"]) for row in trials(desk, name)} for name in ("flowers", "again")
    )
    assert again == whole


def test_images_with_a_plugins_network_and_normalization(desk, fresh):
    shutil.copy(MINE, desk)
    draw_photos(desk / "photos")
    suite = {"plugins": ["mine.py"], "data": {"photos": {"images": "photos"}}, "methods": ["crrelu", "weight_compander"]}
    settings = {"architecture": "normalized_net", "epochs": 3, "backbone_rate": 0.5}
    (desk / "suite.yaml").write_text(yaml.safe_dump(SUITE | suite | {"settings": settings}))
    assert "classification on photos" in fresh.succeeds(desk, "sweep", "suite.yaml")
    assert {row["status"] for row in trials(desk)} == {"completed"}
