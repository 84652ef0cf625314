"""The steps of a sweep on Kubernetes, against a small stand-in of kubectl that keeps one RayJob in a folder."""

import os
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from regbench.methods.errors import ConfigError
from regbench.platform.cli import app

KUBECTL = r"""#!/bin/bash
cd "$KUBE_FOLDER" || exit 1
echo "$*" >>calls
[[ $1 == --namespace && $2 == default ]] || exit 1
shift 2
case "$1" in
  apply) cat >rayjob.yaml; echo RUNNING >status ;;
  wait) [[ -e rayjob.yaml ]] ;;
  logs) echo "line of the sweep"; cat end >status ;;
  get)
    [[ -e rayjob.yaml ]] || exit 0
    state=$(cat status)
    if [[ $state == RUNNING ]]; then deployment=Running; else deployment=Complete; fi
    echo "{\"status\": {\"jobStatus\": \"$state\", \"jobDeploymentStatus\": \"$deployment\"}}" ;;
  delete) rm rayjob.yaml ;;
  *) exit 1 ;;
esac
"""
SUITE = {"name": "tiny", "methods": ["cross_entropy"]}


@pytest.fixture
def kube(tmp_path, monkeypatch) -> Path:
    """The folder of the stand-in; beside it, cluster and suite files that use it."""
    folder, storage = tmp_path / "kube", tmp_path / "storage"
    folder.mkdir()
    storage.mkdir()
    (folder / "kubectl").write_text(KUBECTL)
    (folder / "kubectl").chmod(0o755)
    workers = {"cpus": 4, "gpus": 1, "max": 2, "memory": "8Gi"}
    cluster = {"kind": "kubernetes", "image": "image:1", "storage": str(storage), "volume_claim": "claim", "workers": workers}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(SUITE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBE_FOLDER", str(folder))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.mark.parametrize(("end", "status"), [("SUCCEEDED", 0), ("FAILED", 1), ("STOPPED", 130)])
def test_launch_applies_follows_and_ends_as_the_job_does(kube, capfd, end, status):
    (kube / "end").write_text(end)
    done = CliRunner().invoke(app, ["launch", "suite.yaml", "--cluster", "cluster.yaml"])
    assert done.exit_code == status, done.output
    assert "line of the sweep" in capfd.readouterr().out
    applied = yaml.safe_load((kube / "rayjob.yaml").read_text())
    code = yaml.safe_load(applied["spec"]["runtimeEnvYAML"])["working_dir"]
    assert Path(code.removeprefix("file://")).is_file()


def test_a_job_is_found_and_stopped_from_its_storage(kube, tmp_path):
    (kube / "end").write_text("SUCCEEDED")
    place = ["--storage", str(tmp_path / "storage")]
    invoke = CliRunner().invoke
    assert invoke(app, ["launch", "suite.yaml", "--cluster", "cluster.yaml", "--detach"]).exit_code == 0
    assert "RUNNING" in invoke(app, ["status", "tiny", *place]).output
    refused = invoke(app, ["launch", "suite.yaml", "--cluster", "cluster.yaml"]).exception
    assert isinstance(refused, ConfigError)
    assert "is running as job" in str(refused)
    assert invoke(app, ["stop", "tiny", *place]).exit_code == 0
    assert "GONE" in invoke(app, ["status", "tiny", *place]).output
