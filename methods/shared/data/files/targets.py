"""What is predicted: classes or real values, as a column says or as the user says."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from regbench.methods.errors import DataError
from regbench.methods.shared.data.files.rows import Rows, is_number, is_text, numbers, texts
from regbench.methods.shared.data.files.spec import Task

# So many different whole numbers are taken for classes where nothing is said.
MOST_CLASSES = 20


@dataclass(frozen=True, eq=False)
class Target:
    """What is predicted.

    Attributes:
        values: classes, numbered from 0, ``[N]`` int64; or real values ``[N]``.
        classes: the names of the classes by number; None for real values.
        told: what the column is, for messages, such as ``target 'quality' of wine.csv has 6 different whole numbers``.
        numeric: whether the column holds numbers.
    """

    values: np.ndarray
    classes: tuple[str, ...] | None
    told: str
    numeric: bool

    @property
    def task(self) -> Task:
        """What predicting it is."""
        return "regression" if self.classes is None else "classification"


def read_target(rows: Rows, name: str, task: Task | None) -> Target:
    """The target of all rows.

    Args:
        rows: the rows.
        name: the column.
        task: what it shall be; None: what the column looks like.

    Raises:
        DataError: a value is missing, there is nothing to predict, or the values do not fit the task; names a row.
    """
    column, told = rows.complete(name, "target"), f"target '{name}' of {rows.label}"
    if is_text(column.type):
        if task == "regression":
            raise DataError(
                f"{told} is text or a category, such as '{column[0]}' in {rows.where(0)}: task regression needs numbers"
            )
        classes, values = np.unique(texts(column), return_inverse=True)
        return _classes(values, tuple(map(str, classes)), f"{told} has {len(classes)} categories", numeric=False)
    if not is_number(column.type):
        raise DataError(f"{told} holds {column.type}, neither numbers nor categories")
    values = numbers(column)
    if not np.isfinite(values).all():
        raise DataError(f"{told} is infinite in {rows.where(int((~np.isfinite(values)).argmax()))}")
    different, places = np.unique(values, return_inverse=True)
    broken = values != np.round(values)
    told += f" has {len(different)} different {'real values' if broken.any() else 'whole numbers'}"
    if task is None:
        task = "classification" if len(different) <= MOST_CLASSES and not broken.any() else "regression"
    if task == "regression":
        if len(different) == 1:
            raise DataError(f"target '{name}' of {rows.label} is {different[0]:g} in all rows: there is nothing to predict")
        return Target(values, None, told, numeric=True)
    if broken.any():
        row = int(broken.argmax())
        raise DataError(f"{told}, such as {values[row]:g} in {rows.where(row)}: they are no classes")
    return _classes(places, tuple(f"{value:.0f}" for value in different), told, numeric=True)


def _classes(values: np.ndarray, classes: tuple[str, ...], told: str, *, numeric: bool) -> Target:
    if len(classes) == 1:
        raise DataError(f"{told.partition(' has ')[0]} has the single class '{classes[0]}': there is nothing to tell apart")
    return Target(values.ravel().astype(np.int64), classes, told, numeric)


def require_known_classes(target: Target, places: Mapping[str, np.ndarray], rows: Rows) -> None:
    """Refuses classes that training does not see.

    Raises:
        DataError: names the class, the split and a row.
    """
    if target.classes is None:
        return
    known = np.unique(target.values[places["train"]])
    for split, chosen in places.items():
        new = chosen[~np.isin(target.values[chosen], known)]
        if len(new):
            name = target.classes[target.values[new[0]]]
            raise DataError(
                f"class '{name}' is in the {split} split, such as {rows.where(int(new[0]))}, but no training row has it: "
                "leave these rows out, or split otherwise"
            )
