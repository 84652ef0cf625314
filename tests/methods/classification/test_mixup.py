"""Mixup against its definition: what the network sees, the law of the mixing share, and the loss of mixed targets."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.functional import cross_entropy, one_hot

from regbench.methods import Run
from regbench.methods.classification.cross_entropy import CrossEntropy
from regbench.methods.classification.mixup import Mixup
from regbench.methods.classification.task import Batch

B, K = 6, 3
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def mix(alpha: float, generator: torch.Generator):
    """One mini-batch of unit vectors, so that what the network sees spells out the mixture: x̃ [B, B], loss, logits [B, K]."""
    seen = []
    layer = torch.arange(B * K, dtype=torch.float64).reshape(B, K).sin()

    def model(x):
        seen.append(x)
        return x @ layer

    x = torch.eye(B, dtype=torch.float64)
    batch = Batch(x, LABELS, torch.arange(B), K, epoch=1, epochs=1, memory=None, generator=generator)
    loss, logits = Mixup().objective(model, batch, SimpleNamespace(alpha=alpha))
    assert len(seen) == 1
    torch.testing.assert_close(logits, seen[0] @ layer)
    return seen[0], loss, logits


def share(mixed: torch.Tensor) -> float:
    """λ, or 1 if every example met itself."""
    apart = [row for row in range(B) if mixed[row, row] < 1]
    return mixed[apart[0], apart[0]].item() if apart else 1.0


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_examples_meet_a_permutation_of_the_batch_and_the_loss_is_that_of_mixed_targets(alpha):
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        mixed, loss, logits = mix(alpha, generator)
        lam = share(mixed)
        partners = mixed - lam * torch.eye(B, dtype=torch.float64)
        if lam < 1:
            permutation = partners / (1 - lam)
            assert sorted(permutation.argmax(1).tolist()) == list(range(B))
            torch.testing.assert_close(permutation, permutation.round(), atol=1e-6, rtol=0)
        # Cross-entropy is linear in its target, so the two-term loss is that of the mixed target.
        torch.testing.assert_close(loss, cross_entropy(logits, mixed @ one_hot(LABELS, K).double()))


@pytest.mark.parametrize("alpha", [0.3, 1.0, 8.0])
def test_shares_follow_the_beta_distribution(alpha):
    generator = torch.Generator().manual_seed(0)
    # A batch whose permutation is the identity (1 in 720) hides its share.
    mixtures = [mix(alpha, generator)[0] for _ in range(1500)]
    shares = np.array([share(mixed) for mixed in mixtures if not torch.equal(mixed, torch.eye(B).double())])
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 0.01
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_strong_mixing_halves():
    mixed, _, _ = mix(1e8, torch.Generator().manual_seed(0))
    assert share(mixed) == pytest.approx(0.5, abs=1e-3)


def test_off_draws_nothing_and_is_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    mixed, loss, logits = mix(0.0, generator)
    assert torch.equal(mixed, torch.eye(B, dtype=torch.float64))
    torch.testing.assert_close(loss, cross_entropy(logits, LABELS))
    assert torch.equal(generator.get_state(), before)


def test_strong_mixing_resists_the_memorizing_of_wrong_labels():
    """Section 3.4: trained until plain cross-entropy has memorized the wrong labels, mixing keeps a lead of many points."""
    settings = {"epochs": 100, "schedule": "constant", "weight_decay": 0.0}
    plain, mixed = (
        list(method.train(Run("digits_noisy40", seed=0)))[-1]
        for method in (CrossEntropy(**settings), Mixup(alpha=8.0, **settings))
    )
    assert plain["train/loss"] < 0.2
    assert mixed["train/loss"] > 1
    assert mixed["val/accuracy"] > plain["val/accuracy"] + 0.1
