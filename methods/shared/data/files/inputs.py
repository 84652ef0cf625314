"""Inputs from columns: numbers imputed and standardized, categories one-hot, by what the training rows tell alone."""

from collections.abc import Sequence

import numpy as np

from regbench.methods.errors import DataError
from regbench.methods.shared.data.files.rows import Rows, is_number, is_text, numbers, texts
from regbench.methods.shared.data.files.spec import FileData

# So many categories of a column have an input of their own.
MOST_CATEGORIES = 100
# More different texts than this, in less than twice as many rows, are names rather than categories.
FEWEST_NAMES = 20


def input_columns(rows: Rows, spec: FileData) -> list[str]:
    """The columns that are inputs.

    Raises:
        DataError: a column that is named is not there, cannot be an input, or none is left.
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
    problems = {name: problem for name in found if (problem := _problem(rows, name))}
    if problems:
        first, *rest = problems
        more = f"; nor can {', '.join(rest)}: put them" if rest else ": put it"
        raise DataError(f"column '{first}' of {rows.label} cannot be an input, {problems[first]}{more} among `drop`")
    return found


def _problem(rows: Rows, name: str) -> str | None:
    """Why a column cannot be an input, if so."""
    column = rows.column(name, "features")
    if column.null_count == len(column):
        return "it has no value at all"
    if is_text(column.type):
        values = column.drop_null()
        different = len(values.unique())
        if different > max(FEWEST_NAMES, len(values) / 2):
            return (
                f"it has {different} different texts in {len(values)} rows, names such as '{values[0]}' rather than categories"
            )
        return None
    if not is_number(column.type):
        return f"it holds {column.type}, neither numbers nor categories"
    infinite = np.isinf(numbers(column))
    return f"it is infinite in {rows.where(int(infinite.argmax()))}" if infinite.any() else None


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
