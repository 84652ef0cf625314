"""Images: folders of them, encoded ones, and arrays that hold some. Greyscale has one channel, anything else becomes RGB."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from regbench.methods.errors import DataError
from regbench.methods.shared.data.files.rows import Rows
from regbench.methods.shared.data.files.spec import SPLIT_NAMES, FileData

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
# The column of an image's folder.
CLASS = "class"
SIXTEEN_BITS = 65_535


def read_folder(spec: FileData) -> Rows:
    """The images of a folder: of ``<class>/*``, or of ``train/<class>/*`` with ``test``, and ``validation``, beside it.

    Raises:
        DataError: it has no classes, one of them has no image, or an image cannot be read or has a size of its own.
    """
    root = Path(spec.paths["all"])
    if not root.is_dir():
        raise DataError(f"there is no folder {root}")
    parts = {SPLIT_NAMES[name]: folder for name, folder in _folders(root).items() if name in SPLIT_NAMES}
    if "train" in parts and "test" not in parts:
        raise DataError(f"{root} has a folder train, but none called test: the classes of both, or classes alone")
    found = {split: _classes(folder) for split, folder in (parts if "train" in parts else {"all": root}).items()}
    files = [(file, name) for classes in found.values() for name, images in classes.items() for file in images]
    paths, labels = [file for file, _ in files], [name for _, name in files]
    counts = [sum(map(len, classes.values())) for classes in found.values()]
    places = np.split(np.arange(len(files)), np.cumsum(counts)[:-1])
    return Rows(
        root.name,
        pa.table({CLASS: pa.array(labels)}),
        lambda row: str(paths[row]),
        dict(zip(found, places, strict=True)) if "all" not in found else {},
        pictures_of(paths, [path.relative_to(root).as_posix() for path in paths], spec.size),
    )


def _folders(folder: Path) -> dict[str, Path]:
    """The visible folders in a folder by name, sorted."""
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The images of each class, by the names of its folders."""
    found = {
        name: [path for path in sorted(inside.iterdir()) if path.suffix.lower() in ENDINGS and not path.name.startswith(".")]
        for name, inside in _folders(folder).items()
    }
    if not found:
        raise DataError(f"{folder} has no folders of classes: put the images of each class into a folder of its own")
    if empty := [name for name, files in found.items() if not files]:
        raise DataError(f"{folder / empty[0]} holds no image: take the folder away, or put images of that class into it")
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
        if images and image.shape[:2] != images[0].shape[:2]:
            height, width = images[0].shape[:2]
            raise DataError(
                f"{name} is {image.shape[0]} x {image.shape[1]} pixels, {names[0]} {height} x {width}: give "
                f"`size: [{height}, {width}]` to resize all"
            )
        images.append(image)
    channels = max(image.shape[2] for image in images)
    whole = np.empty((len(images), channels, *images[0].shape[:2]), np.uint8)
    for place, image in enumerate(images):
        # A grey image among coloured ones is repeated in their channels.
        whole[place] = image.transpose(2, 0, 1)
    return whole


def decode(source: Path | IO[bytes], name: str, size: tuple[int, int] | None) -> np.ndarray:
    """An image as bytes ``[H, W, 1]`` or ``[H, W, 3]``, upright as a camera's note says; transparency is left out.

    Raises:
        DataError: it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(source) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):
                deep = np.asarray(image).clip(0, SIXTEEN_BITS)
                image = Image.fromarray((deep / (SIXTEEN_BITS / 255)).round().astype(np.uint8))
            image = image.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB")
            if size is not None:
                image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            pixels = np.asarray(image)
    except Exception as error:  # Decoders of damaged files raise what they like.
        raise DataError(f"{name} is no image that can be read: {' '.join(str(error).split())}") from None
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


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
