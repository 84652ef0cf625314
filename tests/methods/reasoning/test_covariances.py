from types import SimpleNamespace

import numpy as np
import pytest
import torch

from regbench.methods.reasoning.clip_cov import ClipCov, DrawnBatch
from regbench.methods.reasoning.covariances import distance, drawn_between, largest, token_covariances
from regbench.methods.reasoning.kl_cov import KLCov
from regbench.methods.shared.reinforcement.grpo import aggregate, probability_ratio
from regbench.methods.shared.reinforcement.task import Seen

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def case(dtype=torch.float64, seed=0):
    """What a policy that has moved says of 12 responses of at most 9 tokens; numbers are drawn for each token."""
    stream = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(12, 9, 7, generator=stream, dtype=dtype)
    tokens = torch.randint(7, (12, 12), generator=stream)
    mask = (torch.arange(9) < torch.randint(1, 10, (12, 1), generator=stream)).to(dtype)
    log_probs = logits.log_softmax(2).gather(2, tokens[:, 3:, None])[..., 0].requires_grad_()
    old = log_probs.detach() + 0.3 * torch.randn(12, 9, generator=stream, dtype=dtype)
    advantages = 2 * torch.randn(12, generator=stream, dtype=dtype)
    draws = torch.rand(12, 9, generator=stream)
    batch = DrawnBatch(tokens, mask, 0 * tokens[:, 3:], advantages, old, None, 9, draws)
    return Seen(logits, log_probs, probability_ratio(log_probs, old)), batch


def flat(seen, batch):
    """Log-probabilities, old ones, advantages and numbers of sampled tokens alone, in NumPy."""
    kept = batch.mask.bool()
    columns = (seen.log_probs.detach(), batch.old_log_probs, batch.advantages[:, None].expand_as(batch.mask), batch.draws)
    return [column[kept].double().numpy() for column in columns]


@DTYPES
def test_covariances_are_those_of_the_sampled_tokens(dtype):
    seen, batch = case(dtype)
    found = token_covariances(seen.log_probs, batch.advantages[:, None], batch.mask)
    assert found.dtype == dtype
    assert not found.requires_grad
    log_p, _, advantages, _ = flat(seen, batch)
    kept = found[batch.mask.bool()].double()
    assert kept.numpy() == pytest.approx((log_p - log_p.mean()) * (advantages - advantages.mean()), abs=1e-5)
    assert kept.mean().item() == pytest.approx(np.cov(log_p, advantages, bias=True)[0, 1], abs=1e-6)


@DTYPES
@pytest.mark.parametrize("share", [1e-4, 0.05, 0.3])
def test_kl_cov_is_that_of_its_paper(share, dtype):
    """Written out token by token: L = -A r, and -A r + β |log r| for the tokens of the largest covariances."""
    seen, batch = case(dtype)
    method, weights = KLCov(token_share=share), SimpleNamespace(penalty_weight=0.7)
    found = aggregate(method.token_losses(seen, batch, weights), batch.mask, "token_mean")
    log_p, old, advantages, _ = flat(seen, batch)
    covariances = (log_p - log_p.mean()) * (advantages - advantages.mean())
    braked = np.argsort(-covariances)[: max(1, int(share * len(log_p)))]
    losses = -advantages * np.exp(log_p - old)
    slopes = losses.copy()
    losses[braked] += 0.7 * np.abs(log_p - old)[braked]
    slopes[braked] += 0.7 * np.sign(log_p - old)[braked]
    assert found.item() == pytest.approx(losses.mean(), abs=1e-5 if dtype == torch.float32 else 1e-12)
    (gradient,) = torch.autograd.grad(found, seen.log_probs)
    assert gradient[batch.mask.bool()].double().numpy() == pytest.approx(slopes / len(slopes), abs=1e-5)
    assert not gradient[~batch.mask.bool()].any()


@DTYPES
@pytest.mark.parametrize("share", [1e-4, 0.1, 1.0])
def test_clip_cov_is_that_of_its_paper(share, dtype):
    """Written out token by token: the drawn tokens with a covariance in the interval, and not cut already, have no loss."""
    seen, batch = case(dtype)
    method = ClipCov(token_share=share, covariance_low=0.2, covariance_high=4.0, clip_high=0.28)
    found = aggregate(method.token_losses(seen, batch, SimpleNamespace(token_share=share)), batch.mask, "token_mean")
    log_p, old, advantages, draws = flat(seen, batch)
    ratio = np.exp(log_p - old)
    losses = np.maximum(-advantages * ratio, -advantages * ratio.clip(0.8, 1.28))
    covariances = (log_p - log_p.mean()) * (advantages - advantages.mean())
    able = np.flatnonzero((covariances > 0.2) & (covariances < 4) & (losses == -advantages * ratio))
    drawn = able[np.argsort(draws[able])][: max(1, int(share * len(log_p)))]
    assert 0 < len(drawn) < len(log_p)
    losses[drawn] = 0
    assert found.item() == pytest.approx(losses.mean(), abs=1e-5 if dtype == torch.float32 else 1e-12)
    (gradient,) = torch.autograd.grad(found, seen.log_probs)
    assert (gradient[batch.mask.bool()].numpy()[drawn] == 0).all()


def test_tokens_are_drawn_evenly():
    """Each of five candidates as often as another, over all numbers that are drawn."""
    covariances = torch.tensor([[2.0, 0.5, 3.0, 9.0, 2.5], [1.5, 4.0, 1.0, 5.0, 2.0]])
    candidates = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]).bool()
    stream, counts = torch.Generator().manual_seed(0), torch.zeros(2, 5)
    for _ in range(2000):
        drawn = drawn_between(covariances, candidates, 1.0, 5.0, torch.rand(2, 5, generator=stream), 2)
        assert drawn.sum() == 2
        counts += drawn
    expected = torch.tensor([[1, 0, 1, 0, 1], [1, 1, 0, 0, 0]]) * 2 / 5
    # Four standard deviations of a share.
    assert ((counts / 2000 - expected).abs() < 4 * (0.4 * 0.6 / 2000) ** 0.5).all()
    everything = drawn_between(covariances, candidates, 1.0, 5.0, torch.rand(2, 5, generator=stream), 10)
    assert torch.equal(everything, expected.bool())
    assert not drawn_between(covariances, candidates, 9.0, 10.0, torch.rand(2, 5, generator=stream), 10).any()


def test_padding_is_never_chosen():
    covariances, mask = torch.tensor([[1.0, -2.0, 9.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    assert largest(covariances, mask, 1e-3).tolist() == [[1, 0, 0]]
    assert largest(covariances, mask, 1.0).tolist() == [[1, 1, 0]]


def test_the_kink_has_no_gradient():
    old = torch.tensor([-1.0, -1.0, -1.0], dtype=torch.float64)
    new = (old + torch.tensor([1e-7, 0.5, -0.25], dtype=torch.float64)).requires_grad_()
    found = distance(new, old)
    assert found.tolist() == pytest.approx([1e-7, 0.5, 0.25], abs=1e-12)
    assert torch.autograd.grad(found.sum(), new)[0].tolist() == [0, 1, -1]


def test_no_ratio_is_cut_by_kl_cov():
    seen, batch = case()
    method = KLCov()
    found = method.token_losses(seen, batch, SimpleNamespace(penalty_weight=0.0))
    torch.testing.assert_close(found, -batch.advantages[:, None] * seen.ratio)
