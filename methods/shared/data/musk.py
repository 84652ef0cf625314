"""MUSK (Dietterich, Lathrop, Lozano-Pérez, Artificial Intelligence 1997): does a molecule smell of musk?

A bag is a molecule, an instance one of its conformations. Read from the C4.5 files of the UCI repository (Musk, versions 1 and
2), uncompressed, where a line is ``molecule,conformation,f1,…,f166,class.``, with the molecule's class repeated; or from
``musk1.parquet`` and ``musk2.parquet``, tables with columns ``bag,f1,…,f166,label``, which mean the same.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from regbench.methods.errors import DataError, one_line
from regbench.methods.shared.data import Data, dataset, require_form
from regbench.methods.shared.data.bags import Bags

FOLDER = "musk"
FEATURES = 166
TRAIN, TEST = 0.5, 0.3


@dataset("musk1", help="92 molecules of 476 conformations, 166 features: 46 / 18 / 28 bags, from UCI or Parquet", folder=FOLDER)
def musk1(split: int = 0) -> Data:
    """Small bags of about five conformations."""
    return musk_data("musk1", require_form(FOLDER, "clean1.data", "musk1.parquet"), split=split)


@dataset(
    "musk2", help="102 molecules of 6,598 conformations, 166 features: 51 / 20 / 31 bags, from UCI or Parquet", folder=FOLDER
)
def musk2(split: int = 0) -> Data:
    """Bags of one to more than a thousand conformations."""
    return musk_data("musk2", require_form(FOLDER, "clean2.data", "musk2.parquet"), split=split)


def musk_data(name: str, path: Path, *, split: int = 0) -> Data:
    """Bags of ``[166]`` features, standardized by the training instances; bags are split stratified by label.

    The set has no split of its own, and few bags: an AUROC on 30 of them is rough, whatever the seeds say.

    Raises:
        DataError: the file is damaged.
    """
    from sklearn.model_selection import train_test_split

    x, bags, labels = in_order_of_content(*(read_table(path) if path.suffix == ".parquet" else read_musk(path)))
    train, rest = train_test_split(np.arange(len(labels)), train_size=TRAIN, stratify=labels, random_state=split)
    validation, test = train_test_split(rest, test_size=round(TEST * len(labels)), stratify=labels[rest], random_state=split)
    learned = x[np.isin(bags, train)]
    scale = learned.std(axis=0)
    x = (x - learned.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    splits = {
        part: Bags(
            torch.tensor(x[np.isin(bags, rows)], dtype=torch.float32),
            torch.tensor(np.bincount(bags)[rows]),
            torch.tensor(labels[rows]),
        )
        for part, rows in (("train", np.sort(train)), ("validation", np.sort(validation)), ("test", np.sort(test)))
    }
    return Data(name, **splits, meta={"classes": 2, "shape": (FEATURES,)}, pool=len(labels))


def read_musk(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The content of a C4.5 file: features ``[M, 166]``, each instance's bag ``[M]``, ascending from 0, and labels ``[B]``.

    Raises:
        DataError: a line has another form, or a molecule has two classes.
    """
    try:
        rows = [line.split(",") for line in path.read_text(encoding="ascii").split()]
        x = np.array([row[2:-1] for row in rows], dtype=np.float64)
        names, classes = np.array([row[0] for row in rows]), np.array([row[-1].rstrip(".") for row in rows], dtype=np.int64)
    except (ValueError, IndexError) as error:
        raise DataError(f"{path} is no file of the UCI Musk data: {error}") from None
    if x.ndim != 2 or x.shape[1] != FEATURES:
        raise DataError(f"{path} is no file of the UCI Musk data: its lines do not hold {FEATURES} features")
    return _grouped(x, names, classes, path)


def read_table(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The content of a Parquet table, as ``read_musk`` gives it.

    Raises:
        DataError: a column is missing or holds anything but whole numbers, or a bag has two labels.
    """
    columns = ["bag", *(f"f{n}" for n in range(1, FEATURES + 1)), "label"]
    try:
        table = pq.read_table(path, columns=columns)
        bags, *x, labels = (table.column(name).to_numpy().astype(np.int64, casting="safe") for name in columns)
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise DataError(f"{path} is no table bag,f1,…,f166,label: {one_line(error)}") from None
    return _grouped(np.column_stack(x).astype(np.float64), bags, labels, path)


def _grouped(x: np.ndarray, names: np.ndarray, classes: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Instances bag by bag, bags in the order of their names, and the one label of each."""
    _, first, bags = np.unique(names, return_index=True, return_inverse=True)
    labels = classes[first]
    if set(classes) != {0, 1} or (labels[bags] != classes).any():
        raise DataError(f"{path} is damaged: classes must be 0 and 1, a molecule's the same in each of its lines")
    order = bags.argsort(kind="stable")
    return x[order], bags[order], labels


def in_order_of_content(x: np.ndarray, bags: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same bags, instances and bags sorted by their features, so that both forms of the data are split alike."""
    rows = np.lexsort(x.T[::-1])
    first = np.unique(bags[rows], return_index=True)[1]  # the least instance of each bag
    order = first.argsort()
    bags = order.argsort()[bags[rows]]
    rows, bags = rows[bags.argsort(kind="stable")], np.sort(bags)
    return x[rows], bags, labels[order]
