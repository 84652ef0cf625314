"""Watches the hidden representation of a few fixed rows while any method with a network trains.

A method shows what its network makes of rows of the validation split (``Method.hidden``); an estimator makes a number of it.
The rows are the same in every run on a data set. No stream of random numbers, mode or gradient of the training is touched: its
curve is the same with and without, to the last bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from regbench.methods.diagnostics import DIAGNOSTICS, PREFIX, REPRESENTATION, Diagnostics
from regbench.methods.hidden import Hidden, unnoticed, watched
from regbench.methods.method import Method, Metrics
from regbench.methods.run import Run
from regbench.methods.shared.information.adaptive import adaptive_kde, ebab
from regbench.methods.shared.information.classes import classes_of, spectral_clusters
from regbench.methods.shared.information.diffusion import (
    collision_entropy,
    diffusion_spectral_entropy,
    diffusion_spectral_information,
)

# Bandwidth of kernels on rows of length 1, whose distances are at most 2: features grow in training, and with a bandwidth that
# does not their scale would be measured.
SIGMA = 0.3
# Clusters of inputs.
CLUSTERS = 10


@dataclass(frozen=True)
class Seen:
    """What an estimator is given.

    Attributes:
        z: a layer's output ``[N, F]``, float64.
        labels: classes ``[N]``, int64, real targets in ten bins; all 0 where there are none, which no estimator that needs
            labels sees.
        clusters: gives those of the inputs ``[N]``.
    """

    z: Tensor
    labels: Tensor
    clusters: Callable[[], Tensor]

    @cached_property
    def unit(self) -> Tensor:
        """Rows of length 1; one that is 0 stays so."""
        return normalize(self.z, dim=1)

    @cached_property
    def binned(self) -> tuple[Tensor, Tensor]:
        """Information about inputs and labels by adaptive bins."""
        return ebab(self.z, self.labels)

    @cached_property
    def smoothed(self) -> tuple[Tensor, Tensor]:
        """Information about inputs and labels by adaptive kernel densities."""
        return adaptive_kde(self.z, self.labels)


ESTIMATES: dict[str, Callable[[Seen], Tensor]] = {
    "dse": lambda seen: diffusion_spectral_entropy(seen.unit, SIGMA),
    "collision_entropy": lambda seen: collision_entropy(seen.unit, SIGMA),
    "dsmi": lambda seen: diffusion_spectral_information(seen.unit, seen.labels, SIGMA),
    "dsmi_x": lambda seen: diffusion_spectral_information(seen.unit, seen.clusters(), SIGMA),
    "ebab_x": lambda seen: seen.binned[0],
    "ebab_y": lambda seen: seen.binned[1],
    "akde_x": lambda seen: seen.smoothed[0],
    "akde_y": lambda seen: seen.smoothed[1],
}


class Watch:
    """Measures the diagnostics of one training.

    Args:
        asked: what to measure.
        method: what trains.
        run: its run.
    """

    def __init__(self, asked: Diagnostics, method: Method, run: Run) -> None:
        self._asked = asked
        self._method = method
        self._run = run
        self._inputs = torch.empty(0)

    def measure(self) -> Metrics:
        """The diagnostics of the round that has just ended: ``diagnostic/NAME``, of other layers ``diagnostic/LAYER/NAME``.

        Empty between measurements, and of a training without a network. A layer whose output is not finite has none.
        """
        run = self._run
        if run.round != 1 and not run.last and run.round % self._asked.period(run.total):
            return {}
        # A part may hold a network that exists from some round on.
        held = {
            name: part if isinstance(part, nn.Module) else getattr(part, "network", None) for name, part in run.named.items()
        }
        networks = {name: part for name, part in held.items() if isinstance(part, nn.Module)}
        if not networks:
            return {}
        with unnoticed(list(networks.values()), run.device), watched(networks, self._asked.layers) as layers:
            hidden = self._method.hidden(run, self._asked.rows)
        if hidden is None:
            return {}
        self._inputs = hidden.inputs
        return self._of(hidden, layers)

    def _of(self, hidden: Hidden, layers: Mapping[str, Tensor]) -> Metrics:
        rows = len(hidden.representation)
        shown = {f"{name}/": given for name, given in layers.items() if given.dim() and len(given) == rows}
        if REPRESENTATION in self._asked.layers:
            shown[""] = hidden.representation
        labels = hidden.labels
        names = [name for name in self._asked.names if labels is not None or not DIAGNOSTICS[name].labelled]
        classes = hidden.inputs.new_zeros(rows, dtype=torch.int64) if labels is None else classes_of(labels)
        found: Metrics = {}
        for prefix, given in shown.items():
            z = given.detach().flatten(1).double()
            if z.isfinite().all():
                seen = Seen(z, classes, lambda: self._clusters)
                found |= {f"{PREFIX}{prefix}{name}": ESTIMATES[name](seen).item() for name in names}
        return found

    @cached_property
    def _clusters(self) -> Tensor:
        """Of the inputs, which are the same in each round."""
        return spectral_clusters(self._inputs, min(CLUSTERS, len(self._inputs) - 1))
