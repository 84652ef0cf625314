import pytest
import torch

from regbench.methods.shared.data import load
from regbench.methods.shared.reinforcement import household as words
from regbench.methods.shared.reinforcement.grpo import token_log_probs
from regbench.methods.shared.reinforcement.household import Household, demonstrate, draw_problems
from regbench.methods.shared.reinforcement.policies import GPT
from regbench.methods.shared.reinforcement.rollouts import PAD, roll_out
from regbench.methods.shared.reinforcement.task import Batch, response_logits

HOUSE = Household(6, 12)
TABLE, SHELF, DRAWER, FRIDGE, SINK, STOVE = range(words.FIRST_PLACE, words.FIRST_PLACE + 6)
OBJECT = HOUSE.first_object


def play(problem, *actions):
    """What is seen after each action, and the reward."""
    _, state = HOUSE.start(torch.tensor([problem]))
    alive = torch.ones(1, dtype=torch.bool)
    seen = []
    for action in actions:
        observation, won = HOUSE.act(state, torch.tensor([action]), alive)
        seen.append(observation[0].tolist())
        alive = alive & ~won
    return seen, HOUSE.judge(state)[0].item()


# Cool object 1 and put it on the shelf; it is in the drawer, with object 3; object 0 is on the table.
PROBLEM = [3, 1, 1, 0, 2, 5, 2]


def test_a_task_is_carried_out():
    seen, reward = play(
        PROBLEM,
        (words.GO, DRAWER),
        (words.OPEN, DRAWER),
        (words.TAKE, OBJECT + 1),
        (words.GO, FRIDGE),
        (words.OPEN, FRIDGE),
        (words.COOL, OBJECT + 1),
        (words.GO, SHELF),
        (words.PUT, SHELF),
    )
    assert seen[0] == [DRAWER, words.BLANK, words.BLANK, HOUSE.closed]
    assert seen[1] == [DRAWER, OBJECT + 1, OBJECT + 3, HOUSE.ok]
    assert seen[2] == [DRAWER, OBJECT + 3, words.BLANK, HOUSE.ok]
    assert seen[-1] == [SHELF, OBJECT + 1, words.BLANK, HOUSE.won]
    assert reward == 1


def test_it_is_not_won_untreated_or_elsewhere():
    taken = [(words.GO, DRAWER), (words.OPEN, DRAWER), (words.TAKE, OBJECT + 1)]
    seen, reward = play(PROBLEM, *taken, (words.GO, SHELF), (words.PUT, SHELF))
    assert seen[-1][3] == HOUSE.ok
    assert reward == 0
    seen, reward = play([0, 1, 1, *PROBLEM[3:]], *taken, (words.GO, SHELF), (words.PUT, SHELF))
    assert reward == 1


@pytest.mark.parametrize(
    "actions",
    [
        [(words.OPEN, TABLE)],
        [(words.OPEN, DRAWER)],
        [(words.TAKE, OBJECT + 1)],
        [(words.PUT, TABLE)],
        [(words.GO, OBJECT)],
        [(words.TAKE, OBJECT), (words.HEAT, OBJECT)],
        [(words.GO, DRAWER), (words.TAKE, OBJECT + 1)],
        [(words.GO, DRAWER), (words.OPEN, DRAWER), (words.OPEN, DRAWER)],
        [(words.TAKE, OBJECT), (words.GO, DRAWER), (words.OPEN, DRAWER), (words.TAKE, OBJECT + 1)],
        [(words.TAKE, OBJECT), (words.GO, DRAWER), (words.OPEN, DRAWER), (words.PUT, DRAWER)],
        [(words.TAKE, OBJECT), (words.GO, FRIDGE), (words.COOL, OBJECT)],
        [(PAD, PAD)],
    ],
)
def test_invalid_actions_fail_and_cost(actions):
    seen, reward = play(PROBLEM, *actions)
    assert seen[-1][3] == HOUSE.fail
    assert reward == pytest.approx(-0.1 / len(actions))


@pytest.mark.parametrize(("places", "turns"), [(6, 12), (8, 30)])
def test_searchers_without_noise_always_win(places, turns):
    house, stream = Household(places, turns), torch.Generator().manual_seed(0)
    triples = torch.cartesian_prod(torch.arange(4), torch.arange(4), torch.arange(places))
    problems = draw_problems(house, triples, 1000, stream)
    assert (problems[torch.arange(1000), 3 + problems[:, 1]] != problems[:, 2]).all()
    assert all(torch.bincount(row, minlength=places).max() <= 2 for row in problems[:100, 3:])
    text, won = demonstrate(house, problems, stream, 0.0)
    assert won.all()
    assert not (text == house.fail).any()


def test_some_tasks_are_never_seen_in_training():
    data = load("micro_house")
    seen = {tuple(row) for row in data.train.tensors[0][:, :3].tolist()}
    held = []
    for part in (data.validation, data.test):
        problems, unseen = part.tensors
        kinds = [{tuple(row) for row in problems[unseen == kind][:, :3].tolist()} for kind in (False, True)]
        assert kinds[0] <= seen
        assert not kinds[1] & seen
        held.append(kinds[1])
    assert not held[0] & held[1]
    assert len(seen | held[0] | held[1]) == 96


def test_what_the_environment_says_is_masked_and_the_rest_is_the_policys():
    torch.manual_seed(0)
    policy = GPT(HOUSE.vocabulary, 8 + 72, 2, 16, 2)
    problems = load("micro_house").validation.tensors[0][:50]
    found = roll_out(policy, HOUSE, problems, torch.Generator().manual_seed(0))
    step = torch.arange(found.mask.shape[1]) % 6
    assert found.mask[:, step >= 2].sum() == 0
    assert (found.turn == torch.arange(found.mask.shape[1]) // 6).all()
    batch = Batch(found.tokens, found.mask, found.turn, found.rewards, found.log_probs, None, 72)
    logits = response_logits(policy, batch)
    full = token_log_probs(logits, batch.responses) * found.mask
    torch.testing.assert_close(found.log_probs, full.detach(), atol=1e-5, rtol=0)
    (slope,) = torch.autograd.grad(full.sum(), logits)
    assert slope[found.mask == 0].abs().max() == 0
    # The same actions lead to the same observations and rewards.
    _, state = HOUSE.start(problems)
    alive = torch.ones(50, dtype=torch.bool)
    for turn in range(12):
        place = 8 + 6 * turn
        seen, won = HOUSE.act(state, found.tokens[:, place : place + 2], alive)
        if turn < 11:
            shown = found.tokens[:, place + 2 : place + 6]
            assert torch.equal(shown, torch.where((alive & ~won)[:, None], seen, PAD))
        alive &= ~won
    assert torch.equal(HOUSE.judge(state)[0], found.rewards)
