"""A sweep that was handed to a cluster: which job it is there, how it stands, its log, its end."""

import json
from dataclasses import dataclass
from pathlib import Path

from regbench.clusters import kuberay, slurm
from regbench.clusters.job_server import job_server
from regbench.clusters.kinds import Address, Aws, Gcp, Kubernetes, Local, Slurm, parse_cluster
from regbench.methods.errors import ConfigError, StorageError
from regbench.platform.records.storage import Storage, scrubbed

JOB_FILE = "job.json"
ALIVE = ("PENDING", "RUNNING")
Distant = Address | Aws | Gcp | Kubernetes | Slurm


@dataclass(frozen=True)
class Job:
    """A sweep that was handed to a cluster.

    Attributes:
        sweep: its name.
        cluster: where it runs.
        id: names the job there; for Slurm, Slurm's number.
        submitted: when, in ISO format.
    """

    sweep: str
    cluster: Distant
    id: str
    submitted: str

    @staticmethod
    def read(name: str, store: Storage) -> "Job | None":
        """The last job of a sweep, or None when it was never launched.

        Raises:
            StorageError: what tells of it cannot be read.
        """
        folder = store.child(name)
        try:
            raw = json.loads(folder.read(JOB_FILE))
            cluster = parse_cluster(raw["cluster"], JOB_FILE)
            assert not isinstance(cluster, Local)
            return Job(name, cluster, str(raw["id"]), str(raw["submitted"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AssertionError, ConfigError) as error:
            raise StorageError(
                f"{scrubbed(folder.uri, folder.uri)}/{JOB_FILE} cannot be read ({type(error).__name__}): the job that it named "
                "can be found on its cluster only; delete the file to launch or resume the sweep without it"
            ) from None

    def write(self, store: Storage) -> None:
        """Notes it in the sweep's folder."""
        raw = {"cluster": self.cluster.model_dump(mode="json"), "id": self.id, "submitted": self.submitted}
        store.child(self.sweep).write(JOB_FILE, json.dumps(raw, indent=1).encode())

    def state(self) -> str:
        """``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``FAILED``, ``STOPPED``, or ``GONE``.

        Raises:
            ClusterError: the cluster cannot be asked.
        """
        match self.cluster:
            case Kubernetes():
                return kuberay.state(self.cluster, self.id)
            case Slurm():
                return slurm.state(self.id)
            case _:
                with job_server(self.cluster) as server:
                    return server.state(self.id)

    def follow(self) -> int:
        """Shows its log until it ends; returns its exit status.

        Raises:
            ClusterError: the cluster cannot be asked.
        """
        match self.cluster:
            case Kubernetes():
                return kuberay.follow(self.cluster, self.id)
            case Slurm():
                return slurm.follow(self.id, Path(slurm_log(self.cluster, self.sweep).replace("%j", self.id)))
            case _:
                with job_server(self.cluster) as server:
                    return server.follow(self.id)

    def stop(self) -> None:
        """Interrupts it.

        Raises:
            ClusterError: the cluster cannot be asked.
        """
        match self.cluster:
            case Kubernetes():
                kuberay.stop(self.cluster, self.id)
            case Slurm():
                slurm.stop(self.id)
            case _:
                with job_server(self.cluster) as server:
                    server.stop(self.id)


def slurm_log(cluster: Slurm, sweep: str) -> str:
    """The file in which Slurm keeps the log of a sweep's job; ``%j`` stands for its number."""
    return f"{cluster.storage.rstrip('/')}/{sweep}/slurm-%j.log"
