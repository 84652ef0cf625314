"""One training, and the list of what can be trained."""

from typing import Any

import pandas as pd
import torch

from regbench.methods.method import Method
from regbench.methods.registry import create
from regbench.methods.shared.data import Data
from regbench.methods.shared.data.files.define import define_own
from regbench.platform.cli.options import terminal
from regbench.platform.execution.single import train_once
from regbench.platform.inventory.inventory import inventory
from regbench.platform.python.objects import register
from regbench.platform.python.trained import Trained

OWN = "own_network"


def run(
    method: str | type[Method] | Method,
    data: str | Data | dict[str, Any] | None = None,
    model: Any = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    test: bool = False,
    off: bool = False,
    **settings: Any,
) -> Trained:
    """Trains one method once, in this process.

    Args:
        method: its slug, its class, or one with its settings.
        data: a name, a data set, or what a suite says of one in files: ``{"csv": "wine.csv", "target": "quality"}``; by default
            the track's own.
        model: a network, what builds one, or the name of one; by default the track's own.
        seed: of the training.
        device: where to train.
        test: whether to compute the test metrics in the last round.
        off: with every regularization weight switched off.
        **settings: of the method.

    Raises:
        RegbenchError: a name or value is wrong, data is missing, or training diverges.
    """
    if isinstance(method, type):
        method = register(method).slug
    if model is not None:
        settings["architecture"] = model if isinstance(model, str) else OWN
        if not isinstance(model, str):
            register(model, OWN)
    found = method.replace(**settings) if isinstance(method, Method) else create(method, settings)
    if isinstance(data, dict):
        data = define_own(data)
    training, rounds = train_once(
        found.baseline() if off else found,
        data,
        seed=seed,
        device=device,
        test=test,
        threads=torch.get_num_threads(),
        console=terminal(),
    )
    curve = pd.DataFrame(rounds, index=pd.RangeIndex(1, len(rounds) + 1, name="round"))
    return Trained(found, training, curve)


def list_methods(track: str | None = None) -> pd.DataFrame:
    """The methods, a row each: track, paper, and their weights with symbol, default and off value.

    Args:
        track: only this one's.

    Raises:
        ConfigError: there is no such track.
    """
    known = inventory()
    only = known.track(track).name if track else None
    rows = [
        {
            "method": facts.slug,
            "track": facts.track,
            "paper": facts.source,
            "weights": ", ".join(f"{item.symbol} = {item.default} (off: {item.off})" for item in facts.weights),
        }
        for facts in known.methods.values()
        if only in (None, facts.track)
    ]
    return pd.DataFrame(rows).set_index("method")
