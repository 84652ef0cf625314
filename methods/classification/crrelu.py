"""CRReLU: ReLU with a small learnable correction, derived from the entropy of what comes out."""

import math
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import field_validator, model_validator
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from regbench.methods.classification import architectures
from regbench.methods.classification.task import ClassificationMethod
from regbench.methods.errors import ConfigError
from regbench.methods.method import Metrics, Paper, hyperparameter, weight
from regbench.methods.shared.data import Data


class CRReLU(nn.Module):
    """f(x) = max(0, x) + ε x exp(-x² / 2), elementwise on ``[..., C]``.

    Args:
        epsilon: the correction weight: a scalar, or ``[C]`` for one value per channel. Modules that share a parameter share ε.
    """

    def __init__(self, epsilon: nn.Parameter) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """The activation, of the shape of ``x``."""
        return torch.relu(x) + self.epsilon * correction(x)


def correction(x: Tensor) -> Tensor:
    """The bump x exp(-x² / 2), CRReLU's derivative in ε; any shape. Vanishes for large |x|, in half precision too."""
    # Not x.square(): its derivative 2 x overflows in half precision and makes the gradient 0 · inf.
    return x * torch.exp(-0.5 * x * x)


# The values of ε for which CRReLU increases for x > 0.
MONOTONE = (-1.0, 0.5 * math.exp(1.5))


class CorrectionRegularizedReLU(ClassificationMethod):
    """Replaces every ReLU by CRReLU(x) = max(0, x) + ε x exp(-x² / 2) with a learnable ε, started at a small value.

    The correction comes from Entropy-based Activation Function Optimization (EAFO): a first-order change of the activation
    that moves the differential entropy of its output, for standard normal pre-activations: ε < 0 lowers it, ε > 0 raises it.
    There is no loss term; ε is learned from the task loss alone, so nothing holds its sign. Formula and start at 0.01 are the
    paper's. Reconstructed, not read there: one ε per module (as in independent implementations) and no decay of ε; both are
    settable.

    Switched off, ε is frozen at 0: plain ReLU. (A learnable ε started at 0 is a different model, whose gradient is not zero.)
    """

    paper: ClassVar[Paper | None] = Paper(
        "Entropy-based Activation Function Optimization: A Method on Searching Better Activation Functions",
        "Sun, Wu, Xia, Chang, Dong, Yuan, Chang, Wang",
        2025,
        "ICLR",
        "2405.12954",
    )

    epsilon_init: float = weight(
        0.01,
        off=0.0,
        ge=-1,
        le=2.24,
        symbol="ε₀",
        differentiable=False,
        may_change=False,
        help="correction weight at the start (and the end, if frozen)",
    )
    epsilon_learnable: bool = hyperparameter(True, help="learn ε with the network, or freeze it")
    epsilon_granularity: Literal["module", "network", "channel"] = hyperparameter(
        "module", help="one ε per activation module, one for the network, or one per channel"
    )
    epsilon_weight_decay: float = hyperparameter(0.0, ge=0, may_change=True, help="decay of ε")
    epsilon_rate: float = hyperparameter(1.0, gt=0, may_change=True, help="learning rate of ε relative to the network's")

    @field_validator("activation")
    @classmethod
    def _replaces_relu(cls, value: architectures.Activation) -> architectures.Activation:
        if value != "relu":
            raise ValueError(f"CRReLU takes the place of ReLU: leave activation at relu, or train cross_entropy with {value}")
        return value

    @model_validator(mode="after")
    def _channels_are_known(self) -> Self:
        if self.epsilon_granularity == "channel" and self.architecture in architectures.CONVOLUTIONAL:
            raise ValueError(f"ε per channel needs linear layers: with {self.architecture}, take one per module or network")
        return self

    def baseline(self) -> Self:
        """Plain ReLU: ε frozen at 0."""
        return self.replace(epsilon_init=0.0, epsilon_learnable=False)

    def build_model(self, data: Data) -> nn.Module:
        """The track's network with a CRReLU in the place of each ReLU."""
        network = super().build_model(data)
        self._require_rectifiers(network)
        shared = self._epsilon(1)
        width = 1
        for name, layer in list(network.named_modules()):
            if isinstance(layer, nn.Linear | _ConvNd):
                width = layer.out_features if isinstance(layer, nn.Linear) else 0
            elif isinstance(layer, nn.ReLU):
                if self.epsilon_granularity == "channel" and not width:
                    raise ConfigError(f"ε per channel needs linear layers: {self.architecture} has a ReLU after a convolution")
                epsilon = shared if self.epsilon_granularity == "network" else self._epsilon(width)
                network.set_submodule(name, CRReLU(epsilon))
        return network

    def _require_rectifiers(self, network: nn.Module) -> None:
        """Refuses a network in which there is nothing to replace."""
        kinds = {type(module) for module in network.modules()}
        if nn.ReLU not in kinds:
            found = ", ".join(sorted(kind.__name__ for kind in kinds if kind.__module__.endswith("activation")))
            raise ConfigError(
                f"CRReLU takes the place of nn.ReLU modules: {self.architecture} has {found or 'no activation modules'}"
            )

    def _epsilon(self, channels: int) -> nn.Parameter:
        shape = (channels,) if self.epsilon_granularity == "channel" else ()
        return nn.Parameter(torch.full(shape, self.epsilon_init), requires_grad=self.epsilon_learnable)

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """The network's parameters, and ε with a rate and decay of its own."""
        epsilons = _epsilons(model)
        chosen = {id(epsilon) for epsilon in epsilons}
        groups: list[dict[str, Any]] = [{"params": [p for p in model.parameters() if id(p) not in chosen]}]
        if self.epsilon_learnable:
            groups.append({"params": epsilons, "rate": self.epsilon_rate, "weight_decay": self.epsilon_weight_decay})
        return groups

    def diagnostics(self, model: nn.Module) -> Metrics:
        """The mean ε of each module, and the share of all ε outside the range where the activation increases for x > 0."""
        epsilons = [epsilon.detach() for epsilon in _epsilons(model)]
        every = torch.cat([epsilon.flatten() for epsilon in epsilons])
        outside = ((every < MONOTONE[0]) | (every > MONOTONE[1])).double().mean().item()
        means = {f"epsilon/{index}": epsilon.mean().item() for index, epsilon in enumerate(epsilons)}
        return means | {"epsilon/not_monotone": outside}


def _epsilons(model: nn.Module) -> list[nn.Parameter]:
    """Each distinct ε of a network, in the order of its layers."""
    found = {id(module.epsilon): module.epsilon for module in model.modules() if isinstance(module, CRReLU)}
    return list(found.values())
