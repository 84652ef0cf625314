"""The inventory of this installation."""

from functools import cache

from regbench.methods import plugins
from regbench.methods.shared.data import defined
from regbench.platform.inventory.cache import remembered
from regbench.platform.inventory.facts import DataFacts, Inventory, MethodFacts


def inventory() -> Inventory:
    """What this installation has, with the plugins that are active and the data sets of this process."""
    known, more = _inventory(plugins.state()), defined()
    if not more and not plugins.own_methods:
        return known
    data = {
        source.name: DataFacts(name=source.name, help=source.help, folder=None, splits=source.splits)
        for source in more.values()
    }
    tracks = {
        name: track.model_copy(update={"data": track.data + [source.name for source in more.values() if name in source.tracks]})
        for name, track in known.tracks.items()
    }
    return known.model_copy(update={"data": known.data | data, "tracks": tracks, "methods": known.methods | _own_methods()})


def _own_methods() -> dict[str, MethodFacts]:
    if not plugins.own_methods:
        return {}
    from regbench.platform.inventory.survey import method_facts

    return {slug: method_facts(method) for slug, method in plugins.own_methods.items()}


@cache
def _inventory(state: str) -> Inventory:

    def make() -> Inventory:
        # Imports every method.
        from regbench.platform.inventory.survey import survey

        return survey()

    return remembered(f"inventory{state and '-'}{state}", Inventory, make)
