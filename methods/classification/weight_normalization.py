"""Weight normalization: each unit's weights are a length times a direction."""

from typing import ClassVar

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrizations import weight_norm

from regbench.methods.classification.task import ClassificationMethod
from regbench.methods.method import Paper
from regbench.methods.shared.data import Data


class WeightNormalization(ClassificationMethod):
    """Trains g and v of w = g v / ‖v‖, for the incoming weights w of each unit (Salimans and Kingma, 2016, eq. 2).

    g and v start from the usual initial weights, so that the network starts unchanged; the paper also proposes a start from
    the first mini-batch's activations, which is left out here, because methods are compared from the same start. It has no
    weight to tune: it is a competitor of other reparametrizations. Weight decay acts on g and v.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural Networks",
        "Salimans, Kingma",
        2016,
        "NeurIPS",
        "1602.07868",
    )

    def build_model(self, data: Data) -> nn.Module:
        """The track's network with every linear and convolutional layer normalized."""
        network = super().build_model(data)
        for layer in list(network.modules()):
            if isinstance(layer, nn.Linear | _ConvNd):
                weight_norm(layer)
        return network
