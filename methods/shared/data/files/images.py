"""Images: folders of them, encoded ones, and arrays that hold some. Greyscale has one channel, anything else becomes RGB."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from regbench.methods.errors import DataError
from regbench.methods.shared.data.files.image_files import ImageFiles, decode, require_size
from regbench.methods.shared.data.files.rows import Rows
from regbench.methods.shared.data.files.spec import SPLIT_NAMES, FileData

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
# The column of an image's folder.
CLASS = "class"
# So many bytes of images, as numbers, are kept in memory where nothing is said.
LARGEST_IN_MEMORY = 1_000_000_000
BYTES_OF_A_NUMBER = 4


def read_folder(spec: FileData) -> Rows:
    """The images of a folder: of ``<class>/*``, or of ``train/<class>/*`` with ``test``, and ``validation``, beside it.

    They are decoded at once, or while they are used, as ``spec.in_memory`` says; by default the latter where they would take
    more than ``LARGEST_IN_MEMORY``.

    Raises:
        DataError: it has no classes, one of them has no image, or an image cannot be read or has a size of its own.
    """
    root = Path(spec.paths["all"])
    if not root.is_dir():
        raise DataError(f"there is no folder {root}")
    parts = {SPLIT_NAMES[name]: name for name in _folders(root) if name in SPLIT_NAMES}
    if "train" in parts and "test" not in parts:
        raise DataError(f"{root} has a folder train, but none called test: the classes of both, or classes alone")
    found = {split: _classes(root, folder) for split, folder in (parts if "train" in parts else {"all": ""}).items()}
    every = [names for classes in found.values() for names in classes.values()]
    # As one block of bytes: a list of a million names would be large, and copied by every process that reads.
    names = np.array([os.fsencode(name) for some in every for name in some])
    labels = [name for classes in found.values() for name, some in classes.items() for _ in some]
    counts = [sum(map(len, classes.values())) for classes in found.values()]
    places = np.split(np.arange(len(names)), np.cumsum(counts)[:-1])
    files = ImageFiles(root, names, spec.size)
    return Rows(
        root.name,
        pa.table({CLASS: pa.array(labels)}),
        lambda row: str(root / files.name(row)),
        dict(zip(found, places, strict=True)) if "all" not in found else {},
        _in_memory(files) if _fits(files, spec.in_memory) else files.looked_at(),
    )


def _fits(files: ImageFiles, in_memory: bool | None) -> bool:
    """Whether images are to be kept in memory: as is said, or else by what they would take if all were coloured."""
    if in_memory is not None:
        return in_memory
    _, height, width = files.header(0)
    return 3 * height * width * len(files) * BYTES_OF_A_NUMBER <= LARGEST_IN_MEMORY


def _in_memory(files: ImageFiles) -> np.ndarray:
    names = [files.name(row) for row in range(len(files))]
    return pictures_of([files.root / name for name in names], names, files.size)


def _folders(folder: Path) -> list[str]:
    """The names of the visible folders in a folder, sorted."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _classes(root: Path, folder: str) -> dict[str, list[str]]:
    """The images of each class, by the names of its folders in a folder below the root; seen from there, sorted."""
    found = {}
    for name in _folders(root / folder):
        inside = f"{folder}/{name}" if folder else name
        files = (entry.name for entry in os.scandir(root / inside))
        images = [file for file in files if Path(file).suffix.lower() in ENDINGS and not file.startswith(".")]
        found[name] = [f"{inside}/{file}" for file in sorted(images)]
    if not found:
        raise DataError(f"{root / folder} has no folders of classes: put the images of each class into a folder of its own")
    if empty := [name for name, files in found.items() if not files]:
        raise DataError(f"{root / folder / empty[0]} holds no image: take the folder away, or put images of that class into it")
    return found


def pictures_of(sources: Sequence[Path | IO[bytes]], names: Sequence[str], size: tuple[int, int] | None) -> np.ndarray:
    """Images as bytes ``[N, C, H, W]``; C is 1 where all are grey, else 3.

    Args:
        sources: files, open ones or their paths.
        names: how messages call them.
        size: height and width to resize to; None: all must have that of the first.

    Raises:
        DataError: an image cannot be read, or has a size of its own.
    """
    images: list[np.ndarray] = []
    for source, name in zip(sources, names, strict=True):
        image = decode(source, name, size)
        require_size(name, image.shape[:2], images[0].shape[:2] if images else image.shape[:2])
        images.append(image)
    channels = max(image.shape[2] for image in images)
    whole = np.empty((len(images), channels, *images[0].shape[:2]), np.uint8)
    for place, image in enumerate(images):
        # A grey image among coloured ones is repeated in their channels.
        whole[place] = image.transpose(2, 0, 1)
    return whole


def as_pictures(array: np.ndarray, name: str) -> np.ndarray:
    """Images ``[N, C, H, W]``, bytes or numbers in [0, 1], from an array ``[N, H, W]``, ``[N, C, H, W]`` or ``[N, H, W, C]``.

    Raises:
        DataError: it has another shape, or other values.
    """
    if array.dtype.kind not in "uf":
        raise DataError(f"{name} holds {array.dtype}: images are bytes, or numbers between 0 and 1")
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise DataError(f"{name} has shape {array.shape}: images are [N, H, W], [N, C, H, W] or [N, H, W, C], C 1 or 3")
    # Not a number is between no two.
    outside = ~((array >= 0) & (array <= 1)).all(axis=(1, 2, 3)) if array.dtype != np.uint8 else np.zeros(len(array), bool)
    if outside.any():
        raise DataError(f"image {int(outside.argmax()) + 1} of {name} is not within [0, 1]: scale it, or store bytes")
    return array
