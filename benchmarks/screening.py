"""How fast covariates are screened, and how well ranked, beside scikit-learn's nearest-neighbour estimate of the same rows.

The outcome is a sum of ten covariates' squares plus noise, SNR 3. Each estimator takes turns with scikit-learn on the same
data, both on one core. ``speedup`` is the median ratio of their times, ``auroc`` how well the relevant covariates are told, and
``largest_difference`` that to scikit-learn's estimates.

    python benchmarks/screening.py

writes ``benchmarks/results/screening.csv``.
"""

import csv
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.feature_selection import mutual_info_regression
from sklearn.metrics import roc_auc_score
from torch import Tensor

from regbench.methods.sparse_regression.mutual_information import binning, kde, knn, pearson

RESULTS = Path(__file__).parent / "results" / "screening.csv"
FIELDS = ["rows", "covariates", "estimator", "seconds", "scikit_learn_seconds", "speedup", "auroc", "scikit_learn_auroc",
          "largest_difference"]  # fmt: skip
SIZES = ((400, 1000), (1000, 500), (4000, 100))
REPEATS = 3
ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "knn": knn,
    "kde, grid 300": kde,
    "kde, grid 128": lambda x, y: kde(x, y, grid=128),
    "binning": binning,
    "pearson": pearson,
}


def timed(estimate: Callable[..., np.ndarray | Tensor], *arguments: np.ndarray | Tensor) -> tuple[float, np.ndarray]:
    """Seconds, and what was computed."""
    start = time.perf_counter()
    found = estimate(*arguments)
    return time.perf_counter() - start, np.asarray(found)


def scikit_learn(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The reference; its jitter of 1e-10 is drawn from a fixed seed."""
    return mutual_info_regression(x, y, random_state=0)


def main() -> None:
    """Times every estimator at every size, and writes the table."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with RESULTS.open("w", newline="") as file:
        table = csv.DictWriter(file, FIELDS)
        table.writeheader()
        for rows, covariates in SIZES:
            random = np.random.default_rng(0)
            x = random.standard_normal((rows, covariates))
            signal = (x[:, :10] ** 2).sum(axis=1)
            y = signal + np.sqrt(signal.var() / 3) * random.standard_normal(rows)
            relevant = np.arange(covariates) < 10
            for name, estimate in ESTIMATORS.items():
                # In turns, so that what else the machine does falls on both alike.
                pairs = [(timed(estimate, torch.tensor(x), torch.tensor(y)), timed(scikit_learn, x, y)) for _ in range(REPEATS)]
                own, reference = (statistics.median(pair[side][0] for pair in pairs) for side in (0, 1))
                (_, found), (_, theirs) = pairs[0]
                row = {
                    "rows": rows,
                    "covariates": covariates,
                    "estimator": name,
                    "seconds": f"{own:.3f}",
                    "scikit_learn_seconds": f"{reference:.3f}",
                    "speedup": f"{statistics.median(b[0] / a[0] for a, b in pairs):.2f}",
                    "auroc": f"{roc_auc_score(relevant, found):.3f}",
                    "scikit_learn_auroc": f"{roc_auc_score(relevant, theirs):.3f}",
                    "largest_difference": f"{np.abs(found - theirs).max():.1e}",
                }
                table.writerow(row)
                print(row, flush=True)


if __name__ == "__main__":
    main()
