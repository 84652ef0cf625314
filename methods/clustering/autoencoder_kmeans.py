"""k-means on an autoencoder's embeddings: the baseline of the clustering track."""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from regbench.methods.clustering.autoencoder import Pathways, reconstruction_loss
from regbench.methods.clustering.deep import Clusterer, DeepClusteringMethod, Training
from regbench.methods.method import Paper, hyperparameter
from regbench.methods.shared.data import Data


class Embedder(Clusterer):
    """An autoencoder alone."""

    def forward(self, x: Tensor) -> Pathways:
        """What the autoencoder gives."""
        return self.autoencoder(x)


class AutoencoderKMeans(DeepClusteringMethod):
    """Trains a denoising convolutional autoencoder as long as DEPICT trains, and clusters its embeddings by k-means."""

    paper: ClassVar[Paper | None] = None

    reconstruction_weight: float = hyperparameter(
        1.0, ge=0, help="factor on the loss after the pretraining; 0: the embeddings stay what they are then"
    )
    initialization_epochs: int = hyperparameter(10, ge=1, help="epochs of DEPICT's second stage, here of reconstruction")

    @property
    def stages(self) -> tuple[tuple[Callable[[Training], bool], int], ...]:
        """The pretraining, and as many epochs more as DEPICT has."""
        return (self.pretrain, self.pretraining_epochs), (self.train_on, self.initialization_epochs + self.epochs)

    def build_model(self, data: Data) -> Embedder:
        """The autoencoder."""
        return Embedder(self.build_autoencoder(data))

    def train_on(self, training: Training) -> bool:
        """An epoch of reconstruction from noise, on all images."""

        def loss_of(rows: Tensor) -> Tensor:
            x = training.x[rows]
            found = training.model(x)
            return self.reconstruction_weight * reconstruction_loss(x, found, self.hidden_reconstruction_weight)

        training.epoch(training.everything, self.batch_size, loss_of)
        return False

    def clusters(self, training: Training) -> Tensor:
        """Those of k-means."""
        return self.embedded_means(training)[0]
