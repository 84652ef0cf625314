"""The noise distribution itself: what a density model must beat."""

from typing import ClassVar

from torch import Tensor, nn

from regbench.methods.density.task import DensityMethod
from regbench.methods.errors import ConfigError
from regbench.methods.method import Metrics, Paper
from regbench.methods.run import Run
from regbench.methods.shared.data import Data
from regbench.methods.training import Estimator


class NoiseAlone(Estimator, DensityMethod):
    """p = q: the distribution that every method of the track takes its noise from. One round, nothing is trained."""

    paper: ClassVar[Paper | None] = None

    def build_model(self, data: Data) -> nn.Module:
        """Log q."""
        return LogNoise()

    def fit_and_judge(self, run: Run) -> Metrics:
        """Judges the noise distribution."""
        if self.target_error:
            raise ConfigError("noise_alone has no mean that converges: set target_error to 0")
        return self.judge(self.build_model(run.data), self.fit_noise(run), {}, run)


class LogNoise(nn.Module):
    """The model h = log q."""

    def forward(self, x: Tensor, log_noise: Tensor) -> Tensor:
        """The noise's density as it is."""
        return log_noise
