"""DEPICT: a multinomial logistic layer clusters embeddings, jointly with reconstruction, under a prior on cluster sizes."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar, Literal

import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize, one_hot

from regbench.methods.clustering.autoencoder import Autoencoder, Pathways, reconstruction_loss
from regbench.methods.clustering.deep import Clusterer, DeepClusteringMethod, Training
from regbench.methods.clustering.path_integral import path_integral_clusters
from regbench.methods.errors import ConfigError
from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.shared.data import Data

# The least sum of a cluster's probabilities, from which on an empty cluster counts as this small.
SMALLEST = 1e-12


@dataclass(frozen=True)
class Found:
    """Logits of the noisy pathway ``[B, K]``, and the autoencoder's pathways."""

    logits: Tensor
    pathways: Pathways


@dataclass(frozen=True)
class Batch:
    """A mini-batch: images ``[B, C, H, W]`` and their targets ``[B, K]``, rows of which sum to 1."""

    x: Tensor
    y: Tensor


class MultinomialClusterer(Clusterer):
    """An autoencoder, and a softmax layer of K clusters on its embeddings: logits θ_kᵀ z + b_k.

    Its parameters are 0 until they are set from the means of clusters.
    """

    def __init__(self, autoencoder: Autoencoder, clusters: int, embedding: int) -> None:
        super().__init__(autoencoder)
        self.theta = nn.Parameter(torch.zeros(clusters, embedding))
        self.bias = nn.Parameter(torch.zeros(clusters))

    def forward(self, x: Tensor) -> Found:
        """The noisy pathway with its logits, and the clean layers."""
        pathways = self.autoencoder(x)
        return Found(linear(pathways.embedding, self.theta, self.bias), pathways)

    def clean_log_p(self, x: Tensor) -> Tensor:
        """Logarithms of the clean pathway's assignments ``[B, K]``."""
        return linear(self.autoencoder.encoder(x), self.theta, self.bias).log_softmax(1)


class Depict(DeepClusteringMethod):
    """Minimizes KL(Q ‖ P) + γ KL(f ‖ u) over targets Q in closed form, and over a network by descent, with reconstruction.

    P are the softmax layer's assignments, f_k = 1/N Σ_i q_ik the frequencies of the targets, u a prior of them. In turns:

    - Q from the clean pathway, of all images at once: q_ik ∝ p_ik (u_k / Σ_i p_ik)^(γ / (1 + γ)), the paper's approximation of
      the minimizer, there with γ = 1 and uniform u; ``target_form`` ``released``, as its code: q_ik ∝ p_ik² / Σ_i p_ik.
    - an epoch of Adam on L = w_clus (-1/B Σ_i Σ_k q_ik log p̃_ik) + w_rec R, with p̃ from the noisy pathway, and R what is not
      reconstructed of images and inner layers; see ``reconstruction_loss``.

    Before, the autoencoder is trained alone; k-means on its embeddings, or the paper's AC-PIC (``path_integral_clusters``),
    gives targets in {0, 1} and the layer's first parameters (means of length 1, no bias); and L is descended on nine tenths of
    the images with these targets until the predictions of the rest no longer come nearer to theirs (normalized mutual
    information). It ends when the targets stand still.

    Departures from the released code, none of them in the formulas: targets follow from one pass over all images after each
    epoch, not from predictions collected along it; held-out images are not stratified by labels, which are not known.

    Switched off, embeddings stay those of the pretraining, by the reconstruction of images alone, and k-means clusters them.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Deep Clustering via Joint Convolutional Autoencoder Embedding and Relative Entropy Minimization",
        "Ghasedi Dizaji, Herandi, Deng, Cai, Huang",
        2017,
        "ICCV",
        "1704.06327",
    )

    clustering_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="w_clus", differentiable=True, help="weight of the targets; off, k-means clusters embeddings"
    )
    reconstruction_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="w_rec", differentiable=True, help="weight of reconstruction after the pretraining"
    )
    hidden_reconstruction_weight: float = weight(
        1.0,
        off=0.0,
        ge=0,
        symbol="w_hid",
        differentiable=True,
        help="weight of the inner layers' reconstruction, in the pretraining too; 0.1 in the released code",
    )
    balance_weight: float = weight(
        1.0, off=0.0, ge=0, symbol="γ", differentiable=False, help="weight of the prior on the clusters' frequencies"
    )
    target_form: Literal["paper", "released"] = hyperparameter(
        "paper",
        help="targets: paper (p over a power of the cluster's sum), or released (p² over the cluster's sum, whatever γ)",
    )
    target_power: float = hyperparameter(1.0, gt=0, help="power of p in the paper's targets; above 1 they are sharper")
    cluster_prior: tuple[float, ...] | None = hyperparameter(
        None, help="u, shares of the clusters from the largest to the smallest as k-means finds them; None: uniform"
    )
    first_clusters: Literal["kmeans", "path_integral"] = hyperparameter(
        "kmeans",
        help="of embeddings, before the second stage: kmeans, or path_integral (AC-PIC), the paper's for small sets",
    )
    initialization_epochs: int = hyperparameter(10, ge=1, help="most epochs of the stage with the targets of k-means")
    initialization_patience: int = hyperparameter(5, ge=0, help="epochs in a row without improvement after which it ends")
    tolerance: float = hyperparameter(1e-7, ge=0, help="mean squared change of the targets below which training ends")

    @property
    def stages(self) -> tuple[tuple[Callable[[Training], bool], int], ...]:
        """Pretraining, initialization, clustering."""
        return (
            (self.pretrain, self.pretraining_epochs),
            (self.initialize, self.initialization_epochs),
            (self.alternate, self.epochs),
        )

    def build_model(self, data: Data) -> MultinomialClusterer:
        """The autoencoder, with a layer that is not set yet.

        Raises:
            ConfigError: the prior is of another number of clusters.
        """
        classes = data.meta["classes"]
        if self.cluster_prior is not None and (len(self.cluster_prior) != classes or min(self.cluster_prior) <= 0):
            raise ConfigError(f"cluster_prior must be {classes} positive shares on {data.name}, not {self.cluster_prior}")
        return MultinomialClusterer(self.build_autoencoder(data), classes, classes)

    def objective(self, model: Callable[[Tensor], Found], batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Found]:
        """L of one mini-batch, as a pure function of its arguments; see the class."""
        found = model(batch.x)
        loss = reconstruction_loss(batch.x, found.pathways, weights.hidden_reconstruction_weight)
        clustering = cross_entropy(found.logits, batch.y)
        return weights.clustering_weight * clustering + weights.reconstruction_weight * loss, found

    def initialize(self, training: Training) -> bool:
        """An epoch with the targets of k-means; ended when held-out predictions no longer come nearer to them."""
        network, memory, held = training.network, training.memory, training.held
        if not training.progress["epoch"]:
            labels, means = self._first_clusters(training)
            with torch.no_grad():
                network.theta.copy_(normalize(means, dim=1))
                network.bias.zero_()
            memory["labels"] = labels
            memory["targets"] = one_hot(labels, training.clusters).to(training.x.dtype)
            memory["prior"] = self._prior(labels, training.clusters)
            self._disagreement(training, held)
        training.epoch(training.learned, self.batch_size, lambda rows: self._loss(training, rows))
        return self._disagreement(training, held)

    def _first_clusters(self, training: Training) -> tuple[Tensor, Tensor]:
        """Clusters of the embeddings ``[N]``, and their means ``[K, D]``."""
        if self.first_clusters == "kmeans":
            return self.embedded_means(training)
        z = training.embeddings()
        found = path_integral_clusters(z.double().cpu().numpy(), training.clusters)
        labels = training.run.gather(torch.from_numpy(found).to(z.device))[: len(z)]
        members = one_hot(labels, training.clusters).to(z.dtype)
        return labels, members.T @ z / members.sum(0)[:, None].clamp(min=1)

    def _disagreement(self, training: Training, held: Tensor) -> bool:
        """Takes what held-out predictions lack of the k-means labels' information; whether that has long not improved."""
        predicted = training.over(held, training.network.clean_log_p).argmax(1)
        nmi = normalized_mutual_info_score(training.memory["labels"][held].cpu().numpy(), predicted.cpu().numpy())
        return training.tells(-float(nmi), self.initialization_patience)

    def _prior(self, labels: Tensor, clusters: int) -> Tensor:
        """U ``[K]``: uniform, or the given shares in the order of the clusters' sizes."""
        if self.cluster_prior is None:
            return torch.full((clusters,), 1 / clusters, device=labels.device)
        shares = torch.tensor(sorted(self.cluster_prior, reverse=True), device=labels.device)
        order = torch.bincount(labels, minlength=clusters).argsort(descending=True, stable=True)
        return (shares / shares.sum())[order.argsort()]

    def alternate(self, training: Training) -> bool:
        """Targets, and an epoch towards them; ended when they stand still."""
        memory = training.memory
        if not training.progress["epoch"]:
            memory["targets"] = self._targets(training)
        training.epoch(training.everything, self.batch_size, lambda rows: self._loss(training, rows))
        before, memory["targets"] = memory["targets"], self._targets(training)
        return (memory["targets"] - before).square().mean().item() < self.tolerance

    def _targets(self, training: Training) -> Tensor:
        rows = training.everything.tensors[0].to(training.x.device)
        log_p = training.over(rows, training.network.clean_log_p)
        if self.target_form == "released":
            return released_targets(log_p)
        return balanced_targets(log_p, self.balance_weight, training.memory["prior"], self.target_power)

    def _loss(self, training: Training, rows: Tensor) -> Tensor:
        batch = Batch(training.x[rows], training.memory["targets"][rows])
        return self.objective(training.model, batch, self.weight_values())[0]

    def clusters(self, training: Training) -> Tensor:
        """The clean pathway's likeliest clusters; those of k-means before there are any, and without ``clustering_weight``."""
        if is_off(self.clustering_weight) or "labels" not in training.memory:
            return self.embedded_means(training)[0]
        rows = training.everything.tensors[0].to(training.x.device)
        return training.over(rows, training.network.clean_log_p).argmax(1)


def balanced_targets(log_p: Tensor, balance: float, prior: Tensor | None = None, power: float = 1.0) -> Tensor:
    """q_ik ∝ p_ik^a (u_k / Σ_i p_ik)^(γ / (1 + γ)), rows of which sum to 1; ``[N, K]``.

    With a = 1 it nearly minimizes KL(Q ‖ P) + γ KL(f ‖ u) over Q; with γ = 1 and uniform u it is the paper's closed form,
    q_ik ∝ p_ik / (Σ_i p_ik)^½. With γ = 0 it is P; for γ → ∞ the power of the sums is 1.

    Args:
        log_p: logarithms of the assignments of all rows ``[N, K]``; -inf for 0.
        balance: γ.
        prior: u ``[K]``, positive; None: uniform.
        power: a.
    """
    log_sums = log_p.logsumexp(0).clamp(min=torch.tensor(SMALLEST).log().item())
    log_u = 0.0 if prior is None else prior.to(log_p.dtype).log()
    return (power * log_p + balance / (1 + balance) * (log_u - log_sums)).softmax(1)


def released_targets(log_p: Tensor) -> Tensor:
    """The released code's targets, those of DEC: q_ik ∝ p_ik² / Σ_i p_ik, rows of which sum to 1; ``[N, K]``.

    Args:
        log_p: logarithms of the assignments of all rows ``[N, K]``; -inf for 0.
    """
    log_sums = log_p.logsumexp(0).clamp(min=torch.tensor(SMALLEST).log().item())
    return (2 * log_p - log_sums).softmax(1)


def regularized_divergence(q: Tensor, p: Tensor, balance: float, prior: Tensor | None = None) -> Tensor:
    """KL(Q ‖ P) + γ KL(f ‖ u) = 1/N Σ_i Σ_k q_ik [log(q_ik / p_ik) + γ log(f_k / u_k)], f the means of Q's columns; a scalar.

    Args:
        q: targets ``[N, K]``.
        p: assignments ``[N, K]``; positive where q is.
        balance: γ.
        prior: u ``[K]``; None: uniform.
    """
    f = q.mean(0)
    u = torch.full_like(f, 1 / len(f)) if prior is None else prior
    divergence = (torch.xlogy(q, q) - torch.xlogy(q, p)).sum(1).mean()
    return divergence + balance * (torch.xlogy(f, f) - torch.xlogy(f, u)).sum()
