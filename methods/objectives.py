"""A method's objective, caught in a training, to be evaluated at other models, batches and weights, in any precision."""

import copy
import dataclasses
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from regbench.methods.method import Method
from regbench.methods.run import Run

# Beyond, single precision may overflow on the way.
LARGEST_SINGLE = 1e30
# How far single precision may be from double precision: relative to the value, and to what rounding the parameters changes.
RELATIVE, ROUNDINGS = 1e-3, 300.0
# Where a weight's range ends without a limit of its own, see ``weight_cases``.
NEAR, FAR = 100.0, 1000.0


@dataclass(frozen=True)
class Case:
    """What is done to the model and the batch: all parameters are multiplied, all rows may be made the first one."""

    name: str
    factor: float = 1.0
    alike: bool = False


CASES = (
    Case("the trained parameters"),
    Case("a tenth of all parameters", factor=0.1),
    Case("all parameters times -8", factor=-8.0),
    Case("all rows alike", alike=True),
)


@dataclass(frozen=True)
class Weights:
    """Values of all weights, and which of them are to be tensors."""

    name: str
    values: dict[str, Any]
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class Slopes:
    """A loss, and all its slopes in a vector, both in double precision."""

    loss: Tensor
    gradient: Tensor

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are."""
        return bool(self.loss.isfinite() and self.gradient.isfinite().all())

    @property
    def largest(self) -> float:
        """The largest size of any of them."""
        return max(self.loss.abs().item(), self.gradient.abs().max().item() if len(self.gradient) else 0.0)

    def departure(self, exact: "Slopes", rounded: "Slopes | None" = None) -> str:
        """What differs from the exact ones by more than rounding explains, or ""; ``rounded`` have rounded parameters."""
        for name in ("loss", "gradient"):
            truth, found = getattr(exact, name), getattr(self, name)
            moved = 0.0 if rounded is None else (getattr(rounded, name) - truth).norm()
            if not (found - truth).norm() <= RELATIVE * (truth.norm() + RELATIVE) + ROUNDINGS * moved:
                return f"{name}, off by {(found - truth).norm().item():.2g} from {truth.norm().item():.2g},"
        return ""


@dataclass(frozen=True)
class CaughtObjective:
    """An objective with the model and the batch at which the last round of a training began.

    Attributes:
        method: whose it is.
        model, batch: as its arguments, in the precision of training.
        rng: the state of torch's global generator.
        random: whether it draws random numbers, which differ between precisions.
    """

    method: Method
    model: Any
    batch: Any
    rng: Tensor
    random: bool

    def loss(
        self, weights: SimpleNamespace, case: Case = CASES[0], dtype: torch.dtype = torch.float64, noise: float = 0.0
    ) -> tuple[Tensor, list[Tensor]]:
        """The loss, and the model's parameters, all of copies: a forward pass may move buffers and generators.

        Args:
            weights: of the objective.
            case: what is done to model and batch.
            dtype: of everything.
            noise: standard deviation of what parameters are changed by, relative to each.
        """
        torch.set_rng_state(self.rng)
        model, batch = _copied(self.model, dtype), _copied(self.batch, dtype, alike=case.alike)
        leaves = list(model.parameters()) if isinstance(model, nn.Module) else [model] if isinstance(model, Tensor) else []
        stream = torch.Generator().manual_seed(0)
        for leaf in leaves:
            with torch.no_grad():
                leaf.mul_(case.factor * (1 + noise * torch.randn(leaf.shape, generator=stream, dtype=leaf.dtype)))
            leaf.requires_grad_(leaf.requires_grad or not isinstance(leaf, nn.Parameter))
        torch.set_rng_state(self.rng)
        loss = self.method.objective(model, batch, weights)[0]  # type: ignore[attr-defined]
        return loss, [leaf for leaf in leaves if leaf.requires_grad]

    def slopes(self, case: Case, weights: Weights, *, dtype: torch.dtype = torch.float64, perturbed: bool = False) -> Slopes:
        """Loss and slopes in parameters and weights; perturbed, with parameters rounded as in single precision."""
        values = dict(weights.values)
        for name in weights.tensors:
            values[name] = torch.tensor(float(values[name]), dtype=dtype, requires_grad=True)
        noise = torch.finfo(torch.float32).eps if perturbed else 0.0
        loss, leaves = self.loss(SimpleNamespace(**values), case, dtype, noise)
        leaves = leaves + [values[name] for name in weights.tensors]
        if not loss.requires_grad:
            return Slopes(loss.detach().double(), loss.new_zeros(0, dtype=torch.float64))
        found = torch.autograd.grad(loss, leaves, materialize_grads=True)
        return Slopes(loss.detach().double(), torch.cat([slope.flatten().double() for slope in found]))


def is_pure(method: type[Method]) -> bool:
    """Whether a method's ``objective`` is a function of a model, a batch and weights."""
    found = inspect.signature(getattr(method, "objective", lambda: None)).parameters
    return list(found)[1:] == ["model", "batch", "weights"]


def catch(instance: Method, run: Run) -> CaughtObjective | None:
    """The objective at the first batch of a training's last round; None if training does not call it."""
    method, seen = type(instance), list[CaughtObjective]()

    def watch(self: Any, model: Any, batch: Any, weights: SimpleNamespace) -> Any:
        if not run.last or seen:
            return method.objective(self, model, batch, weights)  # type: ignore[attr-defined]
        model_before, batch_before, rng = copy.deepcopy(model), _copied(batch), torch.get_rng_state()
        found = method.objective(self, model, batch, weights)  # type: ignore[attr-defined]
        drawn = not torch.equal(rng, torch.get_rng_state()) or not _same_generators(batch_before, batch)
        seen.append(CaughtObjective(instance, model_before, batch_before, rng, drawn))
        return found

    watched = type(method.__name__, (method,), {"__module__": method.__module__, "objective": watch})
    for _ in watched(**instance.model_dump()).train(run):
        pass
    return seen[0] if seen else None


def weight_cases(method: type[Method], instance: Method) -> Iterator[Weights]:
    """All weights as they are, off, and at the lower and upper ends of their ranges, those declared differentiable as tensors.

    A range ends at the field's own limit where that belongs to it; at a hundredth of the way from an open limit to the default;
    and above, where there is no limit, at a thousand times the default: as far as the search spaces reach.
    """
    declared = method.weights()
    own = vars(instance.weight_values())
    ends = {name: weight_range(method, name) for name, value in own.items() if isinstance(value, float)}
    seen: list[dict[str, Any]] = []
    for name, values in (
        ("as they are", own),
        ("off", {name: weight.off for name, weight in declared.items()}),
        ("at their lower ends", own | {name: low for name, (low, _) in ends.items()}),
        ("at their upper ends", own | {name: high for name, (_, high) in ends.items()}),
    ):
        numbers = {name: float(value) if name in ends and value is not None else value for name, value in values.items()}
        if numbers in seen:
            continue
        seen.append(numbers)
        tensors = [name for name in ends if declared[name].differentiable and numbers[name] is not None]
        yield Weights(name, numbers, tuple(tensors))


def weight_range(method: type[Method], name: str) -> tuple[float, float]:
    """The ends of a weight's range, see ``weight_cases``."""
    field = method.model_fields[name]
    limits = {type(limit): limit for limit in field.metadata}
    default = float(field.default)
    low, high = default / NEAR, FAR * default or 10.0
    if Ge in limits:
        low = float(limits[Ge].ge)
    elif Gt in limits:
        low = limits[Gt].gt + (default - limits[Gt].gt) / NEAR
    if Le in limits:
        high = float(limits[Le].le)
    elif Lt in limits:
        high = limits[Lt].lt - (limits[Lt].lt - default) / NEAR
    return low, high


def _copied(value: Any, dtype: torch.dtype | None = None, *, alike: bool = False) -> Any:
    """A copy, in a precision, of a model, a generator, a tensor, or a batch made of them, whose rows may be made alike."""
    if isinstance(value, nn.Module):
        return copy.deepcopy(value) if dtype is None else copy.deepcopy(value).to(dtype)
    if isinstance(value, Tensor):
        value = value.detach().clone()
        if alike and value.dim():
            value = value[:1].expand_as(value).clone()
        return value.to(dtype) if dtype is not None and value.is_floating_point() else value
    if isinstance(value, torch.Generator):
        return value.clone_state()
    if isinstance(value, tuple):
        return tuple(_copied(part, dtype, alike=alike) for part in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **{name: _copied(part, dtype, alike=alike) for name, part in fields.items()})
    return value


def _same_generators(before: Any, after: Any) -> bool:
    """Whether the generators of a batch stand where they stood."""
    if not dataclasses.is_dataclass(before):
        return True
    pairs = ((getattr(before, field.name), getattr(after, field.name)) for field in dataclasses.fields(before))
    return all(torch.equal(a.get_state(), b.get_state()) for a, b in pairs if isinstance(a, torch.Generator))
