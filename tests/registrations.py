"""What plugins and users register in a process, forgotten and given back: for tests that load plugins in theirs."""

import sys

import pytest

from regbench.methods import memory, metrics, plugins
from regbench.methods.shared import data, factories

REGISTERED = (
    *((plugins, "_active"), (plugins, "_imported"), (plugins, "own_methods")),
    *((factories, "_registered"), (metrics, "_added"), (data, "_defined")),
)


def forget(patch: pytest.MonkeyPatch) -> None:
    """Makes this process as one in which nothing was registered, until the patch is undone; call ``look_anew`` then."""
    for holder, name in REGISTERED:
        patch.setattr(holder, name, {})
    patch.setattr(memory, "_objects", {kind: {} for kind in memory._objects})
    data.discover()
    patch.setattr(data, "_sources", {name: source for name, source in data._sources.items() if not source.tracks})
    for module in [name for name in sys.modules if name.startswith((plugins.HOME, "my_package"))]:
        patch.delitem(sys.modules, module)
    look_anew()


def look_anew() -> None:
    """Lets names be looked up among what is registered now."""
    plugins._installed.cache_clear()
    plugins.look_up_anew()
    data._loaded.cache_clear()
