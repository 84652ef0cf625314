"""California housing (Pace, Barry, Statistics and Probability Letters 1997): the median house value of a block.

Read from StatLib's ``cal_housing.data``: comma-separated longitude, latitude, housing age, rooms, bedrooms, population,
households, income and house value, 20,640 rows.
"""

import numpy as np

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.tables import table_data

FOLDER = "california_housing"
COLUMNS = 9
# From here on values are cut off in the table.
HIGHEST = 500_000
VALIDATION, TEST = 0.16, 0.2


@dataset(FOLDER, help="log house value of blocks in California, 8 inputs: 64 / 16 / 20 %, from cal_housing.data", folder=FOLDER)
def california_housing(split: int = 0) -> Data:
    """Rooms, bedrooms and people are per household; blocks whose value is cut off are left out.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = require(FOLDER, "cal_housing.data")[0]
    try:
        table = np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError as error:
        raise DataError(f"{path} is not StatLib's table: {error}") from None
    if table.shape[1] != COLUMNS or not (table[:, 6:] > 0).all():
        raise DataError(f"{path} is not StatLib's table: it must have {COLUMNS} columns, the last three positive")
    table = table[table[:, 8] < HIGHEST]
    longitude, latitude, age, rooms, bedrooms, population, households, income, value = table.T
    x = np.column_stack(
        [income, age, rooms / households, bedrooms / households, population, population / households, latitude, longitude]
    )
    y = np.log(value / 100_000)
    return table_data(FOLDER, x, y, validation=round(VALIDATION * len(y)), test=round(TEST * len(y)), split=split)
