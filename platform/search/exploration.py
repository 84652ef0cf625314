"""How population-based training changes the settings of a model that goes on from a better one's state."""

import random
from collections.abc import Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution

from regbench.search_spaces.space import SearchSpace

# As Jaderberg et al., Population Based Training of Neural Networks, 2017: how often a value is drawn anew, and else changed by.
RESAMPLED, FACTORS = 0.25, (0.8, 1.2)


def explored(space: SearchSpace, values: Mapping[str, Any], numbers: random.Random) -> dict[str, Any]:
    """Values near those of another model, each in its range and on its grid.

    A number is multiplied by 0.8 or 1.2, and on a grid moves a step at least; a choice becomes one beside it in its list.
    A quarter of the values are drawn from the range instead.
    """
    return {name: _explored(space, name, value, numbers) for name, value in values.items()}


def _explored(space: SearchSpace, name: str, value: Any, numbers: random.Random) -> Any:
    if numbers.random() < RESAMPLED:
        return space.drawn(name, numbers)
    limits = space[name]
    if isinstance(limits, CategoricalDistribution):
        place = limits.choices.index(value) + numbers.choice((-1, 1))
        return limits.choices[min(max(place, 0), len(limits.choices) - 1)]
    factor = numbers.choice(FACTORS)
    found = space.settled(name, value * factor)
    step = space.step(name)
    if step and abs(found - value) < step / 2:
        up = (factor > 1) == (value > 0)
        found = space.settled(name, value + (step if up else -step))
    return found
