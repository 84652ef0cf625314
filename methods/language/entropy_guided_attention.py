"""Entropy-guided attention: temperatures and thresholds for heads of models without LayerNorm and activations."""

from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor

from regbench.methods.language.entropies import Reference, Statistics, entropy_penalty, largest_entropy
from regbench.methods.language.networks import Feed, Passed, Shape
from regbench.methods.language.task import Batch, LanguageMethod, Model
from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.shared.data import Data


class EntropyGuidedAttention(LanguageMethod):
    """Adds λ times the mean over heads of δ² 1[|δ| > γ E_max], δ = E - θ E_max, to the cross-entropy.

    E is a head's mean attention entropy, θ its learned threshold, and the rows have learned temperatures, one for each head and
    position. The model has neither LayerNorm nor activations, and one scaled matrix for each feed-forward network: without the
    penalty its first heads attend uniformly (overload) and its last ones to single tokens (collapse).

    ``statistics: per_query_sum`` is that of the released code, to which the paper's λ of 10⁻⁵ belongs: 128 windows of 128
    tokens make it 0.16 in the units of ``head_mean``, Algorithm 1. Each layer has thresholds of its own; the released example
    takes the first one's for all.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Entropy-Guided Attention for Private LLMs", "Jha, Reagen", 2025, "PPAI workshop at AAAI", "2501.03489"
    )

    penalty_weight: float = weight(
        0.1, off=0.0, ge=0, symbol="λ", differentiable=True, help="weight of the penalty, in mean units"
    )
    tolerance: float = hyperparameter(0.2, ge=0, may_change=True, help="γ, share of the largest entropy that is tolerated")
    threshold_init: float = hyperparameter(0.5, ge=0, le=1, help="θ at the start, share of the largest entropy")
    fixed_thresholds: bool = hyperparameter(False, help="thresholds stay as they are")
    statistics: Statistics = hyperparameter("head_mean", help="deviations of heads, or of queries by mean or, as released, sum")
    entropy_reference: Reference = hyperparameter("log", help="largest entropy: log T, or the causal maximum ln(T!) / T")
    layer_norm: bool = hyperparameter(False, help="LayerNorm before attention, before the feed-forward network and at the end")
    feed: Feed = hyperparameter("fused", help="feed-forward network: gelu, relu, linear, or fused into one scaled matrix")
    temperature_init: float | None = hyperparameter(
        0.1, gt=0, help="initial value of learned temperatures, 0.01 on CodeParrot; null: none"
    )

    def shape(self, data: Data) -> Shape:
        """The architecture, with thresholds."""
        return replace(super().shape(data), threshold=self.threshold_init)

    def objective(self, model: Model, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Passed]:
        """The cross-entropy and the weighted penalty; see the class."""
        loss, found = super().objective(model, batch, weights)
        if is_off(weights.penalty_weight):
            # Distributed training asks for a gradient of every parameter.
            return loss + 0 * found.thresholds.sum(), found
        thresholds = found.thresholds.detach() + 0 * found.thresholds if self.fixed_thresholds else found.thresholds
        largest = largest_entropy(batch.x.shape[1], self.entropy_reference)
        penalty = entropy_penalty(found.entropies, thresholds, self.tolerance, largest, self.statistics)
        return loss + weights.penalty_weight * penalty, found
