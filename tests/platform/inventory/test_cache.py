"""What is remembered of the code is never stale, and a cache that cannot be used costs nothing but time."""

import os

import pytest

from regbench.platform.inventory import cache
from regbench.platform.inventory.facts import DataFacts


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A folder that stands for the code, and a cache of its own."""
    folder = tmp_path / "code"
    (folder / "track").mkdir(parents=True)
    (folder / "track" / "method.py").write_text("a = 1\n")
    monkeypatch.setattr(cache, "FOLDERS", (folder,))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


class Maker:
    """Makes facts, and counts how often."""

    made = 0

    def __call__(self):
        self.made += 1
        return DataFacts(name="d", help=f"made {self.made}", folder=None)


def remembered(make):
    # As a new process, which has not looked at the code yet.
    cache._folder.cache_clear()
    return cache.remembered("facts", DataFacts, make)


@pytest.fixture(autouse=True)
def _forget():
    yield
    cache._folder.cache_clear()


def test_facts_are_made_once_for_a_state_of_the_code(code):
    make = Maker()
    assert remembered(make) == remembered(make) == DataFacts(name="d", help="made 1", folder=None)
    assert make.made == 1


@pytest.mark.parametrize("change", ["content", "touched", "new file", "removed"])
def test_any_change_of_the_code_makes_them_anew(code, change):
    make = Maker()
    remembered(make)
    file = code / "track" / "method.py"
    match change:
        case "content":
            file.write_text("a = 12\n")
        case "touched":
            os.utime(file, (1, 1))
        case "new file":
            (code / "track" / "other.md").write_text("")
        case "removed":
            file.unlink()
    assert remembered(make).help == "made 2"


def test_compiled_code_is_no_change(code):
    make = Maker()
    remembered(make)
    (code / "__pycache__").mkdir()
    (code / "__pycache__" / "method.pyc").write_bytes(b"")
    assert remembered(make).help == "made 1"


@pytest.mark.parametrize("content", [b"", b"{", b'{"name": 1}', b"\xff"])
def test_a_damaged_file_is_made_anew(code, tmp_path, content):
    make = Maker()
    remembered(make)
    (file,) = (tmp_path / "cache").rglob("facts.json")
    file.write_bytes(content)
    assert remembered(make).help == "made 2"
    assert remembered(make).help == "made 2"


def test_a_cache_that_cannot_be_written_costs_time_alone(code, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    make = Maker()
    assert remembered(make).help == "made 1"
    assert remembered(make).help == "made 2"


def test_facts_of_old_versions_are_forgotten(code, tmp_path):
    for version in range(cache.VERSIONS_KEPT + 3):
        (code / "track" / "method.py").write_text("#" * version)
        remembered(Maker())
    assert len(list((tmp_path / "cache").rglob("facts.json"))) == cache.VERSIONS_KEPT
