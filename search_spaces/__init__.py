"""What is searched: for each method its searched settings in Optuna distributions, and the ready-made suites.

A track's module holds its spaces as ``SPACES``: method slug -> setting -> distribution; one dropped into this folder is found.
The others say what a search space is (``space``), how a suite writes ranges (``notation``), what becomes of both (``ranges``).
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
