"""Estimates how long each ready-made suite takes on two cores, for ``regbench suites``.

    python benchmarks/suite_minutes.py [SUITE ...]

trains the default of each study for a few rounds, takes the processor time of a round from that (the first round, which builds
and loads, apart), and adds up what the whole sweep trains: tuning, choice, confirmation, ablation, in all replicates; where
more is run until all is decided, also how long at most. What a scheduler stops early is counted as trained to the end, so
sweeps with one take less. Two trainings run at once. The result is ``search_spaces/suites/minutes.csv``.
"""

import argparse
import csv
import time
from pathlib import Path

from rich.console import Console

from regbench.methods.errors import DataError
from regbench.methods.run import Run
from regbench.platform.execution.trial import reset_process
from regbench.platform.suite.outline import StudyOutline, outline
from regbench.platform.suite.plan import Study, studies
from regbench.platform.suite.spec import Suite, read_suite
from regbench.search_spaces import ready_made_suites

FILE = Path(__file__).parents[1] / "search_spaces" / "suites" / "minutes.csv"
# Rounds that are timed, and seconds after which no further one is begun.
ROUNDS, ENOUGH = 4, 8.0
CORES = 2
# Ray's start, the report and the last export.
AROUND = 20.0


def training_seconds(study: Study) -> float:
    """Processor seconds of one training of a study's default, from its first few rounds."""
    method = study.example
    reset_process(seed=0, threads=1)
    moments = [time.process_time()]
    for _ in method.train(Run(study.data)):
        moments.append(time.process_time())
        if len(moments) > ROUNDS or moments[-1] - moments[0] > ENOUGH:
            break
    whole, rounds = moments[-1] - moments[0], len(moments) - 1
    # The last round that was timed is the least disturbed by what happens once.
    return whole + (method.rounds - rounds) * (moments[-1] - moments[-2])


def minutes(name: str) -> tuple[str, str]:
    """Minutes of a suite on two cores, of what is run in any case and at most; "" where there is no more."""
    suite = read_suite(name)
    planned = outline(suite)
    total = suite.replicates * sum(
        _seconds(suite, study, of) for study, of in zip(studies(suite), planned.studies, strict=True)
    )
    sure, most = (
        (share * total / (1 if suite.execution == "inline" else CORES) + AROUND) / 60
        for share in (1, 1 + planned.further / planned.trainings)
    )
    return _shown(sure), _shown(most) if planned.further else ""


def _shown(minutes: float) -> str:
    return f"{minutes:.1f}" if minutes < 9.5 else f"{minutes:.0f}"


def _seconds(suite: Suite, study: Study, planned: StudyOutline) -> float:
    """Processor seconds of a study's trainings in one replicate."""
    trainings = planned.trainings
    if planned.searched and study.learning_rounds:
        # A tuning trial that learns weights takes as long as all that another sampler would train.
        trainings += suite.trials - 1
    return trainings * training_seconds(study)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="by default all that are not of a paper's size")
    options = parser.parse_args()
    with FILE.open(encoding="utf-8", newline="") as file:
        known = {row["suite"]: (row["minutes"], row["at_most"]) for row in csv.DictReader(file)}
    console = Console()
    for name in options.suites or [name for name in ready_made_suites() if "/" not in name]:
        try:
            known[name] = minutes(name)
        except DataError as error:
            console.print(f"{name} is left out: {error}", markup=False)
            continue
        console.print(f"{name}: {' to '.join(filter(None, known[name]))} minutes", markup=False)
        with FILE.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["suite", "minutes", "at_most"])
            writer.writerows((suite, *found) for suite, found in sorted(known.items()))


if __name__ == "__main__":
    main()
