"""What is searched: for each method its searched settings in Optuna distributions, and the ready-made suites.

Each module but ``ranges`` and ``space`` holds the spaces of one track as ``SPACES``: method slug -> setting -> distribution. A
module dropped into this folder is found.
"""

from importlib.resources import files


def ready_made_suites() -> dict[str, str]:
    """The text of every ready-made suite, by name: ``quickstart``; ``paper/ps_kd``, at the size of the paper."""
    folder = files("regbench.search_spaces.suites")
    found = {
        f"{prefix}{item.name}": item
        for prefix, place in (("", folder), ("paper/", folder / "paper"))
        for item in place.iterdir()
    }
    return {
        name.removesuffix(".yaml"): item.read_text(encoding="utf-8")
        for name, item in sorted(found.items())
        if name.endswith(".yaml")
    }
