"""Digits kept in single precision, near removable singularities and at the ends of ranges, against 60 digits of mpmath."""

import mpmath
import pytest
import torch
from torch import tensor

from regbench.methods.shared.numerics import in_double, power_difference

mpmath.mp.dps = 60


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("s", "gap"),
    # Within the range of single precision.
    [
        (s, gap)
        for s in (1e-30, 1e-7, 0.4, 1.0, 18.0, 60.0, 2500.0)
        for gap in (0.0, 1e-8, 5e-4, -1e-3, 0.3, 1.0, -1.0, -2.0)
        if s * gap < 80
    ],
)
def test_power_difference_and_its_derivatives_have_all_digits(s, gap, dtype):
    s, gap = (tensor(value, dtype=dtype, requires_grad=True) for value in (s, gap))
    found = power_difference(s, gap)
    exact_s, exact_gap = mpmath.mpf(s.item()), mpmath.mpf(gap.item())
    x = exact_s * exact_gap
    expected = (
        exact_s if gap == 0 else mpmath.expm1(x) / exact_gap,
        mpmath.exp(x),
        exact_s**2 * mpmath.hyp1f1(2, 3, x) / 2,
    )
    values = (found, *torch.autograd.grad(found, (s, gap)))
    # An exponential loses what its argument is rounded by.
    tolerance = 20 * (1 + abs(float(x))) * torch.finfo(dtype).eps
    for value, exact in zip(values, expected, strict=True):
        assert value.item() == pytest.approx(float(exact), rel=tolerance, abs=torch.finfo(dtype).tiny)


def test_power_difference_has_second_derivatives():
    s = torch.tensor([0.0, 0.3, 2.0, 9.0], dtype=torch.float64, requires_grad=True)
    gap = torch.tensor([0.0, 1.0, -0.25, -1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(power_difference, (s, gap))
    assert torch.autograd.gradgradcheck(power_difference, (s, gap))


def test_what_is_computed_in_double_comes_back_in_the_callers_type():
    @in_double
    def variance(x, scale=1.0):
        assert x.dtype == torch.float64
        return scale * ((x * x).mean() - x.mean() ** 2)

    x = tensor([1000.0, 1000.25, 1000.5], requires_grad=True)
    found = variance(x, scale=tensor(2.0, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(found, x)
    assert found.dtype == gradient.dtype == torch.float32
    assert found.item() == pytest.approx(2 * 0.125 / 3, rel=1e-6)
    assert gradient.tolist() == pytest.approx([-1 / 3, 0, 1 / 3], abs=1e-6)
    assert variance(x.detach().double()).dtype == torch.float64
