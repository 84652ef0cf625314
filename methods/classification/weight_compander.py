"""Weight compander: every weight is a bounded function of a free parameter, so that none dominates and none stays idle."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, Self, cast

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from regbench.methods.classification.task import Batch, ClassificationMethod, Logits
from regbench.methods.errors import ConfigError
from regbench.methods.method import Metrics, Paper, hyperparameter, weight
from regbench.methods.shared.data import Data

Name = Literal["arctan", "erf", "arsinh"]
Learned = Literal["fixed", "network", "layer"]

# What counts as idle in the recorded share of small weights.
SMALL = 0.01


@dataclass(frozen=True)
class Function:
    """An odd, increasing function Ψ(v) = a ψ(v / b), elementwise.

    Attributes:
        value: ψ.
        slope: ψ'.
        inverse: ψ⁻¹.
        bound: the supremum of ψ.
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    bound: float


FUNCTIONS: dict[Name, Function] = {
    "arctan": Function(torch.atan, lambda x: 1 / (1 + x.square()), torch.tan, math.pi / 2),
    "erf": Function(torch.erf, lambda x: 2 / math.sqrt(math.pi) * torch.exp(-x.square()), torch.erfinv, 1.0),
    "arsinh": Function(torch.asinh, lambda x: (1 + x.square()).rsqrt(), torch.sinh, math.inf),
}


class Pair(nn.Module):
    """The hyperparameters (a, b) of all weights that share them: constants, which checkpoints leave out, or parameters."""

    scale: Tensor
    stretch: Tensor

    def __init__(self, scale: float, stretch: float, *, learn: bool) -> None:
        super().__init__()
        for name, value in (("scale", scale), ("stretch", stretch)):
            # Rounded once, to the precision of the weights, when it joins them.
            exact = torch.tensor(value, dtype=torch.float64)
            if learn:
                self.register_parameter(name, nn.Parameter(exact))
            else:
                self.register_buffer(name, exact, persistent=False)


class Compander(nn.Module):
    """The parametrization w = Ψ(v) = a ψ(v / b) of one tensor, for ``torch.nn.utils.parametrize``.

    Args:
        pair: a and b.
        function: names ψ.
    """

    def __init__(self, pair: Pair, function: Name = "arctan") -> None:
        super().__init__()
        self.pair = pair
        self.function = function

    def forward(self, v: Tensor) -> Tensor:
        """The weight w = Ψ(v), of the shape of v (eq. 1)."""
        return self.pair.scale * FUNCTIONS[self.function].value(v / self.pair.stretch)

    def slope(self, v: Tensor) -> Tensor:
        """Ψ'(v), of the shape of v (eq. 3)."""
        return self.pair.scale / self.pair.stretch * FUNCTIONS[self.function].slope(v / self.pair.stretch)

    def right_inverse(self, w: Tensor) -> Tensor:
        """The free parameter v = Ψ⁻¹(w), of the shape of w (eq. 4): a network starts with the weights that it was given.

        Raises:
            ConfigError: a weight is not below Ψ's bound.
        """
        bound, largest = self.pair.scale.item() * FUNCTIONS[self.function].bound, w.abs().max().item()
        if largest >= bound:
            raise ConfigError(
                f"an initial weight of {largest:.3g} is beyond the compander's bound {bound:.3g}: "
                f"raise wc_scale above {self.pair.scale.item() * largest / bound:.3g}"
            )
        return self.pair.stretch * FUNCTIONS[self.function].inverse(w / self.pair.scale)


def compand(
    network: nn.Module, scale: float, stretch: float, *, function: Name = "arctan", learned: Learned = "fixed"
) -> nn.Module:
    """Parametrizes the weight of every linear and convolutional layer of a network, in place; its outputs stay the same.

    Biases, normalization and free-standing parameters are left alone.

    Args:
        network: any module, with its initial weights.
        scale: a > 0, at the start if learned.
        stretch: b > 0, likewise.
        function: names ψ.
        learned: nothing, one pair (a, b) of the network, or one of each layer.

    Returns:
        The network.

    Raises:
        ConfigError: a weight is beyond Ψ's bound, belongs to two layers, or has a parametrization already.
    """
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear | _ConvNd)}
    users: dict[int, int] = {}
    for _, parameter in network.named_parameters(remove_duplicate=False):
        users[id(parameter)] = users.get(id(parameter), 0) + 1
    for name, layer in layers.items():
        if parametrize.is_parametrized(layer, "weight"):
            raise ConfigError(f"the weight of layer '{name}' has a parametrization already: remove it first")
        if users[id(layer.weight)] > 1:
            raise ConfigError(f"the weight of layer '{name}' is shared, which a parametrization would undo: give it its own")
    shared = Pair(scale, stretch, learn=learned == "network")
    for layer in layers.values():
        pair = Pair(scale, stretch, learn=True) if learned == "layer" else shared
        parametrize.register_parametrization(layer, "weight", Compander(pair.to(layer.weight), function))
    return network


def release(network: nn.Module) -> nn.Module:
    """Replaces every companded weight by its value, in place: a plain network of the same outputs, for use after training."""
    for layer, _, _ in companded(network):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return network


def companded(network: nn.Module) -> list[tuple[nn.Linear | _ConvNd, Compander, nn.Parameter]]:
    """Each companded layer of a network, its compander and its free parameter v."""
    found = []
    for layer in network.modules():
        if isinstance(layer, nn.Linear | _ConvNd) and parametrize.is_parametrized(layer, "weight"):
            parametrization = layer.get_submodule("parametrizations.weight")
            assert isinstance(parametrization, parametrize.ParametrizationList)
            if isinstance(compander := parametrization[0], Compander):
                found.append((layer, compander, cast(nn.Parameter, parametrization.original)))
    return found


def step_in_weights(optimizer: torch.optim.Optimizer, network: nn.Module, *, decay_free: bool) -> None:
    """Makes an adaptive optimizer with decoupled decay take its steps in w, and carries them to v.

    Its moments see the raw gradient g = ∂L/∂w and give a step η u; then v ← v - Ψ'(v) η (u + λ w), or with ``decay_free``
    v ← v - Ψ'(v) η u - η λ v. Normalizing ∂L/∂v = Ψ'(v) g itself would cancel the slope (section III-A3).

    Args:
        optimizer: AdamW or its like, over the network's parameters.
        network: a companded network.
        decay_free: whether decay shrinks v rather than w.
    """
    held: list[tuple[nn.Parameter, Tensor, Tensor, Tensor]] = []

    @torch.no_grad()
    def before(*_: Any) -> None:
        held.clear()
        for _layer, compander, v in companded(network):
            if v.grad is None:
                continue
            slope = compander.slope(v)
            v.grad.copy_(in_weights(v.grad, slope))
            held.append((v, v.clone(), slope, v.clone() if decay_free else slope * compander(v)))
            # From 0 the optimizer leaves -η u in v, without decay and without rounding.
            v.zero_()

    @torch.no_grad()
    def after(*_: Any) -> None:
        groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
        for v, start, slope, decayed in held:
            rate = groups[id(v)]["lr"] * groups[id(v)]["weight_decay"]
            v.copy_(start + slope * v - rate * decayed)

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)


def in_weights(gradient: Tensor, slope: Tensor) -> Tensor:
    """∂L/∂w from ∂L/∂v = Ψ'(v) ∂L/∂w. Where the slope underflows, so does the gradient, and 0 / 0 must be 0."""
    return gradient / slope.where(slope != 0, 1.0)


class WeightCompander(ClassificationMethod):
    """Trains v, where every weight of a linear or convolutional layer is w = Ψ(v) = a arctan(v / b).

    The bound |w| < a π/2 compresses large weights, and the slope Ψ'(v) = ab / (b² + v²), largest at 0, moves small ones most:
    they spread away from 0. v starts at b tan(w / a), w drawn as usual, so that the network starts unchanged. The scalars a
    and b are fixed and the same everywhere, or learned as parameters, one pair for the network or one for each layer. A step
    of SGD changes w by about -η Ψ'(v)² ∂L/∂w: where a ≠ b, compare with a learning rate that is (a / b)² times as large.

    Weight decay, as in the paper, acts on w where a and b are fixed (eq. 5, as a term of the loss), on v where they are
    learned, and never on a or b; the track's ``weight_decay`` is twice the λ of λ wᵀw, PyTorch's convention, which the paper
    leaves open. Adam takes its steps in w, which the slope carries to v (section III-A3); its decoupled decay is carried
    likewise. Learned a and b are not kept positive: the paper does not either. Every layer is reparametrized, the last one too.
    ``wc_function`` has the paper's two other functions. There is no official code to compare with.

    Switched off (a = b → ∞, where Ψ is the identity), there is no parametrization.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Weight Compander: A Simple Weight Reparameterization for Regularization",
        "Cakaj, Mehnert, Yang",
        2023,
        "IJCNN",
        "2306.16993",
    )

    wc_scale: float | None = weight(
        1.0,
        off=None,
        gt=0,
        symbol="a",
        differentiable=True,
        may_change=False,
        help="scale: weights stay below a π/2; the start of a learned a",
    )
    wc_stretch: float | None = weight(
        0.6,
        off=None,
        gt=0,
        symbol="b",
        differentiable=True,
        may_change=False,
        help="stretch: the slope at 0 is a/b; the start of a learned b",
    )
    wc_learnable: Learned = hyperparameter(
        "fixed", help="a and b: fixed, or learned as one pair of the network (coarse) or of each layer (fine)"
    )
    wc_function: Name = hyperparameter("arctan", help="ψ in w = a ψ(v/b): arctan, erf (bounded by a) or arsinh (unbounded)")

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.wc_scale is None) != (self.wc_stretch is None):
            raise ValueError("give both wc_scale and wc_stretch, or None for both: no parametrization")
        return self

    def build_model(self, data: Data) -> nn.Module:
        """The track's network, companded."""
        network = super().build_model(data)
        if self.wc_scale is None or self.wc_stretch is None:
            return network
        return compand(network, self.wc_scale, self.wc_stretch, function=self.wc_function, learned=self.wc_learnable)

    def objective(self, model: Logits, batch: Batch, weights: SimpleNamespace) -> tuple[Tensor, Tensor]:
        """Cross-entropy, and where a and b are fixed and SGD trains, half the weight decay times Σ w²."""
        if weights.wc_scale is None:
            return super().objective(model, batch, weights)
        assert isinstance(model, nn.Module)
        given = _given(model, weights) if self.wc_learnable == "fixed" else {}
        # Each Ψ(v) is computed once; the penalty finds the weights of the forward pass, with the given a and b.
        with parametrize.cached():
            loss, logits = super().objective(lambda x: functional_call(model, given, (x,)), batch, weights)
            if self._decays_in_the_loss and self.weight_decay:
                squares = [layer.weight.square().sum() for layer, _, _ in companded(model)]
                loss = loss + self.weight_decay / 2 * torch.stack(squares).sum()
        return loss, logits

    @property
    def _decays_in_the_loss(self) -> bool:
        return self.optimizer == "sgd" and self.wc_learnable == "fixed"

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """The free parameters v; the learned a and b, without decay; and the rest."""
        free = [v for _, _, v in companded(model)]
        pairs = [parameter for module in model.modules() if isinstance(module, Pair) for parameter in module.parameters()]
        own = {id(parameter) for parameter in (*free, *pairs)}
        groups: list[dict[str, Any]] = [{"params": [p for p in model.parameters() if id(p) not in own]}]
        if free:
            groups.append({"params": free} | ({"weight_decay": 0.0} if self._decays_in_the_loss else {}))
        if pairs:
            groups.append({"params": pairs, "weight_decay": 0.0})
        return groups

    def stepped_gradients(self, model: nn.Module) -> list[Tensor]:
        """Of Adam, which steps in w, those in w; they fall in proportion to the gradients in v."""
        if self.optimizer != "adam":
            return super().stepped_gradients(model)
        slopes = {id(v): compander.slope(v.detach()) for _, compander, v in companded(model)}
        held = [parameter for parameter in model.parameters() if parameter.grad is not None]
        return [in_weights(p.grad, slopes[id(p)]) if id(p) in slopes else p.grad for p in held if p.grad is not None]

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The track's; Adam steps in w."""
        optimizer = super().build_optimizer(model)
        if self.optimizer == "adam":
            step_in_weights(optimizer, model, decay_free=self.wc_learnable != "fixed")
        return optimizer

    def diagnostics(self, model: nn.Module) -> Metrics:
        """The largest weight, the share of small ones in the first layer, and the learned pairs."""
        with torch.no_grad():
            weights = [layer.weight for layer in model.modules() if isinstance(layer, nn.Linear | _ConvNd)]
            found = {
                "weights/largest": max(w.abs().max().item() for w in weights),
                "weights/small": (weights[0].abs() < SMALL).double().mean().item(),
            }
        pairs = [module for module in model.modules() if isinstance(module, Pair) and list(module.parameters())]
        for index, pair in enumerate(pairs):
            found |= {f"scale/{index}": pair.scale.item(), f"stretch/{index}": pair.stretch.item()}
        return found


def _given(model: nn.Module, weights: SimpleNamespace) -> dict[str, Tensor]:
    """The fixed pair's tensors by their names in a companded network, with these weights as values."""
    (found,) = ((name, module) for name, module in model.named_modules() if isinstance(module, Pair))
    name, pair = found
    values = {"scale": weights.wc_scale, "stretch": weights.wc_stretch}
    return {
        f"{name}.{key}": torch.as_tensor(value, dtype=pair.scale.dtype, device=pair.scale.device)
        for key, value in values.items()
    }
