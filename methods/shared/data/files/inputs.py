"""Inputs from columns: numbers imputed and standardized, categories one-hot, by what the training rows tell alone."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from regbench.methods.errors import DataError
from regbench.methods.shared.data.files.rows import Rows, is_number, is_text, numbers, texts
from regbench.methods.shared.data.files.spec import FileData

# So many categories of a column have an input of their own.
MOST_CATEGORIES = 100
# From so many rows on, texts that are all different are names, and tell nothing of other rows.
FEWEST_NAMES = 20


def input_columns(rows: Rows, spec: FileData) -> list[str]:
    """The columns that are inputs.

    Raises:
        DataError: a column that is named is not there, or none is left.
    """
    if spec.source != "npz":
        for setting in ("features", "drop"):
            for name in getattr(spec, setting) or []:
                rows.column(name, setting)
    others = {spec.target, spec.split_column, spec.group, *spec.drop, *spec.protected}
    wanted = spec.features or [name for name in rows.table.column_names if name not in others]
    found = [column for name in wanted for column in rows.matrices.get(name, (name,))]
    if not found:
        raise DataError(f"{rows.label} has no column that could be an input")
    for name in found:
        _require_usable(rows, name)
    return found


def _require_usable(rows: Rows, name: str) -> None:
    column = rows.column(name, "features")
    where = f"column '{name}' of {rows.label}"
    if pa.types.is_null(column.type) or column.null_count == len(column):
        raise DataError(f"{where} has no value at all: put it among `drop`")
    if is_text(column.type):
        different = len(column.unique())
        if different == len(column) and different > FEWEST_NAMES:
            raise DataError(
                f"{where} has another text in each row, such as '{column[0]}' in {rows.where(0)}: it cannot tell of rows to "
                "come, put it among `drop`"
            )
        return
    if not is_number(column.type):
        raise DataError(f"{where} holds {column.type}, neither numbers nor categories: make such of it, or put it among `drop`")
    infinite = np.isinf(numbers(column))
    if infinite.any():
        raise DataError(f"{where} is infinite in {rows.where(int(infinite.argmax()))}")


def encode(rows: Rows, columns: Sequence[str], train: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Inputs ``[N, d]`` of all rows, and the name of each.

    Numbers first: the median in place of what is missing, standardized, then inputs that say where something was missing. Of
    categories a training row has, each has an input ``column=category``; the rarest of more than 100 share one. What is missing
    is a category; one that no training row has is 0 in all inputs of its column.

    Args:
        rows: the rows.
        columns: which columns.
        train: the training rows.
    """
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    kinds = {name: is_text(rows.table.column(name).type) for name in columns}
    numeric, categories = ([name for name in columns if kinds[name] is text] for text in (False, True))
    parts, names = [], []
    if numeric:
        x = np.column_stack([numbers(rows.table.column(name)) for name in numeric])
        scaling = make_pipeline(
            SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
        ).fit(x[train])
        parts.append(scaling.transform(x))
        names += [name.replace("missingindicator_", "missing: ") for name in scaling.get_feature_names_out(numeric)]
    for name in categories:
        values = texts(rows.table.column(name))[:, None]
        code = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MOST_CATEGORIES + 1, sparse_output=False).fit(
            values[train]
        )
        parts.append(code.transform(values))
        rare = set() if code.infrequent_categories_[0] is None else set(code.infrequent_categories_[0])
        names += [f"{name}={'missing' if value is None else value}" for value in code.categories_[0] if value not in rare]
        names += [f"{name}=others"] if rare else []
    return np.hstack(parts), tuple(names)
