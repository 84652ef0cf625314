"""The paper methods, in pure PyTorch: a folder for each track, ``shared`` for what several tracks use.

They know nothing of Ray, Optuna or MLflow, but for one module: ``shared.bilevel.derivative_free`` runs Optuna's samplers as
competitors of learners by gradient. What a method is made of can be imported from here; it is loaded when it is asked for, so
that commands which only tell something start without PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regbench.methods.errors import RegbenchError
    from regbench.methods.method import Method, Metric, Metrics, Paper, Track, Weight, hyperparameter, weight
    from regbench.methods.run import Run
    from regbench.methods.shared.data import Data, dataset, load
    from regbench.methods.training import Estimator, NetworkMethod, StepMethod, descend

__all__ = [
    "Data",
    "Estimator",
    "Method",
    "Metric",
    "Metrics",
    "NetworkMethod",
    "Paper",
    "RegbenchError",
    "Run",
    "StepMethod",
    "Track",
    "Weight",
    "dataset",
    "descend",
    "hyperparameter",
    "load",
    "weight",
]

_HOMES = {
    "RegbenchError": "errors",
    "Run": "run",
    **dict.fromkeys(("Data", "dataset", "load"), "shared.data"),
    **dict.fromkeys(("Estimator", "NetworkMethod", "StepMethod", "descend"), "training"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'regbench.methods' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'method')}"), name)
