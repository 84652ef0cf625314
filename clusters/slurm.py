"""Slurm: a sweep as a batch job that brings Ray up on its machines."""

import re
import shlex
import time
from pathlib import Path

from regbench.clusters.environment import node_variables
from regbench.clusters.kinds import Slurm
from regbench.clusters.shell import EXIT_STATUS, run
from regbench.methods.errors import ClusterError

POLL_SECONDS = 2.0
# How long before the time limit the sweep is interrupted.
STOP_SECONDS = 120
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED")
ALIVE = (*WAITING, "RUNNING", "COMPLETING", "STAGE_OUT", "STOPPED", "RESIZING", "SIGNALING")


def script(cluster: Slurm, job: str, command: list[str], code: str, log: str) -> str:
    """The batch script.

    Args:
        cluster: the cluster file.
        job: the job's id.
        command: what the first machine runs; ``--address`` is added.
        code: folder of the shipped code.
        log: path of the log; ``%j`` stands for Slurm's number of the job.
    """
    import jinja2

    optional = {"--mem": cluster.memory, "--partition": cluster.partition, "--account": cluster.account}
    options = [
        f"--job-name={job}",
        f"--nodes={cluster.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={cluster.cpus}",
        *([f"--gpus-per-node={cluster.gpus}"] if cluster.gpus else []),
        f"--time={cluster.time}",
        *(f"{name}={value}" for name, value in optional.items() if value),
        f"--output={log}",
        "--open-mode=append",
        # A job whose machine fails, or that makes room for another, starts again and continues the sweep.
        "--requeue",
        f"--signal=B:INT@{STOP_SECONDS}",
        *cluster.options,
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["quote"] = shlex.quote
    return environment.get_template("slurm.sh.j2").render(
        options=options,
        setup=cluster.setup,
        variables=node_variables(cluster),
        code=code,
        cpus=cluster.cpus,
        gpus=cluster.gpus,
        command=shlex.join(command),
    )


def submit(path: str) -> str:
    """Hands a batch script over; returns Slurm's number of the job."""
    return run(["sbatch", "--parsable", path]).strip().partition(";")[0]


def state(number: str) -> str:
    """``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``FAILED``, ``STOPPED``, or ``GONE`` when Slurm no longer knows the job."""
    return _state_and_code(number)[0]


def _state_and_code(number: str) -> tuple[str, int]:
    try:
        text = run(["scontrol", "show", "job", "--oneliner", number])
    except ClusterError as error:
        if "Invalid job id" in str(error):
            return "GONE", 1
        raise
    found = re.search(r"JobState=(\S+)", text)
    name = found[1] if found else "UNKNOWN"
    if name in ALIVE:
        return ("PENDING" if name in WAITING else "RUNNING"), 0
    code = re.search(r"ExitCode=([0-9]+):", text)
    ended = "SUCCEEDED" if name == "COMPLETED" else "STOPPED" if name in ("CANCELLED", "TIMEOUT") else "FAILED"
    return ended, (int(code[1]) if code else 0) or EXIT_STATUS.get(ended, 1)


def follow(number: str, log: Path) -> int:
    """Shows a job's log until it ends; returns its exit status."""
    shown = 0
    while True:
        now, code = _state_and_code(number)
        if log.exists():
            with log.open("rb") as stream:
                stream.seek(shown)
                text = stream.read()
            shown += len(text)
            print(text.decode(errors="replace"), end="", flush=True)
        if now not in ("PENDING", "RUNNING"):
            return code
        time.sleep(POLL_SECONDS)


def stop(number: str) -> None:
    """Interrupts the sweep, which then ends the job; a job that still waits is taken off the queue."""
    run(["scancel", "--signal=INT", "--batch", number] if state(number) == "RUNNING" else ["scancel", number])
