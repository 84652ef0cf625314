"""AEM: attention entropy maximization for multiple-instance learning."""

from types import SimpleNamespace
from typing import ClassVar, Literal, Self

from pydantic import model_validator
from torch import Tensor

from regbench.methods.method import Paper, hyperparameter, weight
from regbench.methods.multiple_instance.aggregators import Aggregate
from regbench.methods.multiple_instance.metrics import negative_entropy
from regbench.methods.multiple_instance.task import Batch, Model, MultipleInstanceMethod, half_cosine


class AttentionEntropyMIL(MultipleInstanceMethod):
    """The cross-entropy of bags plus the weighted negative entropy of their attention, so that attention does not collapse.

    L = L_ce + λ_t Σ_n a_n log a_n (equations 2 and 3): summed over a bag's instances, not divided by log N, averaged over the
    aggregator's attention maps and over the bags of a batch. Nothing is added to the network, nothing changes at inference.

    λ_t = λ in the released code. The paper's last version lets the weight fall along a cosine; how exactly was not read there:
    ``cosine`` is a reconstruction, λ_t = λ (1 + cos(π t)) / 2 with t the share of the steps that are done, and 0 at the end.

    Up to a constant the term is KL(a ‖ u) for uniform u: λ → ∞ gives mean pooling, and rare witnesses suffer first.
    """

    paper: ClassVar[Paper | None] = Paper(
        "AEM: Attention Entropy Maximization for Multiple Instance Learning based Whole Slide Image Classification",
        "Zhang, Shui, Sun, Li, Li, Zhu, Yang",
        2025,
        "MICCAI",
        "2406.15303",
    )

    attention_entropy_weight: float = weight(
        0.1, off=0.0, ge=0, symbol="λ", differentiable=True, help="weight of the attention's negative entropy, at the start"
    )
    weight_annealing: Literal["constant", "cosine"] = hyperparameter(
        "constant",
        help="the weight over training: constant (released code) or half a cosine down to 0 (the paper, reconstructed)",
    )

    @model_validator(mode="after")
    def _has_attention(self) -> Self:
        if self.aggregator == "mean":
            raise ValueError(
                "mean pooling has no attention to spread: choose another aggregator, or train attention_mil with it"
            )
        return self

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Aggregate]:
        """The mean over bags of cross-entropy plus λ_t times negative attention entropy; see the class."""
        loss, found = super().objective(model, batch, weights)
        share = half_cosine(batch.progress) if self.weight_annealing == "cosine" else 1.0
        return loss + share * weights.attention_entropy_weight * negative_entropy(found.attention).mean(), found
