"""The batch script, run on two "nodes" of this machine by small stand-ins of Slurm's commands; Ray itself is real."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import yaml
from own_files import draw_flowers, draw_photos

from regbench.clusters import slurm
from regbench.clusters.kinds import parse_cluster
from regbench.platform.shipment import pack
from regbench.platform.suite.spec import parse_suite

# Real clusters, which a loaded machine starts slowly.
pytestmark = pytest.mark.timeout(600)
BIN = Path(sys.executable).parent
# A user's own method and network, for images and for a table with texts and gaps.
MINE = Path(__file__).parents[1] / "platform" / "cli" / "own" / "mine.py"
SUITE = {
    "name": "tiny",
    "plugins": ["mine.py"],
    "methods": ["logit_penalty"],
    "data": {"photos": {"images": "photos"}, "flowers": {"csv": "flowers.csv", "target": "kind"}},
    "settings": {"epochs": 1, "architecture": "normalized_net"},
    "trials": 1,
    "sampler": "random",
    "confirm": {"seeds": 1},
}
COMMANDS = {
    # Runs the step here, and notes on which node it should have run.
    "srun": r"""#!/bin/bash
while [[ $1 == --* ]]; do
  [[ $1 == --nodelist=* ]] && node=${1#--nodelist=}
  shift
done
echo "$node $*" >>"$SLURM_FOLDER/steps"
exec "$@"
""",
    "scontrol": r"""#!/bin/bash
if [[ "$1 $2" == "show hostnames" ]]; then tr ',' '\n' <<<"$3"; else cat "$SLURM_FOLDER/job-${*: -1}"; fi
""",
    # Runs the script in the background with what Slurm would tell it, and keeps its state for scontrol.
    "sbatch": r"""#!/bin/bash
script=${*: -1}
log=$(sed -n 's/^#SBATCH --output=//p' "$script" | sed "s/%j/$SLURM_NUMBER/")
# As a whole: who asks meanwhile must not find half of it.
state() {
  echo "JobId=$SLURM_NUMBER JobState=$1 ExitCode=$2:0" >"$SLURM_FOLDER/new"
  mv "$SLURM_FOLDER/new" "$SLURM_FOLDER/job-$SLURM_NUMBER"
}
state RUNNING 0
(
  SLURM_JOB_ID=$SLURM_NUMBER SLURM_JOB_NODELIST=node1,node2 bash "$script" >"$log" 2>&1
  code=$?
  if ((code)); then state FAILED "$code"; else state COMPLETED 0; fi
) >/dev/null 2>&1 &
echo "$SLURM_NUMBER;cluster"
""",
}


@pytest.fixture
def machine(tmp_path) -> Iterator[dict[str, str]]:
    """The environment of a machine that has Slurm, and of jobs on it: no regbench variables, no Ray token."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in COMMANDS.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REGBENCH_", "MLFLOW_", "RAY_"))}
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    number = str(port - 20000 if 20000 <= port < 30000 else os.getpid() % 10000)
    yield kept | {
        "PATH": f"{folder}:{BIN}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "SLURM_FOLDER": str(folder),
        # The script takes its port from the job's number.
        "SLURM_NUMBER": number,
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
    }
    shutil.rmtree(f"/tmp/regbench-{number}", ignore_errors=True)


def regbench(machine: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = machine | {"HUSH": "hush4711"}
    command = [BIN / "regbench", *arguments]
    return subprocess.run(command, cwd=machine["HOME"], env=environment, capture_output=True, text=True, check=False)


def free_again(number: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", 20000 + int(number) % 10000)) != 0


def test_a_sweep_runs_on_two_nodes_and_ends_with_them(machine, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    cluster = {"kind": "slurm", "nodes": 2, "cpus": 1, "storage": str(shared), "environment": ["HUSH"]}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(SUITE))
    draw_flowers(tmp_path / "flowers.csv")
    draw_photos(tmp_path / "photos")
    shutil.copy(MINE, tmp_path)
    launched = regbench(machine, "launch", "suite.yaml", "--cluster", "cluster.yaml")
    assert launched.returncode == 0, launched.stdout + launched.stderr
    assert f"regbench from {shared}/tiny/code/" in launched.stdout
    steps = (tmp_path / "slurm" / "steps").read_text().splitlines()
    # On a machine so busy that Ray is late, it is started again.
    assert [(step.split()[0], "--head" in step) for step in steps[-2:]] == [("node1", True), ("node2", False)]
    statuses = ds.dataset(shared / "tiny" / "records" / "trials").to_table(columns=["status"])["status"].to_pylist()
    assert statuses == ["completed"] * 2 * 5
    (plugin,) = json.loads((shared / "tiny" / "suite.json").read_text())["plugins"]
    assert plugin["root"].startswith(f"{shared}/tiny/code/")
    # Both nodes were really up: each has its log of the node's service.
    logs = Path(f"/tmp/regbench-{machine['SLURM_NUMBER']}/session_latest/logs")
    assert len({path.name for path in logs.glob("raylet*.out")}) == 2
    assert free_again(machine["SLURM_NUMBER"])
    # While Slurm says that it runs, nobody starts it a second time.
    (tmp_path / "slurm" / f"job-{machine['SLURM_NUMBER']}").write_text("JobState=RUNNING ExitCode=0:0")
    again = regbench(machine, "resume", "tiny", "--cluster", "cluster.yaml")
    assert again.returncode == 2
    assert "is running as job" in again.stderr
    kept = [path for path in (*shared.rglob("*"), *logs.glob("*")) if path.is_file() and b"hush4711" in path.read_bytes()]
    assert kept == []


# The sweep interrupts its job as early as it can, before the script has its number, sometimes; or while the script waits.
INTERRUPTED = "trap 'exit 130' INT; {}kill -INT $PPID; while :; do read -t 0.1 <>/dev/zero || :; done"


@pytest.mark.parametrize(
    ("program", "code"),
    [("exit 7", 7), (INTERRUPTED.format(""), 130), (INTERRUPTED.format("sleep 1; "), 130)],
    ids=["ends by itself", "is interrupted", "is interrupted later"],
)
def test_the_job_ends_as_the_sweep_does(machine, tmp_path, program, code):
    assert status_of_a_job(machine, tmp_path, program) == code


# Ray whose first machine answers, and is late the first time it starts: it gives up after a while.
LATE = r"""#!/bin/bash
echo start >>"$SLURM_FOLDER/starts"
if (($(wc -l <"$SLURM_FOLDER/starts") > 1)); then seconds=1000; else seconds=5; fi
port=$(sed 's/.*--port=\([0-9]*\).*/\1/' <<<"$*")
exec python -c "import socket, time; listening = socket.create_server(('', $port)); time.sleep($seconds)"
"""
# As a sweep does, it waits for Ray.
WAITS = 'if (($(wc -l <"$SLURM_FOLDER/starts") > 1)); then exit 7; fi; while :; do sleep 1; done'


def test_where_ray_ends_on_the_first_machine_it_starts_again_and_so_does_the_sweep(machine, tmp_path):
    (tmp_path / "slurm" / "ray").write_text(LATE)
    (tmp_path / "slurm" / "ray").chmod(0o755)
    assert status_of_a_job(machine, tmp_path, WAITS) == 7


def status_of_a_job(machine: dict[str, str], folder: Path, program: str) -> int:
    """Runs the batch script with a program in the sweep's place; its port is free again when it has ended."""
    pack(folder / "code", parse_suite(SUITE))
    cluster = parse_cluster({"kind": "slurm", "cpus": 1, "storage": str(folder)})
    text = slurm.script(cluster, "job", ["bash", "-c", program, "sweep"], str(folder / "code"), "log")
    environment = machine | {"SLURM_JOB_ID": machine["SLURM_NUMBER"], "SLURM_JOB_NODELIST": "node1"}
    (folder / "launch.sh").write_text(text)
    job = subprocess.run(["bash", folder / "launch.sh"], env=environment, timeout=500, check=False)
    assert free_again(machine["SLURM_NUMBER"])
    return job.returncode
