"""DEC: deep embedded clustering."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from regbench.methods.clustering.autoencoder import Autoencoder, Encoder
from regbench.methods.clustering.deep import Clusterer, DeepClusteringMethod, Training
from regbench.methods.method import Paper, hyperparameter
from regbench.methods.shared.data import Data


class CentredEncoder(nn.Module):
    """An encoder, and a centre of each cluster among its embeddings ``[K, D]``."""

    def __init__(self, encoder: Encoder, clusters: int, embedding: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.centres = nn.Parameter(torch.zeros(clusters, embedding))

    def forward(self, x: Tensor) -> Tensor:
        """Squared distances ``[B, K]`` of clean embeddings of images to the centres."""
        return (self.encoder(x)[:, None] - self.centres).square().sum(2)


class CentredAutoencoder(Clusterer):
    """An autoencoder whose encoder has centres; its decoder serves the pretraining alone."""

    def __init__(self, autoencoder: Autoencoder, clusters: int, embedding: int) -> None:
        super().__init__(autoencoder)
        self.centred = CentredEncoder(autoencoder.encoder, clusters, embedding)

    @property
    def clustering(self) -> CentredEncoder:
        """The encoder with its centres."""
        return self.centred


class DEC(DeepClusteringMethod):
    """Sharpens soft assignments of embeddings to centres: KL(P ‖ Q) against a target P that follows from Q.

    q_ij ∝ 1 / (1 + ‖z_i - μ_j‖²), p_ij ∝ q_ij² / Σ_i q_ij (equations 1 to 3 at one degree of freedom). Centres start as the
    means of k-means on the embeddings; the target is set anew at each epoch; training ends when fewer than ``tolerance`` of the
    images change their cluster in an epoch. The autoencoder is the track's convolutional one, trained at once, in place of the
    paper's fully connected one, trained layer by layer; its decoder is no longer used after the pretraining.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Unsupervised Deep Embedding for Clustering Analysis", "Xie, Girshick, Farhadi", 2016, "ICML", "1511.06335"
    )
    off_equals: ClassVar[str | None] = None  # has no weight

    tolerance: float = hyperparameter(1e-3, ge=0, help="share of images whose cluster changes below which training ends")

    @property
    def stages(self) -> tuple[tuple[Callable[[Training], bool], int], ...]:
        """Pretraining, then clustering."""
        return (self.pretrain, self.pretraining_epochs), (self.sharpen, self.epochs)

    def build_model(self, data: Data) -> CentredAutoencoder:
        """The autoencoder, with centres that are not set yet."""
        classes = data.meta["classes"]
        return CentredAutoencoder(self.build_autoencoder(data), classes, classes)

    def sharpen(self, training: Training) -> bool:
        """An epoch of KL(P ‖ Q) on all images, with the target of its start."""
        if not training.progress["epoch"]:
            labels, means = self.embedded_means(training)
            with torch.no_grad():
                training.network.centred.centres.copy_(means)
            training.memory["assigned"] = labels
        everything = training.everything.tensors[0].to(training.x.device)
        log_q = training.over(everything, lambda x: log_assignments(training.network.centred(x)))
        target = dec_target(log_q)
        assigned = log_q.argmax(1)
        changed = (assigned != training.memory["assigned"]).double().mean().item()
        training.memory["assigned"] = assigned
        if training.progress["epoch"] and changed < self.tolerance:
            return True

        def loss_of(rows: Tensor) -> Tensor:
            return divergence(target[rows], log_assignments(training.model(training.x[rows])))

        training.epoch(training.everything, self.batch_size, loss_of)
        return False

    def clusters(self, training: Training) -> Tensor:
        """The nearest centre; before there are centres, the clusters of k-means."""
        if "assigned" not in training.memory:
            return self.embedded_means(training)[0]
        everything = training.everything.tensors[0].to(training.x.device)
        return training.over(everything, training.network.centred).argmin(1)


def log_assignments(squared_distances: Tensor) -> Tensor:
    """Equation 1 at one degree of freedom: log q_ij of q_ij ∝ 1 / (1 + d_ij²), from squared distances; ``[B, K]``."""
    return (-squared_distances.log1p()).log_softmax(1)


def dec_target(log_q: Tensor) -> Tensor:
    """Equation 3: p_ij ∝ q_ij² / Σ_i q_ij, from log q of all rows ``[N, K]``; rows sum to 1."""
    return (2 * log_q - log_q.logsumexp(0)).softmax(1)


def divergence(p: Tensor, log_q: Tensor) -> Tensor:
    """Equation 2, mean over rows: 1/B Σ_i Σ_j p_ij log(p_ij / q_ij); a scalar.

    Args:
        p: targets ``[B, K]``.
        log_q: logarithms of the assignments ``[B, K]``.
    """
    return (torch.xlogy(p, p) - p * log_q).sum(1).mean()
