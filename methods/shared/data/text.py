"""Text as windows of bytes: Python's own source, plays, and the source of many repositories."""

import gzip
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, data_root, dataset, require

WINDOW = 64
# ASCII; what is beyond becomes a question mark.
VOCABULARY = 128
LARGEST = 1_500_000
CODEPARROT = "codeparrot-clean"
CODEPARROT_WINDOW, CODEPARROT_LARGEST = 128, 2_100_000_000
HELD_OUT = 0.05


def text_data(name: str, text: bytes, split: int, window: int = WINDOW) -> Data:
    """Windows of bytes and the byte after each ``[N, window + 1]``, uint8; the last 5 % validate, 5 % before test.

    Args:
        name: of the data set.
        text: all of it.
        split: the number of the split: where in the text, closed to a ring, the training part begins.
        window: bytes of a window.
    """
    values = np.frombuffer(text, np.uint8)
    values = np.where(values < VOCABULARY, values, ord("?")).astype(np.uint8)
    count = (len(values) - 1) // window
    rows = values[np.arange(count)[:, None] * window + np.arange(window + 1)]
    if split:
        rows = np.roll(rows, np.random.default_rng(split).integers(count), axis=0)
    size = round(HELD_OUT * count)
    train, test, validation = (torch.tensor(part) for part in np.split(rows, [count - 2 * size, count - size]))
    return Data(
        name,
        train=TensorDataset(train),
        validation=TensorDataset(validation),
        test=TensorDataset(test),
        meta={"vocabulary": VOCABULARY, "context": window},
        pool=count,
    )


@dataset(
    "python_source", help="the Python standard library's own source, 1.5 million bytes in windows of 64, 5 % + 5 % held out"
)
def python_source(split: int = 0) -> Data:
    """Its top-level modules in alphabetical order, of the Python that runs."""
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    text = b"".join(path.read_bytes() for path in paths)
    return text_data("python_source", text[:LARGEST], split)


@dataset(
    "tiny_shakespeare",
    help="plays of Shakespeare, 1.1 million characters in windows of 64, 5 % + 5 % held out",
    folder="tiny_shakespeare",
)
def tiny_shakespeare(split: int = 0) -> Data:
    """The concatenated plays that character-level models are tried on."""
    (path,) = require("tiny_shakespeare", "input.txt")
    return text_data("tiny_shakespeare", path.read_bytes(), split)


@dataset(
    "codeparrot_bytes",
    help="Python files of CodeParrot-clean (file-*.json.gz), 2.1 billion bytes in windows of 128, 5 % + 5 % held out",
    folder=CODEPARROT,
)
def codeparrot_bytes(split: int = 0) -> Data:
    """The files that are there, in the order of their names, as bytes.

    Raises:
        DataError: there is no such file, or one is no compressed JSON lines with a field ``content``.
    """
    root = data_root()
    paths = sorted((root / CODEPARROT).glob("file-*.json.gz")) if root else []
    if not paths:
        require(CODEPARROT, "file-000000000001.json.gz")
    text = bytearray()
    for content in (content for path in paths for content in _contents(path)):
        text += content
        if len(text) > CODEPARROT_LARGEST:
            break
    return text_data("codeparrot_bytes", bytes(text[:CODEPARROT_LARGEST]), split, CODEPARROT_WINDOW)


def _contents(path: Path) -> Iterator[bytes]:
    """The files that a file of JSON lines holds."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["content"].encode()
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"{path} is no compressed JSON lines with a field content: {error}") from None
