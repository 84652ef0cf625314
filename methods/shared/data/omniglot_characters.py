"""Omniglot (Lake, Salakhutdinov, Tenenbaum, Science 2015): handwritten characters of 50 alphabets, each drawn by 20 people.

Read from a Parquet table ``omniglot.parquet``, a row a drawing: its ``alphabet``, its ``character`` (from 1 in each) and its
``image_bits``, the 105 x 105 pixels in the order of rows, eight to a byte, the first in the highest bit, 1 where ink is; other
columns are not read.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from regbench.methods.errors import DataError, one_line

FOLDER = "omniglot"
FILE = "omniglot.parquet"
SIDE = 105


def read_omniglot(path: Path, alphabets: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Drawings of some alphabets: images ``[N, 105, 105]`` of 0 and 1 (ink), and classes ``[N]``, numbered from 0.

    A class is a character; classes are in the order of alphabets, then of characters.

    Raises:
        DataError: the file is no such table, or lacks an alphabet.
    """
    try:
        table = pq.read_table(path, columns=["alphabet", "character", "image_bits"])
        names = table.column("alphabet").to_numpy(zero_copy_only=False)
        characters = table.column("character").to_numpy()
        bits = table.column("image_bits").to_pylist()
    except (pa.ArrowException, KeyError, OSError) as error:
        raise DataError(f"{path} is no table of Omniglot's drawings: {one_line(error)[:200]}") from None
    if missing := [name for name in alphabets if name not in names]:
        raise DataError(f"{path} lacks the alphabet {missing[0]}: take the table of all 50")
    rows = [row for name in alphabets for row in np.flatnonzero(names == name)]
    size = -(-SIDE * SIDE // 8)
    if any(len(bits[row]) != size for row in rows):
        raise DataError(f"{path} is damaged: a drawing does not have {size} bytes")
    packed = np.frombuffer(b"".join(bits[row] for row in rows), np.uint8).reshape(len(rows), size)
    images = np.unpackbits(packed, axis=1)[:, : SIDE * SIDE].reshape(-1, SIDE, SIDE)
    places = np.array([alphabets.index(names[row]) for row in rows])
    _, classes = np.unique(places * 10_000 + characters[rows], return_inverse=True)
    return images, classes
