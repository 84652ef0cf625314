import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from regbench.methods.shared.lipschitz import joint_norm, lipschitz_penalty, slope_norms

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@DTYPES
def test_slopes_of_a_bilinear_critic(dtype):
    matrix = torch.tensor([[1, 2], [0, -1]], dtype=dtype)
    x, y = (torch.tensor([row], dtype=dtype, requires_grad=True) for row in ((1.0, -1.0), (0.5, 2.0)))
    scores = (x @ matrix * y).sum(1)
    assert scores.item() == pytest.approx(6.5)
    norms = slope_norms(scores, x, y)
    assert norms.dtype == dtype
    assert norms.item() == pytest.approx(5.852350, abs=1e-6)
    assert lipschitz_penalty(norms).item() == pytest.approx(23.545300, abs=2e-5)


def test_a_linear_critic_pays_for_its_slope():
    x = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    norms = slope_norms(x @ torch.tensor([3.0, 4.0], dtype=torch.float64), x)
    torch.testing.assert_close(lipschitz_penalty(norms), torch.full((7,), 16.0, dtype=torch.float64))
    torch.testing.assert_close(lipschitz_penalty(norms, 6.0), torch.ones(7, dtype=torch.float64))
    assert lipschitz_penalty(norms, 6.0, one_sided=True).abs().max() == 0


def test_the_penalty_is_twice_differentiable():
    stream = torch.Generator().manual_seed(0)
    x, y, weight = (torch.randn(*shape, generator=stream, dtype=torch.float64) for shape in ((3, 2), (3, 2), (4, 5)))

    def penalty(w):
        a, b = x.clone().requires_grad_(), y.clone().requires_grad_()
        return lipschitz_penalty(slope_norms((torch.cat([a, b], 1) @ w).tanh().sum(1), a, b), 0.5).mean()

    weight.requires_grad_()
    assert gradcheck(penalty, weight)
    assert gradgradcheck(penalty, weight)


def test_norms_beyond_single_precisions_squares_and_at_zero():
    rows = torch.tensor([[3e30, 4e30], [0.0, 0.0], [3e-30, 4e-30]], requires_grad=True)
    norms = joint_norm(rows)
    assert norms[0].item() == pytest.approx(5e30, rel=1e-6)
    assert norms[1:].tolist() == pytest.approx([1e-6, 1e-6])
    norms.sum().backward()
    assert rows.grad.isfinite().all()
