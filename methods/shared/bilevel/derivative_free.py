"""Search for θ by values of f alone: Optuna's samplers, and DFO-LS, which sees residuals."""

import math
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regbench.methods.errors import CheckpointError, ConfigError, DivergedError
from regbench.methods.shared.bilevel.learner import Learner, LearnerOptions, LearnerState, Record, Stop, check
from regbench.methods.shared.bilevel.problem import BilevelProblem
from regbench.methods.shared.bilevel.samples import norm

# The one module of the methods that imports Optuna, which is what it compares with. It does so inside functions, as for DFO-LS,
# which is not installed with regbench: nobody else waits for them or needs them.
Searcher = Literal["random", "tpe", "cmaes", "dfols"]
Vector = NDArray[np.float64]

# Yields points ``[m]``, and is sent what was seen at each of them; ends when it has no more to ask.
Proposals = Generator[Vector, Vector, None]

# A lower solution ends where its gradient is so much smaller than the first one.
REDUCTION = 1e-4

# The radius of its trust region at which DFO-LS ends.
LEAST_RADIUS = 1e-8

# How far a point that is proposed anew may be from the one recorded: processors round differently.
SAME = 1e-5


@dataclass(frozen=True)
class DerivativeFreeOptions(LearnerOptions):
    """The constants of a search.

    Attributes:
        searcher: ``random``, ``tpe`` or ``cmaes``, Optuna's samplers with their defaults, or ``dfols``.
        seed: of the sampler; DFO-LS draws no random numbers.
    """

    searcher: Searcher = "tpe"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.box is not None, "a search without gradients needs a box")


@dataclass(kw_only=True)
class DerivativeFreeState(LearnerState):
    """A search's memory: the least value so far, the points asked for ``[T, m]``, and what was seen there ``[T, r]``."""

    asked: Tensor
    told: Tensor
    value: float = math.inf


class DerivativeFree(Learner):
    """Asks a searcher for points, and tells it f there: the value, or for DFO-LS the residuals r with f = ‖r‖².

    An iteration is one evaluation of f, the first one at the start; its record is of the best point so far. A lower solution
    starts at the last one, and ends where its gradient is 1e-4 times that at the start. It needs no bound on the distance to
    the minimizer, as hypergradients do, which would be dear where the lower problem is hardly convex.

    DFO-LS (Cartis, Fiala, Marteau and Roberts, 2019) ends when its trust region is tiny; the samplers never end.

    Args:
        problem: what to learn.
        options: the constants.

    Raises:
        ConfigError: the searcher is not installed, or cannot search so few parameters.
    """

    state: DerivativeFreeState

    def __init__(self, problem: BilevelProblem, options: DerivativeFreeOptions) -> None:
        self.options = options
        super().__init__(problem, options)
        theta = self._project(problem.theta0.detach().clone())
        check(len(theta) > 1 or options.searcher != "cmaes", "CMA-ES needs two or more parameters: choose another learner")
        self._start = theta
        self._target = REDUCTION * norm(problem.lower_gradient(problem.x0, theta))
        asked, told = theta.new_empty(0, len(theta)), theta.new_empty(0)
        self.state = DerivativeFreeState(theta=theta, x=problem.x0.detach().clone(), asked=asked, told=told)
        self.state.lower_iterations = 1
        self._begin()

    def step(self) -> Record:
        """One evaluation of f.

        Raises:
            DivergedError: f is not finite.
        """
        state, problem = self.state, self.problem
        state.iteration += 1
        theta = torch.from_numpy(self._next).to(problem.theta0)
        target = torch.maximum(self._target, problem.rounding(state.x, theta))
        solution = self.options.lower_solver(problem, state.x, theta, target, self.options.max_lower_iterations)
        state.x = solution.x
        state.lower_iterations += solution.iterations
        with torch.no_grad():
            value = problem.upper(state.x, theta).mean()
            seen = problem.residuals(state.x, theta) if self.options.searcher == "dfols" else value[None]
        if not value.isfinite():
            raise DivergedError(f"the upper loss of evaluation {state.iteration} is not finite: choose another learner")
        if value < state.value:
            state.theta, state.value = theta, value.item()
        state.asked = torch.cat([state.asked, theta[None]])
        state.told = torch.cat([state.told.reshape(-1, len(seen)), seen[None]])
        if not self._tell(seen):
            state.stop = int(Stop.SEARCH_ENDED)
        return Record(
            iteration=state.iteration,
            theta=state.theta,
            value=state.value,
            lower_iterations=state.lower_iterations,
            linear_iterations=0,
        )

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continues from a state: tells the searcher again what it was told; no lower problem is solved for that.

        Raises:
            CheckpointError: it is not the state of such a search on such a problem.
        """
        super().load_state_dict(saved)
        self._begin()
        going = True
        for asked, told in zip(self.state.asked, self.state.told, strict=True):
            if not going or not np.allclose(self._next, _numpy(asked), rtol=SAME, atol=SAME):
                raise CheckpointError(
                    f"{self.options.searcher} does not ask for the points that the state holds: another searcher, seed or "
                    "version wrote it; delete it to start again"
                )
            going = self._tell(told)

    def _begin(self) -> None:
        """Starts the searcher anew."""
        options, start = self.options, _numpy(self._start)
        assert options.box is not None
        if options.searcher == "dfols":
            self._proposals = _trust_region(start, options.box)
        else:
            self._proposals = _samples(options.searcher, options.seed, start, options.box)
        self._next = next(self._proposals)

    def _tell(self, seen: Tensor) -> bool:
        """Hands the searcher what was seen at the point that it asked for; whether it asks for another one."""
        try:
            self._next = self._proposals.send(_numpy(seen))
        except StopIteration:
            return False
        return True


def _numpy(values: Tensor) -> Vector:
    return np.array(values.double().cpu())


def _samples(searcher: str, seed: int, start: Vector, box: tuple[float, float]) -> Proposals:
    """The points of an Optuna study, whose first trial is the start; it is sent values ``[1]``."""
    import optuna

    samplers = {
        "random": optuna.samplers.RandomSampler,
        "tpe": optuna.samplers.TPESampler,
        "cmaes": optuna.samplers.CmaEsSampler,
    }
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=samplers[searcher](seed=seed))
    optuna.logging.set_verbosity(verbosity)
    study.enqueue_trial({f"theta{j}": value for j, value in enumerate(start.tolist())})
    while True:
        trial = study.ask()
        seen = yield np.array([trial.suggest_float(f"theta{j}", *box) for j in range(len(start))])
        study.tell(trial, float(seen[0]))


class _Closed(Exception):
    """Nobody waits for the next point."""


def _trust_region(start: Vector, box: tuple[float, float]) -> Proposals:
    """The points of DFO-LS; it is sent residuals ``[r]``.

    DFO-LS calls its objective, and cannot be left between two calls. So it runs in a thread of its own, which waits while its
    caller evaluates: never do both run at once. It ends with this generator.

    Raises:
        ConfigError: DFO-LS is not installed.
    """
    try:
        import dfols
    except ImportError:
        raise ConfigError("learner dfols needs DFO-LS: pip install 'regbench[dfols]', or choose another learner") from None

    asked: SimpleQueue[Vector | Exception | None] = SimpleQueue()
    answers: SimpleQueue[Vector | None] = SimpleQueue()

    def residuals(theta: Vector) -> Vector:
        asked.put(theta.copy())
        answer = answers.get()
        if answer is None:
            raise _Closed
        return answer

    def drive() -> None:
        end: Exception | None = None
        try:
            bounds = tuple(np.full(len(start), limit) for limit in box)
            # Its default number of evaluations is small; the budget is what limits them.
            found = dfols.solve(residuals, start, bounds=bounds, rhoend=LEAST_RADIUS, maxfun=10**6, do_logging=False)
            end = ConfigError(f"DFO-LS: {found.msg}") if found.flag == found.EXIT_INPUT_ERROR else None
        except Exception as error:
            end = error
        asked.put(end)

    # A daemon, so that a program whose search was not finished can end.
    threading.Thread(target=drive, name="dfols", daemon=True).start()
    try:
        while isinstance(point := asked.get(), np.ndarray):
            answers.put((yield point))
        if point is not None:
            raise point
    finally:
        answers.put(None)
