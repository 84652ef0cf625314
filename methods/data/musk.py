"""MUSK (Dietterich, Lathrop, Lozano-Pérez, Artificial Intelligence 1997): does a molecule smell of musk?

A bag is a molecule, an instance one of its conformations. Read from the C4.5 files of the UCI repository (Musk, versions 1 and
2), uncompressed: a line is ``molecule,conformation,f1,…,f166,class.``, with the molecule's class repeated.
"""

from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from regbench.methods.data import Data, dataset, require
from regbench.methods.data.bags import Bags
from regbench.methods.errors import DataError

FOLDER = "musk"
FEATURES = 166
SPLIT_SEED = 0
TRAIN, TEST = 0.5, 0.3


@dataset(
    "musk1", help="92 molecules of 476 conformations, 166 features: 46 / 18 / 28 bags, from UCI's clean1.data", folder=FOLDER
)
def musk1() -> Data:
    """Small bags of about five conformations."""
    return musk_data("musk1", require(FOLDER, "clean1.data")[0])


@dataset(
    "musk2", help="102 molecules of 6,598 conformations, 166 features: 51 / 20 / 31 bags, from UCI's clean2.data", folder=FOLDER
)
def musk2() -> Data:
    """Bags of one to more than a thousand conformations."""
    return musk_data("musk2", require(FOLDER, "clean2.data")[0])


def musk_data(name: str, path: Path) -> Data:
    """Bags of ``[166]`` features, standardized by the training instances; bags are split stratified by label.

    The set has no split of its own, and few bags: an AUROC on 30 of them is rough, whatever the seeds say.

    Raises:
        DataError: the file is damaged.
    """
    x, bags, labels = read_musk(path)
    train, rest = train_test_split(np.arange(len(labels)), train_size=TRAIN, stratify=labels, random_state=SPLIT_SEED)
    validation, test = train_test_split(
        rest, test_size=round(TEST * len(labels)), stratify=labels[rest], random_state=SPLIT_SEED
    )
    learned = x[np.isin(bags, train)]
    scale = learned.std(axis=0)
    x = (x - learned.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    splits = {
        split: Bags(
            torch.tensor(x[np.isin(bags, rows)], dtype=torch.float32),
            torch.tensor(np.bincount(bags)[rows]),
            torch.tensor(labels[rows]),
        )
        for split, rows in (("train", np.sort(train)), ("validation", np.sort(validation)), ("test", np.sort(test)))
    }
    return Data(name, **splits, meta={"classes": 2, "shape": (FEATURES,)})


def read_musk(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The content of a file: features ``[M, 166]``, the bag of each instance ``[M]``, ascending from 0, and labels ``[B]``.

    Raises:
        DataError: a line has another form, or a molecule has two classes.
    """
    try:
        rows = [line.split(",") for line in path.read_text(encoding="ascii").split()]
        names, bags = np.unique([row[0] for row in rows], return_inverse=True)
        order = bags.argsort(kind="stable")
        x = np.array([rows[place][2:-1] for place in order], dtype=np.float64)
        classes = np.array([rows[place][-1].rstrip(".") for place in order], dtype=np.int64)
    except (ValueError, IndexError) as error:
        raise DataError(f"{path} is no file of the UCI Musk data: {error}") from None
    if x.ndim != 2 or x.shape[1] != FEATURES:
        raise DataError(f"{path} is no file of the UCI Musk data: its lines do not hold {FEATURES} features")
    bags = bags[order]
    labels = classes[np.searchsorted(bags, np.arange(len(names)))]
    if not set(classes) <= {0, 1} or (labels[bags] != classes).any():
        raise DataError(f"{path} is damaged: a molecule must be of class 0 or 1, the same in each of its lines")
    return x, bags, labels
