import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

from regbench.methods.classification.weighted_logistic_regression import LogisticRegressionProblem, WeightedLogisticRegression
from regbench.methods.run import Run
from regbench.methods.shared.bilevel.hypergradient import hypergradient
from regbench.methods.shared.bilevel.linear import conjugate_gradients
from regbench.methods.shared.bilevel.lower import lbfgs, solve_lower
from regbench.methods.shared.bilevel.maid import Maid, MaidOptions
from regbench.methods.shared.bilevel.problem import BilevelProblem
from regbench.methods.shared.data import load

GROUPS = ["scalar", "class", "feature", "parameter"]
every_group = pytest.mark.parametrize("groups", GROUPS)


def small(groups, log_decay=-2.0, seed=0):
    """Two rows of each of three classes that lie apart, in four dimensions."""
    random = np.random.default_rng(seed)
    labels = torch.arange(24) % 3
    features = torch.tensor(random.normal(size=(24, 4))) + torch.nn.functional.one_hot(labels, 4)
    problem = LogisticRegressionProblem((features[:12], labels[:12]), (features[12:], labels[12:]), 3, log_decay, groups)
    problem.theta0 = problem.theta0 + torch.tensor(random.uniform(-1, 1, size=problem.theta0.shape))
    return problem


def digits(groups):
    """The rows and the start of MAID's small benchmark."""
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16.0), torch.tensor(y)
    order = np.random.default_rng(0).permutation(len(y))
    fit, held_out, test = order[:300], order[300:1000], order[1000:]
    problem = LogisticRegressionProblem((x[fit], y[fit]), (x[held_out], y[held_out]), 10, -3.0, groups)
    return problem, x[test], y[test]


def solve(problem, theta, tolerance=1e-10):
    return solve_lower(problem, problem.x0, theta, tolerance, lbfgs, 100_000).x


def upper_loss(problem, theta):
    return problem.upper(solve(problem, theta, 1e-6), theta).item()


@every_group
def test_closed_forms_are_what_automatic_differentiation_gives(groups):
    problem = small(groups)
    random = np.random.default_rng(1)
    x, v = (torch.tensor(random.normal(size=problem.x0.shape)) for _ in range(2))
    theta, exact = problem.theta0, {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(problem.lower_gradient(x, theta), BilevelProblem.lower_gradient(problem, x, theta), **exact)
    torch.testing.assert_close(problem.hessian(x, theta)(v), BilevelProblem.hessian(problem, x, theta)(v), **exact)
    for ours, theirs in zip(problem.upper_gradients(x, theta), BilevelProblem.upper_gradients(problem, x, theta), strict=True):
        torch.testing.assert_close(ours, theirs, **exact)
    found = problem.jacobian_transposed(x, theta, v)
    torch.testing.assert_close(found, BilevelProblem.jacobian_transposed(problem, x, theta, v), **exact)


@every_group
def test_hypergradient_is_what_finite_differences_give(groups):
    problem = small(groups)
    theta = problem.theta0
    x = solve(problem, theta, 1e-13)
    reached = torch.tensor([1e-12]).double()
    z = hypergradient(problem, x, theta, reached, 1e-13, torch.zeros_like(x), conjugate_gradients, 500, certify=False).z
    step = 1e-4 * torch.eye(len(theta), dtype=torch.float64)
    expected = [
        (problem.upper(solve(problem, theta + s, 1e-13), theta) - problem.upper(solve(problem, theta - s, 1e-13), theta)).item()
        / 2e-4
        for s in step
    ]
    np.testing.assert_allclose(z, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
@every_group
def test_error_bound_is_a_bound(groups, seed):
    random = np.random.default_rng(seed)
    problem = small(groups, log_decay=random.uniform(-3, 1), seed=seed)
    theta, accuracy = problem.theta0, 10.0 ** random.uniform(-4, 0)
    exact = solve(problem, theta)
    direction = torch.tensor(random.normal(size=exact.shape))
    x = exact + accuracy * direction / direction.norm()
    reached, start = torch.tensor([accuracy]).double(), torch.zeros_like(x)
    z = hypergradient(problem, x, theta, reached, 10.0 ** random.uniform(-6, -1), start, conjugate_gradients, 500, certify=True)
    true = hypergradient(problem, exact, theta, reached, 1e-13, start, conjugate_gradients, 500, certify=False)
    assert (z.z - true.z).norm() <= z.bound


def dense_hessian(problem, x, theta):
    basis = torch.eye(x.numel(), dtype=torch.float64).reshape(-1, *x.shape)
    product = problem.hessian(x, theta)
    return torch.stack([product(v).flatten() for v in basis], 1)


@every_group
def test_constants_hold(groups):
    problem = small(groups)
    theta = problem.theta0
    for seed in range(20):
        random = np.random.default_rng(seed)
        x = torch.tensor(random.normal(size=problem.x0.shape))
        y = x + torch.tensor(random.normal(scale=10.0 ** random.uniform(-3, 0), size=x.shape))
        distance = (x - y).norm()
        hessians = [dense_hessian(problem, image, theta) for image in (x, y)]
        eigenvalues = torch.linalg.eigvalsh(hessians[0])
        assert problem.strong_convexity(theta) <= eigenvalues[0] + 1e-12
        assert eigenvalues[-1] <= problem.smoothness(theta) + 1e-12
        change = torch.linalg.matrix_norm(hessians[0].inverse() - hessians[1].inverse(), 2)
        assert change <= problem.inverse_hessian_lipschitz(theta) * distance
        slopes = [problem.upper_gradients(image, theta)[0] for image in (x, y)]
        assert (slopes[0] - slopes[1]).norm() <= problem.upper_smoothness(theta) * distance
        jacobians = [
            torch.stack([problem.jacobian_transposed(image, theta, v[None]) for v in torch.eye(12).double().reshape(12, 4, 3)])
            for image in (x, y)
        ]
        assert problem.jacobian_norm(x, theta).item() == pytest.approx(torch.linalg.matrix_norm(jacobians[0], 2).item())
        difference = torch.linalg.matrix_norm(jacobians[0] - jacobians[1], 2)
        assert difference <= problem.jacobian_lipschitz(theta) * distance + 1e-12


@pytest.mark.parametrize("decay", [1e-2, 1e-3])
def test_the_fit_is_that_of_scikit_learn(decay):
    data = load("digits")
    x, y = (t.numpy() for t in data.train.tensors)
    x = x.reshape(len(x), -1).astype(float)
    reference = LogisticRegression(C=1 / (len(y) * decay), fit_intercept=False, tol=1e-8, max_iter=10_000).fit(x, y)
    held, labels = data.validation.tensors
    p = reference.predict_log_proba(held.flatten(1).double().numpy())
    (metrics,) = WeightedLogisticRegression(decay=decay, tolerance=1e-8).train(Run("digits"))
    assert metrics["val/nll"] == pytest.approx(-p[np.arange(len(labels)), labels].mean(), abs=1e-6)


def test_without_a_decay_the_training_rows_are_fitted():
    """They are linearly separable, so that their loss tends to 0."""
    data = load("digits")
    method = WeightedLogisticRegression().baseline()
    assert method.decay == 0
    theta = torch.tensor([-math.inf], dtype=torch.float64)
    assert method.evaluate(theta, data.train, Run("digits"))["nll"] < 1e-4
    (metrics,) = method.train(Run("digits"))
    assert metrics["val/accuracy"] > 0.9


def test_start_and_optimum_of_the_papers_small_benchmark():
    problem, x, y = digits("scalar")
    fit = solve(problem, problem.theta0)
    logits = x @ fit[0]
    assert problem.upper(fit, problem.theta0).item() == pytest.approx(0.957, abs=5e-4)
    assert (logits.argmax(1) == y).double().mean().item() == pytest.approx(0.907, abs=5e-4)
    losses = {k: upper_loss(problem, torch.tensor([float(k)]).double()) for k in (-10, -9, -8)}
    assert min(losses, key=losses.get) == -9
    assert losses[-9] == pytest.approx(0.1972, abs=5e-5)


@pytest.mark.parametrize(
    ("groups", "budget", "reference"), [("scalar", 3000, 0.1972), ("feature", 4000, 0.189), ("parameter", 4000, 0.161)]
)
def test_maid_reaches_the_reference_of_the_small_benchmark(groups, budget, reference):
    """The reference had 20,000 iterations of another lower solver."""
    problem, x, y = digits(groups)
    options = MaidOptions(check_descent=False, convex_upper=True, step_size_init=None, lower_solver=lbfgs, box=(-16.0, 6.0))
    theta = problem.theta0
    for record in Maid(problem, options):
        if record.cost > budget:
            break
        theta = record.theta
    assert upper_loss(problem, theta) < reference + 2e-3
    logits = x @ solve(problem, theta, 1e-6)[0]
    assert (logits.argmax(1) == y).double().mean() > 0.93
    assert cross_entropy(logits, y) < 0.25


def test_held_out_rows_are_training_rows_of_their_own():
    method = WeightedLogisticRegression(learner="maid", held_out=0.25)
    problem = method.problem(Run("digits"))
    assert (len(problem.A), len(problem.B)) == (675, 225)
    rows = torch.cat([problem.A, problem.B])
    expected = load("digits").train.tensors[0].flatten(1).double()
    assert {row.numpy().tobytes() for row in rows} == {row.numpy().tobytes() for row in expected}
    assert not torch.equal(method.problem(Run("digits", seed=1)).B, problem.B)


def test_learned_decays_beat_their_start():
    settings = {"decay": 0.05, "groups": "parameter"}
    *_, learned = WeightedLogisticRegression(learner="maid", budget=1500, report_every=500, **settings).train(Run("digits"))
    (start,) = WeightedLogisticRegression(**settings).train(Run("digits"))
    assert learned["val/nll"] < 0.5 * start["val/nll"]
    assert learned["val/accuracy"] > start["val/accuracy"] + 0.03
