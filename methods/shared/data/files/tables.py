"""Tables from CSV and Parquet files and from NumPy arrays."""

import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from regbench.methods.errors import DataError, one_line
from regbench.methods.shared.data.files.images import as_pictures
from regbench.methods.shared.data.files.rows import Rows, one_after_the_other
from regbench.methods.shared.data.files.spec import FileData

DELIMITERS = ",;\t|"
LONGEST_HEADER = 2**20
# As the UCI repository writes a missing value.
UNKNOWN = "?"
# A row index that pandas writes beside the columns.
INDEX = re.compile(r"__index_level_\d+__")


def read_tables(spec: FileData) -> Rows:
    """The rows of CSV, Parquet or npz files.

    Raises:
        DataError: a file cannot be read, is empty, or does not have the columns of the first.
    """
    if spec.source == "npz":
        return _read_arrays(spec)
    read: Callable[[Path], pa.Table] = read_csv if spec.source == "csv" else read_parquet
    tables = {split: _checked(read(Path(path)), Path(path)) for split, path in spec.paths.items()}
    return joined(tables, {split: Path(path).name for split, path in spec.paths.items()}, spec.label)


def joined(tables: Mapping[str, pa.Table], names: Mapping[str, str], label: str) -> Rows:
    """One table of several, each a split, or of the one under ``all``.

    Args:
        tables: by split.
        names: how messages call each.
        label: how they call all of them.

    Raises:
        DataError: columns differ.
    """
    first = next(iter(tables))
    head = tables[first]
    for split, table in tables.items():
        for name in head.column_names:
            if name not in table.column_names:
                raise DataError(f"{names[split]} has no column '{name}', which {names[first]} has")
    ordered = [_without_halves(table.select(head.column_names)) for table in tables.values()]
    try:
        whole = pa.concat_tables(ordered, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"columns of {' and '.join(names.values())} differ in type: {one_line(error)}") from None
    starts = np.cumsum([len(table) for table in ordered])
    given = dict(zip(tables, np.split(np.arange(len(whole)), starts[:-1]), strict=True)) if "all" not in tables else {}
    # Files of one name are told apart by their splits.
    parts = {f"{names[split]} ({split})" if len(tables) > 1 else names[split]: len(table) for split, table in tables.items()}
    return Rows(label, whole, one_after_the_other(parts), given)


def _without_halves(table: pa.Table) -> pa.Table:
    """A table whose numbers of half precision have single precision: Arrow's functions do not take them."""
    kinds = [pa.float32() if field.type == pa.float16() else field.type for field in table.schema]
    return table.cast(pa.schema(zip(table.column_names, kinds, strict=True)))


def read_csv(path: Path) -> pa.Table:
    """A CSV file with a header; separated by commas, semicolons, tabs or bars, whichever its header has most of.

    It may be compressed, as ``.csv.gz``. Spaces around texts are no part of them. Empty fields, ``NA`` and the like, and ``?``
    are missing values. With semicolons, numbers may have decimal commas. Of two columns ``a``, the second is called ``a.1``, as
    pandas has it.

    Raises:
        DataError: it cannot be read; names the row.
    """
    try:
        with pa.input_stream(str(path)) as file:
            header = file.read(LONGEST_HEADER).partition(b"\n")[0].decode()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or one_line(error)}") from None
    except UnicodeDecodeError:
        raise DataError(f"cannot read {path}: its header is no text in UTF-8") from None
    delimiter = max(DELIMITERS, key=header.count)
    missing = [*pc_csv.ConvertOptions().null_values, UNKNOWN]
    try:
        table = pc_csv.read_csv(
            path,
            # One thread: then errors name the row.
            read_options=pc_csv.ReadOptions(use_threads=False),
            parse_options=pc_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pc_csv.ConvertOptions(null_values=missing, strings_can_be_null=True),
        )
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path}: {_csv_problem(error)}") from None
    names = _different([name.strip() for name in table.column_names])
    for name, column in zip(names, table.columns, strict=True):
        if pa.types.is_binary(column.type):
            raise DataError(f"cannot read {path}: column '{name}' is no text in UTF-8")
    columns = [_tidy(column, missing, decimal_commas=delimiter == ";") for column in table.columns]
    return pa.table(columns, names=names)


def _different(names: list[str]) -> list[str]:
    """Names of columns, those that come again with a number."""
    return [f"{name}.{names[:place].count(name)}" if name in names[:place] else name for place, name in enumerate(names)]


def _tidy(column: pa.ChunkedArray, missing: list[str], *, decimal_commas: bool) -> pa.ChunkedArray:
    """A column of a CSV file; of one with texts, without the spaces around them, numbers where all are such."""
    if not pa.types.is_string(column.type):
        return column
    text = pc.utf8_trim_whitespace(column)
    text = pc.if_else(pc.is_in(text, pa.array(missing)), pa.scalar(None, pa.string()), text)
    try:
        return pc.replace_substring(text, ",", ".").cast(pa.float64()) if decimal_commas else text.cast(pa.float64())
    except pa.ArrowInvalid:
        return text


def _csv_problem(error: Exception) -> str:
    """What PyArrow found wrong, its rows counted without the header."""
    message = one_line(error).removeprefix("CSV parse error: ")
    return re.sub(r"Row #(\d+): ", lambda found: f"row {int(found[1]) - 1}: ", message)


def read_parquet(path: Path) -> pa.Table:
    """A Parquet file, without an index that pandas added.

    Raises:
        DataError: it cannot be read.
    """
    try:
        # Opened here: a folder's name would have a meaning of its own.
        with path.open("rb") as file:
            table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path}: {one_line(error)}") from None
    return table.select([name for name in table.column_names if not INDEX.fullmatch(name)])


def _checked(table: pa.Table, path: Path) -> pa.Table:
    """A table with rows, whose columns have names of their own."""
    names = table.column_names
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path} has two columns called '{twice[0]}': rename one")
    if not table.num_rows or not names:
        raise DataError(f"{path} is empty: it has {len(names)} columns and no row")
    return table


def _read_arrays(spec: FileData) -> Rows:
    """The rows of npz files: columns, or pictures with the columns beside them."""
    tables, pictures = {}, []
    matrices: dict[str, tuple[str, ...]] = {}
    others = {spec.target, spec.split_column, spec.group, *spec.protected}
    for split, given in spec.paths.items():
        path = Path(given)
        kept = {*spec.features, *others} if spec.features else None
        arrays = {name: array for name, array in read_npz(path).items() if name not in spec.drop and (not kept or name in kept)}
        wanted = spec.features or [name for name in arrays if name not in others]
        deep = [name for name in wanted if name in arrays and arrays[name].ndim > 2]
        if deep and len(wanted) > 1:
            raise DataError(f"{path} has images '{deep[0]}' beside other inputs: name it alone in `features`")
        if deep:
            pictures.append(as_pictures(arrays.pop(deep[0]), f"{deep[0]} of {path}"))
        columns = {name: _columns(name, array, path) for name, array in arrays.items()}
        matrices |= {name: tuple(found) for name, found in columns.items()}
        tables[split] = _checked(pa.table({name: column for found in columns.values() for name, column in found.items()}), path)
    rows = joined(tables, {split: Path(path).name for split, path in spec.paths.items()}, spec.label)
    if not pictures:
        return replace(rows, matrices=matrices)
    if len(pictures) != len(tables) or len({part.shape[1:] for part in pictures}) > 1:
        raise DataError(f"the images of {' and '.join(spec.paths.values())} must all have one size")
    return replace(rows, pictures=np.concatenate(pictures))


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file by name.

    Raises:
        DataError: it cannot be read, or its arrays differ in length or hold Python objects.
    """
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise DataError(f"{path} holds a single array: write inputs and target with numpy.savez")
        with file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path}: {one_line(error)}") from None
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"arrays of {path} differ in length: {', '.join(f'{n} has {size}' for n, size in lengths.items())}")
    return arrays


def _columns(name: str, array: np.ndarray, path: Path) -> dict[str, np.ndarray]:
    """A vector, or a matrix of one column, as a column; a matrix ``x [N, d]`` as columns ``x0``, ``x1``, …"""
    if array.dtype.kind not in "biufU":
        raise DataError(f"array '{name}' of {path} holds {array.dtype}, neither numbers nor text")
    if array.ndim > 2:
        raise DataError(f"array '{name}' of {path} has shape {array.shape}: leave it out by `drop`, or name it in `features`")
    if array.ndim == 1 or array.shape[1] == 1:
        return {name: array.ravel()}
    return {f"{name}{place}": column for place, column in enumerate(array.T)}
