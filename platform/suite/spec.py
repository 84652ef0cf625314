"""The suite: what is swept, how it is searched, and where the results go. Read strictly, refused with a reason."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, model_validator

from regbench.methods import plugins
from regbench.methods.diagnostics import Diagnostics
from regbench.methods.errors import ConfigError
from regbench.methods.shared.data.files.define import define_all
from regbench.methods.shared.data.files.spec import FileData
from regbench.methods.strict import Strict, explain, read_mapping
from regbench.platform.suite.entries import Entry, Name, Searched, Space, Start, data_sets, entries, shortest

SamplerName = Literal["grid", "random", "tpe", "gp", "cmaes", "nsga2", "bilevel"]
SchedulerName = Literal["none", "asha", "hyperband", "pbt", "median"]
# What records can hold, with room for the seeds that follow it.
LARGEST_SEED = 2**62


def _named(value: Any) -> Any:
    """Lets ``tpe`` stand for ``{name: tpe}``."""
    return {"name": value} if isinstance(value, str) else value


def _measured(value: Any) -> Any:
    """Lets ``[dse]`` stand for ``{names: [dse]}``."""
    return {"names": value} if isinstance(value, list) else value


class Sampler(Strict):
    """How the next configuration of a study is chosen."""

    name: SamplerName = Field(
        "tpe", description="grid, random, tpe, gp, cmaes, nsga2 (for two objectives), or bilevel (learns weights by gradient)"
    )
    startup: int | None = Field(
        None, ge=1, description="random trials before tpe, gp or cmaes learns from the past (their own default)"
    )
    points: int = Field(3, ge=2, description="values per searched setting for grid")


class Scheduler(Strict):
    """Which trials are stopped early, paused or changed."""

    name: SchedulerName = Field("none", description="none, asha, hyperband, pbt or median")
    grace: int | None = Field(
        None,
        ge=1,
        description="rounds that every trial may run (asha, median), by default a third of the planned ones; rounds between "
        "changes (pbt), by default 1",
    )
    reduction: int = Field(3, ge=2, description="one in so many trials goes on at each rung (asha, hyperband)")

    def grace_of(self, rounds: int) -> int:
        """Rounds that every trial of so many planned ones may run before the scheduler judges it."""
        return min(self.grace or max(1, rounds // 3), rounds)


class Confirm(Strict):
    """The stage after tuning: the best configuration of each entry on fresh seeds, the same ones for all."""

    seeds: int = Field(5, ge=0, description="how many; 0 leaves the stage out, and with it the comparison")
    first_seed: int = Field(1000, ge=0, le=LARGEST_SEED, description="the first of these seeds")
    ablate: bool = Field(True, description="also run each best configuration with every weight at its off value")


class Choose(Strict):
    """The stage between tuning and confirmation: the best few configurations on further seeds of tuning."""

    top: int = Field(3, ge=2, description="so many of the best fully trained configurations")
    seeds: int = Field(3, ge=1, description="on so many seeds each; the best mean on validation data is confirmed")


def _amount(value: Any) -> Any:
    """A difference that matters: a positive number, or a percentage as text."""
    text = value.removesuffix("%").strip() if isinstance(value, str) else None
    try:
        amount = float(text if text is not None else value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is neither a number nor a percentage, such as 0.005 or 1%") from None
    if isinstance(value, bool) or not 0 < amount < math.inf or (text is not None and not value.endswith("%")):
        raise ValueError(f"{value!r} must be a positive number or percentage, such as 0.005 or 1%")
    return f"{text}%" if text is not None else amount


Amount = Annotated[float | str, BeforeValidator(_amount)]


class Resources(Strict):
    """What one worker of a trial may use."""

    cpu: float = Field(
        1,
        gt=0,
        description="CPU cores; also the number of threads; all but one of at most 5 read data ahead that is not in memory",
    )
    gpu: float = Field(
        0, ge=0, description="GPUs; a fraction lets trials share one; where PyTorch can use none, a trial trains on the CPU"
    )

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.gpu > 1 and self.gpu % 1:
            raise ValueError("more than one GPU must be a whole number")
        return self


HUGGING = "hf:"
# Settings that name files or folders, with what stands before the path.
PATHS = {"initial_weights": "", "architecture": HUGGING}


class Suite(Searched):
    """A benchmark: which methods, on which data, under which budget."""

    name: Name = Field(description="names the sweep and its folder")
    description: str = Field("", description="one or two sentences for readers of the report")
    methods: Annotated[dict[Name, Entry], BeforeValidator(entries)] = Field(
        min_length=1, description="the methods, as a list of slugs or as entry name -> details; each track's baseline is added"
    )
    plugins: list[str] = Field(
        [],
        description="your own methods, data sets, architectures, metrics and tracks: Python files or folders beside the suite, "
        "or importable modules",
    )
    data: Annotated[dict[Name, FileData | None] | None, BeforeValidator(data_sets), PlainSerializer(shortest)] = Field(
        None,
        min_length=1,
        description="data sets, as a list of names, or as name -> what is said of one in your own files; by default each "
        "track's embedded one",
    )
    settings: dict[str, Any] = Field({}, description="settings with one value for every method that has them, such as epochs")
    space: Space = Field({}, description="ranges for every method that has these settings, baselines included; see Ranges")
    start: Start = Field([], description="configurations that every study tries first, as far as it searches these settings")
    trials: int = Field(10, ge=1, description="trials of each study (method x data set): the same for all")
    sampler: Annotated[Sampler, BeforeValidator(_named)] = Field(Sampler(), description="name or details of the sampler")
    scheduler: Annotated[Scheduler, BeforeValidator(_named)] = Field(
        Scheduler(), description="name or details of the scheduler"
    )
    objectives: list[str] | None = Field(
        None,
        min_length=1,
        max_length=2,
        description="one or two metrics of the track, without prefix; by default its primary one",
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="seed of the samplers and of every tuning trial")
    choose: Choose | None = Field(
        None,
        description="train the best few tuned configurations on further tuning seeds, and take the best mean: {top, seeds}",
    )
    confirm: Confirm = Field(Confirm(), description="reruns of the best configurations")
    replicates: int = Field(
        1,
        ge=1,
        description="how often all of it is repeated, with seeds of its own: tuning, choice and confirmation; from 2 on, the "
        "replicate is the unit of every test",
    )
    resplit: bool = Field(False, description="each replicate has its own split of the data, the same one for all entries")
    until: Literal["decided"] | None = Field(
        None,
        description="decided: more replicates (or, with one, seeds of confirmation) are run of what is not decided, with tests "
        "that hold whenever one stops; needs `at_most` and `relevant`",
    )
    at_most: int | None = Field(None, ge=1, description="replicates (or seeds) at which `until` gives up")
    relevant: Amount | None = Field(
        None,
        description="the smallest difference that would matter, in the metric's unit or in percent of the baseline's mean, "
        "such as 0.005 or 1%; differences that are shown to be smaller are `equivalent`",
    )
    execution: Literal["tune", "train", "inline"] = Field(
        "tune",
        description="tune: one process a trial, reused; train: Ray Train workers; inline: this process, one after the other",
    )
    workers: int = Field(1, ge=1, description="workers that train one trial together (execution: train)")
    resources: Resources = Field(Resources(), description="for each worker of a trial")
    checkpoint_seconds: float = Field(
        15, ge=0, description="at least so long between two checkpoints of a trial; 0: every round"
    )
    retries: int = Field(
        3, ge=0, description="how often a trial is continued whose process or machine died, or that lacks something around it"
    )
    select: Literal["last", "best_round"] = Field(
        "last",
        description="which round of a training counts, in tuning and confirmation: the last, or the best on validation data, "
        "whose test metrics are then reported (checkpoints are of the last)",
    )
    diagnostics: Annotated[Diagnostics | None, BeforeValidator(_measured)] = Field(
        None,
        description="names or details of what is measured of hidden representations as networks train: `diagnostic/…` in their "
        "curves; changes no other number",
    )
    hours: float | None = Field(
        None,
        gt=0,
        description="after so many hours, of each run of the sweep, nothing more is tuned: what is there is confirmed and "
        "compared; `resume` goes on with the tuning",
    )

    @property
    def files(self) -> dict[str, FileData]:
        """The data sets in files of one's own, by name."""
        return {name: spec for name, spec in (self.data or {}).items() if spec}

    @property
    def paths(self) -> list[str]:
        """Where the weights and the language models are that networks start from, sorted."""
        return sorted({path for settings in self._all_settings for path in _paths(settings).values()})

    @property
    def brings_its_own(self) -> bool:
        """Whether data, networks or plugins of a user's take part, or a library's networks."""
        foreign = any(":" in str(settings.get("architecture")) for settings in self._all_settings)
        return bool(self.files or self.plugins or self.paths or foreign)

    @property
    def _all_settings(self) -> list[dict[str, Any]]:
        return [self.settings, *(entry.settings for entry in self.methods.values())]

    @property
    def units(self) -> int:
        """How many units of every comparison are trained in any case: replicates, or with one of them seeds of confirmation."""
        return self.replicates if self.replicates > 1 else self.confirm.seeds

    @property
    def limit(self) -> int:
        """How many units of a comparison are trained at most."""
        return self.at_most or self.units

    def tuning_seeds(self, replicate: int) -> range:
        """The seeds with which a replicate is tuned: the first is that of its tuning trials, the others are of its choice."""
        each = 1 + (self.choose.seeds if self.choose else 0)
        first = self.seed + replicate * each
        return range(first, first + each)

    def confirming_seeds(self, replicate: int, count: int | None = None) -> range:
        """So many of the fresh seeds of a replicate, by default as many as it has in any case."""
        first = self.confirm.first_seed + replicate * self.confirm.seeds
        return range(first, first + (self.confirm.seeds if count is None else count))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for problem in incompatibilities(self):
            raise ValueError(problem)
        return self


def incompatibilities(suite: Suite) -> list[str]:
    """Why parts of a suite cannot work together, each with what to do instead."""
    sampler, scheduler = suite.sampler.name, suite.scheduler.name
    two = suite.objectives is not None and len(suite.objectives) == 2
    found = []
    if scheduler == "pbt" and sampler != "random":
        found.append(f"scheduler pbt changes configurations by itself and ignores sampler {sampler}: use sampler random")
    if scheduler == "pbt" and suite.trials < 4:
        found.append("scheduler pbt needs a population: set trials to 4 or more")
    if sampler == "nsga2" and not two:
        found.append("sampler nsga2 trades two objectives off: name two in `objectives`, or use tpe")
    if sampler == "bilevel" and scheduler not in ("none", "pbt"):
        found.append(f"scheduler {scheduler} compares trials of a study, but sampler bilevel has one that learns: use none")
    if sampler == "bilevel" and two:
        found.append("sampler bilevel learns by the gradient of one validation loss: name one objective, or use nsga2")
    if sampler == "bilevel" and suite.workers > 1:
        found.append("sampler bilevel takes its gradients in one process: set workers to 1")
    if two and sampler in ("gp", "cmaes"):
        found.append(f"sampler {sampler} optimizes one objective: use nsga2, tpe, random or grid")
    if two and scheduler != "none":
        found.append(
            f"scheduler {scheduler} ranks trials by one metric and would stop trade-offs: use none with two objectives"
        )
    if suite.execution == "inline" and scheduler != "none":
        found.append(f"scheduler {scheduler} compares trials that run side by side under Ray Tune: use execution tune")
    if suite.execution == "train" and scheduler != "none":
        found.append(
            f"scheduler {scheduler} stops or pauses trials, but a Ray Train run stopped from outside keeps its workers' "
            "resources: use scheduler none, or execution tune"
        )
    if suite.select == "best_round" and sampler == "bilevel":
        found.append("sampler bilevel learns until its last round: use select last")
    if suite.select == "best_round" and scheduler == "pbt":
        found.append("scheduler pbt changes settings in a run, so that a round is not one configuration's: use select last")
    if suite.hours and scheduler in ("hyperband", "pbt"):
        found.append(f"scheduler {scheduler} lets trials wait for others that would not come after `hours`: use asha or none")
    found += _undecidable(suite)
    if suite.workers > 1 and suite.execution != "train":
        found.append(f"{suite.workers} workers need execution train (Ray Train), not {suite.execution}")
    return found


def _undecidable(suite: Suite) -> list[str]:
    """What is wrong with how much is run until it is decided."""
    found = []
    if suite.replicates > 1 and not suite.confirm.seeds:
        found.append("replicates are compared by their confirmation: set confirm.seeds to 1 or more")
    if suite.resplit and suite.replicates == 1:
        found.append("resplit gives each replicate a split of its own: set replicates to 2 or more")
    if suite.at_most is not None and suite.until is None:
        found.append("at_most is where `until: decided` gives up: set until, or leave at_most out")
    if suite.until and suite.at_most is None:
        found.append("until: decided needs `at_most`, the most replicates (or, with one, seeds) that it may take, such as 40")
    if suite.until and suite.relevant is None:
        found.append(
            "until: decided needs `relevant`, the smallest difference that would matter, such as 0.005 or 1%: without one, "
            "nothing is ever shown to be equivalent"
        )
    if suite.until and suite.scheduler.name == "pbt":
        found.append("scheduler pbt takes a whole population at once, so that nothing could wait for a decision: use another")
    what = "replicates" if suite.replicates > 1 else "confirm.seeds"
    if suite.until and suite.at_most is not None and suite.at_most < suite.units:
        found.append(f"at_most is {suite.at_most}, below the {suite.units} {what} that are run in any case: raise it")
    if suite.until and suite.units < 2:
        found.append(f"until: decided compares units: set {what} to 2 or more")
    return found


def read_suite(source: str | Path) -> Suite:
    """A suite from a ready-made one's name or from a YAML file; its plugins and data sets are known from here on.

    Raises:
        ConfigError: there is no such suite, file or plugin, or what it says is wrong; one line that says what to change.
    """
    from regbench.search_spaces import ready_made_suites

    raw = read_mapping(source, "suite", ready_made_suites(), "`name`, `methods`, …")
    return prepared(parse_suite(raw, str(source)), Path(source).parent)


def prepared(suite: Suite, base: Path, more: Sequence[str] = ()) -> Suite:
    """A suite whose plugins, and some more, are active, and whose own data sets are known, with paths from anywhere.

    Args:
        suite: as it is written.
        base: what its paths are relative to.
        more: references of further plugins, which are active.

    Raises:
        ConfigError: there is no such plugin, or a name is taken.
    """
    data = suite.data and {name: spec and spec.resolved(base) for name, spec in suite.data.items()}
    references = list(dict.fromkeys([*plugins.use(suite.plugins, base), *more]))
    methods = {
        name: entry.model_copy(update={"settings": _from_anywhere(entry.settings, base)})
        for name, entry in suite.methods.items()
    }
    settings = _from_anywhere(suite.settings, base)
    found = suite.model_copy(update={"plugins": references, "data": data, "methods": methods, "settings": settings})
    define_all(found.files)
    return found


def _from_anywhere(settings: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Settings of which those that name files or folders are absolute: workers run in folders of their own."""
    named = {name: PATHS[name] + str((base / Path(path).expanduser()).absolute()) for name, path in _paths(settings).items()}
    # A policy that is not there is below the folder of data.
    policy = settings.get("policy")
    if isinstance(policy, str) and policy.startswith(HUGGING):
        folder = (base / Path(policy.removeprefix(HUGGING)).expanduser()).absolute()
        named |= {"policy": f"{HUGGING}{folder}"} if folder.is_dir() else {}
    return dict(settings) | named


def _paths(settings: Mapping[str, Any]) -> dict[str, str]:
    """The paths in settings, by name."""
    given = ((name, prefix, settings.get(name)) for name, prefix in PATHS.items())
    return {
        name: value.removeprefix(prefix) for name, prefix, value in given if isinstance(value, str) and value.startswith(prefix)
    }


def parse_suite(raw: Mapping[str, Any], source: str = "suite") -> Suite:
    """A suite from a mapping.

    Raises:
        ConfigError: what it says is wrong.
    """
    try:
        return Suite.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{source}: {' '.join(explain(error).split())}") from None


def parse_diagnostics(names: list[str]) -> Diagnostics:
    """What is to be measured, from its names.

    Raises:
        ConfigError: there is no such diagnostic.
    """
    try:
        return Diagnostics(names=names)
    except ValidationError as error:
        raise ConfigError(f"--diagnostic: {explain(error)}") from None
