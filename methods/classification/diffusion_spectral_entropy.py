"""Diffusion spectral entropy and information of the hidden representation, as penalties and as a guide of initialization."""

from types import SimpleNamespace
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from regbench.methods.classification.task import Batch, ClassificationMethod
from regbench.methods.hidden import Embedding, fixed_rows, penultimate, unnoticed
from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.shared.data import Data
from regbench.methods.shared.information.diffusion import diffusion_spectral_entropy, diffusion_spectral_information
from regbench.methods.shared.loading import rows_of

# Deviations among which a guided initialization chooses, and the rows by which it does.
DEVIATIONS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
GUIDING_ROWS = 256


class DiffusionSpectralEntropy(ClassificationMethod):
    """Cross-entropy ± λ_S S_D(Z̄) - λ_I I_D(Z̄; Y), with Z̄ what the last layer is given for a mini-batch, in rows of length 1.

    S_D is the Shannon entropy, in bits, of the spectrum of a random walk on the batch's points, at most log₂ B; I_D what of it
    the labels explain (equations 6 and 7, as the released code estimates them). ``compress`` adds the entropy to what is
    minimized, ``spread`` subtracts it. With several workers each looks at its own share of a batch.

    The paper measures both and trains by neither: the penalties are this platform's extension. Its own uses are diagnostics,
    which any method can have (``diagnostics: [dse, dsmi]``), and the choice of an initialization: weights of convolutions, or
    without any those of all layers but the last, from N(0, std²), with a std given (``normal``), or the one of seven from 0.001
    to 1 whose representation of training rows has the lowest entropy before training (``guided``).
    """

    paper: ClassVar[Paper | None] = Paper(
        "Assessing Neural Network Representations During Training Using Noise-Resilient Diffusion Spectral Entropy",
        "Liao, Liu, Christensen, Tong, Huguet, Wolf, Nickel, Adelstein, Krishnaswamy",
        2024,
        "CISS",
        "2312.04823",
    )

    dse_weight: float = weight(
        0.01, off=0.0, ge=0, symbol="λ_S", differentiable=True, help="weight of the representation's entropy"
    )
    dsmi_weight: float = weight(
        0.1, off=0.0, ge=0, symbol="λ_I", differentiable=True, help="weight of its information about the labels"
    )
    dse_direction: Literal["compress", "spread"] = hyperparameter(
        "spread", help="compress: the entropy is to be small; spread: large"
    )
    kernel_bandwidth: float = hyperparameter(
        0.3, gt=0, may_change=True, help="σ of the kernel on rows of length 1, whose distances are at most 2"
    )
    diffusion_time: int = hyperparameter(1, ge=1, may_change=True, help="t, power of the eigenvalues")
    initialization: Literal["default", "normal", "guided"] = hyperparameter(
        "default", help="PyTorch's or He's; normal with conv_init_std; or guided by the lowest entropy"
    )
    conv_init_std: float = hyperparameter(
        0.01, gt=0, help="standard deviation of initial weights, where initialization is normal"
    )

    def build_model(self, data: Data) -> nn.Module:
        """The track's network, initialized as asked."""
        network = super().build_model(data)
        if self.initialization == "normal":
            redraw(network, self.conv_init_std)
        elif self.initialization == "guided":
            x = rows_of(data.train, fixed_rows(len(data.train), GUIDING_ROWS))[0]
            guide(network, x, self.kernel_bandwidth, self.diffusion_time)
        return Embedding(network)

    def objective(self, model: Any, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """The cross-entropy with both weighted terms, in bits; see the class."""
        if is_off(weights.dse_weight) and is_off(weights.dsmi_weight):
            return super().objective(model, batch, weights)
        logits, hidden = model(batch.x, True)
        z, loss = normalize(hidden, dim=1), cross_entropy(logits, batch.y)
        if not is_off(weights.dse_weight):
            sign = 1 if self.dse_direction == "compress" else -1
            entropy = diffusion_spectral_entropy(z, self.kernel_bandwidth, self.diffusion_time)
            loss = loss + sign * weights.dse_weight * entropy
        if not is_off(weights.dsmi_weight):
            information = diffusion_spectral_information(z, batch.y, self.kernel_bandwidth, self.diffusion_time)
            loss = loss - weights.dsmi_weight * information
        return loss, logits


def redraw(network: nn.Module, deviation: float) -> None:
    """Draws the weights of convolutions, or where there are none of all linear layers but the last, from N(0, deviation²)."""
    convolutions = [layer.weight for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    for matrix in convolutions or [layer.weight for layer in network.modules() if isinstance(layer, nn.Linear)][:-1]:
        nn.init.normal_(matrix, 0.0, deviation)


def guide(network: nn.Module, x: Tensor, sigma: float, t: int) -> float:
    """Gives a network those of some initial weights with which its representation has the lowest diffusion spectral entropy.

    Args:
        network: what is initialized, by ``redraw`` with each of ``DEVIATIONS``.
        x: inputs to look at ``[N, …]``.
        sigma: σ of the kernel on rows of length 1.
        t: diffusion time.

    Returns:
        The deviation chosen.
    """
    tried = []
    for deviation in DEVIATIONS:
        redraw(network, deviation)
        with unnoticed([network], x.device):
            z = normalize(penultimate(network, x), dim=1)
            tried.append(diffusion_spectral_entropy(z, sigma, t).item())
    chosen = DEVIATIONS[tried.index(min(tried))]
    redraw(network, chosen)
    return chosen
