"""Seven solvers of one problem, against coordinate descent, scikit-learn, closed forms, and each other."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize as scipy_minimize
from scipy.special import expit
from sklearn.linear_model import Lasso as SklearnLasso
from sklearn.linear_model import LogisticRegression

from regbench.methods.sparse_regression.likelihoods import LIKELIHOODS
from regbench.methods.sparse_regression.linear import Path, PenalizedLinear, largest_level, left_out
from regbench.methods.sparse_regression.penalties import Lasso, Mcp, Scad
from regbench.methods.sparse_regression.solvers import (
    SOLVERS,
    accelerated,
    minimize,
    next_damping,
    proximal_ncg,
    residual,
)

GAUSSIAN, BERNOULLI = LIKELIHOODS["continuous"], LIKELIHOODS["binary"]


def design(n, p, seed=0, tau=0.5, binary=False):
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, p))
    for j in range(1, p):
        x[:, j] = tau * x[:, j - 1] + np.sqrt(1 - tau**2) * x[:, j]
    x = (x - x.mean(0)) / x.std(0)
    beta = np.zeros(p)
    beta[:: p // 5] = [2, -1.5, 1, -1, 0.8, 1.2][: len(beta[:: p // 5])]
    y = x @ beta + random.standard_normal(n)
    y = (y > 0).astype(float) if binary else y - y.mean()
    return torch.tensor(np.column_stack([np.ones(n), x])), torch.tensor(y)


def coordinate_descent(x, y, kind, shape, level, beta):
    """Breheny and Huang, 2011: exact one-dimensional minimizers in turn, on columns of variance 1 and centred outcomes."""

    def soft(z, k):
        return np.sign(z) * max(abs(z) - k, 0)

    def update(z):
        if kind == "mcp":
            return soft(z, level) / (1 - 1 / shape) if abs(z) <= shape * level else z
        if abs(z) <= 2 * level:
            return soft(z, level)
        return soft(z, shape * level / (shape - 1)) / (1 - 1 / (shape - 1)) if abs(z) <= shape * level else z

    r = y - x @ beta
    for _ in range(3000):
        before = beta.copy()
        for j in range(len(beta)):
            new = update(x[:, j] @ r / len(y) + beta[j])
            r += x[:, j] * (beta[j] - new)
            beta[j] = new
        if abs(beta - before).max() < 1e-11:
            break
    return beta


def test_dampings_of_the_card():
    found = list(itertools.accumulate(range(5), lambda alpha, _: next_damping(alpha), initial=1.0))
    assert found == pytest.approx([1, 0.618034, 0.455887, 0.363664, 0.303501, 0.260919], abs=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("penalty", "expected"), [(Mcp(3.0), [0, 0.75, 2.25, 4]), (Scad(3.7), [0, 0.5, 1.794118, 4])], ids=["mcp", "scad"]
)
def test_minimizers_on_an_orthonormal_design(solver, penalty, expected):
    """½ (b - z)² + p at z = 0.8, 1.5, 2.5, 4: four rows and four orthogonal columns of length √n."""
    z = torch.tensor([0.8, 1.5, 2.5, 4.0], dtype=torch.float64)
    x = torch.cat([torch.zeros(4, 1), 2 * torch.eye(4)], 1).double()
    problem = PenalizedLinear(x, 2 * z, GAUSSIAN, penalty, 1.0)
    found, _ = minimize(SOLVERS[solver](problem, problem.origin()), problem, 1e-10, 5000)
    assert found[1:].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("penalty", [Scad(3.7), Mcp(3.0), Lasso()], ids=["scad", "mcp", "lasso"])
@pytest.mark.parametrize("binary", [False, True], ids=["linear", "logistic"])
def test_every_solver_ends_at_a_stationary_point_of_the_same_value(solver, penalty, binary):
    x, y = design(120, 30, binary=binary)
    likelihood = BERNOULLI if binary else GAUSSIAN
    level = 0.3 * largest_level(x, y, likelihood).item()
    problem = PenalizedLinear(x, y, likelihood, penalty, level)
    found, _ = minimize(SOLVERS[solver](problem, problem.origin()), problem, 1e-8, 20000)
    assert residual(problem, found) < 1e-6
    plain, _ = minimize(SOLVERS["proximal_gradient"](problem, problem.origin()), problem, 1e-8, 20000)
    if not binary:
        assert problem.value(found).item() == pytest.approx(problem.value(plain).item(), abs=1e-7)


def test_conjugate_gradient_never_ascends():
    x, y = design(60, 100, tau=0.9)
    problem = PenalizedLinear(x, y, GAUSSIAN, Scad(3.7), 0.1)
    values = [problem.value(b).item() for b in itertools.islice(SOLVERS["proximal_ncg"](problem, problem.origin()), 200)]
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(values))
    assert values[0] <= problem.value(problem.origin()).item()


@pytest.mark.parametrize("kind", ["scad", "mcp"])
@pytest.mark.parametrize("rule", ["sequential", "none"])
@pytest.mark.parametrize("solver", ["accelerated", "proximal_ncg"])
def test_the_path_is_that_of_coordinate_descent(kind, rule, solver):
    """A convex enough design has one minimizer at each level, whatever the solver."""
    x, y = design(200, 20)
    shape, penalty = (3.7, Scad(3.7)) if kind == "scad" else (3.0, Mcp(3.0))
    largest = largest_level(x, y, GAUSSIAN).item()
    beta = np.zeros(20)
    for share in np.linspace(1, 0, 6)[1:-1]:
        beta = coordinate_descent(x[:, 1:].numpy(), y.numpy(), kind, shape, share * largest, beta)
        path = Path(solver, 6, rule, 1e-8, 5000)
        found, _ = path.follow(x, y, GAUSSIAN, penalty, share * largest)
        np.testing.assert_allclose(found[1:].numpy(), beta, atol=1e-6)


@pytest.mark.parametrize("rule", ["sequential", "none"])
def test_lasso_is_scikit_learns(rule):
    x, y = design(60, 120)
    largest = largest_level(x, y, GAUSSIAN).item()
    for share in (0.5, 0.1):
        found, _ = Path("accelerated", 20, rule, 1e-9, 50000).follow(x, y, GAUSSIAN, Lasso(), share * largest)
        reference = SklearnLasso(alpha=share * largest, tol=1e-12, max_iter=100_000).fit(x[:, 1:].numpy(), y.numpy())
        np.testing.assert_allclose(found[1:].numpy(), reference.coef_, atol=1e-6)


def test_logistic_lasso_is_scikit_learns():
    x, y = design(200, 20, binary=True)
    level = 0.1 * largest_level(x, y, BERNOULLI).item()
    found, _ = Path("accelerated", 10, "sequential", 1e-9, 50000).follow(x, y, BERNOULLI, Lasso(), level)
    options = {"l1_ratio": 1.0, "solver": "saga", "C": 1 / (level * 200), "tol": 1e-9, "max_iter": 100_000}
    reference = LogisticRegression(**options).fit(x[:, 1:].numpy(), y.numpy())
    np.testing.assert_allclose(found.numpy(), [*reference.intercept_, *reference.coef_[0]], atol=1e-4)


def integrated_penalty(kind, shape, level, size):
    """p(t) = ∫₀^|t| p': SCAD's slope is min(λ, (aλ - s)₊ / (a - 1)), MCP's (λ - s/γ)₊ (Fan and Li, 2001; Zhang, 2010)."""
    s = (np.arange(200) + 0.5) / 200 * np.abs(size)[..., None]
    if kind == "scad":
        slope = np.minimum(level, np.maximum(shape * level - s, 0) / (shape - 1))
    else:
        slope = np.maximum(level - s / shape, 0)
    return slope.mean(-1) * np.abs(size)


def penalty_slope(kind, shape, level, size):
    """p' at t > 0."""
    if kind == "scad":
        return np.where(size <= level, level, np.maximum(shape * level - size, 0) / (shape - 1))
    return np.maximum(level - size / shape, 0)


NONCONVEX = pytest.mark.parametrize(("kind", "shape"), [("scad", 3.7), ("scad", 2.2), ("mcp", 3.0), ("mcp", 1.5)])


@NONCONVEX
def test_logistic_solutions_fulfil_the_optimality_conditions(kind, shape):
    """Xᵀ(σ(Xβ) - y)/n + p'(|β|) sign β = 0 where β is not 0, at most λ in size elsewhere, and 0 for the intercept."""
    x, y = design(150, 60, binary=True)
    level = 0.3 * largest_level(x, y, BERNOULLI).item()
    penalty = Scad(shape) if kind == "scad" else Mcp(shape)
    beta = Path("accelerated", 20, "sequential", 1e-9, 50000).follow(x, y, BERNOULLI, penalty, level)[0].numpy()
    rows = x.numpy()
    slope = rows.T @ (expit(rows @ beta) - y.numpy()) / len(rows)
    active = beta[1:] != 0
    assert 2 < active.sum() < 60
    assert slope[0] == pytest.approx(0, abs=1e-6)
    kept = beta[1:][active]
    np.testing.assert_allclose(slope[1:][active], -np.sign(kept) * penalty_slope(kind, shape, level, np.abs(kept)), atol=1e-6)
    assert np.abs(slope[1:][~active]).max() <= level + 1e-6


@NONCONVEX
@pytest.mark.parametrize("share", [0.2, 0.7])
def test_logistic_solutions_of_two_covariates_are_the_global_minimum(kind, shape, share):
    """Over a grid of both coefficients, each with its best intercept, and then polished by scipy from the best grid point."""
    random = np.random.default_rng(3)
    rows = random.standard_normal((80, 2)) @ [[1, 0.5], [0, 0.9]]
    rows = (rows - rows.mean(0)) / rows.std(0)
    y = (random.random(80) < expit(rows @ [1.5, -0.6] + 0.3)).astype(float)
    x = torch.tensor(np.column_stack([np.ones(80), rows]))
    level = share * largest_level(x, torch.tensor(y), BERNOULLI).item()

    def objective(beta):
        """Of many points ``[…, 3]``."""
        eta = beta @ x.numpy().T
        return (np.logaddexp(0, eta) - y * eta).mean(-1) + integrated_penalty(kind, shape, level, beta[..., 1:]).sum(-1)

    axis = np.linspace(-3, 3, 61)
    points = np.stack(np.meshgrid(np.linspace(-1, 1.5, 26), axis, axis, indexing="ij"), -1).reshape(-1, 3)
    coarse = min((part for part in np.array_split(points, 50)), key=lambda part: objective(part).min())
    start = coarse[objective(coarse).argmin()]
    best = scipy_minimize(objective, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12, "maxiter": 4000})
    penalty = Scad(shape) if kind == "scad" else Mcp(shape)
    path = Path("accelerated", 20, "none", 1e-10, 50000)
    found = path.follow(x, torch.tensor(y), BERNOULLI, penalty, level)[0].numpy()
    assert objective(found) == pytest.approx(best.fun, abs=1e-5)
    np.testing.assert_allclose(found, best.x, atol=1e-2)


@pytest.mark.parametrize("binary", [False, True])
def test_from_the_largest_level_on_all_is_zero_and_not_below(binary):
    x, y = design(80, 30, binary=binary)
    likelihood = BERNOULLI if binary else GAUSSIAN
    largest = largest_level(x, y, likelihood).item()
    path = Path("accelerated", 5, "sequential", 1e-9, 20000)
    above, _ = path.follow(x, y, likelihood, Mcp(3.0), 1.0001 * largest)
    below, _ = path.follow(x, y, likelihood, Mcp(3.0), 0.99 * largest)
    assert not above[1:].any()
    assert below[1:].any()
    assert above[0].item() == pytest.approx(likelihood.link(y.mean()).item(), abs=1e-6)


def test_the_released_rule_is_fast_hdmis():
    """Of `_strong_rule_seq_LM`: |x_jᵀ (y - Xβ)| / 2n < 2λ - λ₋."""
    x, y = design(100, 60, tau=0.9)
    beta = torch.zeros(61, dtype=torch.float64)
    beta[5] = 0.3
    found = left_out(PenalizedLinear(x, y, GAUSSIAN, Lasso(), 0.7).loss_gradient(beta)[1:], 0.4, 0.5, "released")
    rows = x[:, 1:].numpy()
    expected = abs((y.numpy() - rows @ beta[1:].numpy()) @ rows / (2 * len(y))) < 2 * 0.4 - 0.5
    assert found.tolist() == expected.tolist()
    assert 0 < found.sum() < 60


@pytest.mark.parametrize("length", [4, 20])
def test_what_a_rule_leaves_out_wrongly_is_brought_back(length):
    """The released rule leaves out every covariate that is 0 on a fine path; the check makes up for it."""
    x, y = design(100, 60, tau=0.9)
    level = 0.1 * largest_level(x, y, GAUSSIAN).item()
    found = [
        Path("accelerated", length, rule, 1e-8, 5000).follow(x, y, GAUSSIAN, Lasso(), level)[0]
        for rule in ("sequential", "released", "none")
    ]
    assert found[0][1:].any()
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("tau", [0.5, 0.9])
def test_accelerated_gradients_need_fewer_iterations_than_proximal_and_original_ones(tau):
    """As in the card's small benchmark: n = 200, p = 500, SCAD, to a gap of 1e-2 above the common minimum."""
    x, y = design(200, 500, tau=tau)
    problem = PenalizedLinear(x, y, GAUSSIAN, Scad(3.7), 0.3)
    names = ("accelerated", "ghadimi_lan", "proximal_gradient")
    values = {
        name: [problem.value(b).item() for b in itertools.islice(SOLVERS[name](problem, problem.origin()), 1200)]
        for name in names
    }
    least = min(min(found) for found in values.values())
    counts = [next(number for number, value in enumerate(values[name]) if value - least < 1e-2) for name in names]
    assert counts == sorted(counts)
    assert 2 * counts[0] < counts[2]


def released_loop(gradient, threshold, lipschitz, start, count):
    """β^md of `UAG_LM_SCAD_MCP` in fastHDMI and the notebooks of nonconvexAG: restarts change the damping and nothing else."""
    delta, alpha, speeds, restarted = 0.99 / lipschitz, 1.0, [1.0, 1.0], 0
    beta, beta_ag, beta_md, found, restarts = start.copy(), start.copy(), start.copy(), [], 0
    for k in range(1, count + 1):
        if speeds[0] > speeds[1] and k - restarted >= 3:
            alpha, restarted, restarts = 1.0, k, restarts + 1
        else:
            alpha = 2 / (1 + (1 + 4 / alpha**2) ** 0.5)
        old, beta_md = beta_md, (1 - alpha) * beta_ag + alpha * beta
        speeds = [speeds[1], np.linalg.norm(beta_md - old)]
        slope = gradient(beta_md)
        beta = threshold(beta - delta / alpha * slope, delta / alpha)
        beta_ag = threshold(beta_md - delta * slope, delta)
        found.append(beta_md)
    return found, restarts


def fista_loop(gradient, threshold, lipschitz, start, count):
    """β of `_uag_core` in the package nonconvexAG, without the restart that never happens there."""
    t, beta, point, found = 1.0, start, start, []
    for _ in range(count):
        old, beta = beta, threshold(point - gradient(point) / lipschitz, 1 / lipschitz)
        t, before = (1 + np.sqrt(1 + 4 * t**2)) / 2, t
        point = beta + (before - 1) / t * (beta - old)
        found.append(beta)
    return found


@pytest.mark.parametrize("kind", ["scad", "mcp"])
def test_released_solvers_are_the_released_loops(kind):
    x, y = design(80, 30, tau=0.9)
    shape, level = (3.7, 0.2) if kind == "scad" else (3.0, 0.2)
    penalty = Scad(shape) if kind == "scad" else Mcp(shape)
    rows, outcome = x.numpy(), y.numpy()
    convex = np.linalg.eigvalsh(rows @ rows.T)[-1] / len(rows)

    def gradient(beta):
        size = abs(beta)
        scad = np.where(size > level, np.minimum((size - level) / (shape - 1), level), 0)
        mcp = np.minimum(size / shape, level)
        concave = -np.sign(beta) * (scad if kind == "scad" else mcp)
        return rows.T @ (rows @ beta - outcome) / len(rows) + np.r_[0, concave[1:]]

    def threshold(beta, step):
        return np.r_[beta[0], np.sign(beta[1:]) * np.maximum(abs(beta[1:]) - step * level, 0)]

    problem, start = PenalizedLinear(x, y, GAUSSIAN, penalty, level), np.zeros(31)
    accelerated_md, restarts = released_loop(gradient, threshold, max(convex, 1 / (shape - (kind == "scad"))), start, 60)
    assert restarts >= 2
    for name, expected in (
        ("accelerated_released", accelerated_md),
        ("fista_released", fista_loop(gradient, threshold, convex, start, 60)),
    ):
        found = itertools.islice(SOLVERS[name](problem, problem.origin()), 60)
        np.testing.assert_allclose([beta.numpy() for beta in found], expected, atol=1e-9)


def test_the_paper_starts_at_damping_1_and_returns_the_aggregate():
    x, y = design(50, 10)
    problem = PenalizedLinear(x, y, GAUSSIAN, Scad(3.7), 0.1)
    delta = 0.99 / problem.lipschitz
    for name in ("accelerated", "accelerated_restart"):
        first = next(SOLVERS[name](problem, problem.origin()))
        torch.testing.assert_close(first, problem.prox(-delta * problem.gradient(problem.origin()), delta))
    skipped = list(itertools.islice(accelerated(problem, problem.origin(), skip_first=True), 2))
    plain = list(itertools.islice(accelerated(problem, problem.origin()), 2))
    assert torch.equal(skipped[0], plain[0])
    assert not torch.equal(skipped[1], plain[1])


def test_conjugate_gradient_ends_its_backtracking_where_nothing_is_finite():
    class Broken:
        lipschitz = convex_lipschitz = 1.0

        def value(self, x):
            return x.sum() * torch.nan

        def gradient(self, x):
            return x * torch.nan

        def prox(self, x, step):
            return x

    found = next(proximal_ncg(Broken(), torch.ones(2), growth=2.0))
    assert found.isnan().all()
