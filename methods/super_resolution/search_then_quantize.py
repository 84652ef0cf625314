"""A search in full precision whose result is quantized afterwards."""

from typing import ClassVar, Literal

from regbench.methods.method import Paper, hyperparameter
from regbench.methods.super_resolution.quantizers import FULL
from regbench.methods.super_resolution.search import Supernet
from regbench.methods.super_resolution.searching import SearchMethod
from regbench.methods.super_resolution.spaces import Architecture


class SearchThenQuantize(SearchMethod):
    """Chooses operations without regard to bits (DARTS, first order), then trains the network in one number of bits.

    The price of BitOps is one of operations, since all have the same bits in the search.
    """

    paper: ClassVar[Paper | None] = Paper(
        "DARTS: Differentiable architecture search", "Liu, Simonyan, Yang", 2019, "ICLR", "1806.09055"
    )

    bits: Literal[2, 3, 4, 8] = hyperparameter(8, help="of weights and activations, once the architecture is found")

    def bit_choices(self) -> tuple[int, ...]:
        """Full precision alone."""
        return (FULL,)

    def decided(self, supernet: Supernet) -> Architecture:
        """The operations found, in the bits of the settings."""
        return {name: (operation, self.bits) for name, (operation, _) in supernet.architecture().items()}
