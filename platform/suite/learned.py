"""What ``sampler: bilevel`` makes of a study: one trial that learns the weights by gradient, or a reason why it cannot."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from optuna.distributions import FloatDistribution

from regbench.methods.classification.task import ClassificationMethod
from regbench.methods.errors import ConfigError
from regbench.methods.method import Method
from regbench.methods.registry import create
from regbench.methods.shared.bilevel.learning import LearnedMethod
from regbench.methods.shared.bilevel.weights import HYPERGRADIENT, Learnable, Range, WeightLearning, learnable
from regbench.search_spaces.ranges import space as default_space
from regbench.search_spaces.space import SearchSpace

NO_GUARANTEE = "implicit differentiation, no guarantee"

# For each trial that the suite would give to a search: what a method that is learned exactly may spend, and its records.
EXACT_BUDGET, EXACT_ITERATIONS = 500, 2


@dataclass(frozen=True)
class Learning:
    """How a study's tuning trial learns.

    Attributes:
        fixed: settings with one value, those that make a method learn by itself included.
        space: the ranges of the weights to learn; empty where the method learns by itself, or nothing is learned.
        rounds: upper iterations of the tuning trial; None where it is an ordinary one.
    """

    fixed: dict[str, Any]
    space: SearchSpace
    rounds: int | None = None


def plan_learning(
    name: str, ranges: Collection[str], method: type[Method], fixed: dict[str, Any], space: SearchSpace, trials: int
) -> Learning:
    """How the weights of an entry are learned at the cost of as many ordinary trainings as the suite has trials.

    Searched settings that are no weights keep the method's own values.

    Args:
        name: of the entry.
        ranges: the settings to which the suite gives a range.
        method: its class.
        fixed: settings with one value.
        space: what another sampler would search.
        trials: of the suite.

    Raises:
        ConfigError: there are weights in the space, and one of them cannot be learned.
    """
    weights = method.weights()
    for setting in ranges:
        if setting not in weights:
            raise ConfigError(
                f"sampler bilevel learns weights; {name} gives a range to {setting}, which is none: fix it under `settings`"
            )
    if issubclass(method, LearnedMethod):
        return _exactly(name, ranges, method, fixed, space, trials)
    if not any(setting in weights for setting in space):
        if method.slug != method.track.baseline and not any(setting in weights for setting in default_space(method.slug)):
            raise ConfigError(
                f"sampler bilevel cannot learn {name}: {method.slug} has no weights in its search space; "
                "leave it out, or use tpe"
            )
        return Learning(fixed, SearchSpace())
    return _approximately(name, method, fixed, space.only(weights.__contains__), trials)


def _exactly(
    name: str, ranges: Collection[str], method: type[Method], fixed: dict[str, Any], space: SearchSpace, trials: int
) -> Learning:
    if not space:
        return Learning(fixed, space)
    if ranges:
        raise ConfigError(
            f"sampler bilevel learns {name} by {method.slug}'s own learner, in a range of its own: leave "
            f"{', '.join(ranges)} out of `space`"
        )
    budget = {"learner": "maid", "budget": EXACT_BUDGET * trials, "upper_iterations": EXACT_ITERATIONS * trials}
    fixed = budget | fixed
    learner = create(method.slug, fixed)
    if isinstance(learner, LearnedMethod) and not learner.learns:
        raise ConfigError(f"sampler bilevel cannot learn {name}: its settings have learner none, or start at the off value")
    if isinstance(learner, LearnedMethod) and learner.searches:
        raise ConfigError(
            f"sampler bilevel learns by gradient, and the settings of {name} have learner {learner.learner}: "
            "choose maid, hoag or fixed, or another sampler"
        )
    return Learning(fixed, SearchSpace())


def _approximately(name: str, method: type[Method], fixed: dict[str, Any], space: SearchSpace, trials: int) -> Learning:
    found: Learnable = learnable(method)
    for weight, limits in space.items():
        reason = found.why_not.get(weight)
        if reason is None and not isinstance(limits, FloatDistribution):
            reason = "its range is of whole numbers or choices"
        if reason is None and space.step(weight):
            reason = "its range has a step"
        if reason:
            advice = f"fix {weight} under `settings`, or use tpe"
            raise ConfigError(f"sampler bilevel cannot learn {name}.{weight}: {reason}; {advice}")
    training = create(method.slug, fixed)
    assert isinstance(training, ClassificationMethod)
    if training.optimizer == "adam" and training.weight_decay:
        raise ConfigError(
            f"sampler bilevel cannot learn {name}: Adam's decoupled weight decay minimizes no objective; set optimizer to sgd, "
            "or weight_decay to 0"
        )
    rounds = trials * training.epochs // (training.epochs + HYPERGRADIENT)
    if rounds < 2:
        raise ConfigError(
            f"sampler bilevel: {trials} trials of {training.epochs} epochs pay for {rounds} upper iterations of {name}, each a "
            f"training and as much as {HYPERGRADIENT} epochs; raise trials or epochs"
        )
    return Learning(fixed, space, rounds)


def weight_learning(method: Method, space: dict[str, tuple[float, float, bool]], rounds: int, objective: str) -> WeightLearning:
    """What trains a tuning trial: the method's weights in these ranges (low, high, log), judged by a validation metric."""
    assert isinstance(method, ClassificationMethod)
    ranges = {name: Range(*limits) for name, limits in space.items()}
    return WeightLearning(method, ranges, rounds, objective.removeprefix("val/"))


def how_learned(method: Method) -> str | None:
    """How a method learns its weights in its own training, None where it does not."""
    if not isinstance(method, LearnedMethod) or not method.learns:
        return None
    if method.searches:
        return f"{method.learner}, without gradients"
    if method.learner != "maid" or not method.check_descent:
        return method.learner
    return "maid, certified descent" if method.bounds_jacobian else "maid, descent tested with an estimate of ‖J‖, no guarantee"
