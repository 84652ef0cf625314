"""The suites of `docs/coming-from.md` can be run, and search what the sweeps search that they translate."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from regbench.platform.suite.names import check_new
from regbench.platform.suite.outline import outline
from regbench.platform.suite.plan import Study, studies
from regbench.platform.suite.spec import Suite, parse_suite

PAGE = (Path(__file__).parents[1] / "docs" / "coming-from.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
DOMAINBED, WANDB, RAY, OPTUNA = list(SECTIONS)[:4]


def block(section: str, language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", SECTIONS[section], re.MULTILINE | re.DOTALL)
    return str(found)


def translated(section: str) -> tuple[Suite, Study]:
    """A section's suite, and the study of the method that is no baseline."""
    suite = parse_suite(yaml.safe_load(block(section, "yaml")))
    (study,) = (study for study in studies(suite) if study.entry in suite.methods)
    return suite, study


@pytest.mark.parametrize("section", [DOMAINBED, WANDB, RAY, OPTUNA])
def test_each_suite_can_be_started(section):
    suite, study = translated(section)
    check_new(suite)
    found = {one.entry: one for one in outline(suite).studies}
    assert set(found) == {"cross_entropy", study.entry}
    assert all(one.tune == suite.trials for one in found.values())


def test_domainbeds_ranges_are_those_of_small_images():
    _, study = translated(DOMAINBED)
    exponents = {"learning_rate": (10, -4.5, -2.5), "batch_size": (2, 3, 9), "alpha": (10, -1, 1)}
    assert set(study.space) == set(exponents)
    for name, (base, low, high) in exponents.items():
        limits = study.space[name]
        assert limits.log
        assert (limits.low, limits.high) == pytest.approx((base**low, base**high), rel=1e-3)


def of_wandb(parameter: dict[str, Any]) -> tuple[BaseDistribution, float | None]:
    """The distribution of a parameter of a sweep file, and its quantum on a log scale."""
    if "values" in parameter:
        return CategoricalDistribution(parameter["values"]), None
    whole = isinstance(parameter["min"], int)
    log = "log" in parameter["distribution"]
    kind = IntDistribution if whole else FloatDistribution
    step = parameter.get("q")
    return kind(
        parameter["min"], parameter["max"], log=log, **({"step": step} if step and not log else {})
    ), step if log else None


def test_a_wandb_sweep_file_says_the_same():
    suite, study = translated(WANDB)
    original = yaml.safe_load(block(WANDB, "text"))
    parameters = original["parameters"]
    assert study.fixed["epochs"] == parameters.pop("epochs")["value"]
    assert dict(study.space) == {name: of_wandb(parameter)[0] for name, parameter in parameters.items()}
    assert study.space.steps == {name: step for name, parameter in parameters.items() if (step := of_wandb(parameter)[1])}
    assert study.space.odds == {"optimizer": tuple(parameters["optimizer"]["probabilities"])}
    stop = original["early_terminate"]
    assert (suite.trials, suite.sampler.name) == (original["run_cap"], original["method"])
    assert (suite.scheduler.grace, suite.scheduler.reduction) == (stop["min_iter"], stop["eta"])


def of_ray(domain: Any) -> tuple[BaseDistribution, float | None]:
    """The distribution of a domain of Ray Tune, and its quantum."""
    if hasattr(domain, "categories"):
        return CategoricalDistribution(domain.categories), None
    sampler = domain.get_sampler()
    quantum = getattr(sampler, "q", None)
    inner = sampler.get_sampler() if quantum else sampler
    log = "LogUniform" in type(inner).__name__
    if type(domain).__name__ == "Integer":
        return IntDistribution(domain.lower, domain.upper if quantum else domain.upper - 1, log=log), quantum
    return FloatDistribution(domain.lower, domain.upper, log=log), quantum


def test_a_ray_tune_space_says_the_same():
    suite, study = translated(RAY)
    given = {"train": lambda config: None}
    # Read, and not run: a tuner would write a folder.
    code = block(RAY, "python").replace("tuner = tune.Tuner(\n    train,", "tuner = dict(")
    exec(code, given)
    original, config = given["param_space"], given["tuner"]["tune_config"]
    assert dict(study.space) == {name: of_ray(domain)[0] for name, domain in original.items()}
    assert study.space.steps == {name: step for name, domain in original.items() if (step := of_ray(domain)[1])}
    scheduler = config.scheduler
    assert study.rounds[1] == scheduler._max_t
    assert (suite.trials, suite.scheduler.grace) == (config.num_samples, 3)
    assert suite.scheduler.reduction == scheduler._reduction_factor
    assert {"name": "asha"}.items() <= suite.scheduler.model_dump().items()


def test_an_optuna_study_says_the_same():
    suite, study = translated(OPTUNA)
    seen: list[optuna.trial.FrozenTrial] = []
    enqueued: list[dict[str, Any]] = []
    counts: list[int] = []

    def create_study(**options: Any) -> SimpleNamespace:
        made = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), direction=options["direction"])

        def optimize(objective: Any, n_trials: int) -> None:
            made.optimize(objective, n_trials)
            seen.extend(made.trials)
            counts.append(n_trials)

        return SimpleNamespace(enqueue_trial=enqueued.append, optimize=optimize)

    given = {"train": lambda *values: 0.5}
    code = block(OPTUNA, "python").replace("import optuna\n", "").replace("optuna.create_study(", "create_study(")
    exec(code, given | {"optuna": optuna, "create_study": create_study})
    ranges: dict[str, BaseDistribution] = {}
    for trial in seen:
        ranges |= trial.distributions
        assert set(trial.params) == {name for name in study.space if study.space.is_active(name, trial.params)}
    assert dict(study.space) == ranges
    assert counts == [suite.trials]
    assert study.start == ({"optimizer": "sgd"} | enqueued[0],)
