"""L2 regularization of hidden layers, which adaptive estimators of information show to compress them."""

from types import SimpleNamespace
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from regbench.methods.classification import architectures
from regbench.methods.classification.task import Batch, ClassificationMethod
from regbench.methods.hidden import Embedding
from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.shared.data import Data
from regbench.methods.shared.information.adaptive import adaptive_variance, kde_information


class AdaptiveInformation(ClassificationMethod):
    """Cross-entropy + λ ½ Σ_l ‖W_l‖² over all weights but the output layer's and biases + λ_mi I(X; T).

    The regularizer of the paper is L2, under which layers lose information about inputs late in training; the estimators that
    show it, EBAB and aKDE, are diagnostics (``diagnostics: [ebab_x, ebab_y]``) that any method can have. The information as a
    penalty is this platform's extension: the upper bound for Gaussian noise on a mini-batch, of variance σ² = κ max |T| without
    gradient, with T what the last layer is given (``hidden``) or the probabilities of the classes (``last``).

    The small network and its training are the paper's, but for the number of epochs: 12-10-7-5-4-3-2, Adam, batches of 256.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Adaptive Estimators Show Information Compression in Deep Neural Networks",
        "Chelombiev, Houghton, O'Donnell",
        2019,
        "ICLR",
        "1902.09037",
    )

    l2_weight: float = weight(
        0.015, off=0.0, ge=0, symbol="λ", differentiable=True, help="weight of half the squared norm of hidden layers' weights"
    )
    mi_weight: float = weight(
        0.0, off=0.0, ge=0, symbol="λ_mi", differentiable=True, help="weight of a layer's information about inputs, bits"
    )
    mi_layer: Literal["last", "hidden"] = hyperparameter(
        "last", help="whose information is penalized: last, of the predicted probabilities, or hidden, of the layer before"
    )
    kde_noise_scale: float = hyperparameter(
        0.01, gt=0, may_change=True, help="κ, variance of the noise over the layer's largest activity, of the penalty"
    )
    architecture: architectures.Architecture = hyperparameter(
        "tapered_mlp", help="network: tapered_mlp (10-7-5-4-3), or any other of the track"
    )
    optimizer: Literal["sgd", "adam"] = hyperparameter("adam", help="sgd (Nesterov momentum 0.9) or adam (decoupled decay)")
    learning_rate: float = hyperparameter(4e-4, gt=0, may_change=True, help="initial learning rate")
    schedule: Literal["step", "cosine", "constant"] = hyperparameter(
        "constant", help="learning rate over epochs: x0.1 at 50 % and 75 %, half a cosine, or constant"
    )
    weight_decay: float = hyperparameter(0.0, ge=0, may_change=True, help="L2 penalty of SGD, decoupled decay of Adam")
    batch_size: int = hyperparameter(256, ge=1, help="mini-batch size over all workers")

    def build_model(self, data: Data) -> nn.Module:
        """The track's network."""
        return Embedding(super().build_model(data))

    def objective(self, model: Any, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The cross-entropy with both weighted terms; see the class."""
        if is_off(weights.mi_weight):
            logits = model(batch.x)
            loss = cross_entropy(logits, batch.y)
        else:
            logits, hidden = model(batch.x, True)
            layer = logits.softmax(1) if self.mi_layer == "last" else hidden
            information = kde_information(layer, adaptive_variance(layer, self.kde_noise_scale))
            loss = cross_entropy(logits, batch.y) + weights.mi_weight * information
        if not is_off(weights.l2_weight):
            loss = loss + weights.l2_weight * hidden_norm(model)
        return loss, logits


def hidden_norm(model: nn.Module) -> Tensor:
    """½ Σ_l ‖W_l‖² over all weight matrices and kernels of a network but those of its last layer; biases are none."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    return sum((matrix.square().sum() for matrix in matrices[:-1]), matrices[-1].new_zeros(())) / 2
