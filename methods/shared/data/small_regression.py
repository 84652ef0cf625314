"""Regression without files: a table that comes with scikit-learn, and one that is generated."""

from regbench.methods.shared.data import Data, dataset
from regbench.methods.shared.data.tables import table_data


@dataset("diabetes", help="scikit-learn's diabetes, 10 inputs, progression after a year: 240 / 60 / 142 patients")
def diabetes(split: int = 0) -> Data:
    """Few rows and much noise: a good regression explains half of the variance."""
    from sklearn.datasets import load_diabetes

    return table_data("diabetes", *load_diabetes(return_X_y=True), validation=60, test=142, split=split)


@dataset("friedman", help="generated: Friedman's first function, 5 of 10 inputs matter, noise 1: 800 / 400 / 800 rows")
def friedman(split: int = 0) -> Data:
    """10 sin(π x_1 x_2) + 20 (x_3 - 0.5)² + 10 x_4 + 5 x_5 + ε of uniform inputs: the other five are to be compressed away."""
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(2000, noise=1.0, random_state=split)
    return table_data("friedman", x, y, validation=400, test=800, split=split, generated=True)
