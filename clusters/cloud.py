"""Clusters of cloud machines: a cluster file as a configuration of Ray's cluster launcher."""

from pathlib import Path
from typing import Any

import yaml

from regbench.clusters.kinds import Aws, Gcp

HEAD, WORKER = "head", "worker"
# Where the launcher keeps the token, here and on every node.
TOKEN_FILE = "~/.ray/auth_token"
# Written by docs/generate.py from pyproject.toml and constraints.txt.
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
ON_NODES = "~/regbench-requirements.txt"
START = "ulimit -n 65536; RAY_AUTH_MODE=token ray start --object-manager-port=8076 --disable-usage-stats"


def launcher_config(cluster: Aws | Gcp) -> dict[str, Any]:
    """What ``ray up`` reads: a head that runs no trials, workers from ``min`` to ``max``, the dashboard on loopback."""
    provider, auth, nodes = _aws(cluster) if isinstance(cluster, Aws) else _gcp(cluster)
    workers = cluster.workers
    install = [f"python -m pip install --quiet --requirement {ON_NODES}"] if cluster.install else []
    docker = (
        {"docker": {"image": cluster.image, "container_name": "regbench", "pull_before_run": True}} if cluster.image else {}
    )
    return {
        "cluster_name": cluster.name,
        "max_workers": workers.max,
        "idle_timeout_minutes": cluster.idle_minutes,
        **docker,
        "provider": provider,
        "auth": {"ssh_user": cluster.ssh_user} | auth,
        "head_node_type": HEAD,
        "available_node_types": {
            HEAD: {"resources": {"CPU": 0, "GPU": 0}, "node_config": nodes[HEAD], "min_workers": 0, "max_workers": 0},
            WORKER: {
                "resources": {"CPU": workers.cpus, "GPU": workers.gpus},
                "node_config": nodes[WORKER],
                "min_workers": workers.min,
                "max_workers": workers.max,
            },
        },
        "file_mounts": {TOKEN_FILE: TOKEN_FILE} | ({ON_NODES: str(REQUIREMENTS)} if cluster.install else {}),
        "setup_commands": [f"chmod 600 {TOKEN_FILE}", *install, *cluster.setup],
        "head_start_ray_commands": [
            "ray stop",
            f"{START} --head --port=6379 --dashboard-host=127.0.0.1 --autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": ["ray stop", f"{START} --address=$RAY_HEAD_IP:6379"],
    }


def _aws(cluster: Aws) -> tuple[dict[str, Any], dict[str, Any], dict[str, dict[str, Any]]]:
    common: dict[str, Any] = {
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": cluster.disk_gb, "VolumeType": "gp3"}}]
    }
    if cluster.ami:
        common["ImageId"] = cluster.ami
    if cluster.instance_profile:
        common["IamInstanceProfile"] = {"Name": cluster.instance_profile}
    if cluster.key_name:
        common["KeyName"] = cluster.key_name
    spot = {"InstanceMarketOptions": {"MarketType": "spot"}} if cluster.workers.spot else {}
    provider = {"type": "aws", "region": cluster.region, "cache_stopped_nodes": False}
    if cluster.zones:
        provider["availability_zone"] = ",".join(cluster.zones)
    auth = {"ssh_private_key": cluster.ssh_private_key} if cluster.ssh_private_key else {}
    nodes = {
        HEAD: {"InstanceType": cluster.head} | common,
        WORKER: {"InstanceType": cluster.workers.type} | common | spot,
    }
    return provider, auth, nodes


def _gcp(cluster: Gcp) -> tuple[dict[str, Any], dict[str, Any], dict[str, dict[str, Any]]]:
    disk = {
        "boot": True,
        "autoDelete": True,
        "type": "PERSISTENT",
        "initializeParams": {"diskSizeGb": cluster.disk_gb, "sourceImage": cluster.source_image},
    }
    workers = cluster.workers
    worker: dict[str, Any] = {"machineType": workers.type, "disks": [disk]}
    if workers.accelerator:
        worker["guestAccelerators"] = [{"acceleratorType": workers.accelerator, "acceleratorCount": workers.gpus}]
    # Machines with GPUs cannot be moved while they run.
    worker["scheduling"] = {"onHostMaintenance": "TERMINATE"} | (
        {"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE", "automaticRestart": False} if workers.spot else {}
    )
    worker["metadata"] = {"items": [{"key": "install-nvidia-driver", "value": "True"}]}
    provider = {
        "type": "gcp",
        "region": cluster.zone.rpartition("-")[0],
        "availability_zone": cluster.zone,
        "project_id": cluster.project,
    }
    auth = {"ssh_private_key": cluster.ssh_private_key} if cluster.ssh_private_key else {}
    return provider, auth, {HEAD: {"machineType": cluster.head, "disks": [disk]}, WORKER: worker}


def launcher_file(cluster: Aws | Gcp) -> str:
    """The configuration as the text of a YAML file."""
    # No anchors: the same part is written out wherever it stands.
    return yaml.dump(launcher_config(cluster), Dumper=_Plain, sort_keys=False)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True
