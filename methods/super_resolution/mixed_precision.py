"""Mixed precision: the bits of a fixed architecture's layers, sought by gradient."""

from typing import ClassVar

from regbench.methods.method import Paper
from regbench.methods.super_resolution.searching import SearchMethod
from regbench.methods.super_resolution.spaces import REFERENCE, Kind


class MixedPrecision(SearchMethod):
    """Chooses the bits of each layer of the space's reference architecture (EdMIPS).

    While they are sought, a layer's weights and activations are mixtures of their quantized forms, W̃ = Σ_b p_b Q_b(W) and
    x̃ = Σ_b p_b Q_b(x), and bits have a price; see ``convolutions.SharedConvolution``.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Rethinking differentiable search for mixed-precision neural networks", "Cai, Vasconcelos", 2020, "CVPR", "2004.05795"
    )

    @property
    def operations(self) -> dict[Kind, tuple[str, ...]]:
        """One operation for each kind of layer."""
        return {kind: (name,) for kind, name in REFERENCE[self.space].items()}
