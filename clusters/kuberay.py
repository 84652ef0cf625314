"""Kubernetes: a sweep as a RayJob of the KubeRay operator, handed over and watched with ``kubectl``."""

import json
import re
import shlex
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import yaml

from regbench.clusters.environment import runtime_environment
from regbench.clusters.kinds import Kubernetes
from regbench.clusters.shell import EXIT_STATUS, run

POLL_SECONDS = 2.0
# From a pod that waits for a GPU machine to the job's first line.
START_TIMEOUT = "1h"
HEAD_PORTS = [
    {"containerPort": 6379, "name": "gcs-server"},
    {"containerPort": 8265, "name": "dashboard"},
    {"containerPort": 10001, "name": "client"},
]


def rayjob_name(job: str) -> str:
    """A job's id as a name that Kubernetes accepts: at most 47 characters, the end kept, since it is what differs."""
    return re.sub(r"[^a-z0-9-]+", "-", job.lower())[-47:].strip("-")


def rayjob(cluster: Kubernetes, job: str, command: list[str], code: str) -> dict[str, Any]:
    """The RayJob manifest: a head without trials, GPU workers that the autoscaler starts and ends, Ray's token on.

    Args:
        cluster: the cluster file.
        job: the job's id.
        command: what the head node runs.
        code: URI of the zipped code.
    """
    workers = cluster.workers
    head_size = {"cpu": str(cluster.head.cpus), "memory": cluster.head.memory}
    gpus = {cluster.gpu_resource: str(workers.gpus)} if workers.gpus else {}
    worker_size = {"cpu": str(workers.cpus), "memory": workers.memory} | gpus
    tolerations = [{"key": cluster.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}] if workers.gpus else []
    placed = {"nodeSelector": cluster.node_selector} if cluster.node_selector else {}
    worker_pod = _pod(cluster, "ray-worker", worker_size) | placed | ({"tolerations": tolerations} if tolerations else {})
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {
            "name": rayjob_name(job),
            "namespace": cluster.namespace,
            "labels": {"app.kubernetes.io/name": "regbench"},
        },
        "spec": {
            "entrypoint": shlex.join(command),
            "runtimeEnvYAML": yaml.safe_dump(runtime_environment(cluster, code), sort_keys=False),
            "backoffLimit": cluster.retries,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": cluster.keep_seconds,
            "rayClusterSpec": {
                "rayVersion": version("ray"),
                "authOptions": {"mode": "token"},
                "enableInTreeAutoscaling": True,
                "autoscalerOptions": {"idleTimeoutSeconds": cluster.idle_seconds},
                "headGroupSpec": {
                    "rayStartParams": {"num-cpus": "0", "num-gpus": "0"},
                    "template": {"spec": _pod(cluster, "ray-head", head_size, HEAD_PORTS)},
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "workers",
                        "replicas": workers.min,
                        "minReplicas": workers.min,
                        "maxReplicas": workers.max,
                        "rayStartParams": {"num-cpus": str(workers.cpus), "num-gpus": str(workers.gpus)},
                        "template": {"spec": worker_pod},
                    }
                ],
            },
        },
    }


def _pod(cluster: Kubernetes, name: str, size: dict[str, str], ports: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": name,
        "image": cluster.image,
        "resources": {"limits": dict(size), "requests": dict(size)},
    }
    if ports:
        container["ports"] = ports
    if cluster.environment:
        container["env"] = [
            {"name": variable, "valueFrom": {"secretKeyRef": {"name": cluster.secret, "key": variable}}}
            for variable in cluster.environment
        ]
    pod: dict[str, Any] = {"containers": [container]}
    if cluster.service_account:
        pod["serviceAccountName"] = cluster.service_account
    if cluster.volume_claim:
        container["volumeMounts"] = [{"name": "storage", "mountPath": cluster.storage}]
        pod["volumes"] = [{"name": "storage", "persistentVolumeClaim": {"claimName": cluster.volume_claim}}]
    return pod


def manifest(cluster: Kubernetes, job: str, command: list[str], code: str) -> str:
    """The RayJob as the text of a YAML file."""
    return yaml.dump(rayjob(cluster, job, command, code), Dumper=_Readable, sort_keys=False, width=1000)


class _Readable(yaml.SafeDumper):
    """Writes text of several lines as lines."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Readable.add_representer(str, _text)


def kubectl(cluster: Kubernetes, *arguments: str) -> list[str]:
    """A kubectl command in the cluster's context and namespace."""
    context = ["--context", cluster.context] if cluster.context else []
    return ["kubectl", *context, "--namespace", cluster.namespace, *arguments]


def submit(cluster: Kubernetes, text: str) -> None:
    """Hands a manifest over."""
    run(kubectl(cluster, "apply", "--filename", "-"), text)


def state(cluster: Kubernetes, job: str) -> str:
    """``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``FAILED``, ``STOPPED``, or ``GONE`` when the cluster no longer knows it."""
    text = run(kubectl(cluster, "get", "rayjob", rayjob_name(job), "--ignore-not-found", "--output", "json"))
    if not text.strip():
        return "GONE"
    status = json.loads(text).get("status") or {}
    # Retries start the job again: it has ended only when its deployment has.
    ended = status.get("jobDeploymentStatus") in ("Complete", "Failed")
    if ended:
        return str(status.get("jobStatus") or "FAILED")
    return "RUNNING" if status.get("jobStatus") == "RUNNING" else "PENDING"


def follow(cluster: Kubernetes, job: str) -> int:
    """Shows a job's log until it ends, over its retries; returns its exit status.

    Raises:
        ClusterError: it does not start within an hour.
    """
    name = rayjob_name(job)
    run(kubectl(cluster, "wait", "--for=create", f"job/{name}", f"--timeout={START_TIMEOUT}"))
    new: list[str] = []
    while (now := state(cluster, job)) in ("PENDING", "RUNNING"):
        logs = kubectl(cluster, "logs", "--follow", f"job/{name}", f"--pod-running-timeout={START_TIMEOUT}", *new)
        subprocess.run(logs, check=False)
        # When the connection broke, or the job was started again: only what has not been shown.
        new = [f"--since-time={datetime.now(UTC).isoformat(timespec='seconds')}"]
        time.sleep(POLL_SECONDS)
    return EXIT_STATUS.get(now, 1)


def stop(cluster: Kubernetes, job: str) -> None:
    """Ends a job: its operator interrupts the sweep and takes the pods down."""
    run(kubectl(cluster, "delete", "rayjob", rayjob_name(job), "--ignore-not-found", "--wait=false"))
