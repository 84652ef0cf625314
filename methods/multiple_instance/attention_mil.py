"""Attention-based multiple-instance learning: the baseline of its track."""

from typing import ClassVar

from regbench.methods.method import Paper
from regbench.methods.multiple_instance.task import MultipleInstanceMethod


class AttentionMIL(MultipleInstanceMethod):
    """Minimizes the cross-entropy of bags whose instances are averaged by learned attention (Ilse et al., 2018).

    z = Σ_n a_n h_n, with a = softmax(l) and gated logits l_n = wᵀ(tanh(V h_n) ⊙ σ(U h_n)), or another ``aggregator``.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Attention-based Deep Multiple Instance Learning", "Ilse, Tomczak, Welling", 2018, "ICML", "1802.04712"
    )
