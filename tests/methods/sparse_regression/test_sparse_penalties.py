"""SCAD, MCP and LASSO: values by hand, their split, and their continuity."""

import pytest
import torch
from torch.autograd import gradcheck

from regbench.methods.sparse_regression.penalties import Lasso, Mcp, Scad, soft_threshold

PENALTIES = [Scad(3.7), Scad(2.2), Mcp(3.0), Mcp(1.1), Lasso()]
T = torch.linspace(-6, 6, 241, dtype=torch.float64)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("penalty", "t", "expected"),
    [
        (Scad(3.7), (0.5, 1, 2, 3.7, 5), (0.5, 1, 1.814815, 2.35, 2.35)),
        (Mcp(3.0), (0.5, 1, 2, 3, 5), (0.458333, 0.833333, 1.333333, 1.5, 1.5)),
    ],
)
def test_the_cards_values(penalty, t, expected):
    torch.testing.assert_close(penalty.value(tensor(*t), 1.0), tensor(*expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("level", [0.3, 1.0])
def test_a_penalty_is_its_level_times_size_plus_the_integral_of_its_smooth_slope(penalty, level):
    fine = torch.linspace(0, 6, 60001, dtype=torch.float64)
    smooth = torch.cumulative_trapezoid(penalty.smooth_slope(fine, level), fine)
    torch.testing.assert_close(penalty.value(fine, level)[1:], level * fine[1:] + smooth, atol=1e-6, rtol=0)
    torch.testing.assert_close(penalty.value(-fine, level), penalty.value(fine, level))
    torch.testing.assert_close(penalty.smooth_slope(-fine, level), -penalty.smooth_slope(fine, level))


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_smooth_part_is_as_curved_as_said_and_no_more(penalty):
    slopes = penalty.smooth_slope(T, 1.0).diff() / T.diff()
    assert slopes.abs().max().item() == pytest.approx(penalty.curvature, abs=1e-9)


@pytest.mark.parametrize("penalty", [Scad, Mcp])
def test_values_are_differentiable_in_level_and_concavity(penalty):
    level, shape = tensor(0.7).squeeze().requires_grad_(), tensor(3.3).squeeze().requires_grad_()
    assert gradcheck(lambda x, y: penalty(y).value(T, x), (level, shape))


def test_large_concavity_is_lasso():
    for penalty in (Scad(1e9), Mcp(1e9)):
        torch.testing.assert_close(penalty.value(T, 0.4), Lasso().value(T, 0.4))


def test_soft_threshold_by_hand():
    assert soft_threshold(tensor(-3, -0.5, 0, 0.5, 3), 1.0).tolist() == [-2, 0, 0, 0, 2]
