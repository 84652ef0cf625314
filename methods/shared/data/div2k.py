"""DIV2K and the small sets that super-resolution is judged on: their files, by the names under which they are published."""

from pathlib import Path
from typing import Literal

from regbench.methods.shared.data import data_root, require
from regbench.methods.shared.data.noisy_images import FOLDER as TEST_FOLDER

FOLDER = "DIV2K"
TRAINING, VALIDATION = range(1, 801), range(801, 901)
SET5 = ("baby", "bird", "butterfly", "head", "woman")


def training_images() -> list[Path]:
    """``DIV2K/DIV2K_train_HR/0001.png`` to ``0800.png``.

    Raises:
        DataError: a file is missing.
    """
    return require(FOLDER, *(f"DIV2K_train_HR/{number:04d}.png" for number in TRAINING))


def validation_images() -> list[Path]:
    """``DIV2K/DIV2K_valid_HR/0801.png`` to ``0900.png``.

    Raises:
        DataError: a file is missing.
    """
    return require(FOLDER, *(f"DIV2K_valid_HR/{number:04d}.png" for number in VALIDATION))


def test_images(name: Literal["set5", "set14"]) -> list[Path]:
    """``image_restoration/set5/NAME_GT.png``, or all ``image_restoration/set14/*.png``, which have several names.

    Raises:
        DataError: a file is missing.
    """
    if name == "set5":
        return require(TEST_FOLDER, *(f"set5/{image}_GT.png" for image in SET5))
    root = data_root()
    found = sorted((root / TEST_FOLDER / "set14").glob("*.png")) if root else []
    return found or require(TEST_FOLDER, "set14/*.png")
