"""Starts or joins the Ray cluster that a sweep runs on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from regbench.clusters.environment import QUIET
from regbench.methods.errors import ClusterError, one_line
from regbench.platform.execution.aside import import_aside
from regbench.platform.execution.ray_home import advice, keep_token, ray_folder

# How often a private cluster is tried.
STARTS = 3


@contextmanager
def cluster(address: str | None = None, cpus: int | None = None, gpus: int | None = None) -> Iterator[dict[str, float]]:
    """A running Ray cluster, left as it was found.

    Args:
        address: of a running cluster (``auto`` or ``host:port``); by default a private one starts on this machine.
        cpus: logical CPUs of the private cluster, by default every core; of a running one: what it may grow to.
        gpus: logical GPUs of the private cluster, by default every GPU; of a running one: what it may grow to.

    Yields:
        The resources it has or may grow to, such as ``{"CPU": 8.0, "GPU": 1.0}``.

    Raises:
        ClusterError: the private cluster does not start.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not address:
        keep_token()
    import ray

    # While Ray's processes start; not before, since Ray reads those variables when it is imported.
    import_aside("regbench.platform.execution.tune")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    started = not ray.is_initialized()
    if started and address:
        ray.init(address=address, **quiet)
    elif started:
        folder = ray_folder()
        for attempt in range(STARTS):
            try:
                ray.init(address="local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False, _temp_dir=folder, **quiet)
                break
            except Exception as error:  # what Ray raises where a process of its own is late or dies
                # A busy machine may be late once: Ray gives its node 30 seconds.
                if "timed out" in str(error) and attempt < STARTS - 1:
                    continue
                reason = one_line(error)
                raise ClusterError(f"Ray does not start on this machine ({reason}): {advice(error)}") from error
    try:
        # An autoscaler starts nodes for trials that wait, so trials must be allowed to wait for nodes that are not there yet.
        limits = {"CPU": cpus, "GPU": gpus} if address else {}
        now = ray.cluster_resources()
        yield now | {name: max(limit, now.get(name, 0)) for name, limit in limits.items() if limit is not None}
    finally:
        if started:
            ray.shutdown()


def location() -> dict[str, Any]:
    """Where Ray has put this process: its node, and the GPUs of the node that it may use."""
    import ray

    context = ray.get_runtime_context()
    return {"node": context.get_node_id(), "pid": os.getpid(), "gpus": context.get_accelerator_ids()["GPU"]}
