"""ABIDE's cortical thickness, with simulated outcomes (Yang et al., 2024): which vertices do they depend on?

Read from one table of FreeSurfer values, a row for each subject: two leading columns that name it, a column for each vertex of
the left hemisphere, and at last age, sex and diagnosis, which are not used.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from regbench.methods.errors import DataError, one_line
from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.sparse_problems import Outcome, Problem, pools, problem_of

FOLDER = "abide"
FILE = "abide_fs60_vout_fwhm0_lh_SubjectIDFormatted_N1050_nonzero_withSEX.csv"
LEADING, TRAILING = 2, 3
RELEVANT = 40
SNR = 3.0
TRAIN = 0.8
# Bytes that a part of the file may take: a line holds every vertex.
BLOCK = 2**26


def read_vertices(path: Path) -> np.ndarray:
    """Standardized values ``[subjects, vertices]``, without vertices that do not vary.

    Raises:
        DataError: the file is no such table, or too small for forty relevant vertices.
    """
    try:
        options = csv.ReadOptions(block_size=BLOCK, encoding="latin1")
        table = csv.read_csv(path, read_options=options)
        columns = table.columns[LEADING : table.num_columns - TRAILING]
        x = np.stack([column.cast(pa.float64()).to_numpy() for column in columns], axis=1)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise DataError(f"{path} is no table of vertices: {one_line(error)[:200]}") from None
    if not np.isfinite(x).all():
        raise DataError(f"{path} is damaged: a vertex has no value")
    if not len(x):
        raise DataError(f"{path} holds no subjects: take the table of about 1,050")
    x = x[:, x.std(axis=0) > 0]
    if x.shape[1] < RELEVANT:
        raise DataError(f"{path} holds {x.shape[1]} vertices that vary: {RELEVANT} are needed")
    return (x - x.mean(axis=0)) / x.std(axis=0)


def simulated_design(x: np.ndarray, outcome: Outcome, *, squares: bool) -> Callable[[np.random.Generator], Problem]:
    """An outcome that depends on 40 random vertices, or on their squares, at SNR 3; four fifths of the subjects to train."""

    def design(random: np.random.Generator) -> Problem:
        rows = x[random.permutation(len(x))]
        relevant = np.zeros(x.shape[1], dtype=bool)
        relevant[random.permutation(x.shape[1])[:RELEVANT]] = True
        parts = rows[:, relevant] ** 2 if squares else rows[:, relevant]
        coefficients = np.where(relevant & (not squares), 1.0, 0.0)
        train = round(TRAIN * len(x))
        return problem_of(rows, parts.sum(axis=1), train, coefficients, relevant, SNR, outcome, random)

    return design


def abide_data(name: str, outcome: Outcome, *, squares: bool, split: int) -> Data:
    """Pools of simulated outcomes of the subjects, which are the same in every split."""
    (path,) = require(FOLDER, FILE)
    x = read_vertices(path)
    return pools(name, x.shape[1], simulated_design(x, outcome, squares=squares), split=split)


@dataset(
    "abide_cortical",
    help="40 of the cortical values of about 1,050 subjects matter, linearly: 20 / 200 / 200 simulated problems",
    folder=FOLDER,
)
def abide_cortical(split: int = 0) -> Data:
    """Linear effects."""
    return abide_data("abide_cortical", "continuous", squares=False, split=split)


@dataset(
    "abide_cortical_squares",
    help="as abide_cortical, with the outcome a sum of squares: 20 / 200 / 200 simulated problems",
    folder=FOLDER,
)
def abide_cortical_squares(split: int = 0) -> Data:
    """Effects without a linear part, except where a vertex is skewed; then the linear one counts as an error."""
    return abide_data("abide_cortical_squares", "continuous", squares=True, split=split)


@dataset(
    "abide_cortical_binary",
    help="as abide_cortical, with a binary outcome: 20 / 200 / 200 simulated problems",
    folder=FOLDER,
)
def abide_cortical_binary(split: int = 0) -> Data:
    """Linear effects on the log-odds."""
    return abide_data("abide_cortical_binary", "binary", squares=False, split=split)


@dataset(
    "abide_cortical_squares_binary",
    help="as abide_cortical_squares, with a binary outcome: 20 / 200 / 200 simulated problems",
    folder=FOLDER,
)
def abide_cortical_squares_binary(split: int = 0) -> Data:
    """Effects of squares on the log-odds."""
    return abide_data("abide_cortical_squares_binary", "binary", squares=True, split=split)
