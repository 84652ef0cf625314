"""A learned method spends its budget, shows only what it has paid for, and continues where it was interrupted."""

import io
import math

import pytest
import torch
from pydantic import ValidationError

from regbench.methods.classification.weighted_logistic_regression import WeightedLogisticRegression
from regbench.methods.imaging.field_of_experts import FieldOfExperts
from regbench.methods.imaging.total_variation import TotalVariation
from regbench.methods.registry import all_methods, method_class
from regbench.methods.run import Run
from regbench.methods.shared.bilevel.derivative_free import DerivativeFree, DerivativeFreeOptions
from regbench.methods.shared.bilevel.hoag import Hoag, HoagOptions
from regbench.methods.shared.bilevel.learning import LearnedMethod
from regbench.methods.shared.bilevel.lower import fista, gradient_descent, lbfgs
from regbench.methods.shared.bilevel.maid import Maid, MaidOptions

START = {"regularization_weight": math.exp(-5), "smoothing": math.exp(-5), "training_images": 1}
LEARNERS = {
    "maid": {"learner": "maid"},
    "certified": {"learner": "maid", "check_descent": True, "lower_tolerance_init": None},
    "extended": {"learner": "maid", "barzilai_borwein": True, "nonmonotone": True},
    "hoag": {"learner": "hoag", "hoag_schedule": "cubic"},
    "fixed": {"learner": "fixed", "lower_tolerance_init": 0.01},
    "random": {"learner": "random"},
    "tpe": {"learner": "tpe"},
    "cmaes": {"learner": "cmaes"},
    "dfols": {"learner": "dfols"},
}
SEEDED = Run("natural_images").numpy_seed("search")
every_learner = pytest.mark.parametrize("learner", LEARNERS)


def tv(learner, **settings):
    return TotalVariation(**START | LEARNERS[learner] | settings)


def curve(method, data="natural_images", **options):
    return list(method.train(Run(data, **options)))


@every_learner
def test_each_round_shows_the_last_iteration_that_its_share_of_the_budget_paid_for(learner):
    method = tv(learner, budget=330, report_every=60)
    found = curve(method)
    assert len(found) == method.rounds == 6
    records, problem = {}, method.problem(Run("natural_images"))
    for record in method.build_learner(problem, SEEDED):
        records[record.iteration] = record
        if record.cost > 330:
            break
    for number, metrics in enumerate(found, start=1):
        limit = min(60 * number, 330)
        paid = [record for record in records.values() if record.cost <= limit]
        if not paid:
            assert "learn/upper_loss" not in metrics
            assert metrics["weight/regularization_weight"] == pytest.approx(math.exp(-5))
            continue
        last = paid[-1]
        assert metrics["learn/upper_iterations"] == last.iteration
        assert metrics["learn/lower_iterations"] + metrics["learn/linear_iterations"] == last.cost <= limit
        assert metrics["learn/upper_loss"] == last.value
        assert metrics.get("learn/hypergradient_norm") == last.gradient_norm
        assert metrics.get("learn/step_size") == last.step_size
        assert metrics.get("learn/lower_tolerance") == last.lower_tolerance
        assert metrics.get("learn/adjoint_tolerance") == last.adjoint_tolerance
        assert metrics.get("learn/error_bound") == last.error_bound
        weights = [metrics["weight/regularization_weight"], metrics["weight/smoothing"]]
        assert weights == pytest.approx(last.theta.exp().tolist())
    assert ("learn/error_bound" in found[-1]) == (learner == "certified")
    assert ("learn/hypergradient_norm" in found[-1]) == (not method.searches)


@every_learner
@pytest.mark.parametrize("report_every", [7, 60])
def test_resumes_bit_for_bit(learner, report_every):
    """Rounds of 7 end within iterations, so that one that is done but not paid for goes through the file."""
    method = tv(learner, budget=4 * report_every, report_every=report_every)
    checkpoint, found = None, []
    for _ in range(method.rounds):
        run = Run("natural_images", checkpoint=checkpoint)
        found.append(next(iter(method.train(run))))
        file = io.BytesIO()
        torch.save(run.state(), file)
        file.seek(0)
        checkpoint = torch.load(file, weights_only=True)
    assert found == curve(method)


@every_learner
def test_with_upper_iterations_each_round_is_one_of_them(learner):
    method = tv(learner, budget=100_000, upper_iterations=4)
    problem = method.problem(Run("natural_images"))
    learner = method.build_learner(problem, SEEDED)
    records = [learner.step() for _ in range(4)]
    found = curve(method)
    assert method.rounds == len(found) == 4
    for record, metrics in zip(records, found, strict=True):
        assert metrics["learn/upper_iterations"] == record.iteration
        assert metrics["learn/upper_loss"] == record.value
        assert metrics["learn/cost"] == record.cost


def test_upper_iterations_stay_within_the_budget_and_resume():
    method = tv("maid", budget=150, upper_iterations=8)
    found, checkpoint = [], None
    for _ in range(method.rounds):
        run = Run("natural_images", checkpoint=checkpoint)
        found.append(next(iter(method.train(run))))
        checkpoint = run.state()
    assert found == curve(method)
    assert max(metrics.get("learn/cost", 0.0) for metrics in found) <= 150
    assert found[-1] == found[-2]


def test_a_learner_that_has_stopped_repeats_its_last_round():
    method = tv("maid", budget=4000, report_every=1000, max_lower_iterations=2, max_linear_iterations=1, step_size_init=1e-12)
    found = curve(method)
    assert len(found) == 4
    assert found[-1] == found[-2]


def test_nothing_is_learned_without_a_learner_or_with_a_weight_that_is_off():
    for method in [TotalVariation(), TotalVariation(learner="maid", regularization_weight=0.0)]:
        assert not method.learns
        (metrics,) = curve(method)
        assert set(metrics) == {"val/psnr", "val/ssim"}


def test_weights_are_used_as_they_are_without_a_learner():
    first = curve(TotalVariation(learner="maid", budget=1, report_every=1, regularization_weight=0.2))[0]
    assert first["val/psnr"] == curve(TotalVariation(regularization_weight=0.2))[0]["val/psnr"]


def test_settings_reach_the_learner():
    names = {
        "max_lower_iterations": 7,
        "max_linear_iterations": 8,
        "lower_tolerance_init": 0.3,
        "adjoint_tolerance_init": 0.4,
        "step_size_init": 0.5,
        "step_decrease": 0.6,
        "step_increase": 1.7,
        "accuracy_decrease": 0.8,
        "accuracy_increase": 1.9,
        "descent_margin": 0.21,
        "sufficient_decrease": 0.11,
        "max_backtracks": 3,
        "check_descent": True,
        "barzilai_borwein": True,
        "nonmonotone": True,
    }
    method = TotalVariation(learner="maid", lower_solver="gradient_descent", **names)
    learner = method.build_learner(method.problem(Run("natural_images")))
    assert isinstance(learner, Maid)
    box = (-16.0, 6.0)
    assert learner.options == MaidOptions(lower_solver=gradient_descent, box=box, convex_upper=True, **names)
    method = TotalVariation(learner="hoag", hoag_schedule="quadratic", lower_tolerance_init=0.3, fixed_step_size=0.2)
    learner = method.build_learner(method.problem(Run("natural_images")))
    assert isinstance(learner, Hoag)
    assert learner.options == HoagOptions(lower_solver=lbfgs, box=box, tolerance_init=0.3, schedule="quadratic", step_size=0.2)
    method = method.replace(learner="fixed")
    assert method.build_learner(method.problem(Run("natural_images"))).options.schedule == "constant"
    method = TotalVariation(learner="random", lower_solver="fista", max_lower_iterations=7)
    learner = method.build_learner(method.problem(Run("natural_images")), 11)
    assert isinstance(learner, DerivativeFree)
    expected = {"lower_solver": fista, "max_lower_iterations": 7, "box": (-8.0, 0.0), "searcher": "random", "seed": 11}
    assert learner.options == DerivativeFreeOptions(**expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learner": "maid", "check_descent": True, "sufficient_decrease": 1e-3}, "sufficient_decrease"),
        ({"learner": "hoag", "lower_tolerance_init": None}, "lower_tolerance_init"),
        ({"step_decrease": 1.0}, "step_decrease"),
        ({"budget": 0}, "budget"),
        ({"learner": "adam"}, "learner"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TotalVariation(**settings)


@pytest.mark.parametrize("learner", ["random", "tpe", "cmaes", "dfols"])
def test_parameters_of_many_kinds_are_not_searched_in_one_range(learner):
    with pytest.raises(ValidationError, match="field_of_experts has no range for learner"):
        FieldOfExperts(learner=learner)


def test_many_weights_are_reported_by_their_range():
    method = WeightedLogisticRegression(learner="maid", decay=0.05, groups="parameter", budget=400, report_every=400)
    (metrics,) = curve(method, "digits")
    assert metrics["weight/least_decay"] < 0.05 < metrics["weight/largest_decay"]


@pytest.mark.parametrize("slug", [slug for slug, method in all_methods().items() if issubclass(method, LearnedMethod)])
def test_a_method_says_whether_its_problems_bound_the_jacobian(slug):
    method = method_class(slug)()
    problem = method.problem(Run(method.track.data[0]))
    assert (problem.jacobian_norm(problem.x0, problem.theta0) is not None) == method.bounds_jacobian
