import math

import pytest
import torch
from pydantic import ValidationError

from regbench.methods.reasoning.aepo import AEPO, joined
from regbench.methods.reasoning.grpo import GRPO
from regbench.methods.reasoning.temperatures import auxiliary_objective, expected_update, sampling_temperature
from regbench.methods.run import Run
from regbench.methods.shared.reinforcement.grpo import token_entropies
from regbench.methods.shared.reinforcement.task import Batch, together

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
LOGITS = torch.tensor([2.0, 1, 0, -1], dtype=torch.float64)


@pytest.mark.parametrize(
    ("rule", "expected"), [("two_level", [1.2, 1.2, 1.2, 0.8, 0.8]), ("continuous", [1.2, 1.2, 1.0, 0.9, 0.8])]
)
def test_temperatures(rule, expected):
    found = [sampling_temperature(0.5, entropy, 1.2, 0.8, rule) for entropy in (0.1, 0.3, 0.5, 0.6, 0.9)]
    assert found == pytest.approx(expected)


def test_entropies_at_temperatures():
    found = [token_entropies(LOGITS / T).item() for T in (0.8, 1, 1.2)]
    assert found == pytest.approx([0.798839, 0.947537, 1.051125], abs=1e-6)


@pytest.mark.parametrize(
    ("correct", "slopes"),
    [
        ([1, 1, 1, 1], [-0.097860, -0.032816, 0, 0.025262, 0.082256]),
        ([1, 0, 1, 0], [-0.131816, -0.095780, -0.075608, -0.059463, -0.021803]),
    ],
)
def test_entropy_along_the_expected_update(correct, slopes):
    right = torch.tensor(correct).double()
    for T, expected in zip((0.5, 0.8, 1, 1.2, 2), slopes, strict=True):
        step = expected_update(LOGITS, right, T)
        slope = (token_entropies(LOGITS + 1e-5 * step) - token_entropies(LOGITS - 1e-5 * step)) / 2e-5
        assert slope.item() == pytest.approx(expected, abs=1e-6)


def test_the_expected_update_is_that_of_the_objective():
    """Over all tokens as samples at T, weighted by their probability."""
    right = torch.tensor([1.0, 0, 1, 1], dtype=torch.float64)
    z = LOGITS.clone().requires_grad_()
    ratio = (z.log_softmax(0) - LOGITS.log_softmax(0)).exp()[:, None]
    weights = (LOGITS / 1.7).softmax(0)
    gains = [auxiliary_objective(ratio[i : i + 1], torch.ones(1, 1), right[i : i + 1], 0.2, 0.2) for i in range(4)]
    (slope,) = torch.autograd.grad((weights * torch.stack(gains)).sum(), z)
    torch.testing.assert_close(slope, expected_update(LOGITS, right, 1.7), atol=1e-12, rtol=0)


@DTYPES
def test_clipped_gains(dtype):
    ratio = torch.tensor([[1.5], [0.5], [0.9]], dtype=dtype, requires_grad=True)
    correct = torch.tensor([1.0, 1.0, 0.0], dtype=dtype)
    found = auxiliary_objective(ratio, torch.ones(3, 1, dtype=dtype), correct, 0.2, 0.2)
    (slope,) = torch.autograd.grad(3 * found, ratio)
    assert found.dtype == dtype
    assert 3 * found.item() == pytest.approx(1.2 + 0.5, abs=1e-6)
    assert slope[:, 0].tolist() == pytest.approx([0, 1, 0], abs=1e-6)


def test_a_response_counts_as_one_and_the_left_out_are_counted():
    ratio, mask = torch.ones(2, 3), torch.tensor([[1.0, 1, 1], [1, 0, 0]])
    assert auxiliary_objective(ratio, mask, torch.ones(2), 0.2, 0.2).item() == pytest.approx(1)
    assert auxiliary_objective(ratio, mask, torch.ones(2), 0.2, 0.2, samples=8).item() == pytest.approx(1 / 4)


@pytest.mark.parametrize(("temperature", "limit"), [(1.2, math.log(8)), (0.8, 0.0), (1.0, None)])
def test_a_bandit_whose_arms_are_alike(temperature, limit):
    z = torch.linspace(0, 1, 8, dtype=torch.float64)
    start = token_entropies(z).item()
    for _ in range(6000):
        z = z + 1.0 * expected_update(z, torch.ones(8), temperature)
    assert token_entropies(z).item() == pytest.approx(start if limit is None else limit, abs=3e-3)


def rows(count, length, value):
    tokens = torch.full((count, 2 + length), value)
    mask = torch.ones(count, length)
    return Batch(tokens, mask, 0 * tokens[:, 2:], torch.full((count,), float(value)), 0 * mask, None, 9)


def test_batches_are_joined():
    found = joined(rows(3, 4, 7), rows(2, 6, 1), samples=5, padding=0)
    assert found.tokens.shape == (5, 8)
    assert found.tokens[0].tolist() == [7] * 6 + [0] * 2
    assert found.mask.sum(1).tolist() == [4, 4, 4, 6, 6]
    assert found.auxiliary.tolist() == [0, 0, 0, 1, 1]
    assert found.advantages.tolist() == [7, 7, 7, 1, 1]
    assert found.samples.item() == 5
    assert joined(rows(3, 4, 7), rows(2, 6, 1).rows(torch.arange(0)), samples=5, padding=0).auxiliary.sum() == 0


SMALL = {"layers": 1, "warm_steps": 700, "prompts": 4, "group": 8, "iterations": 2, "report_every": 2, "evaluated": 1}


def test_switched_off_its_responses_are_those_of_grpo():
    curves = [list(method.train(Run("chain_countdown"))) for method in (AEPO(reinforce_weight=0, **SMALL), GRPO(**SMALL))]
    assert all(curves[0][0][name] == value for name, value in curves[1][0].items())


@pytest.mark.parametrize(
    "settings", [{"entropy_estimator": "exact"}, {"updates_per_rollout": 2}, {"temperature_rule": "continuous"}]
)
def test_right_responses_are_added(settings):
    method = AEPO(**SMALL | {"prompts": 8}, prompt_share=1.0, **settings)
    run = Run("chain_countdown")
    (metrics,) = method.train(run)
    assert metrics["train/auxiliary"] > 0
    # It begins hot, and the entropy is above its target then.
    expected = (1.2 + 0.8) / 2
    assert metrics["train/temperature"] == pytest.approx(expected)
    assert len(run.part("memory")["entropies"]) == method.updates_per_rollout


def test_right_responses_replace_others():
    method = AEPO(**SMALL | {"prompts": 8}, prompt_share=1.0, mixing="replace", auxiliary_share=1 / 64, selection="advantage")
    (metrics,) = method.train(Run("chain_countdown"))
    assert 0 < metrics["train/auxiliary"] <= 1


def test_means_over_responses_cannot_be_mixed():
    with pytest.raises(ValidationError, match="set aggregation to token_mean"):
        AEPO(aggregation="seq_mean_token_mean")


def test_pieces_of_a_batch_share_the_auxiliary_responses():
    """Weighted by their shares, gains of pieces make that of the whole."""
    whole = joined(rows(3, 4, 7), rows(5, 6, 1), samples=9, padding=0)
    ratio = torch.rand(whole.mask.shape, generator=torch.Generator().manual_seed(0)) + 0.5

    def gain(batch, found):
        return auxiliary_objective(found, batch.mask, batch.auxiliary, 0.2, 0.2, batch.samples)

    parts = [(len(index) / 8, whole.rows(index), ratio[index]) for index in torch.arange(8).split(3)]
    assert sum(share * gain(part, found) for share, part, found in parts) == pytest.approx(gain(whole, ratio).item())
    torch.testing.assert_close(together([part for _, part, _ in parts]).tokens, whole.tokens)
