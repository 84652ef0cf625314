import math

import pytest
import torch

from regbench.methods.reasoning.lp_reg import LpReg, ProxyBatch
from regbench.methods.reasoning.proxies import exact_divergence, proxy_log_probs, rare_tokens, sampled_divergence
from regbench.methods.shared.reinforcement.grpo import aggregate, clipped_loss
from regbench.methods.shared.reinforcement.task import Seen

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
P = [0.6, 0.25, 0.1, 0.04, 0.009, 0.001]
PROXY = [0.606061, 0.252525, 0.101010, 0.040404, 0, 0]
MOVED = [0.8, 0, -0.5, -1, -3, -4]


def logits(values=P, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype).log().requires_grad_()


@DTYPES
def test_the_proxy_has_no_tail(dtype):
    found = proxy_log_probs(logits(dtype=dtype), 0.02)
    assert found.dtype == dtype
    assert not found.requires_grad
    assert found.exp().tolist() == pytest.approx(PROXY, abs=1e-6)
    assert proxy_log_probs(logits(dtype=dtype), 0.012, "fixed").exp().tolist() == pytest.approx(PROXY, abs=1e-6)


def test_what_is_at_the_threshold():
    halves = torch.tensor([0.5, 0.25, 0.25]).log()
    assert proxy_log_probs(halves, 0.25, "fixed").exp().tolist() == pytest.approx([1, 0, 0])
    assert proxy_log_probs(halves, 0.25, "fixed", inclusive=True).exp().tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert proxy_log_probs(logits(), 1.0).isinf().all()
    torch.testing.assert_close(proxy_log_probs(logits(), 0.0), logits().log_softmax(0).detach())


@DTYPES
def test_on_policy_the_divergence_is_the_tails_mass(dtype):
    z = logits(dtype=dtype)
    found = exact_divergence(z, proxy_log_probs(z, 0.02))
    (slope,) = torch.autograd.grad(found, z)
    assert found.item() == pytest.approx(-math.log(0.99), abs=1e-6)
    assert slope.tolist() == pytest.approx([-0.006061, -0.002525, -0.001010, -0.000404, 0.009, 0.001], abs=1e-6)


@DTYPES
def test_off_policy_the_gradient_is_the_difference(dtype):
    z, proxy = torch.tensor(MOVED, dtype=dtype, requires_grad=True), proxy_log_probs(logits(dtype=dtype), 0.02)
    found = exact_divergence(z, proxy)
    (slope,) = torch.autograd.grad(found, z)
    assert found.item() == pytest.approx(0.044963, abs=1e-6)
    assert slope.tolist() == pytest.approx([-0.084619, -0.018226, 0.041099, 0.045790, 0.011665, 0.004291], abs=1e-6)


def test_the_sampled_divergence_has_on_average_that_gradient():
    z, proxy = torch.tensor(MOVED, dtype=torch.float64, requires_grad=True), proxy_log_probs(logits(), 0.02)
    log_p = z.log_softmax(0)
    u = torch.where(proxy.isfinite(), proxy, -100.0) - log_p
    expected = torch.autograd.grad((log_p.detach().exp() * (u.exp() - u - 1)).sum(), z, retain_graph=True)[0]
    (exact,) = torch.autograd.grad(exact_divergence(z, proxy), z, retain_graph=True)
    torch.testing.assert_close(expected, exact)
    found = sampled_divergence(log_p, proxy)
    assert found[3].item() == pytest.approx(0.226426, abs=1e-6)
    (slope,) = torch.autograd.grad(found[3], log_p)
    assert slope[3].item() == pytest.approx(0.531241, abs=1e-6)
    assert found[4:].tolist() == [0, 0]


def test_both_forms_in_the_protected_logit():
    z, proxy = logits(), proxy_log_probs(logits(), 0.02)
    sampled, exact = sampled_divergence(z.log_softmax(0), proxy)[3], exact_divergence(z, proxy)
    slopes = [torch.autograd.grad(value, z, retain_graph=True)[0][3].item() for value in (sampled, exact)]
    assert slopes == pytest.approx([-0.009697, -0.000404], abs=1e-6)


def test_without_a_filter_nothing_is_regularized_on_policy():
    z = logits()
    for direction in ("forward", "reverse"):
        found = exact_divergence(z, proxy_log_probs(z, 0.0), direction)
        (slope,) = torch.autograd.grad(found, z)
        assert found.item() == pytest.approx(0, abs=1e-12)
        if direction == "forward":
            assert slope.abs().max() < 1e-12
    assert exact_divergence(z, torch.full((6,), -torch.inf, dtype=torch.float64)).item() == 0


def test_gradients_by_finite_differences():
    z = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    proxy = proxy_log_probs(torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), 0.3)
    for direction in ("forward", "reverse"):
        assert torch.autograd.gradcheck(lambda z, d=direction: exact_divergence(z, proxy, d), z)
        assert torch.autograd.gradcheck(lambda z, d=direction: sampled_divergence(z.log_softmax(-1), proxy, d), z)


LOG_PROBS = torch.tensor([[-0.1, -2, -0.5, -4, -3, -0.2, -6, -1]])


@pytest.mark.parametrize("rule", ["percentile", "lowest"])
def test_which_tokens_are_rare(rule):
    ones = torch.ones_like(LOG_PROBS)
    found = rare_tokens(LOG_PROBS, torch.tensor([-1.0]), ones, 0.25, rule)
    assert found[0].nonzero()[:, 0].tolist() == [3, 6]
    assert not rare_tokens(LOG_PROBS, torch.tensor([1.0]), ones, 0.25, rule).any()
    assert rare_tokens(LOG_PROBS, torch.tensor([1.0]), ones, 0.25, rule, positive=True).sum() == 2
    assert not rare_tokens(LOG_PROBS, torch.tensor([-1.0]), ones, 0.0, rule).any()
    masked = ones.clone()
    masked[0, 6] = 0
    assert 6 not in rare_tokens(LOG_PROBS, torch.tensor([-1.0]), masked, 0.25, rule)[0].nonzero()[:, 0].tolist()


def test_the_percentile_is_numpys():
    values = torch.randn(101, generator=torch.Generator().manual_seed(0), dtype=torch.float64)[None]
    for share in (0.013, 0.3, 0.77):
        found = rare_tokens(values, torch.tensor([-1.0]), torch.ones_like(values), share)
        assert torch.equal(found, values < torch.quantile(values, share))


def batch_of(proxy, advantages=(-1.0, -1.0, 1.0)):
    """Three responses of one token, the tokens 3, 4 and 0, sampled by P."""
    tokens = torch.tensor([[3], [4], [0]])
    log_p = torch.tensor(P, dtype=torch.float64).log()
    known = proxy_log_probs(log_p.expand(3, 1, 6), 0.02)
    if proxy == "sampled":
        known = known.gather(2, tokens[..., None])[..., 0]
    return ProxyBatch(
        tokens, torch.ones(3, 1), torch.zeros(3, 1, dtype=torch.int64), torch.tensor(advantages, dtype=torch.float64),
        log_p[tokens], None, 1, known,
    )  # fmt: skip


@pytest.mark.parametrize("divergence", ["k3_sample", "exact"])
def test_only_rare_tokens_that_are_no_noise_and_are_punished_are_regularized(divergence):
    method = LpReg(divergence=divergence, low_percentile=1.0)
    z = torch.tensor(MOVED, dtype=torch.float64) - torch.tensor([0, 0, 0, 1.5, 0, 0])
    z = z.expand(3, 1, 6).clone().requires_grad_()
    batch = batch_of("sampled" if divergence == "k3_sample" else "all")
    log_probs = z.log_softmax(-1).gather(2, batch.responses[..., None])[..., 0]
    chosen = method.regularized(log_probs, batch)
    # The percentile is strict: the most probable token of all is never below it.
    assert chosen[:, 0].tolist() == [True, False, False]
    seen = Seen(z, log_probs, (log_probs - batch.old_log_probs).exp())
    plain = method.token_losses(seen, batch, method.baseline().weight_values())
    expected = clipped_loss(seen.ratio, batch.advantages[:, None], 1.0, 9.0)
    assert torch.equal(plain, expected)
    added = method.token_losses(seen, batch, method.weight_values()) - plain
    assert added[1:].abs().max() == 0
    proxy = batch.proxy
    value = sampled_divergence(log_probs, proxy)[0] if divergence == "k3_sample" else exact_divergence(z, proxy)[0]
    assert added[0].item() == pytest.approx(value.item())


def test_a_step_on_the_divergence_raises_the_rare_tokens_probability():
    z, proxy = torch.tensor(MOVED, dtype=torch.float64), proxy_log_probs(logits(), 0.02)
    gains = []
    for weight in (0.5, 2.0):
        variable = z.clone().requires_grad_()
        (slope,) = torch.autograd.grad(weight * sampled_divergence(variable.log_softmax(0), proxy)[2], variable)
        gains.append(((z - 0.01 * slope).log_softmax(0)[2] - z.log_softmax(0)[2]).item())
    # π_θ(2) = 0.142 is above the proxy's 0.101: what is too probable falls.
    assert gains[1] < gains[0] < 0
    z = z - torch.tensor([0, 0, 2.0, 0, 0, 0])
    variable = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(sampled_divergence(variable.log_softmax(0), proxy)[2], variable)
    assert (z - 0.01 * slope).log_softmax(0)[2] > z.log_softmax(0)[2]


def test_the_cap_for_both_signs():
    method = LpReg(cap_negative=True)
    batch = batch_of("sampled")
    ratio = torch.tensor([[20.0], [5.0], [20.0]], dtype=torch.float64)
    seen = Seen(torch.zeros(3, 1, 6), torch.zeros(3, 1), ratio)
    losses = method.token_losses(seen, batch, method.baseline().weight_values())
    assert losses[:, 0].tolist() == [10, 5, -10]
    assert aggregate(losses, batch.mask, "token_mean").item() == pytest.approx(5 / 3)
