"""The contract of a method as clauses that can be run: ``regbench check METHOD``, or for a method of your own package

    for clause in CLAUSES:
        clause(MyMethod)
    distributed(MyMethod)

A clause trains the method for moments, with the smoke settings of its track on the track's default data set; what several
clauses ask of one training, they look up in it. A clause raises ContractError when it is broken, NotApplicable when it has
nothing to ask; its docstring says what must hold.
"""

import io
import itertools
import json
import math
import multiprocessing
import pickle
import re
import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from pydantic import ValidationError
from torch import Tensor

from regbench.methods import plugins
from regbench.methods.contract_trainings import (
    as_file,
    changed,
    curve_of,
    reference,
    retrained,
    smoke,
    smoke_run,
    train,
)
from regbench.methods.diagnostics import Diagnostics
from regbench.methods.errors import ContractError, one_line
from regbench.methods.method import Method, Metrics, Paper
from regbench.methods.metrics import metrics_of
from regbench.methods.objectives import CASES, LARGEST_SINGLE, CaughtObjective, is_pure, weight_cases
from regbench.methods.registry import method_class
from regbench.methods.run import ProcessGroup
from regbench.methods.strict import explain
from regbench.methods.watch import Watch

Clause = Callable[[type[Method]], None]


class NotApplicable(Exception):
    """A clause has nothing to ask of a method, or no means to ask it here; the message says why."""


def described(method: type[Method]) -> None:
    """Its docstring, its paper and a line for each setting say what it is; its defaults and off values are valid."""
    if method.__module__.startswith("regbench."):
        _require(method, method.slug == method.__module__.rpartition(".")[2], "its slug is not its module's name")
    _require(method, bool(vars(method).get("__doc__")), "the class has no docstring")
    paper = vars(method).get("paper", ...)
    _require(method, paper is None or isinstance(paper, Paper), "set `paper` to a Paper, or to None for a classic without one")
    if isinstance(paper, Paper):
        _require(method, bool(paper.title and paper.authors and paper.venue and paper.year > 1900), "its paper is incomplete")
        arxiv = paper.arxiv is None or re.fullmatch(r"\d{4}\.\d{4,5}", paper.arxiv)
        _require(method, bool(arxiv), f"'{paper.arxiv}' is not a bare arXiv identifier such as 2006.12000")
    for name, field in method.model_fields.items():
        _require(method, _is_line(field.description), f"setting '{name}' needs one line of help")
        _require(method, not field.is_required(), f"setting '{name}' has no default")
    for weight in method.weights().values():
        _require(method, _is_line(weight.symbol), f"weight '{weight.name}' needs its symbol")
    try:
        method().baseline()
    except ValidationError as error:
        raise ContractError(f"{method.slug} refuses its defaults or off values: {explain(error)}") from None


def recordable(method: type[Method]) -> None:
    """Its settings survive JSON, in which trials are recorded and sent to workers."""
    for instance in (method(), smoke(method)):
        try:
            again = method(**json.loads(json.dumps(instance.model_dump())))
        except TypeError as error:
            raise ContractError(f"{method.slug}: a setting cannot be written as JSON: {error}") from None
        _require(method, again == instance, "settings change when they are written as JSON and read again")


def frozen(method: type[Method]) -> None:
    """Its fields are all that it holds: frozen, closed to unknown settings, and the same after training."""
    config = method.model_config
    closed = config.get("frozen") and config.get("extra") == "forbid" and not config.get("allow_inf_nan", True)
    _require(method, bool(closed), "it changes model_config: keep it frozen, extra='forbid', allow_inf_nan=False")
    _require(method, not retrained(method).kept, "training leaves something on the method itself: hand it to run.restore")


def reports(method: type[Method]) -> None:
    """It yields ``rounds`` mappings of names to finite floats, with every validation metric of its track."""
    instance, curve = smoke(method), reference(method)
    _require(method, len(curve) == instance.rounds, f"rounds is {instance.rounds}, but train yields {len(curve)} mappings")
    for number, metrics in enumerate(curve, start=1):
        for name, value in metrics.items():
            where = f"{name} in round {number} is {value!r}"
            _require(method, type(value) is float, f"{where}, of type {type(value).__name__}: yield a plain float")
            _require(method, math.isfinite(value), where)
        _require_metrics(method, instance, metrics, "val")


def tests_last(method: type[Method]) -> None:
    """Test metrics come in the last round only, only when asked for, and change no other number."""
    curve, tested = reference(method), reference(method, test=True)
    early = [name for metrics in (*curve, *tested[:-1]) for name in metrics if name.startswith("test/")]
    _require(method, not early, f"it reports {', '.join(early[:1])} before the last round, or unasked")
    _require_metrics(method, smoke(method), tested[-1], "test")
    rest = [{name: value for name, value in metrics.items() if not name.startswith("test/")} for metrics in tested]
    _require_same(method, rest, curve, "computing test metrics")


def repeats(method: type[Method]) -> None:
    """The same seed gives the same curve, to the last bit."""
    _require_same(method, retrained(method).curve, reference(method), "training again with the same seed")


def follows_seed(method: type[Method]) -> None:
    """Another seed gives another curve, where training draws random numbers."""
    run = smoke_run(method, seed=1)
    start = torch.get_rng_state()
    if any(found != expected for found, expected in zip(smoke(method).train(run), reference(method), strict=True)):
        return
    state = run.state()
    if not state["generators"] and torch.equal(start, state["rng"]):
        raise NotApplicable("it draws no random numbers")
    raise ContractError(f"{method.slug}: seeds 0 and 1 give the same curve: its random numbers do not follow the seed")


def resumes(method: type[Method]) -> None:
    """Interrupted after every round and resumed from a checkpoint file, it gives the curve of one that was not."""
    rounds, checkpoint, curve = smoke(method).rounds, None, []
    for _ in range(rounds):
        run = smoke_run(method, checkpoint=checkpoint)
        training = iter(smoke(method).train(run))
        curve.append(next(training))
        checkpoint = _through_file(method, run.state())
    _require_same(method, curve, reference(method), "resuming after each round")
    extra = train(smoke(method), smoke_run(method, checkpoint=checkpoint))
    _require(method, not extra, f"resumed after its last round, it trains {len(extra)} more")


def goes_on_changed(method: type[Method]) -> None:
    """Half trained, it goes on with other values of the settings that may change, and by those values.

    Asked of each weight that the method declares itself, and of all else at once.
    """
    instance, curve = smoke(method), reference(method)
    own = [name for name in method.weights() if name in vars(method)["__annotations__"] and name in instance.changeable]
    rest = sorted(instance.changeable.difference(own))
    cases = [[name] for name in own] + ([rest] if rest else [])
    if not (method.track.iterative and instance.rounds > 1 and cases):
        raise NotApplicable("no setting may change, or no round trains on what the one before has trained")
    state = retrained(method).halfway
    for names in cases:
        what, others = f"{', '.join(names)} may change, but", changed(instance, names)
        _require(method, all(other.rounds == len(curve) for other in others), f"{what} the rounds follow it")
        try:
            runs = [other.train(smoke_run(method, checkpoint=_read(method, state))) for other in others]
            counts = any(found != expected for run in runs for found, expected in zip(run, curve[1:], strict=True))
        except Exception as error:
            reason = one_line(error)
            raise ContractError(f"{method.slug}: {what} half trained it cannot go on with another value: {reason}") from error
        # Metrics may be too coarse to show a step of another length.
        counts = counts or any(_after(method, other, state) != _after(method, instance, state) for other in others)
        # What counts nowhere here, as an option that is off, need not count later.
        counts = counts or all(curve_of(other) == curve for other in others)
        _require(method, counts, f"{what} half trained it goes on as with the old value: declare may_change=False")


def _after(method: type[Method], instance: Method, state: bytes) -> bytes:
    """What a training that goes on from a state ends with, as a file's content."""
    run = smoke_run(method, checkpoint=_read(method, state))
    for _ in instance.train(run):
        pass
    return as_file(run.state())


def is_watched(method: type[Method]) -> None:
    """Watching its hidden representation between its rounds changes no number."""
    instance, run = smoke(method), smoke_run(method)
    watch, curve, found = Watch(Diagnostics(names=["dse", "dsmi"], every=1), instance, run), [], dict[str, float]()
    for metrics in instance.train(run):
        curve.append(dict(metrics))
        found |= watch.measure()
    _require_same(method, curve, reference(method), "watching its hidden representation")
    if not found:
        raise NotApplicable("it shows no hidden representation")


def leaves_no_trace(method: type[Method]) -> None:
    """Between its rounds and after them, the process is as it was before, but for torch's random numbers."""
    changed = retrained(method).changed
    _require(method, not changed, f"training changes {', '.join(changed[:1])}")


def off(method: type[Method]) -> None:
    """With its weights off, its curve is that of the plain method ``off_equals``, to the last bit."""
    if not method.weights():
        raise NotApplicable("it has no weights")
    instance = smoke(method).baseline()
    for name, weight in method.weights().items():
        _require(method, getattr(instance, name) == weight.off, f"baseline() leaves {name} at {getattr(instance, name)!r}")
    curve = curve_of(instance)
    if method.off_equals in (None, method.slug):
        return
    plain = method_class(method.off_equals)
    shared = {name: getattr(instance, name) for name in plain.model_fields if name in method.model_fields}
    expected = curve_of(plain(**shared))
    both = curve[0].keys() & expected[0].keys()
    _require_same(
        method,
        [{name: metrics[name] for name in both} for metrics in curve],
        [{name: metrics[name] for name in both} for metrics in expected],
        f"switching it off, compared with {plain.slug},",
    )


def differentiable(method: type[Method]) -> None:
    """Its objective's gradient in each weight declared differentiable is finite, and what finite differences give.

    Asked where a method has ``objective(model, batch, weights)``: in double precision, on the model and batch with which the
    last round of a training begins.
    """
    names = [name for name, weight in method.weights().items() if weight.differentiable]
    if not is_pure(method):
        raise NotApplicable("its objective is not a function of (model, batch, weights)")
    if not names:
        raise NotApplicable("no weight is declared differentiable")
    caught = _caught(method)
    values = vars(smoke(method).weight_values())

    def objective(weights: SimpleNamespace) -> Tensor:
        return caught.loss(weights)[0]

    for name in names:
        value = torch.tensor(float(values[name]), dtype=torch.float64, requires_grad=True)
        loss = objective(SimpleNamespace(**values | {name: value}))
        (gradient,) = torch.autograd.grad(loss, value, allow_unused=True)
        _require(method, gradient is not None, f"the objective has no gradient in {name}")
        step = 1e-5 * max(1.0, abs(value.item()))
        above, below = (objective(SimpleNamespace(**values | {name: value.item() + change})) for change in (step, -step))
        slope = (above - below).item() / (2 * step)
        close = math.isclose(gradient.item(), slope, rel_tol=1e-4, abs_tol=1e-7 * max(1.0, abs(loss.item())))
        _require(method, close, f"the gradient in {name} is {gradient.item():.6g}, finite differences give {slope:.6g}")


def stable(method: type[Method]) -> None:
    """Its objective and gradients are numbers at extreme inputs and weights, and in single precision those of double precision.

    Asked where ``differentiable`` is: with the model's parameters as trained, a tenth of them, times -8, which makes large
    errors, and with all rows of the batch alike; with all weights as they are, off, and at both ends of their ranges, those
    declared differentiable as tensors. A loss may overflow; what does not must have a gradient.
    """
    if not is_pure(method):
        raise NotApplicable("its objective is not a function of (model, batch, weights)")
    caught = _caught(method)
    for case, weights in itertools.product(CASES, weight_cases(method, smoke(method))):
        where = f"with {case.name} and weights {weights.name}"
        exact = caught.slopes(case, weights)
        if exact.loss.isinf():
            continue
        _require(method, exact.finite, f"the objective or its gradient is not finite {where}")
        single = caught.slopes(case, weights, dtype=torch.float32)
        if exact.largest < LARGEST_SINGLE:
            _require(method, single.finite, f"in single precision the objective or its gradient is not finite {where}")
            if not caught.random:
                # Where they differ, it may be that the objective is sensitive to what its parameters are rounded by.
                problem = single.departure(exact) and single.departure(exact, caught.slopes(case, weights, perturbed=True))
                _require(method, not problem, f"single precision gives another {problem} than double {where}")


def runs_on_gpu(method: type[Method]) -> None:
    """On a GPU it trains to finite metrics, and resumes there from a checkpoint file."""
    if not torch.cuda.is_available():
        raise NotApplicable("no GPU here")
    checkpoint = None
    for expected in reference(method):
        run = smoke_run(method, device="cuda", checkpoint=checkpoint)
        metrics = next(iter(smoke(method).train(run)))
        checkpoint = _through_file(method, run.state())
        _require(method, metrics.keys() == expected.keys(), "it reports other metrics on a GPU than on a CPU")
        _require(method, all(map(math.isfinite, metrics.values())), f"a metric of round {run.round} on a GPU is not finite")


CLAUSES: tuple[Clause, ...] = (
    described,
    recordable,
    frozen,
    reports,
    tests_last,
    repeats,
    follows_seed,
    resumes,
    goes_on_changed,
    is_watched,
    leaves_no_trace,
    off,
    differentiable,
    stable,
    runs_on_gpu,
)


def distributed(*methods: type[Method]) -> None:
    """Two workers that train it together have the same model after every round: equal, finite validation metrics.

    Starts two processes for all methods; these must be importable, and the caller's main module guarded by
    ``if __name__ == "__main__"``.
    """
    # Importing takes longer than training: a server imports, torch's compiler too, which the first optimizer would import, and
    # these and later workers are forked from it.
    modules = {method.__module__ for method in methods if not method.__module__.startswith(plugins.HOME)}
    multiprocessing.set_forkserver_preload([__name__, "torch._dynamo", *modules])
    # A plugin's are not importable before the plugin is active.
    known = [method.slug if method.__module__.startswith(plugins.HOME) else method for method in methods]
    active = list(plugins.active().values())
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.start_processes(_worker, (known, active, folder), nprocs=2, start_method="forkserver")
        curves = [json.loads(Path(folder, f"rank{rank}.json").read_text()) for rank in range(2)]
    found = [(method.slug, _disagreement(*pair)) for method, *pair in zip(methods, *curves, strict=True)]
    if problems := [f"{slug}: {problem}" for slug, problem in found if problem]:
        raise ContractError("; ".join(problems))


def _worker(rank: int, known: Sequence[str | type[Method]], active: Sequence[plugins.Plugin], folder: str) -> None:
    plugins.activate(*active)
    torch.set_num_threads(1)
    curves: list[list[Metrics] | str] = []
    for number, method in enumerate(method_class(item) if isinstance(item, str) else item for item in known):
        # A group for each, so that a worker that fails frees the one that waits for it.
        store = f"file://{folder}/group{number}"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
        # A method that exchanges nothing would leave the group while the other worker still connects to it.
        dist.barrier()
        try:
            curves.append(train(smoke(method), smoke_run(method, world=ProcessGroup())))
        except Exception as error:
            curves.append(f"worker {rank} stopped with {type(error).__name__}: {one_line(error)}")
        finally:
            dist.destroy_process_group()
    Path(folder, f"rank{rank}.json").write_text(json.dumps(curves))


def _disagreement(first: list[Metrics] | str, second: list[Metrics] | str) -> str | None:
    """Why two workers' curves are not those of one model, or None; a string is the error that stopped a worker."""
    if isinstance(first, str) or isinstance(second, str):
        return first if isinstance(first, str) else str(second)
    validation = [
        [{name: value for name, value in metrics.items() if name.startswith("val/")} for metrics in curve]
        for curve in (second, first)
    ]
    if problem := _difference(*validation):
        return f"worker 1 has another model than worker 0: {problem}"
    wrong = [name for metrics in first for name, value in metrics.items() if not math.isfinite(value)]
    return f"{wrong[0]} is not finite" if wrong else None


def _caught(method: type[Method]) -> CaughtObjective:
    """Its objective, with model and batch of a training's last round."""
    if not (seen := retrained(method).seen):
        raise NotApplicable("its training does not call its objective")
    return seen[0]


def _require(method: type[Method], holds: bool, problem: str) -> None:
    if not holds:
        raise ContractError(f"{method.slug}: {problem}")


def _require_metrics(method: type[Method], instance: Method, metrics: Metrics, split: str) -> None:
    for metric in metrics_of(method.track):
        if metric.needs is None or getattr(instance, metric.needs, 0) > 0:
            _require(method, f"{split}/{metric.name}" in metrics, f"it does not report {split}/{metric.name}")


def _require_same(method: type[Method], found: Sequence[Metrics], expected: Sequence[Metrics], what: str) -> None:
    if problem := _difference(found, expected):
        raise ContractError(f"{method.slug}: {what} changes the curve: {problem}")


def _difference(found: Sequence[Metrics], expected: Sequence[Metrics]) -> str | None:
    """Where two curves first differ, or None."""
    if len(found) != len(expected):
        return f"{len(found)} rounds, not {len(expected)}"
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True), start=1):
        if odd := ours.keys() ^ theirs.keys():
            return f"only one of them has {min(odd)} in round {number}"
        for name in ours:
            if ours[name] != theirs[name]:
                return f"{name} in round {number} is {ours[name]!r}, not {theirs[name]!r}"
    return None


def _is_line(text: str | None) -> bool:
    return bool(text) and "\n" not in str(text)


def _through_file(method: type[Method], state: dict[str, Any]) -> dict[str, Any]:
    """A run's state, written and read as the platform does it."""
    return _read(method, as_file(state))


def _read(method: type[Method], content: bytes) -> dict[str, Any]:
    """A run's state from a file's content."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ContractError(
            f"{method.slug}: its checkpoint holds an object that weights_only=True refuses: hand run.restore tensors, numbers, "
            "strings, and lists or dictionaries of them"
        ) from None
