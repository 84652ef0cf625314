"""Tables of the UCI repository and of Delve that papers on regression share, read from Parquet with their usual columns."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from regbench.methods.errors import DataError, one_line
from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.tables import table_data

FOLDER = "uci_regression"
VALIDATION, TEST = 0.16, 0.2

# Name -> target, and the columns that are no inputs: other targets, times, row numbers, random numbers.
TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "concrete": ("compressive_strength_mpa", ()),
    "energy": ("heating_load", ("cooling_load",)),
    "yacht": ("residuary_resistance", ()),
    "kin8nm": ("y", ()),
    "power_plant": ("energy_output_mw", ()),
    "wine_quality_red": ("quality", ()),
    "bike_hour": ("cnt", ("instant", "dteday", "casual", "registered")),
    "beijing_pm25": ("pm2.5", ("No",)),
    "appliances_energy": ("Appliances", ("date", "rv1", "rv2")),
}


def uci_data(name: str, *, split: int = 0) -> Data:
    """A table in a random split of 64 / 16 / 20 %, words one-hot, rows without a target left out.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = require(FOLDER, f"{name}.parquet")[0]
    target, others = TABLES[name]
    try:
        table = pq.read_table(path)
        y = table.column(target).to_numpy().astype(np.float64)
        inputs = [column for column in table.column_names if column not in (target, *others)]
        x = np.column_stack([_numbers(table.column(column).to_numpy()) for column in inputs])
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(f"{path} is not the table '{name}': {one_line(error)}") from None
    known = ~np.isnan(y)
    x, y = x[known], y[known]
    if not np.isfinite(x).all():
        raise DataError(f"{path} is damaged: an input is missing")
    return table_data(name, x, y, validation=round(VALIDATION * len(y)), test=round(TEST * len(y)), split=split)


def _numbers(column: np.ndarray) -> np.ndarray:
    """Columns ``[N, k]`` of numbers: a column itself, or the one-hot code of its words."""
    if column.dtype == object:
        return (column[:, None] == np.unique(column)).astype(np.float64)
    return column.astype(np.float64)[:, None]


def _reader(name: str) -> Callable[..., Data]:
    def read(split: int = 0) -> Data:
        return uci_data(name, split=split)

    return read


for _name in TABLES:
    dataset(_name, help=f"the table {_name}, target {TABLES[_name][0]}: 64 / 16 / 20 %", folder=FOLDER)(_reader(_name))
