"""Rows as they were read, before anything is learned from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from regbench.methods.errors import DataError, nearest
from regbench.methods.shared.data.files.image_files import ImageFiles


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a data set.

    Attributes:
        label: how messages call the file, or all files.
        table: the columns.
        where: names a row by its place in the table, such as ``row 17 of wine.csv``, counted from 1 below the header.
        given: the rows of each split, where files or folders say it; without ``validation`` where that is to be drawn.
        pictures: the inputs, where they are images: ``[N, C, H, W]``, bytes or numbers in [0, 1]; or files of bytes.
        matrices: the columns that a matrix has become, by its name.
    """

    label: str
    table: pa.Table
    where: Callable[[int], str]
    given: Mapping[str, np.ndarray] = field(default_factory=dict)
    pictures: np.ndarray | ImageFiles | None = None
    matrices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.pictures.shape[0] if self.pictures is not None else self.table.num_rows

    def column(self, name: str, setting: str) -> pa.ChunkedArray:
        """A column.

        Args:
            name: its name.
            setting: the setting that names it, for the message.

        Raises:
            DataError: there is none of that name.
        """
        if name not in self.table.column_names:
            raise DataError(f"{setting}: {self.label} has no column '{name}'; {nearest(name, self.table.column_names)}")
        return self.table.column(name)

    def complete(self, name: str, setting: str) -> pa.ChunkedArray:
        """A column in which no value is missing.

        Raises:
            DataError: there is none of that name, or a value is missing; names the row.
        """
        column = self.column(name, setting)
        missing = pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)
        if missing.any():
            first, others = self.where(int(missing.argmax())), int(missing.sum()) - 1
            more = f" and {others} more" if others else ""
            raise DataError(f"{setting} '{name}' has no value in {first}{more}: fill it in, or leave such rows out")
        return column


def is_text(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are categories without an order: text, categories, booleans."""
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_dictionary(kind)
    )


def is_number(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def texts(column: pa.ChunkedArray) -> np.ndarray:
    """A column ``[N]`` of text, categories, booleans or whole numbers as texts, None where a value is missing."""
    return np.array([None if value is None else str(value) for value in column.to_pylist()], dtype=object)


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column ``[N]`` of numbers, NaN where a value is missing; of whole ones beyond 2⁵³ the nearest float."""
    return column.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)


def one_after_the_other(parts: Mapping[str, int]) -> Callable[[int], str]:
    """Names the rows of files that follow each other in one table; parts are the numbers of their rows by the files' names."""

    def where(row: int) -> str:
        for name, count in parts.items():
            if row < count:
                return f"row {row + 1} of {name}"
            row -= count
        raise IndexError(row)

    return where
