"""What comes from outside, names, reasons, paths, is shown as it is, in whatever encoding the terminal has."""

import io
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console
from rich.table import Table

from regbench.platform import cli
from regbench.platform.check import check
from regbench.platform.cli.options import terminal
from regbench.platform.cli.running import _conclude
from regbench.platform.records.records import Records, Trial
from regbench.platform.records.storage import Storage
from regbench.platform.sweep import Outcome

# Markup, unbalanced markup, the name of an emoji, what shells and addresses take apart.
ODD = "[v2] [/pair.cc:598] [bold] :x: 100% a?b #c $d 'e' ü"
PLATFORM = Path(cli.__file__).parents[1]


def run(monkeypatch, encoding: str, *words: str) -> tuple[int, str]:
    """Exit status and output of a command whose terminal has an encoding."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "argv", ["regbench", *words])
        patched.setattr(sys, "stdout", stream)
        patched.setattr(sys, "stderr", stream)
        patched.setenv("COLUMNS", "300")
        with pytest.raises(SystemExit) as end:
            cli.main()
        stream.flush()
    return int(end.value.code or 0), stream.buffer.getvalue().decode(encoding, errors="replace")


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Storage:
    """A sweep with a failed trial, whose reason and folder are odd, and one whose ``suite.json`` is empty."""
    storage = Storage(tmp_path_factory.mktemp("odd") / ODD)
    records = Records(storage.child("s"))
    study = {"entry": "a", "data": "digits", "trials": 1, "modes": ["max"], "weights": []}
    suite = {"name": "s", "confirm": {"seeds": 1, "ablate": True}}
    described = {"suite": suite, "studies": [study], "provenance": {"started": "2026-01-01T00:00:00+00:00"}}
    records.storage.write("suite.json", json.dumps(described).encode())
    key = "a-digits-tune-0000"
    trial = Trial("s", key, "tune", "t", "a", ODD, None, "digits", 0, 0, ("val/x",), ("max",), 1, {}, {})
    records.plan(trial)
    records.finish(trial, "failed", ODD)
    storage.write("t/suite.json", b"")
    return storage


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.parametrize(
    ("words", "status"),
    [("status", 0), ("status s", 0), ("compare s --out {tmp}", 0), ("status t", 2), ("resume t", 2), ("sync t", 2),
     ("list", 0), ("show label_smoothing", 0), ("suites", 0), ("data list", 0), ("compare --effects", 0), ("show ü", 2),
     ("sweep quickstart --dry-run", 0), ("launch quickstart --cluster ü", 2), ("--help", 0)],
)  # fmt: skip
def test_every_command_shows_what_can_be_shown(monkeypatch, tmp_path, storage, words, status, encoding):
    of_sweeps = words.split()[0] in ("status", "resume", "sync") or words.startswith("compare s")
    place = ["--storage", str(storage.local)] if of_sweeps else []
    found, shown = run(monkeypatch, encoding, *words.format(tmp=tmp_path).split(), *place)
    assert found == status, shown
    assert "Traceback" not in shown
    if words.startswith("status") and encoding != "ascii":
        assert ODD in shown


def test_a_console_takes_text_as_text(capsys):
    table = Table(title=ODD)
    table.add_column(ODD)
    table.add_row(ODD)
    terminal().print(ODD, table, soft_wrap=True)
    assert capsys.readouterr().out.count(ODD) == 4


def test_no_code_relies_on_markup():
    """The command line's own help is the one place that has some."""
    marked = re.compile(r"""["'][^"']*\[/?(bold|dim|italic|red|green|yellow)[^\]]*\]""")
    found = {
        f"{path.relative_to(PLATFORM)}: {line}"
        for path in PLATFORM.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if marked.search(line) or "from_markup" in line
    }
    assert not found


def test_advice_can_be_copied_into_a_shell(storage, capsys):
    outcome = Outcome(comparison=None, failed={}, barren=[], tracking_problem=None)
    with pytest.raises(typer.Exit):
        _conclude("s", outcome, storage, storage.uri, "none", terminal())
    command = capsys.readouterr().out.strip().partition("continue with ")[2]
    assert shlex.split(command) == ["regbench", "resume", "s", "--storage", storage.uri]


def test_what_breaks_a_clause_is_text(monkeypatch):
    class Odd:
        slug = ODD

    console = Console(markup=False, emoji=False, file=io.StringIO(), width=300)
    assert not check([Odd], console)
    assert ODD in console.file.getvalue()
