import math

import pytest
import torch

from regbench.methods.agents.corridors import corridor_penalty, smoothing_weight, turn_mean
from regbench.methods.agents.epo import EPO
from regbench.methods.run import Run

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def entropies(dtype=torch.float64):
    """One trajectory of two turns with two tokens each."""
    return torch.tensor([[0.1, 0.5, 1.0, 2.0]], dtype=dtype, requires_grad=True)


MASK, TURN = torch.ones(1, 4), torch.tensor([[0, 0, 1, 1]])


@pytest.mark.parametrize(("k", "expected"), [(0, 2.0), (30, 1.223130), (60, 1.049787), (90, 1.011109), (120, 1.002479)])
def test_the_weight_falls_from_two_to_one(k, expected):
    assert smoothing_weight(k, 120, 3.0) == pytest.approx(expected, abs=1e-6)


def test_limits_of_the_weight():
    assert smoothing_weight(50, 120, 0.0) == 2
    assert smoothing_weight(1, 120, 1e9) == 1
    assert smoothing_weight(0, 1, 3.0) == 2
    assert smoothing_weight(7, 120, 3.0, "constant") == 1


@pytest.mark.parametrize(("k", "expected"), [(0, 1.0), (75, 1 - 0.2 * (1 - math.exp(-2))), (150, 0.8 * math.exp(-3))])
def test_the_released_schedule(k, expected):
    assert smoothing_weight(k, 9, 3.0, "released") == pytest.approx(expected)


@DTYPES
def test_corridor_and_its_gradients(dtype):
    found = entropies(dtype)
    outside = corridor_penalty(found, 0.7, 0.5, 1.5)
    assert outside.dtype == dtype
    assert outside[0].tolist() == pytest.approx([0.25, 0, 0, 0.95], abs=1e-6)
    entropy, smooth = turn_mean(found, MASK, TURN), turn_mean(0.1 * outside, MASK, TURN)
    assert (entropy.item(), smooth.item()) == pytest.approx((0.9, 0.03), abs=1e-6)
    added = -0.001 * (entropy - 1.22313 * smooth)
    (slope,) = torch.autograd.grad(added, found)
    assert added.item() == pytest.approx(-0.000863306, abs=1e-9)
    assert (1000 * slope[0]).tolist() == pytest.approx([-0.280578, -0.25, -0.25, -0.219422], abs=1e-6)


def test_turns_count_alike_and_only_actions_count():
    values = torch.tensor([[2.0, 9, 0, 0, 0], [1, 9, 7, 7, 7]])
    mask = torch.tensor([[1.0, 0, 1, 1, 1], [1, 0, 0, 0, 0]])
    turn = torch.tensor([[0, 0, 1, 1, 1], [0, 0, 1, 1, 1]])
    assert turn_mean(values[:1], mask[:1], turn[:1]).item() == pytest.approx(1.0)
    assert turn_mean(values, mask, turn).item() == pytest.approx(1.0)
    variable = values.clone().requires_grad_()
    (slope,) = torch.autograd.grad(turn_mean(variable, mask, turn), variable)
    assert ((slope != 0) == mask.bool()).all()
    # An independent mean, by lists.
    stream = torch.Generator().manual_seed(0)
    values, turn = torch.rand(5, 12, generator=stream), torch.arange(12).div(4, rounding_mode="floor").expand(5, -1)
    mask = (torch.rand(5, 12, generator=stream) < 0.6).float()
    mask[:, 0] = 1
    rows = []
    for x, m in zip(values.tolist(), mask.tolist(), strict=True):
        turns = [[x[i] for i in range(4 * t, 4 * t + 4) if m[i]] for t in range(3)]
        rows.append([sum(part) / len(part) for part in turns if part])
    expected = sum(sum(row) / len(row) for row in rows) / 5
    assert turn_mean(values, mask, turn).item() == pytest.approx(expected, abs=1e-6)


def test_inside_the_corridor_nothing_is_added():
    values = torch.linspace(0, 3, 301, dtype=torch.float64)
    outside = corridor_penalty(values, 1.0, 0.5, 2.0)
    assert ((outside == 0) == ((values >= 0.5) & (values <= 2))).all()
    assert (outside.diff().abs() <= values.diff() + 1e-12).all()
    assert corridor_penalty(values, 1.0, 0.0, 1e9).max() == 0


def test_the_indicator_has_no_gradient():
    found = entropies()
    outside = corridor_penalty(found, 0.7, 0.5, 1.5, "indicator")
    assert outside[0].tolist() == [1, 0, 0, 1]
    assert not outside.requires_grad


def test_gradients_by_finite_differences():
    found = entropies()
    assert torch.autograd.gradcheck(lambda h: turn_mean(h + corridor_penalty(h, 0.7, 0.5, 1.5), MASK, TURN), found)


SMALL = {
    **{"layers": 1, "width": 32, "heads": 2, "warm_steps": 60, "prompts": 2, "group": 4, "iterations": 3, "report_every": 3},
    **{"evaluated": 5, "learning_rate": 1e-3, "entropy_weight": 0.1},
}


def trained(**settings):
    """The metrics and the policy after a training."""
    run = Run("micro_house")
    (metrics,) = EPO(**SMALL | settings).train(run)
    return metrics, torch.cat([x.detach().flatten() for x in run.part("model").parameters()]), run


def test_the_indicator_trains_as_the_bonus_alone():
    bonus, indicator = trained(smooth_weight=0.0), trained(smooth_weight=0.4, penalty_form="indicator", kappa_high=1.1)
    assert torch.equal(bonus[1], indicator[1])
    assert bonus[0]["train/loss"] != indicator[0]["train/loss"]
    corridor = trained(smooth_weight=0.4, kappa_high=1.1)
    assert not torch.equal(bonus[1], corridor[1])
    wide = trained(smooth_weight=0.4, kappa_high=1e9)
    torch.testing.assert_close(bonus[1], wide[1])


def test_the_history_is_of_earlier_steps():
    seen = []

    class Watched(EPO):
        def penalty(self, *arguments):
            batch = arguments[1]
            seen.append((batch.reference.item(), batch.smoothing.item()))
            return super().penalty(*arguments)

    run = Run("micro_house")
    list(Watched(**SMALL).train(run))
    history = run.part("memory")["entropies"]
    assert len(history) == 3
    assert seen[0] == (0, 0)
    assert seen[1] == pytest.approx((history[0], smoothing_weight(1, 3, 3.0)))
    assert seen[2][0] == pytest.approx((history[0] + history[1]) / 2)


def test_released_forms_train():
    metrics, _, _ = trained(averaging="tokens", schedule="released")
    assert all(math.isfinite(value) for value in metrics.values())
