"""A trained network with what it was trained by."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from regbench.methods.errors import ConfigError
from regbench.methods.method import Method
from regbench.methods.run import Run


@dataclass(frozen=True, eq=False)
class Trained:
    """The end of a training.

    Attributes:
        method: with its configuration: ``method.model_dump()`` gives all settings.
        run: the training; its parts hold network, optimizer and whatever else was trained.
        curve: metrics by round.
    """

    method: Method
    run: Run
    curve: pd.DataFrame

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the last round."""
        return {str(name): float(value) for name, value in self.curve.iloc[-1].items()}

    @property
    def network(self) -> nn.Module:
        """The trained network, in evaluation mode.

        Raises:
            ConfigError: the method trains none.
        """
        try:
            return self.run.network.eval()
        except StopIteration:
            raise ConfigError(f"{self.method.slug} trains no network") from None

    def predict(self, x: Any) -> Any:
        """What the network gives for inputs, without gradients: for a classifier, logits.

        Args:
            x: inputs ``[N, …]``, prepared as those of the data set are: a tensor, an array or what NumPy takes.
        """
        inputs = x if isinstance(x, torch.Tensor) else torch.as_tensor(np.asarray(x, dtype=np.float32))
        with torch.no_grad():
            return self.network(inputs.to(self.run.device))

    def _repr_html_(self) -> str:
        table = pd.DataFrame({"last value": self.metrics}).to_html(float_format="{:.5g}".format)
        return f"<p>{self.method.slug} on {self.run.data.name}, seed {self.run.seed}</p>{table}"
