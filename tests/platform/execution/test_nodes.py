"""Sweeps on a Ray cluster of two nodes with declared GPUs: where trials run, how many share a device, which wait together."""

import json
import os
import secrets
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from regbench.platform import sweep as engine
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.suite.spec import parse_suite

# Ray settles its authentication when it is imported: the cluster lives in a process of its own.
CLUSTER = """
import json, sys
import ray
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "num_gpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1, num_gpus=1)
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
nodes = {"large" if node["Resources"]["CPU"] == 3 else "small": node["NodeID"] for node in ray.nodes()}
print(json.dumps({"address": cluster.address, "nodes": nodes}), flush=True)
sys.stdin.read()
ray.shutdown()
cluster.shutdown()
"""
# A GPU that PyTorch cannot use, whatever this machine has; Ray counts it all the same.
BLIND = "-1"
ENVIRONMENT = os.environ | {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
    "CUDA_VISIBLE_DEVICES": BLIND,
}
# Real clusters, which a loaded machine starts slowly.
pytestmark = pytest.mark.timeout(900)
BASE = {"name": "nodes", "data": ["digits_noisy"], "sampler": "random", "confirm": {"seeds": 0}}


@pytest.fixture(scope="module")
def nodes():
    """Address and node ids of the cluster. Ray gives a node 30 seconds to start, which a busy machine may exceed."""
    for _ in range(5):
        command = [sys.executable, "-c", CLUSTER]
        with subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            if found := process.stdout.readline():
                yield json.loads(found)
                process.stdin.close()
                return
    pytest.fail("Ray does not start")


def sweep(folder: Path, nodes: dict, **suite: object) -> Records:
    """Runs a suite on the cluster to its end, as a user does."""
    file = folder / "suite.yaml"
    file.write_text(json.dumps(BASE | suite))
    command = [Path(sys.executable).with_name("regbench"), "sweep", file, "--storage", folder, "--tracking", "none"]
    command += ["--address", nodes["address"]]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    records = Records(Storage(folder).child("nodes"))
    assert not [row["reason"] for row in records.trials().to_pylist() if row["status"] == "failed"]
    return records


def peaks(records: Records) -> dict[tuple[str, tuple[str, ...]], int]:
    """The most trials that trained at once on each set of GPUs of each node."""
    spans = []
    for key in records.ended():
        log = records.log(key)
        [attempt] = log.attempts
        [where] = attempt["located"]
        spans.append((where["node"], tuple(where["gpus"]), attempt["time"], log.reports[-1].time))
    most: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for node, gpus, moment, _ in spans:
        together = sum(span[:2] == (node, gpus) and span[2] <= moment <= span[3] for span in spans)
        most[node, gpus] = max(most[node, gpus], together)
    return dict(most)


def test_halves_of_a_gpu_take_two_trials_a_device_and_never_more_than_the_cpus_allow(tmp_path, nodes):
    """A third trial on the large node would find a CPU but no half; a second one on the small node a half but no CPU."""
    records = sweep(
        tmp_path,
        nodes,
        methods=["cross_entropy"],
        settings={"epochs": 30},
        trials=9,
        sampler={"name": "tpe", "startup": 4},
        resources={"cpu": 1, "gpu": 0.5},
    )
    large, small = nodes["nodes"]["large"], nodes["nodes"]["small"]
    assert peaks(records) == {(large, (BLIND,)): 2, (small, (BLIND,)): 1}
    rows = records.trials().to_pylist()
    assert {row["device"] for row in rows} == {"cpu"}
    # The sampler, too, knows of trials that train at the same time.
    assert len({row["searched"] for row in rows}) == 9


def test_two_workers_train_a_trial_on_two_nodes(tmp_path, nodes):
    """Each node has a GPU for one worker. The curves are those of one process, up to the order of floating-point sums."""
    suite = {"methods": ["cross_entropy"], "settings": {"epochs": 3}, "trials": 1}
    records = sweep(tmp_path, nodes, **suite, execution="train", workers=2, resources={"cpu": 1, "gpu": 1})
    for key in records.ended():
        [attempt] = records.log(key).attempts
        assert attempt["workers"] == 2
        assert {where["node"] for where in attempt["located"]} == set(nodes["nodes"].values())
        assert all(where["gpus"] == [BLIND] for where in attempt["located"])

    alone = Storage(tmp_path / "alone")
    engine.start(parse_suite(BASE | suite | {"execution": "inline"}), alone, "none", Console(quiet=True))
    assert _losses(records) == pytest.approx(_losses(Records(alone.child("nodes"))), rel=2e-3)


def test_trials_that_pause_go_on_on_any_node(tmp_path, nodes):
    """Under HyperBand a trial may go on on another node: Tune's files are in the storage, which both see."""
    records = sweep(
        tmp_path,
        nodes,
        methods=["cross_entropy"],
        settings={"epochs": 9},
        trials=8,
        scheduler="hyperband",
        resources={"cpu": 1, "gpu": 1},
    )
    rows = records.trials().to_pylist()
    assert len(rows) == 8
    logs = [records.log(row["key"]) for row in rows]
    assert {where["node"] for log in logs for attempt in log.attempts for where in attempt["located"]} == set(
        nodes["nodes"].values()
    )
    assert any(len(log.attempts) > 1 for log in logs), "no trial paused"
    for log, row in zip(logs, rows, strict=True):
        assert [report.round for report in log.reports] == list(range(1, row["rounds"] + 1))
    assert not (tmp_path / "nodes" / "tune").exists()


def _losses(records: Records) -> dict[tuple[str, int], float]:
    rows = records.curves().to_pylist()
    return {(row["key"], row["round"]): row["value"] for row in rows if row["metric"] == "val/nll"}


def test_methods_of_three_tracks_share_one_queue_and_see_no_gpu(tmp_path, nodes):
    records = sweep(
        tmp_path,
        nodes,
        methods=["label_smoothing", "sinkhorn", "nonsaturating_gan"],
        data=None,
        settings={"epochs": 1, "problems": 1, "iterations": 4, "report_every": 2, "batch_size": 16},
        trials=1,
        confirm={"seeds": 1, "ablate": False},
        resources={"cpu": 1},
    )
    rows = records.trials().to_pylist()
    # Each track's baseline is added.
    assert Counter((row["track"], row["stage"]) for row in rows) == {
        (track, stage): 2 for track in ("classification", "transport", "generative") for stage in ("tune", "confirm")
    }
    most = peaks(records)
    assert {gpus for _, gpus in most} == {()}
    assert all(count <= {nodes["nodes"]["large"]: 3, nodes["nodes"]["small"]: 1}[node] for (node, _), count in most.items())
