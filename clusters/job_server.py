"""Ray's job server: submits, follows and stops the sweeps of a running Ray cluster."""

import asyncio
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regbench.clusters.cloud import launcher_file
from regbench.clusters.kinds import Address, Aws, Gcp
from regbench.clusters.shell import EXIT_STATUS
from regbench.methods.errors import ClusterError

RAY = str(Path(sys.executable).parent / "ray")
DEFAULT_TOKEN_FILE = Path("~/.ray/auth_token")
TUNNEL_SECONDS = 120.0
POLL_SECONDS = 0.5


def use_token(cluster: Address | Aws | Gcp) -> None:
    """Turns Ray's token authentication on where there is a token; before ``import ray``, which reads the mode once.

    Raises:
        ClusterError: RAY_AUTH_TOKEN_PATH names no file, or a cluster of cloud machines has no token file to be started with.
    """
    if isinstance(cluster, Aws | Gcp):
        # The nodes get the file, so the client must use the same.
        for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
            os.environ.pop(name, None)
        if not DEFAULT_TOKEN_FILE.expanduser().is_file():
            raise ClusterError(
                f"there is no Ray token in {DEFAULT_TOKEN_FILE}: make one with `ray get-auth-token --generate`, "
                f"then `chmod 600 {DEFAULT_TOKEN_FILE}`"
            )
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if path and not os.environ.get("RAY_AUTH_TOKEN") and not Path(path).is_file():
        raise ClusterError(f"RAY_AUTH_TOKEN_PATH names {path}, which is not there")
    if os.environ.get("RAY_AUTH_TOKEN") or path or DEFAULT_TOKEN_FILE.expanduser().is_file():
        os.environ["RAY_AUTH_MODE"] = "token"


def up_command(file: Path) -> list[str]:
    """The command that starts a cluster of cloud machines, or brings a running one up to date."""
    return [RAY, "up", "--yes", "--no-config-cache", str(file)]


def bring_up(cluster: Aws | Gcp, file: Path) -> None:
    """Starts the cluster of cloud machines that a launcher file describes.

    Raises:
        ClusterError: there is no token to start it with, or Ray's launcher fails.
    """
    use_token(cluster)
    if status := subprocess.run(up_command(file), check=False).returncode:
        raise ClusterError(f"{shlex.join(up_command(file))} failed with exit status {status}; what it said stands above")


@contextmanager
def job_server(cluster: Address | Aws | Gcp) -> Iterator["JobServer"]:
    """The job server of a cluster; that of cloud machines through a tunnel to the head node's loopback interface.

    Raises:
        ClusterError: it cannot be reached, or refuses the token.
    """
    use_token(cluster)
    if isinstance(cluster, Address):
        yield JobServer(cluster.address)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cluster.yaml"
        file.write_text(launcher_file(cluster), encoding="utf-8")
        with _tunnel([RAY, "dashboard", str(file)]) as address:
            yield JobServer(address)


@contextmanager
def _tunnel(command: list[str]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + TUNNEL_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ClusterError(f"cannot reach the head node with {shlex.join(command)}: is the cluster up?")
            time.sleep(POLL_SECONDS)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class JobServer:
    """The job server at an address.

    Raises:
        ClusterError: it cannot be reached, or refuses the token.
    """

    def __init__(self, address: str) -> None:
        import logging

        from ray.job_submission import JobSubmissionClient

        # These set their own levels; what they say is said by `regbench launch`.
        for module in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
            logging.getLogger(f"ray.{module}").setLevel(logging.ERROR)
        self.address = address
        with self._explained():
            self._client = JobSubmissionClient(address)
            # The first request that an open address does not answer without a token.
            self._client.list_jobs()

    def submit(self, job: str, command: list[str], runtime_environment: dict[str, Any]) -> None:
        """Uploads the code and starts a job."""
        with self._explained():
            self._client.submit_job(
                entrypoint=shlex.join(command), submission_id=job, runtime_env=runtime_environment, metadata={"job": "regbench"}
            )

    def state(self, job: str) -> str:
        """``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``FAILED``, ``STOPPED``, or ``GONE`` when the cluster no longer knows it."""
        with self._explained():
            try:
                return str(self._client.get_job_status(job).value)
            except RuntimeError as error:
                if "404" in str(error):
                    return "GONE"
                raise

    def follow(self, job: str) -> int:
        """Shows a job's log until it ends; returns its exit status."""
        with self._explained():
            asyncio.run(self._show(job))
        while (now := self.state(job)) in ("PENDING", "RUNNING"):
            time.sleep(POLL_SECONDS)
        if now == "FAILED":
            with self._explained():
                details = self._client.get_job_info(job)
            if details.driver_exit_code:
                return int(details.driver_exit_code)
            # The sweep never started, so its log says nothing.
            print(details.message)
        return EXIT_STATUS.get(now, 1)

    async def _show(self, job: str) -> None:
        async for text in self._client.tail_job_logs(job):
            print(text, end="", flush=True)

    def stop(self, job: str) -> None:
        """Interrupts a job: the sweep writes what it knows and ends."""
        with self._explained():
            self._client.stop_job(job)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        import aiohttp
        import requests
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            raise ClusterError(_token_problem(self.address, str(error))) from None
        except (ConnectionError, requests.exceptions.RequestException, aiohttp.ClientError) as error:
            raise ClusterError(f"cannot reach the job server at {self.address} ({type(error).__name__})") from None
        except RuntimeError as error:
            raise ClusterError(f"the job server at {self.address}: {' '.join(str(error).split())[:300]}") from None


def _token_problem(address: str, message: str) -> str:
    if "required" in message:
        return (
            f"the cluster at {address} demands a token and there is none here: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, "
            f"or put it into {DEFAULT_TOKEN_FILE}"
        )
    return (
        f"the cluster at {address} refuses this token: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or {DEFAULT_TOKEN_FILE} must hold "
        "the token that it was started with"
    )
