"""Animated stickers with captions, such as VSD2M (Yuan et al., 2024, arXiv:2412.08259), from Parquet files.

A row is a clip: ``frames``, a list of encoded images (PNG, JPEG or WebP bytes) in the order of time, and ``caption``, a string.
Stickers that are kept as GIF or WebP animations are to be split into frames once, when the Parquet files are written.
"""

import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, data_root, dataset

FOLDER = "vsd2m"
FRAMES, SIDE = 8, 32
# Clips that are read at most: of 32 x 32 pixels, 5 GB.
LARGEST = 200_000
HELD_OUT = 1_000
WORDS, VOCABULARY = 16, 4096


@dataset(
    "animated_stickers",
    help="stickers of at most 8 frames of 32x32 RGB with captions, at most 200,000, from Parquet files of frames",
    folder=FOLDER,
)
def animated_stickers() -> Data:
    """Clips ``[N, 8, 3, 32, 32]`` as bytes, their lengths ``[N]``, and captions ``[N, 16]``, numbers of hashed words.

    Of a clip of more than 8 frames, 8 are kept at equal distances; of a shorter one, the rest is 0. A tenth of the complete
    clips, at most 1,000, are to validate with, and as many to test with: the first ones of the files in the order of names.

    Raises:
        DataError: the files are missing or damaged, or hold too few complete clips.
    """
    clips, lengths, captions = [], [], []
    for frames, caption in _rows():
        clips.append(frames)
        lengths.append(len(frames))
        captions.append(word_numbers(caption))
    whole = torch.zeros(len(clips), FRAMES, 3, SIDE, SIDE, dtype=torch.uint8)
    for row, frames in enumerate(clips):
        whole[row, : len(frames)] = torch.from_numpy(frames)
    length = torch.tensor(lengths)
    complete = (length == FRAMES).nonzero()[:, 0]
    count = min(HELD_OUT, len(complete) // 10)
    if not count:
        raise DataError(f"{FOLDER} holds {len(complete)} clips of {FRAMES} frames or more, at least 10 are needed")
    rest = torch.ones(len(clips), dtype=torch.bool)
    rest[complete[: 2 * count]] = False
    rows = {"train": rest.nonzero()[:, 0], "validation": complete[:count], "test": complete[count : 2 * count]}
    numbers = torch.stack(captions)
    splits = {part: TensorDataset(whole[chosen], length[chosen], numbers[chosen]) for part, chosen in rows.items()}
    meta = {"shape": (FRAMES, 3, SIDE, SIDE), "vocabulary": 1 + VOCABULARY}
    return Data("animated_stickers", splits["train"], splits["validation"], splits["test"], meta)


def _rows() -> Iterator[tuple[np.ndarray, str]]:
    """Frames ``[k, 3, 32, 32]``, bytes, and the caption of each clip, at most ``LARGEST``."""
    import pyarrow
    import pyarrow.parquet

    root = data_root()
    paths = sorted((root / FOLDER).glob("*.parquet")) if root else []
    if not paths:
        raise DataError(f"data set '{FOLDER}' needs files: set REGBENCH_DATA to a folder that holds {FOLDER}/*.parquet")
    read = 0
    for path in paths:
        try:
            file = pyarrow.parquet.ParquetFile(path)
            for batch in file.iter_batches(256, columns=["frames", "caption"]):
                for row in batch.to_pylist():
                    if read == LARGEST:
                        return
                    read += 1
                    yield read_frames(path, row["frames"]), row["caption"] or ""
        except (pyarrow.ArrowInvalid, OSError, KeyError) as error:
            raise DataError(f"{path} is damaged, or lacks the columns frames and caption: {error}") from None


def read_frames(path: Path, encoded: list[bytes]) -> np.ndarray:
    """At most 8 frames at equal distances ``[k, 3, 32, 32]``, bytes, transparent pixels white.

    Raises:
        DataError: a frame cannot be decoded, or there is none.
    """
    from skimage.io import imread
    from skimage.transform import resize
    from skimage.util import img_as_float

    if not encoded:
        raise DataError(f"{path} is damaged: it holds a clip without frames")
    kept = np.linspace(0, len(encoded) - 1, min(FRAMES, len(encoded))).round().astype(int)
    frames = []
    for place in kept:
        try:
            image = img_as_float(imread(io.BytesIO(encoded[place])))
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{path} is damaged: a frame cannot be decoded: {error}") from None
        image = image[..., None] if image.ndim == 2 else image
        alpha = image[..., -1:] if image.shape[-1] in (2, 4) else 1.0
        colours = np.broadcast_to(image[..., : 1 if image.shape[-1] < 3 else 3], (*image.shape[:2], 3))
        small = resize(colours * alpha + 1 - alpha, (SIDE, SIDE), anti_aliasing=True)
        frames.append((small.clip(0, 1) * 255).round().astype(np.uint8).transpose(2, 0, 1))
    return np.stack(frames)


def word_numbers(caption: str) -> Tensor:
    """The first 16 words of a caption as hashed numbers from 1 to 4,096, then zeros; ``[16]``, int64."""
    words = [1 + zlib.crc32(word.encode()) % VOCABULARY for word in caption.lower().split()[:WORDS]]
    return torch.tensor(words + [0] * (WORDS - len(words)))
