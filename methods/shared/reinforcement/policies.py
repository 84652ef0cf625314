"""Policies over sequences of tokens: a small GPT, and its generation with a cache of keys and values."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

# Standard deviation of initial weights, as in GPT-2.
INITIAL = 0.02


@dataclass
class Cache:
    """Keys and values ``[layers, B, heads, L, d]`` of the tokens seen so far, of which there are ``length``."""

    keys: Tensor
    values: Tensor
    length: int = 0


class Block(nn.Module):
    """A layer of pre-LN GPT-2: x + MHA(LN(x)), then x + FFN(LN(x)).

    Args:
        width: of a token's state.
        heads: of the attention; divides the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projections, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, keys: Tensor | None = None, values: Tensor | None = None, start: int = 0) -> Tensor:
        """States ``[B, S, width]`` after the layer; writes a cache's keys and values ``[B, heads, L, d]`` from ``start`` on."""
        count = x.shape[1]
        # [3, B, heads, S, d]
        query, key, value = self.projections(self.attention_norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if keys is None or values is None:
            mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            keys[:, :, start : start + count], values[:, :, start : start + count] = key, value
            # Token i of those given sees all that come before it, and itself.
            seen = torch.ones(count, start + count, dtype=torch.bool, device=x.device).tril(start)
            mixed = scaled_dot_product_attention(
                query, keys[:, :, : start + count], values[:, :, : start + count], attn_mask=seen
            )
        x = x + self.output(mixed.transpose(1, 2).flatten(2))
        return x + self.feed(self.feed_norm(x))


class GPT(nn.Module):
    """A causal language model with learned positions and tied embeddings.

    Args:
        vocabulary: number V of tokens.
        context: the longest sequence.
        layers: number of layers.
        width: of a token's state.
        heads: of each attention.
    """

    def __init__(self, vocabulary: int, context: int, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=INITIAL)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[B, L, V]`` of the token after each of ``tokens [B, L]``."""
        return self._logits(self._run(tokens, None))

    def state(self, tokens: Tensor) -> Tensor:
        """What the token after ``tokens [B, L]`` is read from, ``[B, width]``."""
        found: Tensor = self.norm(self._run(tokens, None)[:, -1])
        return found

    def start(self, batch: int, length: int) -> Cache:
        """An empty cache for so many sequences of at most ``length`` tokens."""
        weight = self.tokens.weight
        shape = (len(self.blocks), batch, self.heads, length, weight.shape[1] // self.heads)
        return Cache(weight.new_empty(shape), weight.new_empty(shape))

    def extend(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Logits ``[B, V]`` after the tokens in the cache and ``tokens [B, S]``, which are added to it."""
        return self._logits(self._run(tokens, cache)[:, -1])

    def _run(self, tokens: Tensor, cache: Cache | None) -> Tensor:
        start = 0 if cache is None else cache.length
        x = self.tokens(tokens) + self.positions.weight[start : start + tokens.shape[1]]
        for number, block in enumerate(self.blocks):
            x = block(x) if cache is None else block(x, cache.keys[number], cache.values[number], start)
        if cache is not None:
            cache.length += tokens.shape[1]
        return x

    def _logits(self, x: Tensor) -> Tensor:
        return self.norm(x) @ self.tokens.weight.T
