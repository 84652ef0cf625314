"""CelebA (Liu et al., ICCV 2015): faces of celebrities, some identities to protect, others an attacker's.

Read from the aligned images, ``img_align_celeba/NAME.jpg`` of 178 x 218 pixels, and ``identity_CelebA.txt``, a line
``NAME.jpg NUMBER`` for each image.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import TensorDataset

from regbench.methods.errors import DataError
from regbench.methods.shared.data import dataset, require
from regbench.methods.shared.data.private import PrivateData

FOLDER, IMAGES, IDENTITIES_FILE = "celeba", "img_align_celeba", "identity_CelebA.txt"
IDENTITIES = 1_000
AUXILIARY = 30_000
# Shares of the protected identities' images.
VALIDATION, TEST = 0.1, 0.1
# The middle of an aligned image, and its side afterwards.
FACE, SIDE = 108, 64


@dataset(
    "private_celeba",
    help="faces of CelebA, 64x64 RGB, 1,000 identities to protect: 80 / 10 / 10 % of 30,000 images, as many for the attacker",
    folder=FOLDER,
)
def private_celeba(split: int = 0) -> PrivateData:
    """Images ``[N, 3, 64, 64]`` in [0, 1]: the 1,000 identities of most images are classes, the next ones the attacker's."""
    return celeba_data(IDENTITIES, AUXILIARY, split=split)


def celeba_data(identities: int, auxiliary: int, *, split: int = 0) -> PrivateData:
    """The faces of some identities to protect, and those of others.

    Args:
        identities: how many are classes: those of most images, of equally many the lower number first.
        auxiliary: how many images of the following identities the attacker has; their label is the number of classes.
        split: the number of the split of the protected identities' images; the attacker's stay the same.

    Raises:
        DataError: a file is missing or damaged.
    """
    from sklearn.model_selection import train_test_split

    owners = read_identities(require(FOLDER, IDENTITIES_FILE)[0])
    names, numbers = np.array(list(owners)), np.array(list(owners.values()))
    found, counts = np.unique(numbers, return_counts=True)
    rank = dict(zip(found[np.lexsort((found, -counts))].tolist(), range(len(found)), strict=True))
    ranks = np.array([rank[number] for number in numbers.tolist()])
    protected = np.flatnonzero(ranks < identities)
    others = np.flatnonzero(ranks >= identities)
    others = others[np.argsort(ranks[others], kind="stable")][:auxiliary]
    rest, test = train_test_split(protected, test_size=TEST, stratify=ranks[protected], random_state=split)
    train, validation = train_test_split(rest, test_size=VALIDATION / (1 - TEST), stratify=ranks[rest], random_state=split)
    splits = {
        name: TensorDataset(read_faces(names[rows].tolist()), torch.from_numpy(ranks[rows].clip(max=identities)))
        for name, rows in (("train", train), ("validation", validation), ("test", test), ("auxiliary", others))
    }
    meta = {"classes": identities, "shape": (3, SIDE, SIDE)}
    return PrivateData("private_celeba", meta=meta, pool=len(protected), **splits)


def read_identities(path: Path) -> dict[str, int]:
    """Name of each image -> number of the person, in the order of the file.

    Raises:
        DataError: a line has another form.
    """
    owners = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        name, _, identity = line.partition(" ")
        if not name.endswith(".jpg") or not identity.strip().isdigit():
            raise DataError(f"{path} is damaged, copy it again: line {number} is '{line}', not 'NAME.jpg NUMBER'")
        owners[name] = int(identity)
    return owners


def read_faces(names: list[str]) -> Tensor:
    """The middle of each image, 64 x 64, ``[N, 3, 64, 64]`` in [0, 1].

    Raises:
        DataError: a file is missing or no image of that size.
    """
    from skimage.io import imread

    faces = torch.empty(len(names), 3, SIDE, SIDE)
    for place, path in enumerate(require(FOLDER, *(f"{IMAGES}/{name}" for name in names))):
        try:
            image = imread(path)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{path} is damaged, copy it again: {error}") from None
        if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < FACE:
            raise DataError(f"{path} holds an array of shape {image.shape}, not a colour image of at least {FACE} x {FACE}")
        top, left = ((side - FACE) // 2 for side in image.shape[:2])
        face = torch.from_numpy(image[top : top + FACE, left : left + FACE].copy()).permute(2, 0, 1)[None].float() / 255
        faces[place] = interpolate(face, size=(SIDE, SIDE), mode="bilinear", antialias=True)[0]
    return faces
