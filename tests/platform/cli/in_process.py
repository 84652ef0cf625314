"""Runs commands in the process of the tests, for speed: the same entry point as the installed command's."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from regbench.platform.cli import main


def refusal(status: int, output: str, errors: str) -> str:
    assert status == 2, errors
    assert output == ""
    assert len(errors.splitlines()) == 1, errors
    assert errors.startswith("error: ")
    return errors


@dataclass
class Here:
    """Runs commands in this process, for speed: the same entry point as the installed command's."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, folder: Path, *arguments: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        self.monkeypatch.chdir(folder)
        self.monkeypatch.setattr(sys, "argv", ["regbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output, errors = self.capsys.readouterr()
        return int(ended.value.code or 0), output, errors

    def succeeds(self, folder: Path, *arguments: str) -> str:
        status, output, errors = self(folder, *arguments)
        assert status == 0, errors
        return output

    def refused(self, folder: Path, *arguments: str) -> str:
        """The one line on standard error with which a command refuses."""
        return refusal(*self(folder, *arguments))
