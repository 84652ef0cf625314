"""A fixed architecture in one number of bits: the baseline of the super-resolution track."""

from typing import ClassVar, Literal

from regbench.methods.method import Paper, hyperparameter
from regbench.methods.run import Run
from regbench.methods.super_resolution.spaces import Architecture, fixed, largest
from regbench.methods.super_resolution.task import GivenArchitecture


class UniformQuantization(GivenArchitecture):
    """Trains a given architecture with all that could be chosen in the same number of bits (LSQ weights, HWGQ activations).

    The architecture is the one that the space was made from, or takes the most expensive operation everywhere.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Learned step size quantization", "Esser, McKinstry, Bablani, Appuswamy, Modha", 2020, "ICLR", "1902.08153"
    )

    bits: Literal[2, 3, 4, 8, 32] = hyperparameter(8, help="of weights and activations; 32: not quantized")
    operations_of: Literal["reference", "largest"] = hyperparameter(
        "reference", help="the fixed architecture: the space's reference, or the most expensive operation everywhere"
    )

    def architecture(self, run: Run) -> Architecture:
        """The same in every run."""
        places = self.layers(run.data)
        if self.operations_of == "largest":
            return largest(places, self.operations, self.bits)
        return fixed(places, self.space, self.bits)
