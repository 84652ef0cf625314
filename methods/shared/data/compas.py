"""COMPAS (Larson, Mattu, Kirchner, Angwin, ProPublica 2016): is a defendant charged again within two years?

Read from ProPublica's ``compas-scores-two-years.csv``; of its columns only those named below are used. The scores of the COMPAS
software are no inputs.
"""

import csv
from pathlib import Path

import numpy as np

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.protected import intersections, one_hot, protected_data

FOLDER = "compas"
COUNTS = ("priors_count", "juv_fel_count", "juv_misd_count", "juv_other_count")
# Other races are too few for groups of their own.
RACES = ("African-American", "Caucasian", "Hispanic")
VALIDATION, TEST = 0.2, 0.2


@dataset(
    FOLDER, help="two-year recidivism, 6,172 defendants, protected race, sex and age: 3,702 / 1,235 / 1,235", folder=FOLDER
)
def compas(split: int = 0) -> Data:
    """Inputs are earlier charges and the degree of the present one; race is one-hot, sex binary, age continuous.

    ProPublica's filter, and splits stratified by the target. Groups are race (three and others) by sex by age category.

    Raises:
        DataError: the file is missing or damaged.
    """
    from sklearn.model_selection import train_test_split

    path = require(FOLDER, "compas-scores-two-years.csv")[0]
    try:
        rows = [row for row in read_columns(path) if _kept(row)]
        y = np.array([int(row["two_year_recid"]) for row in rows])
        x = np.array([[float(row[name]) for name in COUNTS] + [row["c_charge_degree"] == "F"] for row in rows])
        age = np.array([float(row["age"]) for row in rows])
        race, sex, category = (np.array([row[name] for row in rows]) for name in ("race", "sex", "age_cat"))
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} is not ProPublica's table of two-year recidivism: {error}") from None
    if not set(y) == {0, 1}:
        raise DataError(f"{path} is damaged: two_year_recid must hold 0 and 1")
    rest, test = train_test_split(np.arange(len(y)), test_size=TEST, stratify=y, random_state=split)
    train, validation = train_test_split(rest, test_size=VALIDATION / (1 - TEST), stratify=y[rest], random_state=split)
    return protected_data(
        FOLDER,
        "binary",
        {"train": train, "validation": validation, "test": test},
        x=x,
        attributes={"race": one_hot(race), "sex": (sex == "Male")[:, None].astype(np.float64), "age": age[:, None]},
        y=y,
        groups=intersections(np.where(np.isin(race, RACES), race, "Other"), sex, category),
        pool=len(y),
    )


def read_columns(path: Path) -> list[dict[str, str]]:
    """The table's rows by column; of names that occur twice, as the table has them, the first column counts."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    places = {name: header.index(name) for name in header}
    return [{name: row[place] for name, place in places.items()} for row in rows if len(row) == len(header)]


def _kept(row: dict[str, str]) -> bool:
    """ProPublica's filter: charged within 30 days of the screening, no traffic offence, outcome and score known."""
    days = row["days_b_screening_arrest"]
    near = bool(days) and abs(float(days)) <= 30
    return near and row["is_recid"] != "-1" and row["c_charge_degree"] != "O" and row["score_text"] != "N/A"
