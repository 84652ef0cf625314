import numpy as np
import pytest
import torch

from regbench.methods.shared.data import load
from regbench.methods.shared.reinforcement import countdown
from regbench.methods.shared.reinforcement.countdown import Countdown, verify
from regbench.methods.shared.reinforcement.grpo import token_log_probs
from regbench.methods.shared.reinforcement.policies import GPT
from regbench.methods.shared.reinforcement.rollouts import EOS, PAD, roll_out
from regbench.methods.shared.reinforcement.task import Batch, response_logits

TOKENS = {"+": countdown.PLUS, "-": countdown.MINUS, "*": countdown.TIMES, "=": countdown.EQUALS, ";": countdown.SEMICOLON}
TOKENS |= {"wait": countdown.WAIT, "end": EOS, "so": countdown.FIRST_CONNECTIVE, "then": countdown.FIRST_CONNECTIVE + 7}


def written(text):
    """Tokens of words and numbers."""
    words = text.split()
    return torch.tensor([[TOKENS[word] if word in TOKENS else countdown.FIRST_NUMBER + int(word) for word in words]])


def value(text, given=(2, 3, 4), target=20):
    prompt = torch.tensor(countdown.prompts(np.array([given]), np.array([target])))
    return verify(prompt, written(text)).item()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so 2 + 3 = 5 ; then 5 * 4 = 20 ; end", 20),
        ("so 2 + 3 = 5 ; then 5 + 4 = 9 ; end", 9),
        ("so 2 * 3 = 6 ; wait so 2 + 3 = 5 ; so 4 * 5 = 20 ; end", 20),
        ("so 2 + 3 = 5 ; so 5 + 4 = 9 ; wait so 5 * 4 = 20 ; end", 20),
        ("so 2 + 3 = 5 ; so 5 + 4 = 9 ; wait wait so 4 - 3 = 1 ; so 1 * 2 = 2 ; end", 2),
        # What is no valid chain.
        ("so 2 + 3 = 5 ; then 5 * 4 = 20 ;", -1),
        ("so 2 + 3 = 5 ; end", -1),
        ("so 2 + 3 = 6 ; then 6 * 4 = 24 ; end", -1),
        ("so 2 + 2 = 4 ; then 4 * 4 = 16 ; end", -1),
        ("wait so 2 + 3 = 5 ; then 5 * 4 = 20 ; end", -1),
        ("2 + 3 = 5 ; then 5 * 4 = 20 ; end", -1),
        ("so 2 - 3 = 5 ; then 5 * 4 = 20 ; end", -1),
        ("so 2 + 3 = 5 ; then 5 * 4 = 20 ; so 20 + 0 = 20 ; end", -1),
        ("end", -1),
    ],
)
def test_what_a_chain_ends_with(text, expected):
    assert value(text) == expected


def test_every_noise_free_demonstration_is_accepted_and_no_corruption_of_its_last_result():
    chains = countdown.chains()
    random = np.random.default_rng(0)
    chains = chains[random.permutation(len(chains))[:2000]]
    target = countdown.results(chains)[1]
    prompt = torch.tensor(countdown.prompts(chains[:, :3], target))
    text = torch.tensor(countdown.demonstrations(chains, chains[:, :3], random, noisy=False))
    assert verify(prompt, text).tolist() == target.tolist()
    for result in (5, 12):
        wrong = text.clone()
        wrong[:, result] = countdown.FIRST_NUMBER + (wrong[:, result] - countdown.FIRST_NUMBER + 1) % (countdown.LARGEST + 1)
        assert (verify(prompt, wrong) == -1).all()


def test_demonstrations_err_as_they_say():
    data = load("chain_countdown")
    prompt, text = data.train.tensors
    right = verify(prompt, text) == Countdown().truth(prompt)
    # Half work out the target, and 94 % of these calculate rightly; of the others some hit it by chance.
    assert 0.47 < right.double().mean() < 0.56
    assert (text == countdown.WAIT).sum(1).double().mean().item() == pytest.approx(2 * 0.08 * 0.78, abs=0.03)
    first = torch.bincount(text[:, 0], minlength=countdown.VOCABULARY).double() / len(text)
    assert first[countdown.FIRST_CONNECTIVE].item() == pytest.approx(0.3, abs=0.01)


def test_held_out_prompts_are_not_learned_from():
    data = load("chain_countdown")
    seen = [
        {(*sorted(row[1:4]), row[5]) for row in part.tensors[0].tolist()} for part in (data.train, data.validation, data.test)
    ]
    assert not seen[0] & (seen[1] | seen[2])
    assert not seen[1] & seen[2]
    assert len(seen[1]) == len(data.validation)


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(0)
    policy = GPT(countdown.VOCABULARY, countdown.PROMPT + countdown.RESPONSE, 2, 16, 2)
    with torch.no_grad():
        policy.tokens.weight.mul_(20)
    return policy


def test_generation_with_a_cache_is_generation_without(policy):
    problems = load("chain_countdown").validation.tensors[0][:20]
    found = roll_out(policy, Countdown(), problems, torch.Generator().manual_seed(0), temperature=0)
    tokens, over = problems, torch.zeros(20, dtype=torch.bool)
    with torch.no_grad():
        for _ in range(found.mask.shape[1]):
            drawn = torch.where(over, PAD, policy(tokens)[:, -1].argmax(1))
            tokens, over = torch.cat([tokens, drawn[:, None]], 1), over | (drawn == EOS)
    assert torch.equal(found.tokens, tokens)


def test_log_probabilities_of_sampling_are_those_of_a_forward_pass(policy):
    problems = load("chain_countdown").validation.tensors[0][:20]
    found = roll_out(policy, Countdown(), problems, torch.Generator().manual_seed(0))
    batch = Batch(found.tokens, found.mask, found.turn, found.rewards, found.log_probs, None, countdown.RESPONSE)
    with torch.no_grad():
        full = token_log_probs(response_logits(policy, batch), batch.responses) * found.mask
    torch.testing.assert_close(found.log_probs, full, atol=1e-5, rtol=0)


def test_the_mask_ends_with_the_end(policy):
    problems = load("chain_countdown").validation.tensors[0][:64]
    found = roll_out(policy, Countdown(), problems, torch.Generator().manual_seed(1))
    responses, mask = found.tokens[:, countdown.PROMPT :], found.mask
    lengths = mask.sum(1).long()
    assert (mask == (torch.arange(mask.shape[1]) < lengths[:, None])).all()
    ends = responses.gather(1, lengths[:, None] - 1)[:, 0] == EOS
    assert (ends | (lengths == countdown.RESPONSE)).all()
    assert ((responses == EOS).sum(1) == ends).all()
    assert (responses[mask == 0] == PAD).all()
