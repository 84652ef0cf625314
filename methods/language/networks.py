"""Language models with and without what is expensive in private: softmax alone, or with LayerNorm and activations."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from regbench.methods.language.entropies import row_entropies

Feed = Literal["gelu", "relu", "linear", "fused"]
FeedNorm = Literal["none", "weight", "spectral", "scaled"]

# Standard deviation of initial weights, and of those without LayerNorm.
INITIAL, INITIAL_FREE = 0.02, 0.04
# The least temperature of a softmax.
LEAST = 1e-3


@dataclass(frozen=True)
class Shape:
    """A language model's architecture.

    Attributes:
        vocabulary: number V of tokens.
        context: T, tokens of a window.
        layers: L.
        width: of a token's state.
        heads: H.
        layer_norm: whether there is LayerNorm.
        feed: the feed-forward network: two matrices with GELU, ReLU or nothing between them, or one (``fused``).
        feed_norm: of its matrices: weight or spectral normalization, or learned scales of both summands (``scaled``).
        temperature: initial value of learned temperatures; None: none.
        threshold: initial value of heads' thresholds; None: none.
        scale: initial value of learned scales.
    """

    vocabulary: int
    context: int
    layers: int
    width: int
    heads: int
    layer_norm: bool
    feed: Feed
    feed_norm: FeedNorm
    temperature: float | None
    threshold: float | None
    scale: float


@dataclass(frozen=True)
class Passed:
    """Logits ``[B, T, V]``, the entropies of all attention rows ``[L, B, H, T]``, and the heads' thresholds θ ``[L, H]``."""

    logits: Tensor
    entropies: Tensor
    thresholds: Tensor


class Attention(nn.Module):
    """Causal attention with rows softmax(q kᵀ / (t √d)), t one for each head and position where it is learned (SM(t))."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.projections, self.output = nn.Linear(shape.width, 3 * shape.width), nn.Linear(shape.width, shape.width)
        self.temperature: nn.Parameter | None = None
        if shape.temperature is not None:
            self.temperature = nn.Parameter(torch.full((shape.heads, shape.context), shape.temperature))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed states ``[B, T, width]`` and the rows' entropies ``[B, H, T]``."""
        count = x.shape[1]
        query, key, value = self.projections(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        if self.temperature is not None:
            scores = scores / self.temperature[:, :count, None].clamp_min(LEAST)
        future = torch.ones(count, count, dtype=torch.bool, device=x.device).triu(1)
        rows = scores.masked_fill(future, -torch.inf).softmax(3)
        return self.output((rows @ value).transpose(1, 2).flatten(2)), row_entropies(rows)


class FeedForward(nn.Module):
    """x + FFN(x), or with learned scales β x + FFN(x) / α (Eq. 8); ``fused`` is one matrix and always scaled (ScFuFFN)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        norms: dict[FeedNorm, Callable[[nn.Linear], nn.Module]] = {"weight": weight_norm, "spectral": spectral_norm}
        norm = norms.get(shape.feed_norm, lambda matrix: matrix)
        self.activation = {"gelu": nn.GELU(), "relu": nn.ReLU()}.get(shape.feed, nn.Identity())
        if shape.feed == "fused":
            self.matrices = nn.Sequential(norm(nn.Linear(shape.width, shape.width, bias=False)))
        else:
            self.matrices = nn.Sequential(
                norm(nn.Linear(shape.width, 4 * shape.width)), norm(nn.Linear(4 * shape.width, shape.width))
            )
        scaled = shape.feed == "fused" or shape.feed_norm == "scaled"
        self.alpha = nn.Parameter(torch.tensor(shape.scale)) if scaled else None
        self.beta = nn.Parameter(torch.tensor(shape.scale)) if scaled else None

    def forward(self, x: Tensor, normalized: Tensor) -> Tensor:
        """Of states and their normalized form, both ``[B, T, width]``."""
        found = self.matrices[0](normalized)
        if len(self.matrices) > 1:
            found = self.matrices[1](self.activation(found))
        return x + found if self.alpha is None or self.beta is None else self.beta * x + found / self.alpha


class LanguageModel(nn.Module):
    """GPT-2 with learned positions and tied embeddings, pre-LN or without LayerNorm.

    Args:
        shape: its architecture.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(shape.vocabulary, shape.width), nn.Embedding(shape.context, shape.width)
        self.attentions = nn.ModuleList(Attention(shape) for _ in range(shape.layers))
        self.feeds = nn.ModuleList(FeedForward(shape) for _ in range(shape.layers))
        self.norms = nn.ModuleList(
            nn.LayerNorm(shape.width) if shape.layer_norm else nn.Identity() for _ in range(2 * shape.layers + 1)
        )
        self.thresholds: nn.Parameter | None = None
        if shape.threshold is not None:
            self.thresholds = nn.Parameter(torch.full((shape.layers, shape.heads), shape.threshold))
        deviation = INITIAL if shape.layer_norm else INITIAL_FREE
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2 and name != "thresholds" and not name.endswith("temperature") and "original0" not in name:
                nn.init.normal_(parameter, std=deviation)

    def forward(self, tokens: Tensor) -> Passed:
        """Of tokens ``[B, T]``, int64."""
        states, heads = self.states(tokens)
        thresholds = heads.new_zeros(heads.shape[0], heads.shape[2]) if self.thresholds is None else self.thresholds
        return Passed(states @ self.tokens.weight.T, heads, thresholds)

    def states(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What logits are read from, ``[B, T, width]``, and the entropies of all rows ``[L, B, H, T]``."""
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        entropies = []
        for number, (attention, feed) in enumerate(zip(self.attentions, self.feeds, strict=True)):
            mixed, found = attention(self.norms[2 * number](x))
            x = x + mixed
            x = feed(x, self.norms[2 * number + 1](x))
            entropies.append(found)
        return self.norms[-1](x), torch.stack(entropies)

    def groups(self, weight_decay: float) -> list[dict[str, object]]:
        """Parameters for the optimizer: matrices decay; temperatures, thresholds, scales, biases and norms do not."""
        free = ("temperature", "thresholds", "alpha", "beta")
        named = dict(self.named_parameters())
        decayed = {name for name, value in named.items() if value.dim() > 1 and not name.endswith(free)}
        return [
            {"params": [value for name, value in named.items() if name in decayed], "weight_decay": weight_decay},
            {"params": [value for name, value in named.items() if name not in decayed], "weight_decay": 0.0},
        ]
