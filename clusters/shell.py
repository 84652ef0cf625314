"""Runs the command-line tools of clusters: kubectl, sbatch, ray."""

import shlex
import subprocess

from regbench.methods.errors import ClusterError

# Of a job's last state; of any other, 1.
EXIT_STATUS = {"SUCCEEDED": 0, "STOPPED": 130}


def run(command: list[str], text: str | None = None) -> str:
    """Runs a command, with ``text`` as its input, and returns what it prints.

    Raises:
        ClusterError: it is not installed, or fails.
    """
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ClusterError(f"{command[0]} is not installed here, or not on PATH") from None
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
        raise ClusterError(f"{shlex.join(command)}: {reason}")
    return done.stdout
