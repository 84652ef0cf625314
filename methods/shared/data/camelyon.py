"""CAMELYON16 (Ehteshami Bejnordi et al., JAMA 2017): does a slide of a lymph node hold a metastasis?

A bag is a slide, an instance the feature vector that a frozen encoder gave for one patch of tissue. Read from one file of
features for each slide, ``pt_files/SLIDE.pt``, a tensor ``[N, d]`` as CLAM's feature extraction saves it, and from a table of
labels, ``camelyon16.csv``, with columns ``case_id,slide_id,label`` as in the repository of attention entropy maximization.
"""

import csv
import pickle
from pathlib import Path

import torch
from torch import Tensor

from regbench.methods.errors import DataError, one_line
from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.bags import Bags

FOLDER = "camelyon16"
VALIDATION = 0.1
SPLIT_SEED = 0


@dataset(
    FOLDER,
    help="slides of lymph nodes as bags of patch features: 243 / 27 / 129 bags, from .pt files and a table",
    folder=FOLDER,
)
def camelyon16() -> Data:
    """The official test slides, and a tenth of the others, stratified, for validation.

    Raises:
        DataError: a file is missing or damaged, or features differ in length.
    """
    from sklearn.model_selection import train_test_split

    labels = read_labels(require(FOLDER, "camelyon16.csv")[0])
    paths = dict(zip(labels, require(FOLDER, *(f"pt_files/{slide}.pt" for slide in labels)), strict=True))
    test = [slide for slide in labels if slide.startswith("test")]
    others = [slide for slide in labels if not slide.startswith("test")]
    train, validation = train_test_split(
        others, test_size=VALIDATION, stratify=[labels[slide] for slide in others], random_state=SPLIT_SEED
    )
    features = {slide: read_features(path) for slide, path in paths.items()}
    widths = {part.shape[1] for part in features.values()}
    if len(widths) > 1:
        raise DataError(f"{FOLDER}/pt_files mixes features of several encoders: their lengths are {sorted(widths)}")
    splits = {
        split: Bags(
            torch.cat([features[slide] for slide in slides]).float(),
            torch.tensor([len(features[slide]) for slide in slides]),
            torch.tensor([labels[slide] for slide in slides]),
        )
        for split, slides in (("train", train), ("validation", validation), ("test", test))
    }
    return Data(FOLDER, **splits, meta={"classes": 2, "shape": (widths.pop(),)}, pool=0)


def read_labels(path: Path) -> dict[str, int]:
    """Slide -> 1 with a metastasis, 0 without, in the order of the table.

    Raises:
        DataError: a column is missing, or a label is neither 0 nor 1.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        labels = {row["slide_id"]: int(row["label"]) for row in rows}
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is no table of case_id,slide_id,label with labels 0 and 1: {error}") from None
    if not rows or not set(labels.values()) <= {0, 1}:
        raise DataError(f"{path} is no table of case_id,slide_id,label with labels 0 and 1")
    return labels


def read_features(path: Path) -> Tensor:
    """The features ``[N, d]`` of a slide, mapped from its file rather than read.

    Raises:
        DataError: it is no file of PyTorch, or holds anything else.
    """
    try:
        features = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise DataError(f"{path} is damaged, extract it again: {one_line(error)}") from None
    if not isinstance(features, Tensor) or features.ndim != 2 or not len(features):
        raise DataError(f"{path} does not hold one tensor of features [N, d]")
    return features
