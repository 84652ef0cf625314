"""Aggregators: networks that make one prediction of a bag of instances, and say where they looked.

Each takes a padded batch, instances ``x [B, N, d0]`` and ``present [B, N]``, bool, at least one of each bag; what stands in the
padding has no influence. Each returns an ``Aggregate``.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Aggregator = Literal["gated_attention", "attention", "multi_head_attention", "dsmil", "mean"]

HEADS = 8
HEAD_DROPOUT = 0.1


class Aggregate(NamedTuple):
    """What an aggregator gives for a batch of bags.

    Attributes:
        logits: of the bags ``[B, C]``.
        attention: logits of K attention maps over instances ``[B, K, N]``, -inf at padding; a map is their softmax.
        critical: the largest instance logit of each class ``[B, C]`` where instances are classified too; otherwise None.
    """

    logits: Tensor
    attention: Tensor
    critical: Tensor | None = None


def build(aggregator: Aggregator, features: int, classes: int, width: int, attention_width: int) -> nn.Module:
    """An aggregator with fresh parameters.

    Args:
        aggregator: its name.
        features: length d0 of an instance.
        classes: number of classes C.
        width: length d of a projected instance (of a query, for ``dsmil``); a multiple of 8 for ``multi_head_attention``.
        attention_width: hidden width D of ``gated_attention`` and ``attention``.
    """
    if aggregator == "multi_head_attention":
        return MultiHeadAttention(features, classes, width)
    if aggregator == "dsmil":
        return DualStream(features, classes, width)
    if aggregator == "mean":
        return MeanPooling(features, classes, width)
    return AttentionPooling(features, classes, width, attention_width, gated=aggregator == "gated_attention")


def projection(features: int, width: int) -> nn.Module:
    """A linear layer without bias, then ReLU."""
    return nn.Sequential(nn.Linear(features, width, bias=False), nn.ReLU())


def mask(logits: Tensor, present: Tensor) -> Tensor:
    """Attention logits ``[B, K, N]`` with -inf where no instance is."""
    return logits.masked_fill(~present[:, None], -math.inf)


class AttentionPooling(nn.Module):
    """ABMIL (Ilse et al., ICML 2018): h_n = ReLU(W₀ x_n), a = softmax_n(l), z = Σ a_n h_n; the bag's logits are W_c z + b_c.

    l_n = wᵀ(tanh(V h_n + b_V) ⊙ σ(U h_n + b_U)) + b_w, the second factor where gated.
    """

    def __init__(self, features: int, classes: int, width: int, attention_width: int, gated: bool) -> None:
        super().__init__()
        self.projection = projection(features, width)
        self.content = nn.Linear(width, attention_width)
        self.gate = nn.Linear(width, attention_width) if gated else None
        self.score = nn.Linear(attention_width, 1)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor, present: Tensor) -> Aggregate:
        """One attention map."""
        h = self.projection(x)  # [B, N, d]
        hidden = self.content(h).tanh()  # [B, N, D]
        if self.gate is not None:
            hidden = hidden * self.gate(h).sigmoid()
        attention = mask(self.score(hidden).transpose(1, 2), present)  # [B, 1, N]
        z = (attention.softmax(2) @ h)[:, 0]  # [B, d]
        return Aggregate(self.classifier(z), attention)


class MeanPooling(nn.Module):
    """The mean of the projected instances and a linear layer: uniform attention, ABMIL's limit under all too much entropy."""

    def __init__(self, features: int, classes: int, width: int) -> None:
        super().__init__()
        self.projection = projection(features, width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor, present: Tensor) -> Aggregate:
        """One attention map, which depends on no parameter."""
        h = self.projection(x)
        attention = mask(h.new_zeros(len(x), 1, x.shape[1]), present)
        return Aggregate(self.classifier((attention.softmax(2) @ h)[:, 0]), attention)


class MultiHeadAttention(nn.Module):
    """One learned query attends to the projected instances with 8 heads, logits q_kᵀ k_kn / √(d / 8).

    The heads' outputs pass through a linear layer, dropout and layer normalization to a linear classifier.
    """

    def __init__(self, features: int, classes: int, width: int) -> None:
        super().__init__()
        self.projection = projection(features, width)
        self.query = nn.Parameter(1e-6 * torch.randn(width))
        self.queries, self.keys, self.values = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Sequential(nn.Linear(width, width), nn.Dropout(HEAD_DROPOUT), nn.LayerNorm(width, eps=1e-6))
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor, present: Tensor) -> Aggregate:
        """A map for each head."""
        h = self.projection(x)
        q = self.queries(self.query).view(HEADS, 1, -1)  # [heads, 1, d / heads]
        k, v = (part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in (self.keys(h), self.values(h)))
        attention = mask((q @ k.transpose(2, 3))[:, :, 0] / math.sqrt(q.shape[2]), present)  # [B, heads, N]
        heads = (attention.softmax(2)[:, :, None] @ v).flatten(1)  # [B, d]
        return Aggregate(self.classifier(self.output(heads)), attention)


class DualStream(nn.Module):
    """DSMIL (Li, Li, Eliceiri, CVPR 2021), without the non-linear layers that its aggregator may have.

    One stream classifies instances, c_n = W x_n + b; m_c is the one with the largest logit of class c. The other attends to
    instances like it, with logits q_nᵀ q_(m_c) / √d for q_n = Q x_n + b_Q: a map, and a mean of the instances, for each class.
    The bag's logits are linear in all C means.
    """

    def __init__(self, features: int, classes: int, width: int) -> None:
        super().__init__()
        self.instance_classifier = nn.Linear(features, classes)
        self.query = nn.Linear(features, width)
        self.classifier = nn.Linear(classes * features, classes)

    def forward(self, x: Tensor, present: Tensor) -> Aggregate:
        """A map for each class."""
        scores = mask(self.instance_classifier(x).transpose(1, 2), present)  # [B, C, N]
        critical, index = scores.max(2)  # [B, C]
        queries = self.query(x)  # [B, N, d]
        chosen = queries.take_along_dim(index[:, :, None], 1)  # [B, C, d]
        attention = mask(chosen @ queries.transpose(1, 2) / math.sqrt(queries.shape[2]), present)
        means = attention.softmax(2) @ x  # [B, C, d0]
        return Aggregate(self.classifier(means.flatten(1)), attention, critical)
