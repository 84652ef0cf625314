"""An autoencoder: the baseline of the disentanglement track."""

from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.disentanglement.networks import Reconstruction
from regbench.methods.disentanglement.task import AutoencoderMethod, Batch, Model, reconstruction_loss
from regbench.methods.method import Paper


class PlainAutoencoder(AutoencoderMethod):
    """Minimizes the binary cross-entropy of images given back from a short continuous code; no further regularizer.

    L = mean over pixels and images of BCE(g(e(x)), x). Its ``weight_decay`` is a setting of training.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Reducing the Dimensionality of Data with Neural Networks", "Hinton, Salakhutdinov", 2006, "Science"
    )

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Reconstruction]:
        """The mean reconstruction loss, and the reconstruction."""
        found = model(batch.x, None)
        return reconstruction_loss(found.logits, batch.x).mean(), found
