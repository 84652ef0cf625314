import numpy as np
import pytest
import torch
from bilevel_problems import LogCosh, gaussian, quadratic
from scipy.optimize import minimize
from scipy.sparse.linalg import cg

from regbench.methods.shared.bilevel.linear import conjugate_gradients, damped_conjugate_gradients, neumann_series
from regbench.methods.shared.bilevel.lower import fista, gradient_descent, lbfgs, solve_lower
from regbench.methods.shared.bilevel.quadratic import conditioned_quadratic

LOWER = [gradient_descent, fista, lbfgs]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def spd(eigenvalues, samples: int = 1) -> torch.Tensor:
    basis = torch.linalg.qr(gaussian(samples, len(eigenvalues), len(eigenvalues), seed=5)).Q
    return basis @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.mT


def product_with(matrix: torch.Tensor):
    return lambda v: (matrix @ v[..., None])[..., 0]


def solve(solver, matrix, b, delta, start=None, limit=1000, **options):
    smoothness = torch.linalg.matrix_norm(matrix, 2)
    start = torch.zeros_like(b) if start is None else start
    return solver(product_with(matrix), b, start, torch.full_like(smoothness, delta), smoothness, limit, **options)


@pytest.mark.parametrize("solver", LOWER)
@pytest.mark.parametrize("epsilon", [1e-1, 1e-4, 1e-9])
def test_lower_solution_is_within_epsilon(solver, epsilon):
    for problem in [LogCosh(), quadratic(samples=3)]:
        theta = problem.theta0
        found = solve_lower(problem, problem.x0, theta, epsilon, solver, 10_000)
        assert ((found.x - problem.solution(theta)).norm(dim=1) <= epsilon).all()
        residual = problem.lower_gradient(found.x, theta).norm(dim=1)
        torch.testing.assert_close(found.residual, residual)
        assert (residual <= epsilon * problem.per_sample(problem.strong_convexity(theta)) * (1 + 1e-9)).all()


@pytest.mark.parametrize("solver", LOWER)
def test_lower_solvers_agree_with_scipy(solver):
    problem = LogCosh(samples=1)
    y, weights = problem.y[0].numpy(), problem.theta0.exp().numpy()
    reference = minimize(
        lambda x: (((x - y) ** 2).sum() / 2 + weights @ np.log(np.cosh(x)), x - y + weights * np.tanh(x)),
        np.zeros_like(y),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 0, "gtol": 1e-11},
    )
    found = solve_lower(problem, problem.x0, problem.theta0, 1e-10, solver, 10_000)
    np.testing.assert_allclose(found.x[0].numpy(), reference.x, atol=1e-8)


@pytest.mark.parametrize("solver", LOWER)
def test_iterations_count_gradients(solver):
    calls = 0

    class Counting(LogCosh):
        def lower_gradient(self, x, theta):
            nonlocal calls
            calls += 1
            return super().lower_gradient(x, theta)

    problem = Counting()
    assert solve_lower(problem, problem.x0, problem.theta0, 1e-6, solver, 1000).iterations == calls > 3
    calls = 0
    capped = solve_lower(problem, problem.x0, problem.theta0, 1e-6, solver, 3)
    assert capped.iterations == calls == 3
    torch.testing.assert_close(capped.residual, LogCosh().lower_gradient(capped.x, problem.theta0).norm(dim=1))
    assert (capped.accuracy(problem, problem.theta0, 1e-6) >= (capped.x - problem.solution(problem.theta0)).norm(dim=1)).all()


@pytest.mark.parametrize("solver", LOWER)
def test_warm_start_at_the_solution_is_free(solver):
    problem = LogCosh()
    found = solve_lower(problem, problem.solution(problem.theta0), problem.theta0, 1e-8, solver, 100)
    assert found.iterations == 1


def test_momentum_is_real():
    problem = conditioned_quadratic(30.0)
    counts = {s: solve_lower(problem, problem.x0, problem.theta0, 1e-8, s, 100_000).iterations for s in LOWER}
    # 900 is the condition number: gradient descent needs that many iterations for each factor e, acceleration its root.
    assert counts[gradient_descent] > 8 * counts[fista]
    assert counts[fista] > counts[lbfgs]


def test_gradient_descent_step_by_step():
    problem = quadratic()
    x = problem.x0
    for _ in range(7):
        x = x - (x @ problem.A2.mT + problem.A3 @ problem.theta0 - problem.b2) @ problem.A2 / problem.L_h
    found = gradient_descent(problem, problem.x0, problem.theta0, torch.zeros(1).double(), 8)
    torch.testing.assert_close(found.x, x)


@pytest.mark.parametrize("solver", LOWER)
@pytest.mark.parametrize("device", DEVICES)
def test_float32_stops_at_its_floor(solver, device):
    problem = LogCosh(dtype=torch.float32, device=device)
    first = solve_lower(problem, problem.x0, problem.theta0, 1e-4, solver, 1000)
    found = solve_lower(problem, first.x, problem.theta0, 1e-12, solver, 1000)
    assert found.iterations < 100
    assert found.x.dtype == torch.float32
    assert (found.accuracy(problem, problem.theta0, 1e-12) < 1e-4).all()
    assert ((found.x - problem.solution(problem.theta0)).norm(dim=1) < 1e-4).all()


@pytest.mark.parametrize("delta", [1e-1, 1e-5, 1e-10])
def test_conjugate_gradients_agree_with_scipy(delta):
    matrix, b = spd([1, 2, 3, 10, 50, 100]), gaussian(1, 6, seed=7)
    reference = cg(matrix[0].numpy(), b[0].numpy(), rtol=0, atol=delta)[0]
    found = solve(conjugate_gradients, matrix, b, delta)
    np.testing.assert_allclose(found.q[0].numpy(), reference, rtol=1e-6, atol=1e-12)
    residual = (product_with(matrix)(found.q) - b).norm(dim=1)
    assert residual <= delta
    torch.testing.assert_close(found.residual, residual, rtol=1e-3, atol=1e-11)


@pytest.mark.parametrize("solver", [conjugate_gradients, neumann_series])
def test_linear_iterations_count_products(solver):
    matrix, b, calls = spd([1, 2, 4], samples=3), gaussian(3, 3, seed=8), 0

    def product(v):
        nonlocal calls
        calls += 1
        return product_with(matrix)(v)

    for start in [torch.zeros_like(b), gaussian(3, 3, seed=9) / 10]:
        calls = 0
        found = solver(product, b, start, torch.full((3,), 1e-8).double(), torch.full((3,), 4.0).double(), 500)
        assert found.iterations == calls
        assert ((product_with(matrix)(found.q) - b).norm(dim=1) <= 1e-8).all()
        torch.testing.assert_close(found.q, torch.linalg.solve(matrix, b))


@pytest.mark.parametrize("solver", [conjugate_gradients, neumann_series])
def test_warm_start_measures_its_residual(solver):
    matrix, b = spd([1, 2, 4]), gaussian(1, 3, seed=8)
    exact = torch.linalg.solve(matrix, b)
    near = exact + 1e-3 * gaussian(1, 3, seed=9)
    found = solve(solver, matrix, b, 1e-1, start=near)
    assert found.iterations == 1
    assert torch.equal(found.q, near)
    torch.testing.assert_close(found.residual, (product_with(matrix)(near) - b).norm(dim=1))
    far = solve(solver, matrix, b, 1e-6, start=1e6 * exact)
    cold = solve(solver, matrix, b, 1e-6)
    assert torch.equal(far.q, cold.q)
    assert far.iterations == cold.iterations + 1


def test_zero_where_the_residual_allows_it():
    b = gaussian(1, 3, seed=8)
    found = solve(conjugate_gradients, spd([1, 2, 4]), b, 10 * b.norm().item())
    assert found.iterations == 0
    assert not found.q.any()
    torch.testing.assert_close(found.residual, b.norm(dim=1))


@pytest.mark.parametrize("solver", [conjugate_gradients, neumann_series])
def test_negative_curvature_is_detected(solver):
    found = solve(solver, spd([-1, 2, 4]), gaussian(1, 3, seed=8), 1e-8)
    assert found.negative_curvature
    assert found.q.isfinite().all()
    assert not solve(solver, spd([1, 2, 4]), gaussian(1, 3, seed=8), 1e-8).negative_curvature


def test_damping_makes_definite():
    matrix, b = spd([-1, 2, 4]), gaussian(1, 3, seed=8)
    found = solve(damped_conjugate_gradients, matrix, b, 1e-8)
    assert not found.negative_curvature
    assert found.damping > 1
    torch.testing.assert_close(found.q, torch.linalg.solve(matrix + found.damping * torch.eye(3).double(), b))
    assert solve(damped_conjugate_gradients, spd([1, 2, 4]), b, 1e-8).damping == 0
    assert solve(damped_conjugate_gradients, spd([1, 2, 4]), b, 1e-8, damping=0.5).damping == 0.5


@pytest.mark.parametrize("terms", [1, 2, 5])
def test_neumann_series_term_by_term(terms):
    matrix, b = spd([1, 2, 4]), gaussian(1, 3, seed=8)
    found = solve(neumann_series, matrix, b, 0.0, limit=terms)
    power = torch.eye(3).double() - matrix[0] / 4
    series = sum(torch.linalg.matrix_power(power, k) @ b[0] for k in range(terms)) / 4
    torch.testing.assert_close(found.q[0], series)
    torch.testing.assert_close(found.residual, (product_with(matrix)(found.q) - b).norm(dim=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_linear_floor_is_reached(dtype):
    matrix, b = spd([1, 10, 100]).to(dtype), gaussian(1, 3, seed=8).to(dtype)
    found = solve(conjugate_gradients, matrix, b, 0.0)
    assert found.iterations < 20
    residual = (product_with(matrix.double())(found.q.double()) - b.double()).norm(dim=1)
    assert (found.residual.double() >= residual).all()
