"""Tables of people with a sensitive column, from scikit-learn: the progression of diabetes, and breast cancer."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import dataset
from regbench.methods.shared.data.private import PrivateData

SEX = 1
RADIUS, TEXTURE, SMOOTHNESS, SYMMETRY, FRACTAL_DIMENSION = 0, 1, 4, 8, 9


@dataset(
    "private_diabetes",
    help="progression of diabetes from 10 measurements, sex to protect: 200 / 70 / 72 people, 100 for the attacker",
)
def private_diabetes(split: int = 0) -> PrivateData:
    """Columns ``[N, 10]`` and target, float64, each with mean 0 and deviation 1; an attacker knows all columns but sex."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    sizes = {"train": 200, "auxiliary": 100, "validation": 70}
    meta = {"sensitive": SEX, "known": [column for column in range(x.shape[1]) if column != SEX]}
    return _table("private_diabetes", _standardized(x), _standardized(y), sizes, meta, split)


@dataset(
    "private_breast_cancer",
    help="malignancy of breast cancer from 30 measurements, the radius to protect: 220 / 80 / 119 people, 150 for the attacker",
)
def private_breast_cancer(split: int = 0) -> PrivateData:
    """Columns ``[N, 30]``, float64, with mean 0 and deviation 1, and labels; the radius is 1 above its median, else 0.

    An attacker knows texture, smoothness, symmetry and fractal dimension.
    """
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    x = _standardized(x)
    x[:, RADIUS] = x[:, RADIUS] > np.median(x[:, RADIUS])
    known = [TEXTURE, SMOOTHNESS, SYMMETRY, FRACTAL_DIMENSION]
    meta = {"sensitive": RADIUS, "known": known, "classes": 2}
    return _table("private_breast_cancer", x, y, {"train": 220, "auxiliary": 150, "validation": 80}, meta, split)


def _standardized(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / values.std(0)


def _table(name: str, x: np.ndarray, y: np.ndarray, sizes: dict[str, int], meta: dict[str, Any], split: int) -> PrivateData:
    from sklearn.model_selection import train_test_split

    rest = np.arange(len(y))
    splits = {}
    for part, size in sizes.items():
        rows, rest = train_test_split(rest, train_size=size, random_state=split)
        splits[part] = TensorDataset(torch.from_numpy(x[rows]), torch.from_numpy(y[rows]))
    test = TensorDataset(torch.from_numpy(x[rest]), torch.from_numpy(y[rest]))
    return PrivateData(name, test=test, meta={"shape": x.shape[1:]} | meta, pool=len(y), **splits)
