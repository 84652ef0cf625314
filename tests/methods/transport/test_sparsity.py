import itertools

import numpy as np
import ot
import pytest
import torch
from ot.smooth import SparsityConstrained
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from regbench.methods.transport.sparsity import (
    conjugate_nonnegative,
    conjugate_simplex,
    maximizer_nonnegative,
    maximizer_simplex,
    project_sparse_simplex,
)

S = torch.tensor([1.0, 0.6, 0.9, -0.5], dtype=torch.float64)
ONE = torch.tensor(1.0, dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def masses(*shape: int) -> Tensor:
    return random(*shape, seed=1).abs() + 0.1


def simplex_projection_by_supports(v: np.ndarray, mass: float, k: int) -> np.ndarray:
    """Tries every support of k entries and projects by bisection on the threshold."""
    best, best_distance = None, np.inf
    for support in itertools.combinations(range(len(v)), k):
        u = v[list(support)]
        low, high = u.min() - mass, u.max()
        for _ in range(200):
            tau = (low + high) / 2
            low, high = (tau, high) if np.maximum(u - tau, 0).sum() > mass else (low, tau)
        point = np.zeros_like(v)
        point[list(support)] = np.maximum(u - low, 0)
        if (distance := ((point - v) ** 2).sum()) < best_distance:
            best, best_distance = point, distance
    return best


@pytest.mark.parametrize(("k", "value"), [(1, 1.0), (2, 1.81), (3, 2.17), (4, 2.17), (None, 2.17), (9, 2.17)])
def test_nonnegative_conjugate_by_hand(k, value):
    assert conjugate_nonnegative(S, 0.5, k).item() == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("k", "value", "t"), [(1, 0.75, [1, 0, 0, 0]), (2, 0.83, [0.6, 0, 0.4, 0]), (4, 0.83, [0.6, 0, 0.4, 0])]
)
def test_simplex_conjugate_by_hand(k, value, t):
    assert conjugate_simplex(S, ONE, 0.5, k).item() == pytest.approx(value, abs=1e-12)
    torch.testing.assert_close(maximizer_simplex(S, ONE, 0.5, k), torch.tensor(t, dtype=torch.float64))


def test_one_nonzero_takes_the_largest_entry():
    s, b = random(5, 3, 7), masses(5, 3)
    torch.testing.assert_close(conjugate_simplex(s, b, 0.7, 1), b * s.amax(-1) - 0.35 * b**2)


@pytest.mark.parametrize("k", [1, 2, 3, 5, None])
@pytest.mark.parametrize("gamma", [0.05, 1.0, 20.0])
def test_conjugates_are_attained_by_their_maximizers(k, gamma):
    s, b = random(6, 4, 5), masses(6, 4)
    free, constrained = maximizer_nonnegative(s, gamma, k), maximizer_simplex(s, b, gamma, k)
    for t, value in [(free, conjugate_nonnegative(s, gamma, k)), (constrained, conjugate_simplex(s, b, gamma, k))]:
        assert (t >= 0).all()
        assert (t > 0).sum(-1).max() <= (k or 5)
        torch.testing.assert_close((s * t).sum(-1) - gamma / 2 * t.square().sum(-1), value)
    torch.testing.assert_close(constrained.sum(-1), b)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_projection_is_the_nearest_of_all_supports(k):
    v, mass = random(12, 5), masses(12)
    expected = np.stack([simplex_projection_by_supports(row, z, k) for row, z in zip(v.numpy(), mass.numpy(), strict=True)])
    np.testing.assert_allclose(project_sparse_simplex(v, mass, k).numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_projection_equals_pot(k, capsys):
    v, mass = random(10, 8), masses(10)
    expected = ot.utils.projection_sparse_simplex(v.numpy(), k, mass.numpy(), axis=1)
    capsys.readouterr()  # POT prints a shape
    np.testing.assert_allclose(project_sparse_simplex(v, mass, k).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_conjugates_equal_pot_at_random_points(k, capsys):
    s, b = random(4, 8), masses(4)  # four columns of eight entries
    reference = SparsityConstrained(max_nz=k, gamma=0.3)
    value, gradient = reference.delta_Omega(s.T.numpy().copy())
    np.testing.assert_allclose(conjugate_nonnegative(s, 0.3, k).numpy(), value, atol=1e-12)
    np.testing.assert_allclose(maximizer_nonnegative(s, 0.3, k).T.numpy(), gradient, atol=1e-12)
    value, gradient = reference.max_Omega(s.T.numpy().copy(), b.numpy())  # per unit of mass
    capsys.readouterr()
    np.testing.assert_allclose(conjugate_simplex(s, b, 0.3, k).numpy(), value * b.numpy(), atol=1e-12)
    np.testing.assert_allclose(maximizer_simplex(s, b, 0.3, k).T.numpy(), gradient * b.numpy(), atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 4, None])
def test_gradients_match_finite_differences(k):
    s, b = random(3, 6).requires_grad_(), masses(3).requires_grad_()
    gamma = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda *x: conjugate_nonnegative(*x, k), (s, gamma))
    assert gradcheck(lambda *x: conjugate_simplex(*x, k), (s, b, gamma))
    assert gradcheck(lambda *x: project_sparse_simplex(*x, k), (s, b))
    assert gradgradcheck(lambda *x: conjugate_simplex(*x, k), (s, b, gamma))


@pytest.mark.parametrize("k", [1, 3, None])
def test_gradient_of_a_conjugate_is_its_maximizer(k):
    s, b = random(3, 6).requires_grad_(), masses(3)
    (gradient,) = torch.autograd.grad(conjugate_nonnegative(s, 0.4, k).sum(), s)
    torch.testing.assert_close(gradient, maximizer_nonnegative(s, 0.4, k))
    (gradient,) = torch.autograd.grad(conjugate_simplex(s, b, 0.4, k).sum(), s)
    torch.testing.assert_close(gradient, maximizer_simplex(s, b, 0.4, k))


def test_column_without_mass_stays_empty_and_finite():
    s, b = random(2, 5).requires_grad_(), torch.tensor([0.0, 1.0], dtype=torch.float64)
    value = conjugate_simplex(s, b, 0.4, 2)
    assert value[0].item() == pytest.approx(0, abs=1e-12)
    assert (maximizer_simplex(s, b, 0.4, 2)[0] == 0).all()
    value.sum().backward()
    assert s.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dtype):
    s, b = random(3, 6).to(dtype), masses(3).to(dtype)
    results = [conjugate_nonnegative(s, 0.4, 2), conjugate_simplex(s, b, 0.4, 2), project_sparse_simplex(s, b, 2)]
    assert {result.dtype for result in results} == {dtype}
