"""MultiOmniglot (Ozair et al., NeurIPS 2019): pairs of tiles of characters of the largest alphabets of Omniglot.

Read from the published archives, unpacked (``images_background/ALPHABET/CHARACTER/DRAWING.png`` and ``images_evaluation``,
black ink on white, 105 x 105), or from one table, ``omniglot.parquet``, with columns ``alphabet``, ``character`` and
``image_bits``, the bitmap in row order, 8 pixels a byte, 1 for ink.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, data_root, dataset, require
from regbench.methods.shared.data.paired_tiles import Alphabet, Arrangement, paired_tiles

FOLDER, TABLE = "omniglot", "omniglot.parquet"
ARCHIVES = ("images_background", "images_evaluation")
SIDE, TILE = 105, 28
PAIRS = {"train": 50_000, "validation": 10_000, "test": 10_000}


def omniglot_pairs(name: str, tiles: int, arrangement: Arrangement, pairs: dict[str, int] = PAIRS, *, split: int = 0) -> Data:
    """Pairs of tiles, bytes of 0 to 255, ink bright, of the alphabets of most characters, of equally many the first by name.

    Args:
        name: of the data set.
        tiles: how many, each from an alphabet of its own.
        arrangement: spatial or stacked.
        pairs: how many in each split; drawings may be in several splits, as published, their combinations hardly are.
        split: the number of the split; of the same drawings, each has pairs of its own.

    Raises:
        DataError: files are missing or damaged.
    """
    alphabets = [alphabet for _, alphabet in read_omniglot()][:tiles]
    if len(alphabets) < tiles:
        raise DataError(f"{name} needs {tiles} alphabets, but there are {len(alphabets)} below {FOLDER}: copy all of Omniglot")
    splits = {
        part: paired_tiles(alphabets, count, arrangement, np.random.default_rng(seed))
        for (part, count), seed in zip(pairs.items(), np.random.SeedSequence(split).spawn(len(pairs)), strict=True)
    }
    classes = tuple(alphabet.size for alphabet in alphabets)
    shape = tuple(splits["train"].tensors[0].shape[1:])
    information = sum(map(math.log, classes))
    return Data(name, **splits, meta={"shape": shape, "classes": classes, "information": information}, pool=0)


def read_omniglot() -> list[tuple[str, Alphabet]]:
    """Alphabets by name, those of most characters first, their drawings ``[M, 28, 28]``, uint8.

    Raises:
        DataError: files are missing or damaged.
    """
    root = data_root()
    found = (
        _read_archives(root / FOLDER)
        if root and (root / FOLDER / ARCHIVES[0]).is_dir()
        else _read_table(require(FOLDER, TABLE)[0])
    )
    return sorted(found.items(), key=lambda item: (-item[1].size, item[0]))


def _read_archives(folder: Path) -> dict[str, Alphabet]:
    from skimage.io import imread

    found = {}
    for alphabet in sorted(path for archive in ARCHIVES for path in (folder / archive).glob("*") if path.is_dir()):
        drawings, characters = [], []
        for number, character in enumerate(sorted(path for path in alphabet.iterdir() if path.is_dir())):
            for path in sorted(character.glob("*.png")):
                try:
                    image = imread(path)
                except (OSError, ValueError, SyntaxError) as error:
                    raise DataError(f"{path} is damaged, copy it again: {error}") from None
                if image.shape != (SIDE, SIDE):
                    raise DataError(f"{path} holds an array of shape {image.shape}, not {SIDE} x {SIDE}")
                drawings.append(image == 0)
                characters.append(number)
        if not drawings:
            raise DataError(f"{alphabet} holds no drawings: unpack the archives of Omniglot again")
        found[alphabet.name] = Alphabet(_small(np.stack(drawings)), torch.tensor(characters))
    return found


def _read_table(path: Path) -> dict[str, Alphabet]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["alphabet", "character", "image_bits"])
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged, copy it again: {error}") from None
    bits = np.frombuffer(b"".join(table["image_bits"].to_pylist()), np.uint8).reshape(table.num_rows, -1)
    if bits.shape[1] != -(-SIDE * SIDE // 8):
        raise DataError(f"{path} holds bitmaps of {bits.shape[1]} bytes, not of {SIDE} x {SIDE} pixels")
    names, characters = table["alphabet"].to_numpy(), table["character"].to_numpy()
    found = {}
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        ink = np.unpackbits(bits[rows], axis=1)[:, : SIDE * SIDE].reshape(-1, SIDE, SIDE)
        _, numbers = np.unique(characters[rows], return_inverse=True)
        found[str(name)] = Alphabet(_small(ink), torch.from_numpy(numbers))
    return found


def _small(ink: np.ndarray) -> Tensor:
    """Drawings ``[M, 105, 105]`` of 0 and 1, anti-aliased to bytes ``[M, 28, 28]``."""
    images = torch.from_numpy(ink.astype(np.float32))[:, None]
    small = interpolate(images, size=(TILE, TILE), mode="bilinear", antialias=True)[:, 0]
    return (255 * small).round().clamp(0, 255).to(torch.uint8)


@dataset(
    "spatial_omniglot_9",
    help="pairs of 3x3 tiles of Omniglot that share 9 factors, 84x84: 50,000 / 10,000 / 10,000 pairs",
    folder=FOLDER,
)
def spatial_omniglot_9(split: int = 0) -> Data:
    """Nine alphabets, about 35 nats of shared information."""
    return omniglot_pairs("spatial_omniglot_9", 9, "spatial", split=split)


@dataset(
    "spatial_omniglot_4",
    help="pairs of 2x2 tiles of Omniglot that share 4 factors, 56x56: 50,000 / 10,000 / 10,000 pairs",
    folder=FOLDER,
)
def spatial_omniglot_4(split: int = 0) -> Data:
    """Four alphabets, about 16 nats."""
    return omniglot_pairs("spatial_omniglot_4", 4, "spatial", split=split)


@dataset("spatial_omniglot_1", help="pairs of characters of Omniglot, 28x28: 50,000 / 10,000 / 10,000 pairs", folder=FOLDER)
def spatial_omniglot_1(split: int = 0) -> Data:
    """One alphabet, 4 nats."""
    return omniglot_pairs("spatial_omniglot_1", 1, "spatial", split=split)


@dataset(
    "stacked_omniglot_9",
    help="pairs of 9 channels of Omniglot that share 9 factors, 28x28: 50,000 / 10,000 / 10,000 pairs",
    folder=FOLDER,
)
def stacked_omniglot_9(split: int = 0) -> Data:
    """Nine alphabets in channels."""
    return omniglot_pairs("stacked_omniglot_9", 9, "stacked", split=split)


@dataset(
    "stacked_omniglot_4",
    help="pairs of 4 channels of Omniglot that share 4 factors, 28x28: 50,000 / 10,000 / 10,000 pairs",
    folder=FOLDER,
)
def stacked_omniglot_4(split: int = 0) -> Data:
    """Four alphabets in channels."""
    return omniglot_pairs("stacked_omniglot_4", 4, "stacked", split=split)
