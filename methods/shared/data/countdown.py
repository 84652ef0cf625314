"""Chain countdown: prompts to reason about, and noisy demonstrations of how."""

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset
from regbench.methods.shared.reinforcement import countdown

DEMONSTRATIONS = 30_000
# Of all pairs of numbers and target, those held out for tuning, and as many for the test.
HELD_OUT = 0.1


@dataset(
    "chain_countdown",
    help="reach a target from three numbers in two steps: 30,000 noisy demonstrations, 176 / 176 prompts",
)
def chain_countdown(split: int = 0) -> Data:
    """Prompts ``[N, 7]`` and in the training split a noisy demonstration of each ``[N, 31]``; see ``countdown``.

    Every target is that of a random legal chain. Half of the demonstrations work out another legal chain of the same numbers,
    which usually misses the target.
    """
    random = np.random.default_rng(split)
    chains = countdown.chains()
    numbers, target = np.sort(chains[:, :3], axis=1), countdown.results(chains)[1]
    pairs, pair = np.unique(np.column_stack([numbers, target]), axis=0, return_inverse=True)
    held_out = random.permutation(len(pairs))
    size = round(HELD_OUT * len(pairs))
    part = np.zeros(len(pairs), int)
    part[held_out[:size]], part[held_out[size : 2 * size]] = 1, 2
    learned = random.choice(np.flatnonzero(part[pair] == 0), DEMONSTRATIONS)
    given = random.permuted(chains[learned, :3], axis=1)
    prompt = countdown.prompts(given, target[learned])
    shown = np.where(random.random(DEMONSTRATIONS) < countdown.MISSING, _others(numbers, learned, random), learned)
    text = countdown.demonstrations(chains[shown], given, random)
    held = [pairs[random.permutation(np.flatnonzero(part == number))] for number in (1, 2)]
    asked = [torch.tensor(countdown.prompts(random.permuted(rows[:, :3], axis=1), rows[:, 3])) for rows in held]
    return Data(
        "chain_countdown",
        train=TensorDataset(torch.tensor(prompt), torch.tensor(text)),
        validation=TensorDataset(asked[0]),
        test=TensorDataset(asked[1]),
        meta={"environment": "countdown", "vocabulary": countdown.VOCABULARY, "pairs": len(pairs)},
        pool=len(pairs),
    )


def _others(numbers: np.ndarray, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """For each row one at random of those that have the same numbers ``[M, 3]``."""
    _, kind = np.unique(numbers, axis=0, return_inverse=True)
    order, counts = np.argsort(kind, kind="stable"), np.bincount(kind)
    starts = np.cumsum(counts) - counts
    return order[starts[kind[rows]] + (random.random(len(rows)) * counts[kind[rows]]).astype(int)]
