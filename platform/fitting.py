"""Whether data, networks and methods of a suite go together, found out before anything is trained."""

from collections.abc import Sequence

from regbench.methods.shared.data import load
from regbench.methods.shared.data.files.reading import require_track
from regbench.platform.inventory.inventory import inventory
from regbench.platform.suite.plan import Study
from regbench.platform.suite.spec import Suite


def require_fitting(suite: Suite, planned: Sequence[Study], *, parts: bool = True) -> None:
    """Refuses to begin where data is missing or damaged, or one's own network does not fit: that must not become a result.

    Args:
        suite: that the studies are of.
        planned: the studies that are to be trained.
        parts: whether to look at networks, weights and transforms, too.

    Raises:
        DataError: data is missing or damaged.
        ConfigError: a method cannot be trained on its data, or with its network.
        SurroundingsError: a package that a network needs is missing here.
    """
    for name, track in sorted({(study.data, study.method.track.name) for study in planned}):
        # Embedded ones have no files.
        if name in suite.files:
            require_track(load(name), track)
        elif inventory().data[name].folder is not None:
            load(name)
    # Replicates differ in nothing that matters here.
    for study in {(study.entry, study.data): study for study in planned}.values():
        in_files = study.data in suite.files
        if in_files:
            study.method.require_data(load(study.data))
        if parts and (in_files or study.example.brings_parts):
            study.example.require_parts(load(study.data))
