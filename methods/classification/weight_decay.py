"""Weight decay, the oldest regularizer of networks, as a method whose decay is a weight."""

from typing import ClassVar

from regbench.methods.classification.task import ClassificationMethod
from regbench.methods.method import Paper, weight


class WeightDecay(ClassificationMethod):
    """Cross-entropy plus λ/2 ‖θ‖², or with Adam the decay θ ← (1 - η λ) θ in each step, on all parameters.

    It trains just as ``cross_entropy`` with that ``weight_decay`` does. Elsewhere the decay is a setting of training,
    which stays on when weights are switched off; here it is what is switched off.

    The optimizer applies it, so the objective has no gradient in λ.
    """

    paper: ClassVar[Paper | None] = Paper("A Simple Weight Decay Can Improve Generalization", "Krogh, Hertz", 1991, "NeurIPS")

    weight_decay: float = weight(
        5e-4, off=0.0, ge=0, symbol="λ", differentiable=False, help="L2 penalty of SGD, decoupled decay of Adam"
    )
