"""freMTPL2 (Charpentier, Computational Actuarial Science with R, 2014): how many claims does a motor policy bring?

Read from ``freMTPL2freq.parquet``, the table of the R package CASdatasets with its columns under their names.
"""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from regbench.methods.errors import DataError, one_line
from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.protected import intersections, one_hot, protected_data

FOLDER = "fremtpl2"
NUMBERS = ("ClaimNb", "Exposure", "VehPower", "VehAge", "DrivAge", "BonusMalus", "Density")
WORDS = ("Area", "VehBrand", "VehGas", "Region")
# As many policies as the paper's insurance data hold.
POLICIES = 100_000
VALIDATION, TEST = 0.2, 0.2
MOST_CLAIMS, MOST_EXPOSURE = 4, 1.0
YOUNG, OLD = 30, 60


@dataset(
    FOLDER,
    help="claims of 100,000 motor policies, protected region and driver's age: 60,000 / 20,000 / 20,000",
    folder=FOLDER,
)
def fremtpl2(split: int = 0) -> Data:
    """Counts with exposures in years; region is one-hot, age continuous; groups are region by age below 30, below 60, or above.

    A sample of the policies, in each split another one. Counts and exposures are cut off at 4 and 1, above which this table is
    known to be wrong.

    Raises:
        DataError: the file is missing or damaged.
    """
    from sklearn.model_selection import train_test_split

    path = require(FOLDER, "freMTPL2freq.parquet")[0]
    try:
        table = pq.read_table(path, columns=[*NUMBERS, *WORDS])
        numbers = {name: table.column(name).to_numpy().astype(np.float64) for name in NUMBERS}
        area, brand, gas, region = (table.column(name).to_numpy().astype(str) for name in WORDS)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(f"{path} is not the table freMTPL2freq of CASdatasets: {one_line(error)}") from None
    if not (numbers["Exposure"] > 0).all() or not (numbers["ClaimNb"] >= 0).all():
        raise DataError(f"{path} is damaged: exposures must be positive, and no count negative")
    x = np.column_stack(
        [
            *(numbers[name] for name in ("VehPower", "VehAge", "BonusMalus")),
            np.log(numbers["Density"]),
            np.unique(area, return_inverse=True)[1],
            gas == "Regular",
            one_hot(brand),
        ]
    )
    chosen = np.random.default_rng(split).permutation(len(x))[:POLICIES]
    rest, test = train_test_split(chosen, test_size=TEST, random_state=split)
    train, validation = train_test_split(rest, test_size=VALIDATION / (1 - TEST), random_state=split)
    age = numbers["DrivAge"]
    return protected_data(
        FOLDER,
        "count",
        {"train": train, "validation": validation, "test": test},
        x=x,
        attributes={"region": one_hot(region), "age": age[:, None]},
        y=numbers["ClaimNb"].clip(max=MOST_CLAIMS),
        groups=intersections(region, np.digitize(age, [YOUNG, OLD])),
        exposure=numbers["Exposure"].clip(max=MOST_EXPOSURE),
        pool=len(x),
    )
