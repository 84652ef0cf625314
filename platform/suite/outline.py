"""What a suite would run, as plain data; remembered, so that it is told at once the next time."""

import hashlib
from typing import TYPE_CHECKING

from regbench.platform.inventory.cache import remembered
from regbench.platform.inventory.facts import Plain
from regbench.platform.suite.names import check_names
from regbench.platform.suite.spec import Suite

if TYPE_CHECKING:
    from regbench.platform.suite.plan import Study


class StudyOutline(Plain):
    """A study that a suite would run.

    Attributes:
        name: entry and data set.
        entry: the entry.
        method: its method.
        data: the data set.
        objectives: validation metrics with their modes, as text.
        tune: tuning trials.
        rounds: of a full training, the most where a searched setting decides.
        fewest: the fewest.
        grace: rounds after which the first of them may be stopped; None where none is.
        confirm: trainings of the chosen configuration.
        ablate: the same with the weights off.
        choose: trainings that decide between the best few configurations.
        searched: a line for each searched setting and for each of the suite's starting points, or how its weights are learned.
    """

    name: str
    entry: str
    method: str
    data: str
    objectives: str
    tune: int
    rounds: int
    fewest: int
    grace: int | None
    confirm: int
    ablate: int
    choose: int
    searched: list[str]

    @property
    def trainings(self) -> int:
        """How many trials it has in a replicate."""
        return self.tune + self.choose + self.confirm + self.ablate


class Outline(Plain):
    """The studies that a suite would run.

    Attributes:
        studies: of one replicate.
        replicates: how many replicates there are in any case.
        further: how many trainings there may be in addition until all is decided.
    """

    studies: list[StudyOutline]
    replicates: int
    further: int

    @property
    def trainings(self) -> int:
        """How many trials there are in any case."""
        return self.replicates * sum(study.trainings for study in self.studies)


def outline(suite: Suite) -> Outline:
    """What a suite would run.

    Raises:
        ConfigError: something does not fit; one line that says what to change.
    """

    def make() -> Outline:
        # Imports the methods.
        from regbench.platform.suite.plan import studies

        found = [_study_outline(study, suite) for study in studies(suite)]
        return Outline(studies=found, replicates=suite.replicates, further=_further(found, suite))

    check_names(suite)
    digest = hashlib.sha256(suite.model_dump_json(exclude={"name", "description"}).encode()).hexdigest()[:16]
    return remembered(f"suite-{digest}", Outline, make)


def _further(found: list[StudyOutline], suite: Suite) -> int:
    """How many trainings more than in any case there are where nothing is decided before the limit."""
    more = suite.limit - suite.units
    if suite.replicates > 1:
        return more * sum(study.trainings for study in found)
    return more * sum(1 + bool(study.ablate) for study in found)


def _study_outline(study: "Study", suite: Suite) -> StudyOutline:
    from regbench.platform.suite.learned import how_learned
    from regbench.search_spaces.ranges import searched_text

    fewest, most = study.rounds
    if study.learning_rounds:
        how = [f"learned in {study.learning_rounds} upper iterations"]
    else:
        how = [f"learned by {learned}"] if (learned := how_learned(study.example)) else []
    start = [f"first: {', '.join(f'{name}={value}' for name, value in point.items())}" for point in study.start]
    return StudyOutline(
        name=study.name,
        entry=study.entry,
        method=study.method.slug,
        data=study.data,
        objectives=", ".join(f"{metric.validation} ({metric.mode})" for metric in study.objectives),
        tune=study.trials,
        rounds=most,
        fewest=fewest,
        grace=suite.scheduler.grace_of(most) if suite.scheduler.name in ("asha", "median") else None,
        confirm=suite.confirm.seeds,
        choose=suite.choose.seeds * min(suite.choose.top, study.trials) if suite.choose and study.trials > 1 else 0,
        ablate=suite.confirm.seeds if suite.confirm.ablate and study.method.weights() else 0,
        searched=[f"{name}: {searched_text(study.space, name)}" for name in study.space] + start + how,
    )
