"""Every method that trains a network of its track trains a user's own, with normalization and dropout, or says why not."""

import math

import pytest
import torch
from torch import nn

from regbench.methods.errors import ConfigError
from regbench.methods.method import Method
from regbench.methods.registry import all_methods
from regbench.methods.run import Run
from regbench.methods.shared import factories
from regbench.methods.shared.data import Data, load

ROWS = 64
NETWORK_METHODS = {slug: method for slug, method in all_methods().items() if "architecture_settings" in method.model_fields}
# Made of experts, which no other network has.
REFUSES = {"sparse_router"}


def own(shape: tuple[int, ...], classes: int, width: int = 8) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), width),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(width, classes),
    )


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(factories, "_registered", {"own": own})


def few(track: str) -> Data:
    """The first rows of the track's embedded data set."""
    data = load({"classification": "digits", "regression": "diabetes", "fairness": "gerrymandering"}[track])
    parts = (
        torch.utils.data.TensorDataset(*(t[:ROWS] for t in split.tensors)) for split in (data.train, data.validation, data.test)
    )
    return Data("few", *parts, meta=data.meta)


def smoke(method: type[Method], **settings: object) -> Method:
    fitting = {name: value for name, value in method.track.smoke.items() if name in method.model_fields}
    return method(**fitting | {"epochs": 2, "batch_size": 32, "architecture": "own"} | settings)


def test_all_tracks_of_networks_are_here():
    assert {method.track.name for method in NETWORK_METHODS.values()} == {"classification", "regression", "fairness"}


@pytest.mark.parametrize("slug", sorted(NETWORK_METHODS.keys() - REFUSES))
def test_it_trains_a_users_network(slug):
    method = NETWORK_METHODS[slug]
    run = Run(few(method.track.name))
    curve = list(smoke(method, architecture_settings={"width": 8 if method.track.name != "regression" else 4}).train(run))
    assert len(curve) == 2
    assert all(math.isfinite(value) for metrics in curve for value in metrics.values())
    normalized = [module for module in run.network.modules() if isinstance(module, nn.BatchNorm1d)]
    assert len(normalized) == 1
    assert normalized[0].num_batches_tracked > 0


@pytest.mark.parametrize("slug", sorted(REFUSES))
def test_or_it_says_why_not(slug):
    with pytest.raises((ConfigError, ValueError), match="mlp' or 'deit_ti"):
        smoke(NETWORK_METHODS[slug])
