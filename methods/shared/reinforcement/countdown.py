"""Chain countdown: reach a target from three numbers in two steps of arithmetic, with a word to take back a step."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from regbench.methods.shared.reinforcement.rollouts import BOS, EOS, PAD

# Tokens; what has no number of its own stands before the eight connectives and the numbers 0 to 60.
TARGET, SEPARATOR, PLUS, MINUS, TIMES, EQUALS, SEMICOLON, WAIT = range(3, 11)
CONNECTIVES = 8
FIRST_CONNECTIVE = WAIT + 1
FIRST_NUMBER = FIRST_CONNECTIVE + CONNECTIVES
LARGEST = 60
VOCABULARY = FIRST_NUMBER + LARGEST + 1

PROMPT, STEP = 7, 7
# Two steps, each with a wrong one before it that is taken back, and the end.
RESPONSE = 4 * STEP + 2 + 1
GIVEN = 3
LARGEST_GIVEN = 9
# Steps and words in which a well-formed response of that length can consist.
PIECES = RESPONSE

# How demonstrations err, and how often they take each connective.
MISSING, MISCALCULATED, TAKEN_BACK = 0.5, 0.03, 0.08
CONNECTIVE_SHARES = (0.30, 0.20, 0.15, 0.10, 0.10, 0.06, 0.05, 0.04)

Array = np.ndarray


def chains() -> Array:
    """All legal chains ``[M, 6]`` from three numbers in 1..9: x, y, z, both operations, and which operand z is.

    A chain is x ∘ y = u, then u ∘ z (0) or z ∘ u (1); operations are 0 (+), 1 (-) and 2 (×); results are in 0..60.
    """
    axes = [range(1, LARGEST_GIVEN + 1)] * GIVEN + [range(3), range(3), range(2)]
    every = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 6)
    first, last = results(every)
    return every[(first >= 0) & (first <= LARGEST) & (last >= 0) & (last <= LARGEST)]


def results(chain: Array) -> tuple[Array, Array]:
    """Both steps' results ``[M]`` of chains ``[M, 6]``."""
    x, y, z, first, second, side = chain.T
    u = calculate(x, first, y)
    left, right = np.where(side, z, u), np.where(side, u, z)
    return u, calculate(left, second, right)


def calculate(left: Array, operation: Array, right: Array) -> Array:
    """Left ∘ right for operations 0 (+), 1 (-) and 2 (×)."""
    return np.choose(operation, [left + right, left - right, left * right])


def prompts(given: Array, target: Array) -> Array:
    """BOS, the three numbers, TARGET, the target, SEPARATOR: ``[M, 7]`` from ``[M, 3]`` and ``[M]``."""
    fixed = [np.full(len(given), token) for token in (BOS, TARGET, SEPARATOR)]
    return np.column_stack([fixed[0], given + FIRST_NUMBER, fixed[1], target + FIRST_NUMBER, fixed[2]])


def demonstrations(chain: Array, given: Array, random: np.random.Generator, *, noisy: bool = True) -> Array:
    """Responses ``[M, 31]`` that work out chains ``[M, 6]``, padded after their ends.

    With noise, a step's result is off by one in 3 % of steps, and in 8 % another legal step is taken first and taken back.

    Args:
        chain: what is worked out.
        given: the numbers ``[M, 3]``.
        random: draws connectives and noise.
        noisy: whether there is noise.
    """
    count = len(chain)
    x, y, z, first, second, side = chain.T
    u, w = results(chain)
    left, right = np.where(side, z, u), np.where(side, u, z)
    steps = [(x, first, y, u), (left, second, right, w)]
    # Steps to be taken back: of two of the given numbers in random order, or of both that are left in the other.
    order = random.permuted(given, axis=1)
    wrong = [_legal(order[:, 0], random.integers(0, 3, count), order[:, 1]), _legal(right, random.integers(0, 3, count), left)]
    parts, kept = [], []
    for step, (other, legal) in zip(steps, wrong, strict=True):
        taken_back = legal & (random.random(count) < TAKEN_BACK) & noisy
        parts += [_written(*other, random), np.full((count, 1), WAIT)]
        kept += [np.repeat(taken_back[:, None], STEP, 1), taken_back[:, None]]
        error = (random.random(count) < MISCALCULATED) * random.choice([-1, 1], count) * noisy
        parts.append(_written(*step[:3], np.clip(step[3] + error, 0, LARGEST), random))
        kept.append(np.ones((count, STEP), bool))
    tokens = np.column_stack([*parts, np.full(count, EOS)])
    keep = np.column_stack([*kept, np.ones(count, bool)])
    places = np.argsort(~keep, axis=1, kind="stable")
    return np.take_along_axis(np.where(keep, tokens, PAD), places, 1)


def _legal(left: Array, operation: Array, right: Array) -> tuple[tuple[Array, Array, Array, Array], Array]:
    """A step and whether its result is in range."""
    result = calculate(left, operation, right)
    return (left, operation, right, np.clip(result, 0, LARGEST)), (result >= 0) & (result <= LARGEST)


def _written(left: Array, operation: Array, right: Array, result: Array, random: np.random.Generator) -> Array:
    """A step's seven tokens ``[M, 7]``: connective, left, operation, right, =, result, ;."""
    connective = random.choice(CONNECTIVES, len(left), p=CONNECTIVE_SHARES) + FIRST_CONNECTIVE
    numbers = [part + FIRST_NUMBER for part in (left, right, result)]
    equals, end = np.full(len(left), EQUALS), np.full(len(left), SEMICOLON)
    return np.column_stack([connective, numbers[0], operation + PLUS, numbers[1], equals, numbers[2], end])


class Countdown:
    """The environment: one turn, which ends with EOS; see ``rollouts.Environment``. A problem is its prompt."""

    vocabulary = VOCABULARY
    prompt = PROMPT
    turns = 1
    action = RESPONSE
    observation = 0
    pad, end = PAD, EOS

    def start(self, problems: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The prompts themselves; nothing has been said."""
        return problems, {"prompt": problems}

    def act(self, state: dict[str, Tensor], action: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
        """Takes the response, after which it is over."""
        state["response"] = action
        return action[:, :0], torch.ones_like(alive)

    def judge(self, state: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Reward 1 for a response that ``verify`` finds to reach the target."""
        answers = verify(state["prompt"], state["response"])
        solved = answers == self.truth(state["prompt"])
        return solved.float(), solved, answers

    def spoken(self, text: Tensor) -> Tensor:
        """Which tokens of responses ``[N, T]`` are not padding."""
        return text != PAD

    def truth(self, problems: Tensor) -> Tensor:
        """The right answers: the targets ``[N]``."""
        return problems[:, GIVEN + 2] - FIRST_NUMBER

    def statistics(self, tokens: Sequence[Tensor]) -> dict[str, float]:
        """How many steps a response takes back, on average over all parts ``[N, L]``."""
        return {"waits": sum(int((part == WAIT).sum()) for part in tokens) / sum(len(part) for part in tokens)}


def verify(prompt: Tensor, response: Tensor) -> Tensor:
    """The value that each response's chain ends with ``[N]``, int64; -1 where it is not a valid chain.

    A step must be well formed, use numbers that are there, and be arithmetically right; WAIT takes back the last step; at EOS
    one number must be left, and three have been there.

    Args:
        prompt: ``[N, 7]``.
        response: ``[N, T]``, padded.
    """
    count, device = len(prompt), prompt.device
    rows = torch.arange(count, device=device)
    # Room for a step that begins with the last token.
    text = torch.cat([response, response.new_full((count, STEP), PAD)], 1)
    # How often each number is there, after no step, one, and two.
    pools = torch.zeros(count, GIVEN, LARGEST + 1, dtype=torch.int64, device=device)
    given = prompt[:, 1 : 1 + GIVEN] - FIRST_NUMBER
    pools[:, 0].scatter_add_(1, given, torch.ones_like(given))
    place, depth = torch.zeros_like(rows), torch.zeros_like(rows)
    going, ended = torch.ones(count, dtype=torch.bool, device=device), torch.zeros(count, dtype=torch.bool, device=device)
    for _ in range(PIECES):
        step = text.gather(1, (place[:, None] + torch.arange(STEP, device=device)).clamp_max(text.shape[1] - 1))
        head, numbers = step[:, 0], step[:, [1, 3, 5]] - FIRST_NUMBER
        back = going & (head == WAIT) & (depth > 0)
        ended |= going & (head == EOS) & (depth == GIVEN - 1)
        taken = going & _well_formed(step) & (depth < GIVEN - 1)
        left, right, result = numbers.clamp(0, LARGEST).unbind(1)
        change = torch.zeros(count, LARGEST + 1, dtype=torch.int64, device=device)
        change[rows, left] -= 1
        change[rows, right] -= 1
        rest = pools[rows, depth] + change
        taken &= (rest >= 0).all(1)
        rest[rows, result] += 1
        above = (depth + 1).clamp_max(GIVEN - 1)
        pools[rows, above] = torch.where(taken[:, None], rest, pools[rows, above])
        place = place + torch.where(taken, STEP, 1)
        depth = depth + taken.long() - back.long()
        going = taken | back
        if not bool(going.any()):
            break
    return torch.where(ended, pools[:, GIVEN - 1].argmax(1), -1)


def _well_formed(step: Tensor) -> Tensor:
    """Whether seven tokens ``[N, 7]`` are a step that is arithmetically right."""
    numbers = step[:, [1, 3, 5]] - FIRST_NUMBER
    left, right, result = numbers.unbind(1)
    operation = step[:, 2]
    value = torch.where(operation == PLUS, left + right, torch.where(operation == MINUS, left - right, left * right))
    signs = (operation >= PLUS) & (operation <= TIMES) & (step[:, 4] == EQUALS) & (step[:, 6] == SEMICOLON)
    connective = (step[:, 0] >= FIRST_CONNECTIVE) & (step[:, 0] < FIRST_NUMBER)
    return connective & signs & (numbers >= 0).all(1) & (value == result)
