"""Learns the continuous weights of a network's training objective by gradient, in the place of a search over trials."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from regbench.methods.classification.task import Batch, ClassificationMethod
from regbench.methods.errors import DivergedError
from regbench.methods.method import Method, Metrics
from regbench.methods.run import Run
from regbench.methods.shared.bilevel.hypergradient import hypergradient
from regbench.methods.shared.bilevel.learning import LearnedMethod
from regbench.methods.shared.bilevel.network import ROWS_AT_ONCE, NetworkProblem, relatively_damped

# Of one upper iteration besides its training, all charged whether they are needed or not. Gradients: of g, of h, and those
# that the products with the Gauss-Newton matrix and with J start from. Products: for the adjoint, and one with J.
GRADIENTS, ADJOINT_PRODUCTS = 4, 15
PRODUCTS = ADJOINT_PRODUCTS + 1
HYPERGRADIENT = GRADIENTS + 2 * PRODUCTS

# Steps in the coordinates, each of which is 1 long: the first, its growth and its shrinkage, and the largest.
FIRST_STEP, GROWTH, SHRINKAGE, LARGEST_STEP = 0.2, 1.2, 0.5, 0.4

# What an upper loss on confidences serves. Every other metric of the track gains nothing from a temperature.
OF_CONFIDENCES = ("nll", "ece")

# Where a method changes one of these, its weights may act on more than the objective.
OWN = ("train", "train_epoch", "step", "batches", "build_model", "evaluate")


@dataclass(frozen=True)
class Range:
    """Where a weight is learned, and the scale of its coordinate, which goes from 0 (``low``) to 1 (``high``)."""

    low: float
    high: float
    log: bool

    def weight(self, coordinate: Tensor) -> Tensor:
        """The weight at a coordinate, a scalar."""
        if self.log:
            return self.low * (self.high / self.low) ** coordinate
        return self.low + (self.high - self.low) * coordinate

    def coordinate(self, weight: float) -> float:
        """The coordinate of a weight."""
        if self.log:
            return math.log(weight / self.low) / math.log(self.high / self.low)
        return (weight - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Learnable:
    """Whether and how a method's weights are learned by gradient.

    Attributes:
        how: ``exactly``: to any accuracy, of a lower problem that has one solution; ``approximately``: by what implicit
            differentiation says of a trained network.
        why_not: for each weight that cannot be learned, the reason.
        reason: why the method as a whole cannot, or "".
    """

    how: Literal["exactly", "approximately", "no"]
    why_not: Mapping[str, str]
    reason: str = ""


def learnable(method: type[Method]) -> Learnable:
    """Whether and how the weights of a method can be learned by gradient."""
    weights = method.weights()
    if issubclass(method, LearnedMethod):
        return Learnable("exactly", {})
    fixed = {name: "the training objective is not differentiable in it" for name, w in weights.items() if not w.differentiable}
    if not weights:
        return Learnable("no", {}, "it has no weights")
    if reason := _obstacle(method):
        return Learnable("no", fixed | {name: reason for name in weights if name not in fixed}, reason)
    if len(fixed) == len(weights):
        return Learnable("no", fixed, next(iter(fixed.values())))
    return Learnable("approximately", fixed)


def _obstacle(method: type[Method]) -> str:
    """What keeps implicit differentiation from a method's differentiable weights, or ""."""
    if not issubclass(method, ClassificationMethod):
        if hasattr(method, "objective"):
            return f"only the trainings of track {ClassificationMethod.track.name} can be differentiated so far"
        return "its training minimizes no single objective of a network, which could be differentiated"
    if method.build_memory is not ClassificationMethod.build_memory:
        return "its objective reads a memory of past epochs, which depends on the weight too and has no gradient in it"
    for name in OWN:
        if getattr(method, name) is not getattr(ClassificationMethod, name):
            return f"it has its own {name}, so the weight may act on more than the objective"
    return ""


class WeightLearning:
    """min over weights of g(x̂(weights)), g a loss on the validation split, x̂ the network that an ordinary training gives.

    An upper iteration is such a training, from scratch and with the run's seed, so that f is a function of the weights; then
    implicit differentiation at the trained network: z = -Jᵀq, (G + ζI) q = ∇g by conjugate gradients that start at the last q,
    G the Gauss-Newton matrix over all training rows; then a step against the sign of z. It rests on the training being near a
    minimum, and on G; nothing is guaranteed. Only the test split stays unseen: g takes the split that tuning judges by.

    A weight moves in a coordinate of its range, 0 to 1 on the range's own scale, by Rprop: its step grows by a fifth while z
    keeps its sign and halves when that turns (Riedmiller and Braun, 1993). So neither the scale of the weights nor that of z,
    which the damping changes, matters. Where training diverges, half the way back to the best point is gone. What is learned
    are the weights with the least g so far. When no weight can move any more, the remaining rounds repeat the last one.

    Args:
        method: whose weights are learned, starting at its own values; no weight decay under Adam, which minimizes no objective.
        ranges: of the weights to learn, by name.
        rounds: upper iterations.
        objective: the track's metric that is judged, without prefix; cross-entropy serves metrics of confidences, for the
            others it is calibrated (see ``NetworkProblem``).
    """

    def __init__(self, method: ClassificationMethod, ranges: Mapping[str, Range], rounds: int, objective: str) -> None:
        self.method, self.ranges, self.rounds = method, ranges, rounds
        self.calibrated = objective not in OF_CONFIDENCES

    def train(self, run: Run) -> Iterator[Metrics]:
        """Yields after each upper iteration what the best one so far reached on validation data, and a record of this one.

        ``weight/…`` are the weights tried, ``learned/…`` the best so far; ``learn/…`` tells of the iteration, with counts since
        the start in passes over the training rows: ``lower_iterations`` (epochs and gradients), ``linear_iterations``
        (products), and ``cost``, where a product counts twice.
        """
        book: dict[str, Any] = {"learner": self._start(run), "shown": {}, "metrics": {}}
        run.restore(book=book)
        for _ in run.rounds(self.rounds):
            if not book["learner"]["ended"]:
                self._iterate(book, run)
            yield book["metrics"] | book["shown"]

    def _start(self, run: Run) -> dict[str, Any]:
        values = [limits.coordinate(getattr(self.method, name)) for name, limits in self.ranges.items()]
        coordinates = torch.tensor(values, dtype=torch.float64, device=run.device).clamp(0, 1)
        return {
            "coordinates": coordinates,
            "best": coordinates,
            "least": math.inf,
            "step": torch.full_like(coordinates, FIRST_STEP),
            "sign": torch.zeros_like(coordinates),
            "left": coordinates,
            "value": math.inf,
            "adjoint": None,
            "iterations": 0,
            "products": 0,
            "ended": False,
        }

    def _iterate(self, book: dict[str, Any], run: Run) -> None:
        """One upper iteration: moves the learner on, and notes what it found."""
        state = book["learner"]
        state |= {name: value.to(run.device) for name, value in state.items() if isinstance(value, Tensor)}
        coordinates = state["coordinates"]
        weights = self.values(coordinates)
        metrics, network = self._fit(weights, run)
        record, z = self._differentiate(metrics, network, coordinates, state, run)
        state["iterations"] += 1
        if z is not None and record["learn/upper_loss"] < state["least"]:
            state["least"], state["best"], book["metrics"] = record["learn/upper_loss"], coordinates, metrics
        if not book["metrics"]:
            raise DivergedError(f"training diverged at the weights where learning starts, {weights}: start elsewhere")
        record |= {"learn/step_size": state["step"].max().item()}
        if z is None:
            self._retreat(state)
        else:
            self._step(state, z, record["learn/upper_loss"])
        trainings = state["iterations"]
        record |= {
            "learn/upper_iterations": float(trainings),
            "learn/lower_iterations": float(trainings * (self.method.epochs + GRADIENTS)),
            "learn/linear_iterations": float(state["products"]),
            "learn/cost": float(trainings * (self.method.epochs + HYPERGRADIENT)),
        }
        record |= {f"weight/{name}": value for name, value in weights.items()}
        book["shown"] = record | {f"learned/{name}": value for name, value in self.values(state["best"]).items()}

    def _fit(self, weights: Mapping[str, float], run: Run) -> tuple[Metrics, nn.Module]:
        """An ordinary training with these weights: its last metrics and its network, in evaluation mode."""
        training = Run(run.data, seed=run.seed, device=run.device)
        *_, metrics = self.method.replace(**weights).train(training)
        network = self.method.build_model(run.data).to(run.device)
        network.load_state_dict(training.state()["state"]["model"])
        return metrics, network.eval()

    def _differentiate(
        self, metrics: Metrics, network: nn.Module, coordinates: Tensor, state: dict[str, Any], run: Run
    ) -> tuple[Metrics, Tensor | None]:
        """The record of the hypergradient z at a trained network, and z; nothing and None where something diverged."""
        if not all(map(math.isfinite, metrics.values())):
            return {}, None
        problem = self.problem(network, coordinates, run)
        x, theta = problem.x0, problem.theta0
        start = torch.zeros_like(x) if state["adjoint"] is None else state["adjoint"]
        found = hypergradient(problem, x, theta, x.new_zeros(1), 0.0, start, relatively_damped, ADJOINT_PRODUCTS, certify=False)
        with torch.no_grad():
            value = problem.upper(x, theta).item()
        record = {
            "learn/upper_loss": value,
            "learn/hypergradient_norm": found.norm,
            "learn/lower_gradient_norm": problem.lower_gradient(x, theta).norm().item(),
            "learn/adjoint_tolerance": found.accuracy,
        }
        state["products"] += found.iterations + 1
        if not all(map(math.isfinite, record.values())):
            return {}, None
        state["adjoint"] = found.adjoint
        return record, found.z.to(coordinates)

    def problem(self, network: nn.Module, coordinates: Tensor, run: Run) -> NetworkProblem:
        """The bilevel problem at a trained network, with θ the coordinates."""
        noise, epochs, classes = run.generator("hypergradient", run.device), self.method.epochs, run.data.meta["classes"]
        x, y = run.tensors(run.data.train)[:2]
        index, held_out = torch.arange(len(y), device=run.device), run.tensors(run.data.validation)
        return NetworkProblem(
            self.method,
            network,
            self.method.build_optimizer(network),
            [Batch(x[part], y[part], part, classes, epochs, epochs, None, noise) for part in index.split(ROWS_AT_ONCE)],
            (held_out[0], held_out[1]),
            coordinates.to(next(network.parameters())),
            self._weights,
            calibrated=self.calibrated,
        )

    def _step(self, state: dict[str, Any], z: Tensor, value: float) -> None:
        """Rprop. Where g rose along the last step, but z says that it still falls along it, the rise is what is believed."""
        here = state["coordinates"]
        moved, sign = here - state["left"], z.sign()
        if value > state["value"] and (z * moved).sum() <= 0:
            sign = torch.where(moved == 0, sign, moved.sign())
        turned = sign * state["sign"]
        grown = (GROWTH * state["step"]).clamp(max=LARGEST_STEP)
        state["step"] = torch.where(turned > 0, grown, torch.where(turned < 0, SHRINKAGE * state["step"], state["step"]))
        state["coordinates"] = (here - state["step"] * sign).clamp(0, 1)
        state["sign"], state["left"], state["value"] = sign, here, value
        state["ended"] = torch.equal(state["coordinates"], here)

    def _retreat(self, state: dict[str, Any]) -> None:
        """Goes half the way back to the best point, after a divergence."""
        state["step"] = SHRINKAGE * state["step"]
        state["left"], state["value"] = state["best"], state["least"]
        state["coordinates"] = (state["coordinates"] + state["best"]) / 2
        state["sign"] = torch.zeros_like(state["sign"])

    def values(self, coordinates: Tensor) -> dict[str, float]:
        """The weights at coordinates ``[m]``, by name; rounding leaves them in their ranges."""
        found = {name: value.item() for name, value in self._weights(coordinates).items()}
        return {name: min(max(value, self.ranges[name].low), self.ranges[name].high) for name, value in found.items()}

    def _weights(self, coordinates: Tensor) -> dict[str, Tensor]:
        return {name: limits.weight(u) for (name, limits), u in zip(self.ranges.items(), coordinates, strict=True)}
