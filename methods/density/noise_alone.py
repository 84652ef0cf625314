"""The noise distribution itself: what a density model must beat."""

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from regbench.methods.density.task import DensityMethod
from regbench.methods.errors import ConfigError
from regbench.methods.method import Metrics, Paper
from regbench.methods.run import Run
from regbench.methods.shared.data import Data


class NoiseAlone(DensityMethod):
    """p = q: the distribution that every method of the track takes its noise from. One round, nothing is trained."""

    paper: ClassVar[Paper | None] = None

    @property
    def rounds(self) -> int:
        """One."""
        return 1

    def build_model(self, data: Data) -> nn.Module:
        """Log q."""
        return LogNoise()

    def train(self, run: Run) -> Iterator[Metrics]:
        """Judges the noise distribution."""
        if self.target_error:
            raise ConfigError("noise_alone has no mean that converges: set target_error to 0")
        q, network = self.fit_noise(run), self.build_model(run.data)
        run.restore()
        for _ in run.rounds(1):
            metrics = self.judge(network, q, run.data.validation, "val", {}, run)
            if run.test:
                metrics |= self.judge(network, q, run.data.test, "test", {}, run)
            yield metrics


class LogNoise(nn.Module):
    """The model h = log q."""

    def forward(self, x: Tensor, log_noise: Tensor) -> Tensor:
        """The noise's density as it is."""
        return log_noise
