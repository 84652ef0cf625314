"""Shells complete methods, settings, suites, sweeps, data sets, tracks and clusters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REGBENCH = Path(sys.executable).parent / "regbench"


def completed(folder: Path, line: str) -> list[str]:
    """What bash would offer for the last word of a line."""
    words = line.split(" ")
    asked = {"_REGBENCH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([REGBENCH], cwd=folder, env=os.environ | asked, capture_output=True, text=True, check=False)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("regbench show ps_", ["ps_kd"]),
        ("regbench check mixu", ["mixup"]),
        ("regbench run ps_kd --set final_", ["final_alpha="]),
        ("regbench run ps_kd --data digits_noisy4", ["digits_noisy40"]),
        ("regbench list --track mult", ["multiple_instance"]),
        ("regbench data where compa", ["compas"]),
        ("regbench sweep quick", ["quickstart"]),
        ("regbench sweep mi", ["mine.yaml"]),
        ("regbench status ti", ["tiny"]),
        ("regbench compare ti", ["tiny"]),
        ("regbench resume --storage elsewhere ot", ["other"]),
        ("regbench launch quickstart --cluster sl", ["slurm"]),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_names_are_completed(tmp_path, line, offered):
    (tmp_path / "mine.yaml").write_text("")
    for sweep in ("regbench-results/tiny", "elsewhere/other"):
        (tmp_path / sweep).mkdir(parents=True)
        (tmp_path / sweep / "suite.json").write_text("{}")
    assert completed(tmp_path, line) == offered
