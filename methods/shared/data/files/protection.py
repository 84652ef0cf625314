"""Protected attributes of rows, and the intersectional groups that they make."""

from collections.abc import Sequence

import numpy as np

from regbench.methods.errors import DataError
from regbench.methods.shared.data.files.rows import Rows, is_number, is_text, numbers, texts
from regbench.methods.shared.data.files.targets import MOST_CLASSES
from regbench.methods.shared.data.protected import intersections, one_hot


def protected_attributes(rows: Rows, names: Sequence[str], train: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The columns of each attribute ``[N, p]``, and the group of each row ``[N]``.

    Two categories are one column of 0 and 1, more are one-hot; at most 20 different whole numbers are categories, as targets
    are. Real values are a column as they are, and a group lies above their median of the training rows or does not.

    Args:
        rows: the rows.
        names: the columns.
        train: the training rows.

    Raises:
        DataError: a value is missing, or a column has a single one.
    """
    attributes, labels = {}, []
    for name in names:
        column = rows.complete(name, "protected")
        if not is_text(column.type) and not is_number(column.type):
            raise DataError(f"protected '{name}' of {rows.label} holds {column.type}, neither numbers nor categories")
        values = texts(column).astype(str) if is_text(column.type) else numbers(column)
        different = np.unique(values[train])
        if len(different) == 1:
            raise DataError(f"protected '{name}' of {rows.label} is {different[0]} in all training rows: it makes no groups")
        if is_text(column.type) or (len(different) <= MOST_CLASSES and (different == np.round(different)).all()):
            attributes[name] = one_hot(values)[:, 1:] if len(np.unique(values)) == 2 else one_hot(values)
            labels.append(values)
        else:
            attributes[name] = values[:, None]
            labels.append(values > np.median(values[train]))
    return attributes, intersections(*labels)
