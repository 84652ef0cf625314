"""An architecture drawn at random: what a search is worth is what it is better than this."""

from typing import ClassVar

from regbench.methods.errors import ConfigError
from regbench.methods.method import Paper, hyperparameter
from regbench.methods.run import Run
from regbench.methods.super_resolution.spaces import Architecture, random
from regbench.methods.super_resolution.task import GivenArchitecture

BITS = (4, 8)


class RandomArchitecture(GivenArchitecture):
    """Draws operation and bits of each layer, all alike probable, and trains the network (Li and Talwalkar, 2020).

    Architectures are drawn until one is within the budget.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Random search and reproducibility for neural architecture search", "Li, Talwalkar", 2020, "UAI", "1902.07638"
    )

    within_budget: bool = hyperparameter(True, help="whether architectures beyond the budget are drawn again")
    draws: int = hyperparameter(1000, ge=1, help="architectures that are drawn at most")

    def architecture(self, run: Run) -> Architecture:
        """The first one that is within the budget.

        Raises:
            ConfigError: none of ``draws`` is.
        """
        places, generator = self.layers(run.data), run.generator("architecture", shared=True)
        for _ in range(self.draws):
            found = random(places, self.operations, BITS, generator)
            if not self.within_budget or self.gbitops(found, run.data) <= self.budget:
                return found
        raise ConfigError(f"none of {self.draws} random architectures is within a budget of {self.budget}: raise it")
