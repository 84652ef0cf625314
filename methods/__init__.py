"""The paper methods, in pure PyTorch, grouped by track. They know nothing of Ray, Optuna or MLflow.

But for one module: ``bilevel.derivative_free`` runs Optuna's samplers as competitors of learners by gradient.
"""

from regbench.methods.data import Data, dataset, load
from regbench.methods.errors import RegbenchError
from regbench.methods.method import Method, Metric, Metrics, Paper, Track, Weight, hyperparameter, weight
from regbench.methods.run import Run

__all__ = [
    "Data",
    "Method",
    "Metric",
    "Metrics",
    "Paper",
    "RegbenchError",
    "Run",
    "Track",
    "Weight",
    "dataset",
    "hyperparameter",
    "load",
    "weight",
]
