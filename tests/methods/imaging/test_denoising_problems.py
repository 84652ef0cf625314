import math

import numpy as np
import pytest
import torch
from scipy import fft, ndimage, optimize

from regbench.methods.imaging.field_of_experts import FieldOfExpertsProblem
from regbench.methods.imaging.total_variation import TotalVariationProblem
from regbench.methods.shared.bilevel.hypergradient import hypergradient
from regbench.methods.shared.bilevel.linear import conjugate_gradients
from regbench.methods.shared.bilevel.lower import fista, lbfgs, solve_lower
from regbench.methods.shared.bilevel.problem import BilevelProblem
from regbench.methods.shared.bilevel.samples import norm


def images(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tv(weight=0.3, smoothing=0.1, shape=(3, 1, 7, 6)):
    theta = torch.tensor([weight, smoothing], dtype=torch.float64).log()
    return TotalVariationProblem(images(*shape), images(*shape, seed=1), theta)


def foe(filters=4, size=3, shape=(3, 1, 7, 6)):
    theta = torch.cat([torch.tensor([-0.5]).double(), images(2 * filters, seed=2) - 2, images(filters * size**2, seed=3) - 0.5])
    return FieldOfExpertsProblem(images(*shape), images(*shape, seed=1), theta, filters, size)


PROBLEMS = [tv, foe, lambda: foe(2, 5)]
IDS = ["total variation", "experts 3x3", "experts 5x5"]
every_problem = pytest.mark.parametrize("make", PROBLEMS, ids=IDS)


def solve(problem, theta, tolerance=1e-11):
    return solve_lower(problem, problem.noisy, theta, tolerance, lbfgs, 100_000).x


def dense(operator, shape):
    """The matrix of a linear map of one image."""
    basis = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, 1, *shape)
    return torch.stack([operator(image[None]).flatten() for image in basis], 1)


@every_problem
def test_closed_forms_are_what_automatic_differentiation_gives(make):
    problem = make()
    x, v, theta = problem.clean, images(*problem.x0.shape, seed=4), problem.theta0
    exact = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(problem.lower_gradient(x, theta), BilevelProblem.lower_gradient(problem, x, theta), **exact)
    torch.testing.assert_close(problem.hessian(x, theta)(v), BilevelProblem.hessian(problem, x, theta)(v), **exact)
    for ours, theirs in zip(problem.upper_gradients(v, theta), BilevelProblem.upper_gradients(problem, v, theta), strict=True):
        torch.testing.assert_close(ours, theirs, **exact)
    found = problem.jacobian_transposed(x, theta, v)
    torch.testing.assert_close(found, BilevelProblem.jacobian_transposed(problem, x, theta, v), **exact)


@every_problem
def test_adjoint_is_the_transpose(make):
    problem = make()
    x, r = images(3, 1, 7, 6, seed=5), images(*problem.respond(problem.x0, problem.theta0).shape, seed=6)
    left = (problem.respond(x, problem.theta0) * r).sum()
    assert left.item() == pytest.approx((x * problem.adjoint(r, problem.theta0)).sum().item(), rel=1e-12)


@every_problem
def test_curvature_lies_between_its_bounds(make):
    problem = make()
    for x in (torch.zeros_like(problem.noisy), problem.noisy):
        matrix = dense(lambda v, x=x: problem.hessian(x[:1], problem.theta0)(v), x.shape[2:])
        eigenvalues = torch.linalg.eigvalsh(matrix)
        assert eigenvalues[0] >= 1 - 1e-12
        assert eigenvalues[-1] <= problem.smoothness(problem.theta0)


@every_problem
def test_lower_objective_is_the_papers(make):
    """Written again with NumPy and SciPy, image by image."""
    problem = make()
    x, theta = problem.clean.numpy(), problem.theta0.numpy()
    for image, noisy, found in zip(x, problem.noisy.numpy(), problem.lower(problem.clean, problem.theta0), strict=True):
        image, noisy = image[0], noisy[0]
        if isinstance(problem, TotalVariationProblem):
            nu = np.exp(theta[1])
            # The padded zeros of each direction add a constant to a row or column of pixels.
            responses = [np.diff(image, axis=0, append=image[-1:]), np.diff(image, axis=1, append=image[:, -1:])]
            penalty = sum(np.sqrt(r**2 + nu**2).sum() for r in responses)
        else:
            count, size = problem.filters, problem.size
            filters = theta[1 + 2 * count :].reshape(count, size, size)
            penalty = sum(
                np.exp(theta[1 + k])
                * np.sqrt(ndimage.correlate(image, c, mode="mirror") ** 2 + np.exp(2 * theta[1 + count + k])).sum()
                for k, c in enumerate(filters)
            )
        assert found.item() == pytest.approx(((image - noisy) ** 2).sum() / 2 + np.exp(theta[0]) / 2 * penalty, rel=1e-12)


@every_problem
@pytest.mark.parametrize("solver", [fista, lbfgs])
def test_minimizer_is_that_of_a_reference_solver(make, solver):
    problem = make()
    found = solve_lower(problem, problem.x0, problem.theta0, 1e-9, solver, 100_000).x

    def value(flat):
        x = torch.tensor(flat).reshape(problem.x0.shape)
        gradient = BilevelProblem.lower_gradient(problem, x, problem.theta0)
        return problem.lower(x, problem.theta0).sum().item(), gradient.numpy().ravel()

    expected = optimize.minimize(value, problem.x0.numpy().ravel(), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    torch.testing.assert_close(found.flatten(), torch.tensor(expected), rtol=0, atol=1e-7)


def test_much_smoothing_makes_a_quadratic_penalty():
    """√(t² + ν²) → ν + t² / 2ν: the minimizer is (I + w/2ν DᵀD)⁻¹ y, diagonal in the cosine basis."""
    smoothing, strength = 1e4, 0.7
    problem = tv(2 * smoothing * strength, smoothing, (2, 1, 12, 10))
    frequencies = [4 * np.sin(np.pi * np.arange(n) / (2 * n)) ** 2 for n in (12, 10)]
    gain = 1 / (1 + strength * (frequencies[0][:, None] + frequencies[1]))
    expected = fft.idctn(gain * fft.dctn(problem.noisy.numpy(), axes=(2, 3), norm="ortho"), axes=(2, 3), norm="ortho")
    np.testing.assert_allclose(solve(problem, problem.theta0), expected, atol=1e-8)


def test_a_strong_penalty_leaves_the_mean():
    problem = tv(1e3, 1e-2)
    expected = problem.noisy.mean((2, 3), keepdim=True).expand_as(problem.noisy)
    torch.testing.assert_close(solve(problem, problem.theta0), expected, rtol=0, atol=1e-4)


@every_problem
def test_hypergradient_is_what_finite_differences_give(make):
    problem = make()
    theta = problem.theta0
    x = solve(problem, theta, 1e-12)
    zero = torch.zeros_like(x)
    z = hypergradient(problem, x, theta, x.new_full((3,), 1e-12), 1e-12, zero, conjugate_gradients, 500, certify=False).z
    step, found = 1e-5, []
    for j in range(min(6, len(theta))):
        shift = step * torch.eye(len(theta), dtype=torch.float64)[j]
        above, below = (problem.upper(solve(problem, theta + s, 1e-12), theta).mean() for s in (shift, -shift))
        found.append((above - below).item() / (2 * step))
    np.testing.assert_allclose(z[: len(found)], found, rtol=1e-6, atol=1e-9)


def test_exact_jacobian_norm():
    problem = tv()
    x = problem.clean
    columns = []
    for i in range(3):

        def gradient(theta, i=i):
            w, nu = theta.exp()
            part = x[i : i + 1]
            r = problem.respond(part, theta)
            return part - problem.noisy[i : i + 1] + problem.adjoint(w * r / (r.square() + nu**2).sqrt(), theta) / 2

        jacobian = torch.autograd.functional.jacobian(gradient, problem.theta0).reshape(-1, 2)
        columns.append(torch.linalg.matrix_norm(jacobian, 2))
    torch.testing.assert_close(problem.jacobian_norm(x, problem.theta0), torch.stack(columns), rtol=1e-12, atol=0)


@pytest.mark.parametrize("seed", range(30))
def test_total_variations_error_bound_is_a_bound(seed):
    random = np.random.default_rng(seed)
    problem = tv(*np.exp(random.uniform([-4, -3], [0, 0])))
    theta, accuracy = problem.theta0, 10.0 ** random.uniform(-4, 0)
    exact = solve(problem, theta)
    direction = torch.tensor(random.standard_normal(exact.shape))
    x = exact + accuracy * direction / norm(direction).reshape(3, 1, 1, 1)
    reached, start = torch.full((3,), accuracy, dtype=torch.float64), torch.zeros_like(x)
    z = hypergradient(problem, x, theta, reached, 10.0 ** random.uniform(-6, -1), start, conjugate_gradients, 500, certify=True)
    true = hypergradient(problem, exact, theta, reached, 1e-12, start, conjugate_gradients, 500, certify=False)
    assert (z.z - true.z).norm() <= z.bound


def test_lipschitz_constants_hold_between_random_images():
    for seed in range(20):
        random = np.random.default_rng(seed)
        problem = tv(1.0, 0.05, (1, 1, 5, 5))
        theta = problem.theta0
        x = torch.tensor(random.normal(scale=0.05, size=(1, 1, 5, 5)))
        y = x + torch.tensor(random.normal(scale=10.0 ** random.uniform(-4, -1), size=x.shape))
        distance = (x - y).norm()
        columns = [torch.stack([c.flatten() for c in problem.jacobian(image, theta)], 1) for image in (x, y)]
        assert torch.linalg.matrix_norm(columns[0] - columns[1], 2) <= problem.jacobian_lipschitz(theta) * distance
        inverses = [dense(problem.hessian(image, theta), (5, 5)).inverse() for image in (x, y)]
        assert torch.linalg.matrix_norm(inverses[0] - inverses[1], 2) <= problem.inverse_hessian_lipschitz(theta) * distance
