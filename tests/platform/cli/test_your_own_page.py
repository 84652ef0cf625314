"""The page on one's own model and data, followed from top to bottom: every file is written, every command is run."""

import re
import shlex
from pathlib import Path

import pytest

from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage

PAGE = (Path(__file__).parents[3] / "docs" / "your-own.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(python|yaml|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# In the tests' process, which is faster; workers are tested elsewhere.
INLINE = "execution: inline\n"


def follow(folder: Path, run) -> dict[str, str]:
    """Does what the page says, in its order; returns what each command printed."""
    said = {}
    for language, text in BLOCK.findall(PAGE):
        if language == "console":
            for line in text.splitlines():
                command = line.removeprefix("$ regbench ")
                # A server, and the whole contract, which test_own.py keeps to.
                if command != "ui" and not command.startswith("check"):
                    said[command] = run(folder, *shlex.split(command))
            continue
        name = re.match(r"# (\S+)\n", text).group(1)
        (folder / name).write_text(text + (INLINE if language == "yaml" else ""), encoding="utf-8")
        if name.startswith("make_"):
            exec(text, {})
    return said


@pytest.fixture
def followed(tmp_path, fresh):
    fresh.monkeypatch.chdir(tmp_path)
    fresh.monkeypatch.setenv("REGBENCH_TRACKING", "none")
    return tmp_path, follow(tmp_path, fresh.succeeds)


def test_the_page_can_be_followed(followed):
    folder, said = followed
    # Lines end where the terminal does.
    table = " ".join(said['data show "{csv: wine.csv, target: quality}"'].split())
    assert "missing: ash" in table
    assert "colour (2 categories)" in table
    assert "classification on wine" in said["compare wine"]
    assert "λ" in said["show logit_penalty --plugin more.py"]
    assert "class 1" in said["data show bands --plugin views.py"]
    for name, entries in (("wine", 4), ("photos", 3), ("stripes", 6), ("augmented", 6)):
        rows = Records(Storage(folder / "regbench-results" / name)).trials().to_pylist()
        assert {row["status"] for row in rows} == {"completed"}
        assert len({(row["entry"], row["data"]) for row in rows}) == entries
