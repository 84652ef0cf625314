"""The inventory of this installation."""

from functools import cache

from regbench.methods import plugins
from regbench.platform.inventory.cache import remembered
from regbench.platform.inventory.facts import Inventory


def inventory() -> Inventory:
    """What this installation has, with the plugins that are active."""
    return _inventory(plugins.state())


@cache
def _inventory(state: str) -> Inventory:

    def make() -> Inventory:
        # Imports every method.
        from regbench.platform.inventory.survey import survey

        return survey()

    return remembered(f"inventory{state and '-'}{state}", Inventory, make)
