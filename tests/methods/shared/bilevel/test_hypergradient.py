import pytest
import torch
from bilevel_problems import LogCosh, Scalar, exact_gradient, gaussian, quadratic

from regbench.methods.errors import ConfigError
from regbench.methods.shared.bilevel.estimates import estimate_jacobian_norm, estimate_upper_smoothness
from regbench.methods.shared.bilevel.hypergradient import hypergradient, sandwich
from regbench.methods.shared.bilevel.linear import conjugate_gradients, damped_conjugate_gradients
from regbench.methods.shared.bilevel.quadratic import random_quadratic


def gradient_at(problem, x, theta, epsilon, delta, solver=conjugate_gradients, certify=True):
    accuracy = torch.full((len(x),), epsilon, dtype=x.dtype)
    return hypergradient(problem, x, theta, accuracy, delta, torch.zeros_like(x), solver, 1000, certify=certify)


def number(value):
    return torch.tensor([value], dtype=torch.float64)


def central_differences(value, theta, step=1e-5):
    unit = step * torch.eye(len(theta)).to(theta)
    return torch.stack([(value(theta + e) - value(theta - e)) / (2 * step) for e in unit])


@pytest.mark.parametrize(("x", "epsilon", "z", "omega"), [(1.1, 0.1, 0.22, 0.08), (1.01, 0.01, 0.24745, 0.00755)])
def test_scalar_problem_by_hand(x, epsilon, z, omega):
    problem = Scalar()
    found = gradient_at(problem, number(x)[None], problem.theta0, epsilon, 0.0)
    assert found.z.item() == pytest.approx(z, abs=1e-12)
    assert found.bound == pytest.approx(omega, abs=1e-12)
    assert abs(found.z.item() - 0.25) <= found.bound


@pytest.mark.parametrize(
    ("theta", "x", "upper", "lower"), [(-0.24745, 1.1230975, 0.0748468, 0.1151), (-0.0618625, 1.0309214, 0.1147582, 0.1151)]
)
def test_scalar_line_search_by_hand(theta, x, upper, lower):
    problem, accuracy = Scalar(), number(0.01)
    here = sandwich(problem, number(1.01)[None], problem.theta0, accuracy, 1.0)
    convex = sandwich(problem, number(1.01)[None], problem.theta0, accuracy, 1.0, convex=True)
    there = sandwich(problem, number(x)[None], number(theta), accuracy, 1.0)
    assert there.upper == pytest.approx(upper, abs=1e-7)
    assert here.lower == pytest.approx(lower, abs=1e-12)
    assert convex.lower - here.lower == pytest.approx(0.00005, abs=1e-12)
    alpha = {-0.24745: 1.0, -0.0618625: 0.25}[theta]
    psi = there.upper - here.lower + 1e-4 * alpha * 0.24745**2
    assert psi == pytest.approx({1.0: -0.0402471, 0.25: -0.000340312}[alpha], abs=2e-7)


@pytest.mark.parametrize("block", range(6))
@pytest.mark.parametrize(
    "make", [lambda seed: quadratic(seed), lambda seed: quadratic(seed, samples=3), lambda seed: LogCosh()]
)
def test_error_bound_holds(make, block):
    """Over 1,008 random points and accuracies in all."""
    for seed in range(14 * block, 14 * (block + 1)):
        hold_at(make(seed), seed)


def hold_at(problem, seed):
    for i, (epsilon, delta) in enumerate([(1e-2, 1e-3), (1e-1, 1e-1), (1e-4, 1e-1), (1.0, 1e-6)]):
        theta = problem.theta0 + gaussian(4, seed=100 * seed + i)
        exact = problem.gradient(theta) if isinstance(problem, LogCosh) else exact_gradient(problem, theta)
        offset = gaussian(*problem.x0.shape, seed=100 * seed + 10 + i)
        x = problem.solution(theta) + epsilon * offset / offset.norm(dim=1, keepdim=True)
        found = gradient_at(problem, x, theta, epsilon, delta)
        assert (found.z - exact).norm() <= found.bound
        value = problem.value(theta).item()
        accuracy = torch.full((len(x),), epsilon, dtype=x.dtype)
        for convex in [False, True]:
            bounds = sandwich(problem, x, theta, accuracy, problem.upper_smoothness(theta), convex=convex)
            assert bounds.lower <= value <= bounds.upper


def test_error_bound_vanishes_with_the_errors():
    problem = quadratic()
    found = gradient_at(problem, problem.solution(problem.theta0), problem.theta0, 0.0, 0.0)
    assert found.bound < 1e-8 * found.norm


@pytest.mark.parametrize("problem", [quadratic(1), quadratic(2, samples=3), LogCosh()], ids=["one", "three", "logcosh"])
def test_hypergradient_equals_central_differences(problem):
    theta = problem.theta0 + 0.3
    found = gradient_at(problem, problem.solution(theta), theta, 0.0, 0.0)
    numeric = central_differences(problem.value, theta)
    assert (found.z - numeric).norm() < 1e-6 * numeric.norm()
    exact = problem.gradient(theta) if isinstance(problem, LogCosh) else exact_gradient(problem, theta)
    torch.testing.assert_close(found.z, exact, rtol=1e-9, atol=1e-12)


def test_upper_objective_that_depends_on_theta():
    class Penalized(LogCosh):
        def upper(self, x, theta):
            return super().upper(x, theta) + 0.1 * theta.square().sum() + (x * theta).sum(1)

        def value(self, theta):
            return self.upper(self.solution(theta), theta).mean()

    problem = Penalized()
    found = gradient_at(problem, problem.solution(problem.theta0), problem.theta0, 0.0, 0.0, certify=False)
    numeric = central_differences(problem.value, problem.theta0)
    assert (found.z - numeric).norm() < 1e-6 * numeric.norm()
    assert problem.couples()
    with pytest.raises(ConfigError, match="mixed_smoothness"):
        problem.require_certificate()


def test_additive_penalty_needs_no_further_constant():
    class Penalized(LogCosh):
        def upper(self, x, theta):
            return super().upper(x, theta) + 0.1 * theta.square().sum()

    assert not Penalized().couples()
    Penalized().require_certificate()


def test_derivatives_equal_dense_ones():
    problem = LogCosh()
    x, theta, v = gaussian(5, 4, seed=1), problem.theta0, gaussian(5, 4, seed=2)
    weights = theta.exp()
    torch.testing.assert_close(problem.lower_gradient(x, theta), x - problem.y + weights * x.tanh(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(problem.hessian(x, theta)(v), v * (1 + weights / x.cosh() ** 2), rtol=1e-12, atol=1e-12)
    # Linear in e^θ: column j of J is e^θ_j times the gradient of the term that it weighs.
    torch.testing.assert_close(
        problem.jacobian_transposed(x, theta, v), weights * (x.tanh() * v).sum(0), rtol=1e-12, atol=1e-12
    )


def test_closed_forms_of_the_quadratic_equal_automatic_differentiation():
    problem = quadratic(samples=3)
    x, theta, v = gaussian(3, 4, seed=1), problem.theta0, gaussian(3, 4, seed=2)
    base = super(type(problem), problem)
    torch.testing.assert_close(problem.lower_gradient(x, theta), base.lower_gradient(x, theta), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(problem.hessian(x, theta)(v), base.hessian(x, theta)(v), rtol=1e-12, atol=1e-12)
    transposed = problem.jacobian_transposed(x, theta, v)
    torch.testing.assert_close(transposed, base.jacobian_transposed(x, theta, v), rtol=1e-12, atol=1e-12)


def test_norm_of_the_jacobian_equals_that_of_its_gram_matrix():
    problem = LogCosh()
    x, theta = gaussian(5, 4, seed=1), problem.theta0
    columns = torch.stack([torch.zeros(5, 4).double().index_copy(1, torch.tensor([j]), x[:, [j]].tanh()) for j in range(4)])
    gram = torch.einsum("inj,knj->ik", columns, columns) * (theta[:, None] + theta).exp()
    estimate, products = estimate_jacobian_norm(problem, x, theta)
    size = torch.linalg.eigvalsh(gram)[-1].sqrt()
    assert size <= estimate <= 1.5001 * size
    assert products == 30


def test_estimated_jacobian_keeps_the_bound():
    class Unknown(LogCosh):
        def jacobian_norm(self, x, theta):
            return None

    known, unknown = LogCosh(), Unknown()
    x = known.solution(known.theta0) + 0.01
    a, b = (gradient_at(p, x, p.theta0, 0.02, 1e-3) for p in [known, unknown])
    assert b.bound >= a.bound
    assert b.iterations == a.iterations + 30


def test_estimated_smoothness():
    problem = random_quadratic(rows=50)
    assert estimate_upper_smoothness(problem, problem.x0, problem.theta0) == pytest.approx(2 * problem.L_g, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "symbol"), [("upper_smoothness", "L_g"), ("jacobian_lipschitz", "L_J"), ("inverse_hessian_lipschitz", "L_H")]
)
def test_missing_constants_are_named(name, symbol):
    lacking = type("Lacking", (LogCosh,), {name: lambda self, theta: None})
    with pytest.raises(ConfigError, match=rf"Lacking lacks {name} \({symbol}.*check_descent"):
        lacking().require_certificate()


def test_estimated_convexity_certifies_nothing():
    with pytest.raises(ConfigError, match="estimates its convexity"):
        type("Network", (LogCosh,), {"estimated": True})().require_certificate()


def test_no_certificate_without_convexity():
    class Concave(Scalar):
        def lower(self, x, theta):
            return -super().lower(x, theta)

    problem = Concave()
    for solver in [conjugate_gradients, damped_conjugate_gradients]:
        with pytest.raises(ConfigError, match="not strongly convex"):
            gradient_at(problem, problem.x0, problem.theta0, 0.1, 1e-6, solver)
    assert gradient_at(problem, problem.x0, problem.theta0, 0.1, 1e-6, certify=False).negative_curvature


def test_published_instance():
    problem = random_quadratic()
    assert problem.value(problem.theta0).item() == pytest.approx(5486.19, abs=5e-3)
    assert problem.value(problem.minimizer()).item() == pytest.approx(0.052411, abs=5e-7)
    assert (problem.minimizer() - problem.theta0).norm().item() == pytest.approx(318, abs=0.5)
    assert exact_gradient(problem, problem.minimizer()).norm() < 1e-6
