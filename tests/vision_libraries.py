"""timm and torchvision for the tests that use them, and for no other."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

# `make setup` installs them here. Among the other packages, torchmetrics and transformers would find torchvision, too, and
# break: package indices have torchvision compiled for CUDA alone, whose operators do not load beside PyTorch for CPUs.
FOLDER = Path(sys.prefix) / "vision"
NAMES = ("torchvision", "timm")
# The operators that torchvision describes to PyTorch when it is imported, and fails without. No classifier and no transform
# uses them, so that their signatures do.
OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# They are imported once a process: PyTorch takes no description of an operator twice.
_imported: dict[str, ModuleType] = {}
# What is declared lasts as long as this does.
_declared: list[torch.library.Library] = []


def _known() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in NAMES}


def _import() -> None:
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        _forget()
        declared = torch.library.Library("torchvision", "DEF")
        _declared.append(declared)
        for name in OPERATORS:
            declared.define(name + SIGNATURE)
        importlib.import_module("torchvision")
    importlib.import_module("torchvision.transforms.v2")
    importlib.import_module("timm")


def _forget() -> None:
    for name in _known():
        del sys.modules[name]


@pytest.fixture
def vision(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A process in which both can be imported; afterwards they cannot be found, as before.

    Yields:
        The folder that they are in.
    """
    if not FOLDER.is_dir():
        pytest.skip(f"timm and torchvision are not in {FOLDER}: `make setup` puts them there")
    monkeypatch.syspath_prepend(FOLDER)
    sys.modules.update(_imported)
    try:
        if not _imported:
            _import()
            _imported.update(_known())
        yield FOLDER
    finally:
        _imported.update(_known())
        _forget()
