"""Vision transformers some of whose blocks have experts for an MLP (V-MoE, Riquelme et al., NeurIPS 2021)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from regbench.methods.classification.transformer import VisionTransformer, perceptron

# Every second block from the last one, so many of them, as in V-MoE's "last 2".
ROUTED_BLOCKS = 2


class RoutedExperts(nn.Module):
    """Tokens ``[B, T, D]`` of a batch, each mapped by the experts that take it: Σ_j 1[j takes i] softmax(W_i)_j f_j(x_i).

    Experts are computed for the tokens that they take only. A token that none takes becomes 0, so that its block passes it on.

    Args:
        experts: each ``[N, D]`` to ``[N, D]``.
        width: D.
        choose: maps scores W ``[B T, experts]`` to a plan of that shape, positive where an expert takes a token.

    Attributes:
        taken: which experts took which tokens in the last pass, ``[B T, experts]``, bool.
    """

    def __init__(self, experts: Sequence[nn.Module], width: int, choose: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.router = nn.Linear(width, len(experts))
        self.experts = nn.ModuleList(experts)
        self.choose = choose
        self.taken = torch.zeros(0, len(experts), dtype=torch.bool)

    def forward(self, x: Tensor) -> Tensor:
        """The weighted sums, of the shape of ``x``."""
        tokens = x.flatten(0, 1)
        scores = self.router(tokens)
        self.taken = self.choose(scores) > 0
        gates = scores.softmax(1)
        mixed = torch.zeros_like(tokens)
        for j, expert in enumerate(self.experts):
            rows = self.taken[:, j].nonzero()[:, 0]
            part = gates[rows, j, None] * expert(tokens[rows])
            mixed = mixed.index_add(0, rows, part.to(mixed.dtype))  # mixed precision computes it in another type
        return mixed.view_as(x)


def with_experts(
    network: VisionTransformer, experts: int, activation: type[nn.Module], choose: Callable[[Tensor], Tensor]
) -> VisionTransformer:
    """Replaces the MLPs of ``ROUTED_BLOCKS`` blocks by experts of the same form; the network is changed and returned."""
    width = network.class_token.shape[2]
    for block in list(network.blocks)[-1 : -2 * ROUTED_BLOCKS : -2]:
        routed = RoutedExperts([perceptron(width, activation) for _ in range(experts)], width, choose)
        block.mlp = nn.Sequential(nn.LayerNorm(width), routed)
    return network
