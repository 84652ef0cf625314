"""A step in pieces is the step as a whole, where what is summed has no statistics of the batch."""

import pytest
import torch

from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.reinforcement.countdown import Countdown

SMALL = {"layers": 1, "width": 16, "heads": 2, "warm_steps": 60, "prompts": 4, "group": 4, "evaluated": 1}
# Every response counts alike, whatever it is put together with.
ALIKE = {"aggregation": "seq_mean_token_mean", "advantage": "grpo", "learning_rate": 0.01, "iterations": 2, "report_every": 2}


def trained(slug, data, **settings):
    run = Run(data)
    list(create(slug, SMALL | ALIKE | settings).train(run))
    return run


@pytest.fixture
def lenient(monkeypatch):
    """Half of all responses are right, also those of a policy that has learned little."""

    def judge(self, state):
        solved = (state["response"].sum(1) % 2).bool()
        return solved.float(), solved, solved.long()

    monkeypatch.setattr(Countdown, "judge", judge)


@pytest.mark.parametrize(
    ("slug", "data", "settings"),
    [
        ("grpo", "chain_countdown", {}),
        ("grpo", "chain_countdown", {"updates_per_rollout": 2, "kl_weight": 0.1}),
        ("entropy_bonus", "chain_countdown", {"entropy_weight": 0.1}),
        ("siren", "chain_countdown", {"entropy_weight": 0.1, "anchored": False}),
        ("lp_reg", "chain_countdown", {"divergence": "exact", "low_percentile": 1.0, "divergence_weight": 5.0}),
        ("agent_grpo", "micro_house", {}),
    ],
)
@pytest.mark.parametrize("size", [3, 8])
def test_pieces_make_the_whole(slug, data, settings, size, lenient):
    whole, pieces = trained(slug, data, **settings), trained(slug, data, micro_batch=size, **settings)
    left, right = (run.part("model").state_dict() for run in (whole, pieces))
    # Adam divides by the size of gradients, so that rounding of small ones shows.
    assert all(torch.allclose(left[name], right[name], atol=2e-4) for name in left)
    before = create(slug, SMALL | ALIKE).build_model(whole.data).state_dict()
    assert max((left[name] - before[name]).abs().max() for name in left) > 0.01
