"""Sweeps of a user's own method, data, network and metric, from a file: here, in workers, elsewhere, and after a change."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest
import yaml
from own_files import draw_flowers, draw_photos

from regbench.methods import contract, plugins
from regbench.methods.registry import method_class
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage

MINE = Path(__file__).parent / "own" / "mine.py"
REGBENCH = Path(sys.executable).parent / "regbench"
SUITE = {
    "name": "own",
    "plugins": ["./mine.py"],
    "methods": ["logit_penalty"],
    "data": {"photos": {"images": "photos"}},
    "settings": {"epochs": 2, "architecture": "normalized_net"},
    "objectives": ["margin"],
    "trials": 2,
    "sampler": "random",
    "execution": "inline",
    "confirm": {"seeds": 2},
}


def succeeds(folder: Path, *arguments: str) -> str:
    """The output of a command in a process of its own."""
    done = subprocess.run([REGBENCH, *arguments], cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def trials(folder: Path) -> list[dict]:
    return Records(Storage(folder)).trials().to_pylist()


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """A folder with the user's file, a suite, and the finished sweep."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copy(MINE, folder)
    (folder / "suite.yaml").write_text(yaml.safe_dump(SUITE))
    draw_photos(folder / "photos")
    (folder / "output").write_text(succeeds(folder, "sweep", "suite.yaml", "--tracking", "none"))
    return folder


@pytest.fixture
def desk(swept, tmp_path) -> Path:
    """A copy of it, that knows no other place."""
    shutil.copytree(swept, tmp_path / "desk")
    file = tmp_path / "desk" / "regbench-results" / "own" / "suite.json"
    file.write_text(file.read_text().replace(str(swept), str(tmp_path / "desk")))
    return tmp_path / "desk"


def test_what_is_ones_own_is_swept_beside_the_products(swept):
    output = (swept / "output").read_text()
    assert "classification on photos: test margin (higher is better)" in output
    assert all(entry in output for entry in ("cross_entropy", "logit_penalty", "λ = "))
    found = trials(swept / "regbench-results" / "own")
    # Two entries with two trials of tuning and two of confirmation each; one has a weight to switch off.
    assert len(found) == 2 * 4 + 2
    assert {row["status"] for row in found} == {"completed"}
    searched = {name for row in found if row["method"] == "logit_penalty" for name in json.loads(row["searched"])}
    assert searched == {"learning_rate", "weight_decay", "penalty"}, "the track's ranges and the one beside the weight"


def test_the_sweep_keeps_the_code_and_its_digest(swept):
    sweep = swept / "regbench-results" / "own"
    (facts,) = json.loads((sweep / "suite.json").read_text())["plugins"]
    assert facts["digest"] == plugins.digest(MINE)
    assert facts["root"] == str(swept / "mine.py")
    assert [path.name for path in (sweep / "plugins").iterdir()] == [f"mine-{facts['digest'][:16]}.zip"]


def test_workers_know_it_and_a_sweep_goes_on_where_the_file_is_not(desk):
    """A trial more on images and a table besides, two at once in processes of Ray, on a machine that has the results alone."""
    (desk / "mine.py").unlink()
    shutil.rmtree(platformdirs.user_cache_path("regbench") / "plugins" / plugins.digest(MINE), ignore_errors=True)
    data = f"data={{photos: {{images: photos}}, flowers: {draw_flowers(desk / 'flowers.csv')}}}"
    more = ["resume", "own", "--tracking", "none", "--cpus", "2"]
    assert "test margin" in succeeds(desk, *more, "--set", "trials=3", "--set", "execution=tune", "--set", data)
    found = trials(desk / "regbench-results" / "own")
    assert {row["status"] for row in found} == {"completed"}
    tuned = [(row["entry"], row["data"]) for row in found if row["stage"] == "tune"]
    assert sorted(tuned) == sorted(
        3 * [(entry, data) for entry in ("cross_entropy", "logit_penalty") for data in ("photos", "flowers")]
    )


def test_two_workers_train_ones_own_network_together_on_images_and_a_table(desk):
    alone = {"methods": ["cross_entropy"], "trials": 1, "confirm": {"seeds": 0}, "execution": "train", "workers": 2}
    data = SUITE["data"] | {"flowers": yaml.safe_load(draw_flowers(desk / "flowers.csv"))}
    (desk / "alone.yaml").write_text(yaml.safe_dump(SUITE | alone | {"data": data, "name": "alone"}))
    succeeds(desk, "sweep", "alone.yaml", "--tracking", "none", "--cpus", "2")
    found = trials(desk / "regbench-results" / "alone")
    assert {row["data"]: row["status"] for row in found} == {"photos": "completed", "flowers": "completed"}
    for row in found:
        log = next((desk / "regbench-results" / "alone" / "logs" / row["key"]).iterdir())
        assert json.loads(next(log.open()))["attempt"]["workers"] == 2


def test_a_changed_plugin_is_told_and_needs_consent(desk, fresh):
    sweep = desk / "regbench-results" / "own"
    before = {path.name: path.read_bytes() for path in (sweep / "records" / "trials").iterdir()}
    with (desk / "mine.py").open("a") as code:
        code.write("# another line\n")
    more = ["--tracking", "none", "--set", "trials=3"]
    said = fresh.refused(desk, "resume", "own", *more)
    assert str(desk / "mine.py") in said
    assert "--accept-changed-plugin" in said
    fresh.succeeds(desk, "resume", "own", *more, "--accept-changed-plugin")
    recorded = json.loads((sweep / "suite.json").read_text())
    assert [facts["digest"] for facts in recorded["plugins"]] == [plugins.digest(desk / "mine.py")]
    assert any("plugin mine" in change for change in recorded["grown"][-1]["changes"])
    after = {path.name: path.read_bytes() for path in (sweep / "records" / "trials").iterdir()}
    assert after.items() >= before.items()
    # What it is now is what the sweep was run with: nothing is asked any more.
    fresh.succeeds(desk, "resume", "own", "--tracking", "none")


def test_it_keeps_the_contract(fresh):
    fresh.succeeds(MINE.parent, "show", "logit_penalty", "--plugin", "mine.py")
    method = method_class("logit_penalty")
    # Its network has batch normalization and dropout.
    assert method().architecture == "normalized_net"
    for clause in (contract.described, contract.resumes, contract.differentiable, contract.distributed):
        clause(method)


def test_an_installed_package_names_its_plugin_itself_and_travels(tmp_path, monkeypatch, fresh):
    package = tmp_path / "site" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "regbench.py").write_text(MINE.read_text())
    facts = tmp_path / "site" / "my_package-2.1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 2.1\n")
    (facts / "entry_points.txt").write_text("[regbench.plugins]\nown = my_package.regbench\n")
    (facts / "top_level.txt").write_text("my_package\n")
    (tmp_path / "suite.yaml").write_text(
        yaml.safe_dump(SUITE | {"plugins": [], "data": ["stripes"], "trials": 1, "confirm": {"seeds": 0}})
    )
    with monkeypatch.context() as patched:
        patched.syspath_prepend(tmp_path / "site")
        assert "logit_penalty" in fresh.succeeds(tmp_path, "list", "--track", "classification")
        fresh.succeeds(tmp_path, "sweep", "suite.yaml", "--tracking", "none")
    (plugin,) = json.loads((tmp_path / "regbench-results" / "own" / "suite.json").read_text())["plugins"]
    assert (plugin["name"], plugin["version"], plugin["kept"]) == ("my_package.regbench", "2.1", True)
    # Small and pure Python, it travels with the sweep to where it is not installed.
    shutil.rmtree(tmp_path / "site")
    succeeds(tmp_path, "resume", "own", "--tracking", "none", "--set", "trials=2")
