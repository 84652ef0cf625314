import math

import pytest
import torch

from regbench.methods.reasoning.nucleus import anchored_loss, nucleus_entropies, peak_mean, peaks
from regbench.methods.reasoning.siren import Siren
from regbench.methods.run import Run
from regbench.methods.shared.reinforcement.grpo import token_entropies

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
P = [0.5, 0.2, 0.15, 0.1, 0.05]


@DTYPES
@pytest.mark.parametrize(
    ("rule", "top_p", "expected"),
    [
        ("inclusive", 0.6, 0.598270),
        ("inclusive", 0.8, 0.958692),
        ("inclusive", 0.94, 1.194273),
        ("inclusive", 1.0, 1.333074),
        ("exclusive", 0.4, 0.0),
        ("exclusive", 0.8, 0.598270),
        ("exclusive", 0.94, 0.958692),
    ],
)
def test_entropy_of_the_nucleus(rule, top_p, expected, dtype):
    logits = torch.tensor([P, P[::-1]], dtype=dtype).log() + 3
    found = nucleus_entropies(logits, top_p, rule)
    assert found.dtype == dtype
    assert found.tolist() == pytest.approx([expected] * 2, abs=1e-6)


def test_the_whole_vocabulary_is_a_nucleus():
    logits = 3 * torch.randn(20, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(nucleus_entropies(logits, 1.0), token_entropies(logits))


def test_bounds_and_invariance():
    logits = 3 * torch.randn(50, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sizes = []
    for row in logits.softmax(1):
        ordered = row.sort(descending=True).values
        sizes.append(next(n for n in range(1, 31) if ordered[:n].sum() >= 0.8))
    found = nucleus_entropies(logits, 0.8)
    assert (found >= 0).all()
    assert (found <= torch.tensor(sizes).log() + 1e-12).all()
    torch.testing.assert_close(nucleus_entropies(logits + 7, 0.8), found)


@pytest.mark.parametrize("rule", ["inclusive", "exclusive"])
def test_gradients_are_those_of_the_nucleus_alone(rule):
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: nucleus_entropies(z, 0.8, rule), logits)
    z = torch.tensor(P, dtype=torch.float64).log().requires_grad_()
    (slope,) = torch.autograd.grad(nucleus_entropies(z, 0.8), z)
    assert slope[3:].tolist() == [0, 0]
    assert slope[:3].abs().min() > 0
    (slope,) = torch.autograd.grad(nucleus_entropies(z, 0.4, "exclusive"), z)
    assert slope.tolist() == [0] * 5


def test_peaks_of_a_response():
    found = torch.tensor([[0.1, 0.9, 0.3, 0.5, 0.2, 0.7, 1.1, 0.05, 0.4, 0.6]])
    chosen = peaks(found, torch.ones_like(found), 0.8)
    assert chosen[0].nonzero()[:, 0].tolist() == [1, 6]
    assert peak_mean(found, chosen).item() == pytest.approx(1.0)
    assert torch.equal(peaks(found * chosen, torch.ones_like(found), 0.8), chosen)
    assert torch.equal(peaks(found, chosen, None), chosen)
    assert not peaks(torch.ones(1, 5), torch.ones(1, 5), 0.8).any()


def test_padding_changes_nothing():
    stream = torch.Generator().manual_seed(0)
    found, mask = torch.rand(3, 8, generator=stream), (torch.arange(8) < torch.tensor([[8], [5], [2]])).float()
    expected = peaks(found, mask, 0.6)
    longer = peaks(torch.cat([found, 9 * torch.ones(3, 4)], 1), torch.cat([mask, torch.zeros(3, 4)], 1), 0.6)
    assert torch.equal(longer, torch.cat([expected, torch.zeros(3, 4)], 1))
    for row, length in enumerate((8, 5, 2)):
        alone = found[row, :length]
        assert torch.equal(expected[row, :length].bool(), alone > torch.quantile(alone, 0.6))


def test_means_over_responses():
    found = torch.tensor([[0.2, 1, 0, 0.4], [0.6, 0, 0.8, 0]])
    chosen = torch.tensor([[0.0, 1, 0, 0], [1, 0, 1, 0]])
    assert peak_mean(found, chosen).item() == pytest.approx(0.85)
    empty = torch.cat([chosen, torch.zeros(1, 4)])
    more = torch.cat([found, found[:1]])
    assert peak_mean(more, empty).item() == pytest.approx(2 / 3 * 0.85)
    assert peak_mean(more, empty, "skip").item() == pytest.approx(0.85)
    assert peak_mean(more, 0 * empty, "skip").item() == 0


def test_the_anchored_loss():
    entropy = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    loss = 0.005 * anchored_loss(entropy, 1.2)
    assert loss.item() == pytest.approx(0.00045)
    assert torch.autograd.grad(loss, entropy)[0].item() == pytest.approx(-0.003)


SMALL = {"layers": 1, "width": 16, "heads": 2, "warm_steps": 0, "prompts": 2, "group": 4, "evaluated": 1}


def test_before_any_update_the_loss_is_that_of_dr_grpo():
    """The anchor is the entropy itself then, so that neither the penalty nor its gradient is there."""
    caught = []

    class Watched(Siren):
        def objective(self, model, batch, weights):
            seen = super().objective(model, batch, weights)[1]
            penalty = self.penalty(seen, batch, weights)
            slope = torch.autograd.grad(penalty, seen.logits, retain_graph=True)[0]
            caught.append((penalty.item(), slope.abs().max().item(), batch.anchor.item()))
            return super().objective(model, batch, weights)

    run = Run("chain_countdown")
    list(Watched(entropy_weight=10.0, learning_rate=0.01, iterations=2, report_every=2, **SMALL).train(run))
    assert caught[0][0] == pytest.approx(0, abs=1e-10)
    assert caught[0][1] == pytest.approx(0, abs=1e-6)
    assert caught[0][2] == caught[1][2] == run.part("memory")["anchor"]


@pytest.mark.parametrize(
    "settings", [{"anchored": False}, {"top_p": 1.0}, {"peak_quantile": None}, {"full_entropy_peaks": True}]
)
def test_ablations_train(settings):
    (metrics,) = Siren(**SMALL, iterations=1, report_every=1, **settings).train(Run("chain_countdown"))
    assert all(math.isfinite(value) for value in metrics.values())
