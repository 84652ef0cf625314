from types import SimpleNamespace

import pytest
import torch

from regbench.methods.reasoning.entropy_bonus import EntropyBonus
from regbench.methods.reasoning.high_entropy_tokens import HighEntropyTokens
from regbench.methods.shared.reinforcement.grpo import clipped_loss, token_entropies
from regbench.methods.shared.reinforcement.task import Batch, Seen


@pytest.fixture
def case():
    """A batch of responses of three tokens, and what a policy that has moved says of it."""
    stream = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 3, 9, generator=stream, dtype=torch.float64, requires_grad=True)
    tokens = torch.randint(9, (6, 4), generator=stream)
    mask = (torch.arange(3) < torch.tensor([3, 3, 2, 1, 3, 2])[:, None]).double()
    log_probs = logits.log_softmax(2).gather(2, tokens[:, 1:, None])[..., 0]
    old = log_probs.detach() + 0.3 * torch.randn(6, 3, generator=stream, dtype=torch.float64)
    advantages = torch.randn(6, generator=stream, dtype=torch.float64)
    batch = Batch(tokens, mask, 0 * tokens[:, 1:], advantages, old, None, 3)
    return Seen(logits, log_probs, (log_probs - old).exp()), batch


def test_a_bonus_is_the_mean_entropy(case):
    seen, batch = case
    found = EntropyBonus().penalty(seen, batch, SimpleNamespace(entropy_weight=0.3))
    expected = -0.3 * token_entropies(seen.logits)[batch.mask.bool()].mean()
    torch.testing.assert_close(found, expected)


def test_only_the_most_uncertain_tokens_are_learned_from(case):
    seen, batch = case
    found = HighEntropyTokens().token_losses(seen, batch, SimpleNamespace(token_share=0.25))
    plain = clipped_loss(seen.ratio, batch.advantages[:, None], 0.2, 0.2, 3.0)
    entropies = token_entropies(seen.logits).detach()
    kept = batch.mask.bool() & (found != 0)
    # A quarter of 14 tokens, rounded up.
    assert kept.sum() == 4
    assert torch.equal(found[kept], plain[kept])
    assert entropies[kept].min() > entropies[batch.mask.bool() & ~kept].max()
