"""The cluster file: one place to run, of one of six kinds. Read strictly; it has no place for a secret."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, model_validator

from regbench.methods.errors import ConfigError, nearest
from regbench.methods.strict import Strict, explain, matching, read_mapping

RAY_IMAGE = "rayproject/ray:2.60.0-py311-gpu"

EnvironmentName = Annotated[
    str, matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of a variable: letters, digits and '_', no digit first")
]
# A name that Kubernetes, cloud labels and file systems all accept.
Label = Annotated[
    str,
    matching(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", "at most 32 small letters, digits and '-', a letter first, no '-' at the end"),
]
Memory = Annotated[str, matching(r"[0-9]+(Mi|Gi)", "a number of Mi or Gi, such as 32Gi")]


def _shared(uri: str) -> str:
    if "://" not in uri and not uri.startswith("/"):
        raise ValueError("must be a URI (s3://…, gs://…) or the absolute path of a folder that every node sees")
    return uri


def _http(uri: str) -> str:
    if not uri.startswith(("http://", "https://")):
        raise ValueError("must be http://host:port, where the cluster's dashboard answers (usually port 8265)")
    return uri.rstrip("/")


def _tracked(uri: str) -> str:
    if uri != "none" and not uri.startswith(("http://", "https://")):
        raise ValueError("must be the http(s) address of an MLflow server that the head node reaches, or none")
    return uri


SharedUri = Annotated[str, AfterValidator(_shared)]


class Nodes(Strict):
    """Machines of one type on which trials run."""

    cpus: int = Field(ge=1, description="CPU cores of each")
    gpus: int = Field(ge=0, description="GPUs of each")
    min: int = Field(0, ge=0, description="machines that are kept while the cluster is up; 0: none when nothing runs")
    max: int = Field(ge=1, description="machines at most")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min is {self.min}, more than max, {self.max}")
        return self


class AwsNodes(Nodes):
    """EC2 instances."""

    type: str = Field(description="instance type, such as g5.2xlarge")
    spot: bool = Field(True, description="spot instances: cheaper, and may be taken away; their trials continue elsewhere")


class GcpNodes(Nodes):
    """Compute Engine instances."""

    type: str = Field(description="machine type, such as n1-standard-8")
    accelerator: str | None = Field(
        None, description="type of the GPUs, such as nvidia-tesla-t4, where the machine has a choice"
    )
    spot: bool = Field(True, description="spot instances: cheaper, and may be taken away; their trials continue elsewhere")


class Pods(Nodes):
    """Kubernetes pods."""

    memory: Memory = Field(description="memory of each, such as 32Gi")


class HeadPod(Strict):
    """The pod of the head node: it runs Ray's services and the sweep's driver, and no trial."""

    cpus: int = Field(2, ge=1, description="CPU cores")
    memory: Memory = Field("8Gi", description="memory")


class Cluster(Strict):
    """What every kind says."""

    kind: str
    environment: list[EnvironmentName] = Field(
        [], description="names of environment variables to pass on; the values come from the environment of `regbench launch`"
    )
    data: str | None = Field(None, description="folder of the real data sets on every node (REGBENCH_DATA)")

    @property
    def limits(self) -> dict[str, int]:
        """CPUs and GPUs that the cluster may grow to; empty where only the running cluster knows."""
        return {}


class Shared(Cluster):
    """A cluster of several machines: results and tracking are where each of them reaches them."""

    storage: SharedUri = Field(description="where all sweeps are kept: s3://…, gs://…, or a folder that every node sees")
    tracking: Annotated[str, AfterValidator(_tracked)] = Field(
        "none", description="MLflow server; none: bring MLflow up to date later with `regbench sync`"
    )


class Local(Cluster):
    """This machine: a private Ray cluster for the time of the sweep."""

    kind: Literal["local"]
    storage: str = Field("regbench-results", description="folder or URI that holds all sweeps")
    tracking: str | None = Field(None, description="MLflow server or store; default: a SQLite file in the storage folder")
    cpus: int | None = Field(None, ge=1, description="CPU cores to use; default: all")
    gpus: int | None = Field(None, ge=0, description="GPUs to use; default: all")


class Address(Shared):
    """A Ray cluster that is running already."""

    kind: Literal["address"]
    address: Annotated[str, AfterValidator(_http)] = Field(description="of its job server, such as http://127.0.0.1:8265")
    workers: Nodes | None = Field(None, description="the size it may grow to, where it has an autoscaler; default: as it is")

    @property
    def limits(self) -> dict[str, int]:
        """CPUs and GPUs that the cluster may grow to."""
        return _total(self.workers) if self.workers else {}


class Launched(Shared):
    """A cluster that Ray's cluster launcher starts on cloud machines."""

    name: Label = Field("regbench", description="names the cluster; sweeps launched under one name share it")
    head: str = Field(description="machine type of the head node, which runs no trials")
    image: str | None = Field(RAY_IMAGE, description="container image of every node; null: no container")
    install: bool = Field(
        True, description="whether each node installs regbench's pinned dependencies; false where the image has them"
    )
    setup: list[str] = Field([], description="more shell lines that prepare each node")
    disk_gb: int = Field(200, ge=20, description="disk of each node")
    idle_minutes: float = Field(5, gt=0, description="a worker that is idle so long is given back")
    ssh_user: str = Field("ubuntu", description="user of the machine's image")
    ssh_private_key: str | None = Field(None, description="path of a key that exists already; default: Ray makes one")


class Aws(Launched):
    """GPU machines on AWS, started by Ray's cluster launcher."""

    kind: Literal["aws"]
    region: Annotated[str, matching(r"[a-z]+(-[a-z]+)+-[0-9]", "a region such as us-west-2")] = Field(
        description="such as us-west-2"
    )
    zones: list[str] = Field([], description="availability zones; default: any of the region")
    workers: AwsNodes = Field(description="machines that trials run on")
    ami: str | None = Field(None, description="machine image; default: Ray's choice for the region")
    key_name: str | None = Field(None, description="EC2's name of the key in `ssh_private_key`")
    instance_profile: str | None = Field(
        None, description="name of the IAM instance profile that opens the bucket to the nodes"
    )

    @property
    def limits(self) -> dict[str, int]:
        """CPUs and GPUs that the cluster may grow to."""
        return _total(self.workers)

    @model_validator(mode="after")
    def _whole_key(self) -> Self:
        if bool(self.key_name) != bool(self.ssh_private_key):
            raise ValueError("`key_name` and `ssh_private_key` belong together: give both or neither")
        return self


class Gcp(Launched):
    """GPU machines on Google Cloud, started by Ray's cluster launcher."""

    kind: Literal["gcp"]
    project: str = Field(description="project id")
    zone: Annotated[str, matching(r"[a-z]+-[a-z]+[0-9]+-[a-z]", "a zone such as us-west1-b")] = Field(
        description="such as us-west1-b"
    )
    workers: GcpNodes = Field(description="machines that trials run on")
    source_image: str = Field(
        "projects/deeplearning-platform-release/global/images/family/common-cu128-ubuntu-2204-nvidia-570",
        description="machine image with the GPU's driver",
    )

    @property
    def limits(self) -> dict[str, int]:
        """CPUs and GPUs that the cluster may grow to."""
        return _total(self.workers)


class Kubernetes(Shared):
    """Pods of a Kubernetes cluster that has the KubeRay operator, 1.5.1 or newer."""

    kind: Literal["kubernetes"]
    namespace: Label = Field("default", description="where the RayJob is made")
    context: str | None = Field(None, description="kubectl's context; default: its current one")
    image: str = Field(description="image with Ray and regbench's dependencies")
    service_account: str | None = Field(None, description="service account of the pods, such as one that opens the bucket")
    secret: str | None = Field(None, description="Kubernetes Secret that holds the variables named in `environment`")
    volume_claim: str | None = Field(
        None, description="PersistentVolumeClaim (ReadWriteMany) mounted at `storage`, if that is a path"
    )
    head: HeadPod = Field(HeadPod(), description="the head's pod")
    workers: Pods = Field(description="pods that trials run in")
    gpu_resource: str = Field("nvidia.com/gpu", description="what the cluster calls a GPU")
    node_selector: dict[str, str] = Field({}, description="labels of the machines that may hold workers")
    idle_seconds: int = Field(300, ge=1, description="a worker that is idle so long is given back")
    keep_seconds: int = Field(600, ge=0, description="the job's pods stay so long after its end, for their logs")
    retries: int = Field(2, ge=0, description="how often the job is started again, to continue, when its head node is lost")

    @property
    def limits(self) -> dict[str, int]:
        """CPUs and GPUs that the cluster may grow to."""
        return _total(self.workers)

    @model_validator(mode="after")
    def _mounted(self) -> Self:
        if self.environment and not self.secret:
            raise ValueError(
                "`environment` needs `secret`: pods read the values from a Kubernetes Secret, not from the manifest"
            )
        if self.storage.startswith("/") != bool(self.volume_claim):
            raise ValueError("a path as `storage` needs `volume_claim`, and a URI has no use for it")
        return self


class Slurm(Shared):
    """Machines that Slurm assigns for the time of the sweep."""

    kind: Literal["slurm"]
    nodes: int = Field(1, ge=1, description="machines")
    cpus: int = Field(ge=1, description="CPU cores of each")
    gpus: int = Field(0, ge=0, description="GPUs of each")
    time: Annotated[
        str, matching(r"([0-9]+-)?[0-9]{1,2}:[0-9]{2}:[0-9]{2}", "[DAYS-]HOURS:MINUTES:SECONDS, in quotes, such as '24:00:00'")
    ] = Field("24:00:00", description="limit; the sweep stops shortly before")
    memory: Annotated[str, matching(r"[0-9]+[MG]", "a number of M or G, such as 64G")] | None = Field(
        None, description="memory of each machine; default: Slurm's"
    )
    partition: str | None = Field(None, description="default: Slurm's")
    account: str | None = Field(None, description="default: yours")
    options: list[Annotated[str, matching(r"--[a-z][^\n]*", "an option such as --constraint=a100")]] = Field(
        [], description="more options of sbatch"
    )
    setup: list[str] = Field([], description="shell lines before Ray starts, such as activating a virtual environment")

    @property
    def limits(self) -> dict[str, int]:
        """CPUs and GPUs that the cluster may grow to."""
        return {"cpus": self.nodes * self.cpus, "gpus": self.nodes * self.gpus}

    @model_validator(mode="after")
    def _on_a_path(self) -> Self:
        if not self.storage.startswith("/"):
            raise ValueError(
                "`storage` must be a folder that every node sees: the job's script, code and log are kept there too"
            )
        return self


AnyCluster = Local | Address | Aws | Gcp | Kubernetes | Slurm
KINDS: dict[str, type[AnyCluster]] = {
    "local": Local,
    "address": Address,
    "aws": Aws,
    "gcp": Gcp,
    "kubernetes": Kubernetes,
    "slurm": Slurm,
}


def _total(nodes: Nodes) -> dict[str, int]:
    return {"cpus": nodes.max * nodes.cpus, "gpus": nodes.max * nodes.gpus}


def ready_made_clusters() -> dict[str, str]:
    """The text of every ready-made cluster file, by name."""
    found: Iterator[Any] = files("regbench.clusters").iterdir()
    return {
        item.name.removesuffix(".yaml"): item.read_text(encoding="utf-8")
        for item in sorted(found, key=lambda item: item.name)
        if item.name.endswith(".yaml")
    }


def read_cluster(source: str | Path) -> AnyCluster:
    """A cluster from a ready-made one's name or from a YAML file.

    Raises:
        ConfigError: there is no such cluster or file, or what it says is wrong; one line that says what to change.
    """
    raw = read_mapping(source, "cluster", ready_made_clusters(), "`kind`, `storage`, …")
    return parse_cluster(raw, str(source))


def parse_cluster(raw: Mapping[str, Any], source: str = "cluster") -> AnyCluster:
    """A cluster from a mapping.

    Raises:
        ConfigError: what it says is wrong.
    """
    kind = raw.get("kind")
    if kind not in KINDS:
        problem = f"unknown kind '{kind}'" if kind else "it needs a `kind`"
        raise ConfigError(f"{source}: {problem}; {nearest(str(kind), KINDS)}")
    _refuse_secrets(raw, source)
    try:
        return KINDS[str(kind)].model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{source}: {' '.join(explain(error).split())}") from None


def _refuse_secrets(value: Any, source: str, key: str = "") -> None:
    """Refuses values that carry a secret before anything else looks at them: this message must not show it."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            _refuse_secrets(part, source, str(name))
    elif isinstance(value, list):
        for part in value:
            _refuse_secrets(part, source, key)
    elif isinstance(value, str) and "://" in value and urlsplit(value).password is not None:
        raise ConfigError(
            f"{source}: {key} must not hold a password: put it into environment variables (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD) and name these in `environment`"
        )
    elif isinstance(value, str) and key == "environment" and "=" in value:
        raise ConfigError(f"{source}: environment holds names of variables, not values")
