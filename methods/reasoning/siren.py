"""SIREN: entropy where it means something stays near what it was."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import torch
from torch import Tensor

from regbench.methods.method import Paper, hyperparameter, is_off, weight
from regbench.methods.reasoning.nucleus import (
    EmptyRule,
    NucleusRule,
    anchored_loss,
    nucleus_entropies,
    peak_mean,
    peaks,
)
from regbench.methods.reasoning.task import ReasoningMethod
from regbench.methods.run import Run
from regbench.methods.shared.reinforcement.grpo import Advantage, Aggregation, token_entropies
from regbench.methods.shared.reinforcement.task import Batch, Memory, Seen, mean_of_workers


@dataclass(frozen=True)
class AnchoredBatch(Batch):
    """A batch with the anchor, a scalar."""

    anchor: Tensor


class Siren(ReasoningMethod):
    """Adds β (H - s H_anchor)² to the loss of Dr. GRPO.

    H is the mean over responses of the mean entropy of their most uncertain tokens, those above the τ-quantile of the response,
    each entropy being that of the nucleus of the vocabulary, renormalized. H_anchor is H of the initial policy on the first
    step's responses, so that uncertainty is pushed up below it and down above it, and noise never gains from it.

    The paper's text could not be read, the released code could: whether its nucleus holds the token that reaches p* is not
    known; the code's does not (``nucleus_rule: exclusive``). Also as released: a response without any peak counts as 0
    (``empty: skip`` leaves it out). The ablations: ``anchored: false`` is -β H, ``top_p: 1`` has no nucleus, ``peak_quantile:
    null`` no peaks, and ``full_entropy_peaks`` finds peaks by the entropy of the whole vocabulary.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Rethinking Entropy Regularization in Large Reasoning Models",
        "Jiang, Li, Chen, Liu, Cheng, Shao",
        2025,
        "arXiv",
        "2509.25133",
    )

    entropy_weight: float = weight(
        0.005, off=0.0, ge=0, symbol="β", differentiable=True, help="weight of the entropy's departure from its anchor"
    )
    anchor_scale: float = weight(
        1.0,
        off=1.0,
        ge=0,
        symbol="s",
        differentiable=True,
        help="factor on the anchor; the paper's is 1, which is its off value",
    )
    top_p: float = hyperparameter(0.8, gt=0, le=1, may_change=True, help="p*, mass of the nucleus")
    peak_quantile: float | None = hyperparameter(
        0.8, ge=0, le=1, may_change=True, help="τ: tokens above this quantile of their response count; null: all do"
    )
    nucleus_rule: NucleusRule = hyperparameter("inclusive", help="whether the token that reaches p* belongs to the nucleus")
    empty: EmptyRule = hyperparameter("zero", help="responses without a peak: zero (as released) or skip")
    anchored: bool = hyperparameter(True, help="false: the entropy is maximized instead")
    full_entropy_peaks: bool = hyperparameter(False, help="peaks by the entropy of the whole vocabulary")
    advantage: Advantage = hyperparameter("dr_grpo", help="grpo: rewards in units of their group's deviation; dr_grpo: not")
    aggregation: Aggregation = hyperparameter("seq_mean_token_sum_norm", help="how tokens' losses become one")

    def entropy(self, logits: Tensor, mask: Tensor) -> Tensor:
        """H of logits ``[N, T, V]`` and mask ``[N, T]``, a scalar."""
        found = nucleus_entropies(logits, self.top_p, self.nucleus_rule)
        looked_at = token_entropies(logits.detach()) if self.full_entropy_peaks else found
        return peak_mean(found, peaks(looked_at, mask, self.peak_quantile), self.empty)

    def statistics(self, batch: Batch, logits: Tensor, memory: Memory) -> dict[str, Tensor]:
        """Also H, before there is an anchor."""
        found = super().statistics(batch, logits, memory)
        return found if "anchor" in memory else found | {"peak_entropy": self.entropy(logits, batch.mask)}

    def annotate(self, batch: Batch, statistics: dict[str, Tensor], memory: Memory, step: int, run: Run) -> Batch:
        """Adds the anchor, which the first step sets for the whole run."""
        if "anchor" not in memory:
            memory["anchor"] = mean_of_workers(statistics["peak_entropy"], run)
        anchor = torch.tensor(memory["anchor"], device=batch.tokens.device)
        return AnchoredBatch(**vars(batch), anchor=anchor)

    def penalty(self, seen: Seen, batch: Batch, weights: SimpleNamespace) -> Tensor | None:
        """β (H - s H_anchor)², or -β H without an anchor."""
        if is_off(weights.entropy_weight):
            return None
        assert isinstance(batch, AnchoredBatch)
        entropy = self.entropy(seen.logits, batch.mask)
        if not self.anchored:
            return -weights.entropy_weight * entropy
        return weights.entropy_weight * anchored_loss(entropy, weights.anchor_scale * batch.anchor)

    def diagnostics(self, seen: Seen, batch: Batch) -> dict[str, Tensor]:
        """Also H."""
        return super().diagnostics(seen, batch) | {"peak_entropy": self.entropy(seen.logits.detach(), batch.mask)}
