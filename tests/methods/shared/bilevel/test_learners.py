import io
import itertools

import pytest
import torch
from bilevel_problems import LogCosh, Scalar, easy_quadratic, exact_gradient, quadratic

from regbench.methods.errors import CheckpointError, ConfigError
from regbench.methods.shared.bilevel.hoag import Hoag, HoagOptions
from regbench.methods.shared.bilevel.learner import Stop
from regbench.methods.shared.bilevel.linear import damped_conjugate_gradients
from regbench.methods.shared.bilevel.lower import gradient_descent, lbfgs
from regbench.methods.shared.bilevel.maid import Maid, MaidOptions
from regbench.methods.shared.bilevel.quadratic import Quadratic, conditioned_quadratic

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def run(learner, iterations):
    """Its records and the θ before and after each of them."""
    records, thetas = [], [learner.theta]
    for record in learner:
        records.append(record)
        thetas.append(learner.theta)
        if record.iteration == iterations:
            break
    return records, thetas


@pytest.mark.parametrize("check", [True, False])
def test_scalar_problem_is_learned(check):
    learner = Maid(Scalar(), MaidOptions(check_descent=check, step_size_init=1.0, step_increase=2.0, tolerance=1e-7))
    run(learner, 200)
    assert learner.stopped is Stop.STATIONARY
    assert learner.theta.item() == pytest.approx(-1.0986123, abs=1e-5)
    assert learner.state.x.item() == pytest.approx(1.5, abs=1e-5)


@pytest.mark.parametrize(
    ("check", "convex", "box"),
    [(True, False, None), (True, True, (0.5, 1.2)), (False, True, None), (False, False, (0.5, 1.2))],
)
@pytest.mark.parametrize("make", [quadratic, easy_quadratic, LogCosh])
def test_every_step_decreases_f(check, convex, box, make):
    problem = make()
    options = MaidOptions(
        lower_tolerance_init=1.0,
        check_descent=check,
        convex_upper=convex,
        box=box,
        descent_margin=0.5,
        sufficient_decrease=0.1,
        accuracy_increase=1.25,
        barzilai_borwein=True,
    )
    records, thetas = run(Maid(problem, options), 12)
    steps = 0
    for record, before, after in zip(records, thetas, thetas[1:], strict=False):
        moved, alpha = (after - before).norm().item(), record.step_size
        if alpha:
            steps += 1
            assert problem.value(after) <= problem.value(before) - 0.1 * moved**2 / alpha + 1e-12
            if box is None:
                assert moved == pytest.approx(alpha * record.gradient_norm, rel=1e-9)
                if check:
                    exact = problem.gradient(before) if isinstance(problem, LogCosh) else exact_gradient(problem, before)
                    z = (before - after) / alpha
                    assert (z - exact).norm() <= record.error_bound * (1 + 1e-9)
                    assert record.error_bound <= 0.5 * record.gradient_norm
                    assert z @ exact >= 0.5 * z @ z
            else:
                assert ((after >= box[0]) & (after <= box[1])).all()
            assert record.lower_bound - 1e-12 <= problem.value(after) <= record.upper_bound + 1e-12
    assert steps >= 1


@pytest.mark.parametrize("tolerance", [1e-1, 1e-5])
@pytest.mark.parametrize("check", [True, False])
def test_start_accuracy_does_not_matter(tolerance, check):
    problem = easy_quadratic()
    options = MaidOptions(lower_tolerance_init=tolerance, check_descent=check, step_size_init=0.01, accuracy_increase=1.25)
    records, thetas = run(Maid(problem, options), 15)
    assert (thetas[-1] - problem.minimizer()).norm() < 1e-6
    assert records[-1].lower_iterations < 1500
    used = [record.lower_tolerance for record in records]
    changes = [b - a for a, b in itertools.pairwise(used)]
    assert min(changes) < 0
    if not check:
        assert max(changes) > 0


def armijo(problem: Quadratic, theta, alpha, sufficient, steps):
    for _ in range(steps):
        gradient, step = exact_gradient(problem, theta), alpha
        while problem.value(theta - step * gradient) > problem.value(theta) - sufficient * step * gradient @ gradient:
            step /= 2
        alpha = step
        theta = theta - step * gradient
        yield theta


def test_exact_solutions_make_gradient_descent_with_armijo_backtracking():
    problem = quadratic()
    options = MaidOptions(
        lower_tolerance_init=1e-11,
        step_size_init=1.0,
        step_increase=1.0,
        accuracy_increase=1.0,
        descent_margin=0.5,
        sufficient_decrease=0.1,
        max_backtracks=30,
    )
    _, thetas = run(Maid(problem, options), 8)
    for found, exact in zip(thetas[1:], armijo(problem, problem.theta0, 1.0, 0.1, 8), strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("schedule", ["geometric", "quadratic", "cubic", "constant"])
def test_exact_solutions_make_hoag_gradient_descent(schedule):
    problem = quadratic()
    _, thetas = run(Hoag(problem, HoagOptions(tolerance_init=1e-11, schedule=schedule, step_size=1e-3)), 10)
    theta = problem.theta0
    for found in thetas:
        torch.testing.assert_close(found, theta, rtol=1e-8, atol=1e-9)
        theta = theta - 1e-3 * exact_gradient(problem, theta)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("geometric", [0.1, 0.09, 0.081, 0.0729]),
        ("quadratic", [0.1, 0.025, 0.1 / 9, 0.00625]),
        ("cubic", [0.1, 0.0125, 0.1 / 27, 0.1 / 64]),
    ],
)
def test_hoag_schedules(schedule, expected):
    records, _ = run(Hoag(quadratic(), HoagOptions(schedule=schedule, step_size=1e-4)), 4)
    assert [record.lower_tolerance for record in records] == pytest.approx(expected)


def test_hoag_goes_on_after_a_rejection():
    problem = easy_quadratic()
    records, thetas = run(Hoag(problem), 150)
    rejected = [i for i, record in enumerate(records[:-1]) if record.step_size == 0]
    assert rejected
    for i in rejected:
        assert torch.equal(thetas[i], thetas[i + 1])
        assert records[i].value >= 1.2 * records[i - 1].value
        assert records[i + 1].step_size > 0
        assert records[i + 1].lower_tolerance == pytest.approx(0.45 * records[i].lower_tolerance)
    assert problem.value(thetas[-1]) - problem.value(problem.minimizer()) < 1e-3


def test_hoag_steps_by_its_heuristic():
    problem = easy_quadratic()
    records, thetas = run(Hoag(problem, HoagOptions(tolerance_init=1e-10)), 20)
    inverse, last = records[0].gradient_norm / 2, float("inf")  # √m = 2
    for record, before, after in zip(records, thetas, thetas[1:], strict=False):
        value, p = problem.value(before).item(), exact_gradient(problem, before)
        if abs(value - last + p @ p / inverse) < 1e-6:
            break  # inexactness may decide
        if value <= last - p @ p / inverse:
            inverse *= 0.95
            expected = before - p / inverse
        elif value >= 1.2 * last:
            inverse *= 2
            expected = before
        else:
            expected = before - p / inverse
        last = value
        torch.testing.assert_close(after, expected, rtol=1e-6, atol=1e-7)
        assert record.value == pytest.approx(value, rel=1e-6)
    assert record.iteration > 8


@pytest.mark.parametrize(("condition", "iterations", "outer"), [(2.0, 56, 2), (5.0, 853, 5)])
def test_fixed_accuracy_costs_what_was_published(condition, iterations, outer):
    problem = conditioned_quadratic(condition)
    learner = Hoag(problem, fixed_accuracy(problem))
    cost, steps = to_gap(learner)
    # The authors count steps; here each solve also counts the gradient that ends it.
    assert (cost - steps, steps) == (iterations, outer)


def fixed_accuracy(problem: Quadratic) -> HoagOptions:
    return HoagOptions(
        tolerance_init=1e-4,
        schedule="constant",
        step_size=1 / upper_curvature(problem),
        lower_solver=gradient_descent,
        max_lower_iterations=100_000,
    )


def upper_curvature(problem: Quadratic) -> float:
    return torch.linalg.matrix_norm(problem.A1 @ torch.linalg.pinv(problem.A2) @ problem.A3, 2).item() ** 2


def to_gap(learner) -> tuple[int, int]:
    """Lower iterations and steps until f is within 0.5 percent of its minimum."""
    problem = learner.problem
    least = problem.value(problem.minimizer())
    for record in learner:
        if problem.value(learner.theta) - least < 5e-3 * least:
            return record.lower_iterations, record.iteration
    raise AssertionError(learner.stopped)


def test_adaptive_accuracy_costs_a_quarter_of_a_fixed_one():
    problem = conditioned_quadratic(10.0)
    options = MaidOptions(
        step_size_init=1 / upper_curvature(problem),
        step_increase=1.5,
        accuracy_increase=1.1,
        sufficient_decrease=0.1,
        max_backtracks=15,
        check_descent=False,
        convex_upper=True,
        barzilai_borwein=True,
        nonmonotone=True,
        lower_solver=gradient_descent,
        max_lower_iterations=100_000,
    )
    assert to_gap(Maid(problem, options))[0] < to_gap(Hoag(problem, fixed_accuracy(problem)))[0] / 4


def test_nonmonotone_steps_decrease_a_mean_of_past_values():
    problem = quadratic(3)
    options = MaidOptions(
        check_descent=False, barzilai_borwein=True, nonmonotone=True, sufficient_decrease=0.1, accuracy_increase=1.25
    )
    records, thetas = run(Maid(problem, options), 40)
    values = [problem.value(theta).item() for theta in thetas]
    reference, weight = values[0], 1.0
    for record, before, after in zip(records, values, values[1:], strict=False):
        least = record.step_size * 0.1 * record.gradient_norm**2
        assert after <= max(reference, before) - least + 1e-9
        reference = (0.85 * weight * reference + after) / (0.85 * weight + 1)
        weight = 0.85 * weight + 1
    assert any(b > a for a, b in itertools.pairwise(values))
    assert values[-1] < values[0]


def test_barzilai_borwein_starts_the_search():
    problem = easy_quadratic()
    records, thetas = run(Maid(problem, MaidOptions(lower_tolerance_init=1e-9, barzilai_borwein=True)), 5)
    for i in range(1, 5):
        s = thetas[i] - thetas[i - 1]
        y = exact_gradient(problem, thetas[i]) - exact_gradient(problem, thetas[i - 1])
        assert records[i].step_size * 2 ** records[i].backtracks == pytest.approx((s @ s / (s @ y)).item(), rel=1e-4)


def test_scale_free_start():
    for factor in [1.0, 1e3]:
        base = easy_quadratic()
        scaled = Quadratic(*(factor**0.5 * m for m in (base.A1, base.A2, base.A3, base.b1, base.b2)), base.x0, base.theta0)
        learner = Maid(scaled, MaidOptions(lower_tolerance_init=None))
        residual = base.lower_gradient(base.x0, base.theta0).norm() / base.mu
        assert learner.state.lower_tolerance == pytest.approx(min(0.02 * residual.item(), 2.0))
        learner = Maid(scaled, MaidOptions(lower_tolerance_init=1e-6, step_size_init=None))
        (record,), (before, after) = run(learner, 1)
        assert record.step_size * record.gradient_norm == pytest.approx(0.02, rel=1e-9)
        assert scaled.value(after) < scaled.value(before)


@pytest.mark.parametrize("check", [True, False])
def test_zero_gradient_is_not_stationarity(check):
    problem = easy_quadratic()
    learner = Maid(problem, MaidOptions(adjoint_tolerance_init=1e6, check_descent=check, tolerance=1e-3))
    records, thetas = run(learner, 3)
    assert records[0].step_size > 0
    x = problem.solution(problem.theta0)
    assert records[0].adjoint_tolerance < problem.upper_gradients(x, problem.theta0)[0].norm()
    assert problem.value(thetas[-1]) < problem.value(thetas[0])
    if not check:
        assert records[0].backtracks == 0
        assert records[0].lower_tolerance == 0.1


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stops_at_the_accuracy_floor(check, device, dtype):
    problem = LogCosh(dtype=dtype, device=device)
    learner = Maid(problem, MaidOptions(check_descent=check, step_size_init=0.5, step_increase=1.5, max_backtracks=3))
    records, thetas = run(learner, 300)
    assert learner.stopped is Stop.ACCURACY_FLOOR
    assert thetas[-1].dtype == dtype
    assert thetas[-1].device.type == device
    assert records[-1].step_size == 0
    least = {torch.float32: 2e-2, torch.float64: 1e-4}[dtype]
    assert LogCosh().gradient(thetas[-1].double().cpu()).norm() < least
    assert list(learner) == []


@pytest.mark.parametrize("check", [True, False])
def test_single_precision_steps_decrease_f_in_double_precision(check):
    options = MaidOptions(check_descent=check, step_size_init=0.5, step_increase=1.5, max_backtracks=3)
    _, thetas = run(Maid(LogCosh(dtype=torch.float32), options), 300)
    values = [LogCosh().value(theta.double()).item() for theta in thetas]
    assert all(b <= a for a, b in itertools.pairwise(values))
    assert values[-1] < values[0] - 0.1


@pytest.mark.parametrize("options", [{}, {"check_descent": False}, {"lower_tolerance_init": None}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("start", [0.0, 0.01])
def test_ends_as_stationary_where_the_upper_gradient_is_exactly_zero(options, dtype, start):
    """At the origin of h = ½ ‖x + θ‖², g = ½ ‖x‖² no residual is left, whose rounding could set a floor to ε and δ."""
    identity, zero = torch.eye(2, dtype=dtype), torch.zeros(1, 2, dtype=dtype)
    problem = Quadratic(identity, identity, identity, zero, zero, x0=zero + start, theta0=zero[0] + start)
    learner = Maid(problem, MaidOptions(**options))
    records, thetas = run(learner, 500)
    assert learner.stopped is Stop.STATIONARY
    assert thetas[-1].abs().max() < 1e-20
    assert records[-1].gradient_norm == 0
    assert start or len(records) == 1


def test_box_is_kept_at_the_minimizer_on_its_edge():
    learner = Maid(Scalar(), MaidOptions(box=(-0.5, 0.5), step_size_init=1.0, step_increase=2.0))
    run(learner, 50)
    assert learner.theta.item() == -0.5
    assert learner.stopped is Stop.ACCURACY_FLOOR
    hoag = Hoag(Scalar(), HoagOptions(box=(-0.5, 0.5)))
    run(hoag, 50)
    assert hoag.theta.item() == -0.5


LEARNERS = {
    "maid": lambda p: Maid(p, MaidOptions(lower_tolerance_init=1.0)),
    "everything": lambda p: Maid(
        p,
        MaidOptions(
            lower_tolerance_init=None,
            step_size_init=None,
            check_descent=False,
            convex_upper=True,
            barzilai_borwein=True,
            nonmonotone=True,
            lower_solver=lbfgs,
            linear_solver=damped_conjugate_gradients,
            box=(-3.0, 3.0),
        ),
    ),
    "hoag": Hoag,
}


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("make", [lambda: quadratic(4), LogCosh], ids=["quadratic", "logcosh"])
@pytest.mark.parametrize("after", [1, 4])
def test_resumes_bit_for_bit(learner, make, after):
    build = LEARNERS[learner]
    whole, _ = run(build(make()), 10)
    first = build(make())
    run(first, after)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = build(make())
    second.load_state_dict(torch.load(file, weights_only=True))
    rest, _ = run(second, 10)
    assert len(rest) == len(whole) - after > 0
    for a, b in zip(whole[after:], rest, strict=True):
        assert torch.equal(a.theta, b.theta)
        assert {k: v for k, v in vars(a).items() if k != "theta"} == {k: v for k, v in vars(b).items() if k != "theta"}


def test_state_does_not_change_with_the_learner():
    learner = Maid(quadratic())
    run(learner, 2)
    saved = learner.state_dict()
    theta = saved["theta"].clone()
    learner.step()
    assert torch.equal(saved["theta"], theta)
    assert all(isinstance(value, torch.Tensor | int | float) for value in saved.values())


def test_foreign_states_are_refused():
    state = Maid(quadratic()).state_dict()
    with pytest.raises(CheckpointError, match="not the state of a Hoag"):
        Hoag(quadratic()).load_state_dict(state)
    with pytest.raises(CheckpointError, match="problem"):
        Maid(LogCosh()).load_state_dict(state)
    with pytest.raises(CheckpointError, match="not the state"):
        Maid(quadratic()).load_state_dict({})


def test_costs_count_what_was_evaluated():
    counts = {"gradient": 0, "product": 0}

    class Counting(Quadratic):
        def lower_gradient(self, x, theta):
            counts["gradient"] += 1
            return super().lower_gradient(x, theta)

        def hessian(self, x, theta):
            product = super().hessian(x, theta)

            def counting(v):
                counts["product"] += 1
                return product(v)

            return counting

    base = quadratic()
    problem = Counting(base.A1, base.A2, base.A3, base.b1, base.b2, base.x0, base.theta0)
    for learner in [Maid(problem), Hoag(problem), Maid(problem, MaidOptions(lower_tolerance_init=None))]:
        counts.update(gradient=0, product=0)
        start = learner.state.lower_iterations
        records, _ = run(learner, 5)
        assert records[-1].lower_iterations - start == counts["gradient"]
        assert records[-1].linear_iterations == counts["product"]
        assert records[-1].cost == records[-1].lower_iterations + records[-1].linear_iterations


def test_caps_lower_the_accuracy_but_not_the_truth():
    problem = conditioned_quadratic(10.0)
    options = MaidOptions(check_descent=False, max_lower_iterations=40, max_linear_iterations=2, step_size_init=None)
    records, thetas = run(Maid(problem, options), 10)
    for record, before, after in zip(records, thetas, thetas[1:], strict=False):
        assert problem.value(after) <= problem.value(before) + 1e-12
        assert record.lower_bound - 1e-12 <= problem.value(after) <= record.upper_bound + 1e-12
    assert any(record.step_size for record in records)


def test_unknown_smoothness_is_estimated_only_without_the_certificate():
    class Unknown(LogCosh):
        def upper_smoothness(self, theta):
            return None

    with pytest.raises(ConfigError, match="upper_smoothness"):
        Maid(Unknown())
    learner = Maid(Unknown(), MaidOptions(check_descent=False))
    _, thetas = run(learner, 5)
    assert learner.state_dict()["upper_smoothness"] == pytest.approx(2.0)
    assert LogCosh().value(thetas[-1]) < LogCosh().value(thetas[0])
    assert run(Hoag(Unknown()), 2)[0][0].upper_bound is None


@pytest.mark.parametrize(
    "options",
    [
        {"step_decrease": 1.0},
        {"accuracy_increase": 0.9},
        {"sufficient_decrease": 0.5},
        {"lower_tolerance_init": 0.0},
        {"box": (1.0, 0.0)},
        {"max_backtracks": 0},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        MaidOptions(**options)


def test_convexity_must_be_declared():
    with pytest.raises(ConfigError, match="upper_convex"):
        Maid(type("Nonconvex", (LogCosh,), {"upper_convex": False})(), MaidOptions(convex_upper=True))
