"""What a method is: a validated set of hyperparameters, some of them regularization weights, and a way to train."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.errors import ConfigError
from regbench.methods.hidden import Hidden
from regbench.methods.run import Run
from regbench.methods.shared.data import Data

Metrics = dict[str, float]


@dataclass(frozen=True)
class Paper:
    """Where a method was published. ``arxiv`` is the bare identifier, such as ``2006.12000``."""

    title: str
    authors: str
    year: int
    venue: str
    arxiv: str | None = None

    @property
    def citation(self) -> str:
        """One line: authors, title, venue, arXiv identifier."""
        return f"{self.authors}. {self.title}. {self.venue} {self.year}" + (f", arXiv:{self.arxiv}" if self.arxiv else "")


@dataclass(frozen=True)
class Metric:
    """A quantity by which methods of a track are compared.

    Attributes:
        name: without its split prefix (``accuracy``, ``frechet``).
        mode: whether more or less is better.
        needs: setting that must be positive for it to be reported; None where it always is.
    """

    name: str
    mode: Literal["max", "min"]
    needs: str | None = None

    @property
    def validation(self) -> str:
        """Its name on validation data, the only one that tuning sees."""
        return f"val/{self.name}"

    @property
    def test(self) -> str:
        """Its name on test data, computed once, for a chosen configuration."""
        return f"test/{self.name}"


@dataclass(frozen=True)
class Track:
    """A family of methods that share a task, data sets, an evaluation and a primary metric, so that they can be compared.

    Attributes:
        name: the folder under ``methods/``.
        help: one line, what is learned and how it is judged.
        metrics: the first is the primary metric; the others may serve as further objectives.
        data: data sets that fit the track; the first, always embedded, is the default.
        baseline: slug of the track's plain method: the same training with no regularizer.
        smoke: settings that make any method of the track train within seconds, for tests.
        iterative: whether rounds train one model further, so that its state can be handed to another configuration;
            False where each round is a problem of its own.
        trade_off: names of two metrics that are drawn against each other; None: the objectives, where a suite has two.
        predictions: what a metric that a plugin adds is given, such as "logits [N, K], labels [N]"; "" where it takes none.
    """

    name: str
    help: str
    metrics: tuple[Metric, ...]
    data: tuple[str, ...]
    baseline: str
    smoke: Mapping[str, Any]
    iterative: bool = True
    trade_off: tuple[str, str] | None = None
    predictions: str = ""

    @property
    def primary(self) -> Metric:
        """The metric by which the track ranks its methods."""
        return self.metrics[0]


@dataclass(frozen=True)
class Weight:
    """A regularization weight: a field of a method that scales what its paper adds.

    Attributes:
        name: the field.
        symbol: the paper's symbol.
        default: the paper's value (or the card's recommendation where the paper gives none).
        off: the value at which the regularizer vanishes.
        differentiable: whether the training objective is differentiable in it, so that it can be learned by gradient.
        help: its meaning, one line.
    """

    name: str
    symbol: str
    default: Any
    off: Any
    differentiable: bool
    help: str


def weight(
    default: Any,
    *,
    off: Any,
    symbol: str,
    help: str,
    differentiable: bool,
    may_change: bool = True,
    search: Any = None,
    **limits: Any,
) -> Any:
    """Declares a regularization weight of a method.

    Args:
        default: the paper's value.
        off: the value that switches the regularizer off.
        symbol: the paper's symbol.
        help: one line, what it weighs.
        differentiable: whether the training objective is differentiable in it.
        may_change: whether it may change while a model trains, as objectives that read it in each step allow; see
            ``hyperparameter``.
        search: its range by default, as a suite writes one, such as ``{"low": 1e-3, "high": 1, "log": True}`` or a list; the
            product's own methods have theirs in ``search_spaces/``.
        **limits: pydantic's ``ge``, ``gt``, ``le``, ``lt``.
    """
    marks = {"off": off, "symbol": symbol, "differentiable": differentiable}
    extra: dict[str, Any] = {"weight": marks, "may_change": may_change, "search": search}
    return Field(default, description=help, json_schema_extra=extra, **limits)


def hyperparameter(default: Any, *, help: str, may_change: bool = False, search: Any = None, **limits: Any) -> Any:
    """Declares any other hyperparameter of a method.

    Args:
        default: where nothing else is said.
        help: one line, what it is.
        may_change: whether a model that is half trained can go on with another value, as population-based training asks:
            the training reads it anew, after ``run.restore``. What gives the network its shape, the optimizer its kind, a
            memory its size, the data their layout or the training its length cannot change; nor can what a model is judged by.
        search: as for ``weight``.
        **limits: pydantic's ``ge``, ``gt``, ``le``, ``lt``.
    """
    extra: dict[str, Any] = {"may_change": may_change, "search": search}
    return Field(default, description=help, json_schema_extra=extra, **limits)


def is_off(weight: float | Tensor) -> bool:
    """Whether a weight is the number 0. A tensor never is: its gradient is wanted at 0 too."""
    return not isinstance(weight, Tensor) and weight == 0


class Method(BaseModel):
    """A regularization method: its fields are its hyperparameters, and nothing else.

    **A method must** set ``paper`` (None for a classic without one), inherit ``track`` from its track's task, and be the one
    public method of its module, ``methods/<track>/<slug>.py``; it is found there and registered nowhere else.

    **It must write** ``rounds`` and ``train`` (usually inherited from the track's task).

    **It may write** ``baseline`` when switching it off takes more than its weights' off values, and ``off_equals`` when that
    baseline is not the track's plain method.

    **It must not** import Ray, Optuna, MLflow or ``regbench.platform``, keep state on itself (it is frozen), or draw random
    numbers other than from ``run.generator(name)`` and torch's global generator.

    ``regbench.methods.contract`` examines all this: ``regbench check METHOD``.

    Attributes:
        slug: its name everywhere: the module's. A plugin, whose module may hold several methods, may set another.
        track: its family.
        paper: where it was published; None for a classic without a paper.
        in_batches: whether it never asks for all of a split at once, so that data may be read from disk in batches.
        off_equals: slug of the method whose curve ``baseline()`` repeats exactly, by default the track's baseline; None for a
            variant of its own, such as another architecture or another learning problem.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    slug: ClassVar[str]
    track: ClassVar[Track]
    paper: ClassVar[Paper | None] = None
    in_batches: ClassVar[bool] = False
    off_equals: ClassVar[str | None]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "slug" not in vars(cls):
            cls.slug = cls.__module__.rpartition(".")[2]
        if "track" in vars(cls) and "off_equals" not in vars(cls):
            cls.off_equals = cls.track.baseline

    @property
    @abstractmethod
    def rounds(self) -> int:
        """How many metrics mappings ``train`` yields: the planned budget (epochs, problems, iterations / report interval)."""

    @abstractmethod
    def train(self, run: Run) -> Iterator[Metrics]:
        """Trains and yields one mapping of standard metric names to floats per round.

        The mapping holds ``val/<metric>`` for every metric of the track whose ``needs`` are met; the last one of a run with
        ``run.test`` also ``test/<metric>``. Everything that must survive an interruption is handed to ``run.restore`` before
        the loop over ``run.rounds``. The caller may stop iterating after any round.
        """

    def hidden(self, run: Run, count: int) -> Hidden | None:
        """What the network makes of fixed rows of the validation split, for diagnostics; None without a network.

        Called between rounds, in evaluation mode and without gradient, where the run's parts hold a network; the same rows in
        every run, see ``fixed_rows``.

        Args:
            run: the training, whose parts hold the network.
            count: rows, at most.
        """
        return None

    @classmethod
    def require_data(cls, data: Data) -> None:
        """Refuses data that is read in batches, where the method needs splits as a whole.

        Raises:
            ConfigError: it does.
        """
        whole = all(isinstance(split, TensorDataset) for split in (data.train, data.validation, data.test))
        if not (whole or cls.in_batches):
            raise ConfigError(
                f"{cls.slug} needs all rows of '{data.name}' at once, which is read in batches: keep it in memory (of images "
                "in files, `in_memory: true`)"
            )

    @property
    def brings_parts(self) -> bool:
        """Whether it names a network, weights or transforms that are not regbench's own, and may not fit the data."""
        return False

    def require_parts(self, data: Data) -> None:
        """Refuses a network, weights or transforms that cannot be used with data, before anything is trained.

        Raises:
            ConfigError: one cannot.
            SurroundingsError: one needs a package that cannot be imported here.
        """

    @classmethod
    def weights(cls) -> dict[str, Weight]:
        """The regularization weights by field name, in the order of declaration."""
        found = {}
        for name, field in cls.model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and isinstance(marked := extra.get("weight"), dict):
                found[name] = Weight(
                    name=name,
                    symbol=str(marked["symbol"]),
                    default=field.default,
                    off=marked["off"],
                    differentiable=bool(marked["differentiable"]),
                    help=field.description or "",
                )
        return found

    @classmethod
    def searched(cls) -> dict[str, Any]:
        """The ranges that are declared beside the settings, by field name, as a suite writes them."""
        marked = ((name, field.json_schema_extra) for name, field in cls.model_fields.items())
        return {name: extra["search"] for name, extra in marked if isinstance(extra, dict) and extra.get("search") is not None}

    @property
    def changeable(self) -> frozenset[str]:
        """The settings that may change while a model of this configuration trains."""
        marked = ((name, field.json_schema_extra) for name, field in type(self).model_fields.items())
        return frozenset(name for name, extra in marked if isinstance(extra, dict) and extra.get("may_change"))

    def weight_values(self) -> SimpleNamespace:
        """This configuration's weights, as attributes. Objectives read weights from such a namespace, never from ``self``,

        so that a bilevel learner or packed execution can put tensors in the place of the numbers.
        """
        return SimpleNamespace(**{name: getattr(self, name) for name in self.weights()})

    def baseline(self) -> Self:
        """The same training with every weight at its off value."""
        return self.replace(**{name: weight.off for name, weight in self.weights().items()})

    def replace(self, **settings: Any) -> Self:
        """A copy with some fields changed, validated like a new one."""
        return type(self)(**(dict(self) | settings))
