"""Households in words: tasks of many turns with one reward, and noisy demonstrations of them."""

import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset
from regbench.methods.shared.reinforcement.household import OBJECTS, TASKS, Household, demonstrate, draw_problems

DEMONSTRATIONS = 20_000
JUDGED = 400
# Of all triples of task, object and destination, those that are held out, half for tuning and half for the test.
HELD_OUT = 0.2
NOISE = 0.3


def household_data(name: str, places: int, turns: int, split: int) -> Data:
    """Problems ``[N, 7]``, in the training split with a noisy demonstration of each; see ``Household``.

    Validation and test rows are ``(problem, held_out)``: as many of the triples that training draws from, with objects
    elsewhere, as of triples that it never sees, which are others in the test.

    Args:
        name: of the data set.
        places: of the household.
        turns: of an episode.
        split: the number of the split, which draws everything.
    """
    household, generator = Household(places, turns), torch.Generator().manual_seed(split)
    triples = torch.cartesian_prod(torch.arange(TASKS), torch.arange(OBJECTS), torch.arange(places))
    triples = triples[torch.randperm(len(triples), generator=generator)]
    size = round(HELD_OUT * len(triples) / 2)
    unseen, seen = triples[: 2 * size].split(size), triples[2 * size :]
    problems = draw_problems(household, seen, DEMONSTRATIONS, generator)
    shown, _ = demonstrate(household, problems, generator, NOISE)
    judged = []
    for part in unseen:
        rows = [draw_problems(household, kind, JUDGED, generator) for kind in (seen, part)]
        judged.append(TensorDataset(torch.cat(rows), torch.arange(2).repeat_interleave(JUDGED).bool()))
    meta = {"environment": "household", "places": places, "turns": turns, "vocabulary": household.vocabulary}
    return Data(name, train=TensorDataset(problems, shown), validation=judged[0], test=judged[1], meta=meta, pool=0)


@dataset(
    "micro_house", help="a household of 6 places, 12 turns: 20,000 noisy demonstrations, 800 / 800 problems, half unseen tasks"
)
def micro_house(split: int = 0) -> Data:
    """The usual one."""
    return household_data("micro_house", 6, 12, split)


@dataset(
    "micro_house_30",
    help="a household of 8 places, 30 turns: 20,000 noisy demonstrations, 800 / 800 problems",
)
def micro_house_30(split: int = 0) -> Data:
    """Longer episodes, whose reward says less about each action."""
    return household_data("micro_house_30", 8, 30, split)
