"""An encoder that is not trained: what probes find in random features."""

from collections.abc import Iterator
from typing import ClassVar

from regbench.methods.method import Metrics, Paper
from regbench.methods.representation.contrastive_coding import ContrastiveCoding
from regbench.methods.run import Run


class RandomEncoder(ContrastiveCoding):
    """Probes φ(x) at its initial parameters: the floor of its track, and what training is to be worth more than."""

    paper: ClassVar[Paper | None] = None

    @property
    def rounds(self) -> int:
        """One."""
        return 1

    def train(self, run: Run) -> Iterator[Metrics]:
        """Yields the metrics of the initial network."""
        network = self.build_model(run.data).to(run.device)
        run.restore(model=network)
        for _ in run.rounds(self.rounds):
            yield self.judge(network, run)
