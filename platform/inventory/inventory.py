"""The inventory of this installation."""

from functools import cache

from regbench.platform.inventory.cache import remembered
from regbench.platform.inventory.facts import Inventory


@cache
def inventory() -> Inventory:
    """What this installation has."""

    def make() -> Inventory:
        # Imports every method.
        from regbench.platform.inventory.survey import survey

        return survey()

    return remembered("inventory", Inventory, make)
