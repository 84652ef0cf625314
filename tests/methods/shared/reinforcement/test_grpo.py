import pytest
import torch

from regbench.methods.shared.reinforcement.grpo import (
    aggregate,
    clip_fraction,
    clipped_loss,
    entropy_advantages,
    group_advantages,
    k3_divergence,
    probability_ratio,
    token_entropies,
    token_log_probs,
    top_share,
)

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@DTYPES
@pytest.mark.parametrize(
    ("rewards", "kind", "expected"),
    [
        ([1, 0, 0, 0], "grpo", [1.499997, -0.499999, -0.499999, -0.499999]),
        ([1, 0, 0, 1], "grpo", [0.866024, -0.866024, -0.866024, 0.866024]),
        ([1, 0, 0, 0], "dr_grpo", [0.75, -0.25, -0.25, -0.25]),
        ([1, 1, 1, 1], "grpo", [0, 0, 0, 0]),
        ([0.1, 0.1, 0.1, 0.1], "grpo", [0, 0, 0, 0]),
    ],
)
def test_advantages_of_a_group(rewards, kind, expected, dtype):
    found = group_advantages(torch.tensor(rewards + rewards, dtype=dtype), 4, kind)
    assert found.dtype == dtype
    assert found.tolist() == pytest.approx(expected * 2, abs=2e-6)


def test_one_response_is_its_own_advantage():
    assert group_advantages(torch.tensor([1.0, 0.0]), 1).tolist() == [1, 0]


@DTYPES
@pytest.mark.parametrize(
    ("advantage", "ratio", "loss", "slope"),
    [(1, 1.25, -1.25, -1), (1, 1.5, -1.28, 0), (1, 0.5, -0.5, -1), (-1, 0.5, 0.8, 0), (-1, 1.5, 1.5, 1), (-1, 4, 3, 0)],
)
def test_table_of_clips(advantage, ratio, loss, slope, dtype):
    r = torch.tensor([[float(ratio)]], dtype=dtype, requires_grad=True)
    found = clipped_loss(r, torch.tensor([[float(advantage)]], dtype=dtype), 0.2, 0.28, 3.0)
    (gradient,) = torch.autograd.grad(found.sum(), r)
    assert (found.item(), gradient.item()) == pytest.approx((loss, slope), abs=1e-6)


def test_the_share_of_clipped_tokens():
    ratio = torch.tensor([[1.5, 1.1, 0.5, 0.5, 1.5]])
    advantages, mask = torch.tensor([[1.0, 1.0, -1.0, 1.0, 0.0]]), torch.ones(1, 5)
    assert clip_fraction(ratio, advantages, 0.2, 0.2, mask).item() == pytest.approx(2 / 5)


def test_on_policy_the_gradient_is_that_of_the_policy_gradient():
    stream = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 7, generator=stream, dtype=torch.float64, requires_grad=True)
    tokens, mask = torch.randint(7, (4, 3), generator=stream), torch.ones(4, 3)
    advantages = torch.randn(4, 1, generator=stream, dtype=torch.float64)
    log_probs = token_log_probs(logits, tokens)
    ratio = probability_ratio(log_probs, log_probs.detach())
    assert (ratio == 1).all()
    losses = (clipped_loss(ratio, advantages, 0.2, 0.2, 3.0), -advantages * log_probs)
    slopes = [torch.autograd.grad(aggregate(loss, mask, "token_mean"), logits, retain_graph=True)[0] for loss in losses]
    torch.testing.assert_close(*slopes)


@DTYPES
def test_divergence_from_a_reference(dtype):
    log_p = torch.tensor([0.2, 0.5], dtype=dtype).log().requires_grad_()
    found = k3_divergence(log_p, torch.tensor([0.5, 0.5], dtype=dtype).log())
    (slope,) = torch.autograd.grad(found.sum(), log_p)
    assert found.tolist() == pytest.approx([0.583709, 0], abs=1e-6)
    assert slope.tolist() == pytest.approx([1 - 0.5 / 0.2, 0], abs=1e-6)


def test_the_divergence_is_cut_by_value():
    log_p = torch.tensor([-2.6, -2.63, -1e4, 12.0], requires_grad=True)
    found = k3_divergence(log_p, torch.zeros(4))
    (slope,) = torch.autograd.grad(found.sum(), log_p)
    assert found[0] < 10
    assert found[1:].tolist() == [10, 10, 10]
    assert slope[0] != 0
    assert slope[1:].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("token_mean", 2.5), ("seq_mean_token_mean", 2.25), ("seq_mean_token_sum", 7.5), ("seq_mean_token_sum_norm", 1.875)],
)
def test_means_over_tokens(kind, expected):
    values = torch.tensor([[1.0, 2, 7, 7], [3, 3, 3, 3]])
    mask = torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 1]])
    assert aggregate(values, mask, kind, 4).item() == pytest.approx(expected)


@DTYPES
def test_entropy_and_its_gradient(dtype):
    logits = torch.tensor([2.0, 1, 0, -1], dtype=dtype, requires_grad=True)
    entropy = token_entropies(logits)
    (slope,) = torch.autograd.grad(entropy, logits)
    assert entropy.item() == pytest.approx(0.947537, abs=1e-6)
    assert slope.tolist() == pytest.approx([-0.326688, 0.116701, 0.130076, 0.079911], abs=1e-6)


def test_rewarding_what_is_likely_lowers_entropy():
    """dH/dη = -Cov(log π, π (A - mean A)) along a step of the exact policy gradient."""
    logits, advantages = torch.tensor([2.0, 1, 0, -1], dtype=torch.float64), torch.tensor([1, -1, 0.5, 0])
    p = logits.softmax(0)
    step = p * (advantages - (p * advantages).sum())
    slope = (token_entropies(logits + 1e-6 * step) - token_entropies(logits - 1e-6 * step)) / 2e-6
    covariance = (p * p.log() * step).sum() - (p * p.log()).sum() * (p * step).sum()
    assert slope.item() == pytest.approx(-0.156266, abs=1e-6)
    assert slope.item() == pytest.approx(-covariance.item(), abs=1e-8)


def test_advantages_with_entropy_keep_their_sign():
    found = entropy_advantages(torch.tensor([[1.0], [-1.0]]), torch.tensor([[0.5, 9.0], [0.5, 9.0]]), 0.4, 1.0)
    assert found.tolist() == [[pytest.approx(1.2), 2.0], [pytest.approx(-0.8), 0.0]]


def test_the_top_share_of_sampled_tokens():
    found = top_share(torch.tensor([[5.0, 1, 9], [2, 3, 4]]), torch.tensor([[1.0, 1, 0], [1, 1, 1]]), 0.4)
    assert found.tolist() == [[1, 0, 0], [0, 0, 1]]


def test_nothing_overflows_far_from_the_sampling_policy():
    log_p = torch.tensor([[0.0, -1e4]], requires_grad=True)
    ratio = probability_ratio(log_p, torch.tensor([[-1e4, 0.0]]))
    loss = clipped_loss(ratio, torch.zeros(1, 1), 1.0, 9.0).sum()
    assert loss.item() == 0
    assert torch.autograd.grad(loss, log_p)[0].isfinite().all()
    assert ratio.isfinite().all()
