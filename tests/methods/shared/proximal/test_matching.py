import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from regbench.methods.shared.proximal.matching import halving_width, linear_width, proximal_matching, stage


def pairs(*squared_norms):
    """Outputs and targets with these squared distances, over all entries of a sample."""
    found = torch.zeros(len(squared_norms), 1, 2, 2, dtype=torch.float64)
    found[:, 0, 0, 0] = torch.tensor(squared_norms, dtype=torch.float64).sqrt()
    return found, torch.zeros_like(found)


def test_values_by_hand():
    assert proximal_matching(*pairs(1.0), 1.0).item() == pytest.approx(1 - math.exp(-1))
    assert 100**2 * proximal_matching(*pairs(1.0, 4.0), 100.0).item() == pytest.approx(2.499575, abs=1e-6)


def test_the_gradient_vanishes_far_away_and_is_finite_where_output_and_target_are_one():
    found, target = pairs(0.0, 0.25, 1e6)
    found.requires_grad_()
    proximal_matching(found, target, 0.5).backward()
    distance = found.detach() - target
    expected = 2 / 0.5**2 * torch.exp(-distance.flatten(1).square().sum(1) / 0.5**2)[:, None, None, None] * distance / 3
    torch.testing.assert_close(found.grad, expected)
    assert found.grad[0].abs().max() == found.grad[2].abs().max() == 0


def test_stages_are_those_of_the_released_schedule():
    assert [stage(step, 11, 4) for step in range(11)] == [0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 3]
    assert stage(0, 2, 4) == 0
    assert [halving_width(s, 4, 0.1) for s in range(4)] == pytest.approx([0.8, 0.4, 0.2, 0.1])
    assert [linear_width(s, 5, 0.1) for s in range(5)] == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1])


@pytest.mark.parametrize(("y", "wide", "narrow"), [(0.5, 0.140175, 0.042078), (1, 0.310569, 0.111004), (2, 1.002225, 1.0)])
def test_its_minimizer_tends_to_the_likeliest_sample(y, wide, narrow):
    """For a Laplace prior and noise 1, by quadrature of the loss itself over the posterior; known values of the modes."""

    def expected_loss(x, width):
        def integrand(clean):
            pair = torch.tensor([[x]], dtype=torch.float64), torch.tensor([[clean]], dtype=torch.float64)
            posterior = np.exp(-abs(clean) - (y - clean) ** 2 / 2)
            return proximal_matching(*pair, width).item() * posterior

        return quad(integrand, -8, 8, points=[0, x], limit=200)[0]

    for width, mode in ((0.5, wide), (0.1, narrow)):
        found = minimize_scalar(expected_loss, bounds=(mode - 0.1, mode + 0.1), args=(width,), method="bounded").x
        assert found == pytest.approx(mode, abs=2e-3)
