"""Runs a sweep on a cluster as a job that needs no terminal, and finds it again from anywhere.

What is needed to find a job stands in ``job.json`` in the sweep's folder in the storage; no secret does.
"""

import datetime
import io
import os
import shlex
import tempfile
import uuid
import zipfile
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from regbench.clusters import kuberay, slurm
from regbench.clusters.cloud import launcher_file
from regbench.clusters.environment import runtime_environment
from regbench.clusters.job_server import bring_up, job_server, up_command
from regbench.clusters.kinds import Address, Aws, Gcp, Kubernetes, Local, Slurm
from regbench.clusters.ship import add_environment, passed_on, zipped
from regbench.methods.errors import ConfigError, RegbenchError, StorageError
from regbench.methods.shared.data.files.define import define_all
from regbench.platform.launched import ALIVE, Distant, Job, slurm_log
from regbench.platform.records.plugins import taken_up
from regbench.platform.records.storage import Storage
from regbench.platform.records.suite_file import read_suite_file
from regbench.platform.records.sweeps import open_sweep
from regbench.platform.shipment import PLUGINS, SUITE_FILE, pack
from regbench.platform.suite.names import check_new
from regbench.platform.suite.outline import outline
from regbench.platform.suite.spec import Suite


def find(name: str, store: Storage) -> Job:
    """The last job of a sweep.

    Raises:
        ConfigError: the sweep was never launched.
    """
    job = Job.read(name, store)
    if job is None:
        raise ConfigError(f"'{name}' in {store.uri} was not started by `regbench launch`: there is no job to ask about")
    return job


def pass_on_here(cluster: Local) -> None:
    """Checks and sets, for a sweep in this process, what a cluster file passes on."""
    passed_on(cluster)
    if cluster.data:
        os.environ["REGBENCH_DATA"] = cluster.data


def launch(suite: Suite, cluster: Distant, console: Console, *, dry_run: bool = False, detach: bool = False) -> int:
    """Runs a new sweep on a cluster; returns its exit status, 0 when it is not waited for.

    Args:
        suite: what to run.
        cluster: where.
        console: where each step is told.
        dry_run: only tell, and show every file, command and setting; neither cluster nor storage is contacted.
        detach: do not wait for the end.

    Raises:
        RegbenchError: suite or cluster are wrong, the sweep exists already, or the cluster refuses.
    """
    check_new(suite)
    _require_room(suite, cluster)
    store = Storage(cluster.storage)
    if not dry_run:
        _require_new(suite.name, store)
    return _run(suite, ["sweep", SUITE_FILE, "--continue"], cluster, store, console, dry_run, detach)


def _require_new(name: str, store: Storage) -> None:
    _require_here(store)
    if store.child(name).exists("suite.json"):
        raise ConfigError(
            f"sweep '{name}' exists in {store.uri}: continue it with `regbench resume {name} --cluster FILE`, "
            "or launch another with --name"
        )


def relaunch(
    name: str,
    cluster: Distant,
    console: Console,
    arguments: list[str],
    suite: Suite | None = None,
    *,
    accept_changed_plugin: bool = False,
    detach: bool = False,
) -> int:
    """Continues a sweep on a cluster, the same one or another; returns its exit status.

    Args:
        name: of the sweep.
        cluster: where.
        console: where each step is told.
        arguments: of the command line that continues it there.
        suite: what the sweep becomes; by default what it was.
        accept_changed_plugin: train what is left with what a plugin is now.
        detach: do not wait for the end.

    Raises:
        RegbenchError: there is no such sweep, it cannot become that suite, it is running, or the cluster refuses.
    """
    # Both import the methods.
    from regbench.platform.suite.growth import growth
    from regbench.platform.suite.recorded import recorded_suite

    store = Storage(cluster.storage)
    _require_here(store)
    records = open_sweep(name, store)
    recorded = read_suite_file(records.storage, "suite")
    had, grown = recorded.get("plugins") or [], suite is not None
    kept, changed = taken_up(records.storage, had, grown=grown, accept=accept_changed_plugin)
    if changed:
        arguments = [*arguments, *(f"--plugin={PLUGINS}/{Path(facts['root']).name}" for facts in kept if facts["kept"])]
    before = recorded_suite(recorded, records)
    suite = suite or before
    define_all(suite.files)
    growth(before, suite)
    _require_room(suite, cluster)
    return _run(suite, arguments, cluster, store, console, False, detach)


def logs(name: str, store: Storage, console: Console) -> int:
    """Shows the log of a sweep's last job until it ends; returns its exit status."""
    return _follow(find(name, store), store, console)


def job_line(name: str, store: Storage) -> str | None:
    """What a sweep's last job is doing, in one line, or None when the sweep was never launched.

    Raises:
        StorageError: no sweep can have that name.
    """
    store.child(name)
    try:
        job = Job.read(name, store)
    except StorageError as error:
        return str(error)
    if job is None:
        return None
    try:
        state = job.state()
    except RegbenchError as error:
        state = f"unknown: {error}"
    return f"job {job.id} ({job.cluster.kind}), submitted {job.submitted}: {state}"


def _require_here(store: Storage) -> None:
    """Refuses a folder that only the nodes see: what is written for them here would be somewhere else."""
    folder = store.local
    if folder and not folder.is_dir():
        raise ConfigError(f"storage {folder} is not here: make it, or launch from a machine that sees it as the nodes do")


def _require_room(suite: Suite, cluster: Distant) -> None:
    """Refuses a suite that could not run there, before anything is started."""
    outline(suite)
    if suite.execution == "inline":
        raise ConfigError("execution inline trains in the driver, one trial after the other: use execution tune on a cluster")
    machine = cluster if isinstance(cluster, Slurm) else cluster.workers
    if machine is None:
        return
    for name, asked, has in (("CPU", suite.resources.cpu, machine.cpus), ("GPU", suite.resources.gpu, machine.gpus)):
        total = cluster.limits[f"{name.lower()}s"]
        if asked > has:
            raise ConfigError(f"a worker of a trial asks for {asked:g} {name}, a machine of the cluster has {has}")
        if asked * suite.workers > total:
            raise ConfigError(
                f"the {suite.workers} workers of a trial ask for {asked * suite.workers:g} {name}, the cluster has {total}"
            )


def _run(
    suite: Suite, arguments: list[str], cluster: Distant, store: Storage, console: Console, dry_run: bool, detach: bool
) -> int:
    if not dry_run:
        _require_idle(suite.name, store, console)
    values = {} if isinstance(cluster, Kubernetes) else passed_on(cluster)
    job = Job(suite.name, cluster, f"regbench-{suite.name}-{uuid.uuid4().hex[:8]}", _now())
    with tempfile.TemporaryDirectory(prefix="regbench-launch-") as name:
        folder = Path(name)
        pack(folder, suite)
        _say(
            console, f"code: regbench and the suite '{suite.name}', {_size(folder)}, to import on the nodes without installing"
        )
        if cluster.environment:
            # For Kubernetes these come from its Secret.
            _say(console, f"environment: {', '.join(cluster.environment)} (values are not shown)")
        hand_over = {"kubernetes": _to_kubernetes, "slurm": _to_slurm}.get(cluster.kind, _to_job_server)
        job = hand_over(job, _command(cluster, arguments), folder, store, values, console, dry_run)
    if dry_run:
        _say(console, "nothing was started")
        return 0
    if detach:
        _say(console, _way_back(job, store))
        return 0
    try:
        return _follow(job, store, console)
    except RegbenchError:
        # The connection broke; the job did not.
        _say(console, _way_back(job, store))
        raise


def _require_idle(name: str, store: Storage, console: Console) -> None:
    """Refuses a second job for a sweep that runs; a cluster that is gone cannot be asked, and must not stand in the way."""
    before = Job.read(name, store)
    if before is None:
        return
    try:
        state = before.state()
    except RegbenchError as error:
        _say(console, f"the sweep's last job, {before.id}, cannot be asked ({error}); taken as ended")
        return
    if state in ALIVE:
        raise ConfigError(f"'{name}' is running as job {before.id}: see `regbench logs`, or end it with `regbench stop`")


def _to_job_server(
    job: Job, command: list[str], folder: Path, store: Storage, values: dict[str, str], console: Console, dry_run: bool
) -> Job:
    cluster = job.cluster
    assert isinstance(cluster, Address | Aws | Gcp)
    if isinstance(cluster, Aws | Gcp):
        text, file = launcher_file(cluster), Path(f"{cluster.name}-ray.yaml")
        _show(console, f"{file}, for Ray's cluster launcher", text)
        _say(console, f"run: {shlex.join(['ray', *up_command(file)[1:]])}")
        _say(console, f"its head node stays up after the sweep; end everything with: {shlex.join(['ray', 'down', str(file)])}")
        if not dry_run:
            file.write_text(text, encoding="utf-8")
            bring_up(cluster, file)
    _show(console, "runtime environment", yaml.safe_dump(runtime_environment(cluster, "the code"), sort_keys=False))
    place = cluster.address if isinstance(cluster, Address) else "the head node, through an ssh tunnel"
    _say(console, f"submit job {job.id} to {place}: {shlex.join(command)}")
    if not dry_run:
        if values:
            add_environment(folder, values)
        with job_server(cluster) as server:
            # Before it is submitted: whatever happens to this process, the job can be found.
            job.write(store)
            server.submit(job.id, command, runtime_environment(cluster, str(folder)))
    return job


def _to_kubernetes(
    job: Job, command: list[str], folder: Path, store: Storage, values: dict[str, str], console: Console, dry_run: bool
) -> Job:
    cluster = job.cluster
    assert isinstance(cluster, Kubernetes)
    name, content = zipped(folder)
    sweep = store.child(job.sweep)
    code = _code_uri(sweep, name)
    text = kuberay.manifest(cluster, job.id, command, code)
    _say(console, f"write: {code}")
    _show(console, "RayJob", text)
    _say(console, f"run: {shlex.join(kuberay.kubectl(cluster, 'apply', '--filename', '-'))}")
    if not dry_run:
        sweep.write(f"code/{name}", content)
        job.write(store)
        kuberay.submit(cluster, text)
    return job


def _to_slurm(
    job: Job, command: list[str], folder: Path, store: Storage, values: dict[str, str], console: Console, dry_run: bool
) -> Job:
    cluster = job.cluster
    assert isinstance(cluster, Slurm)
    name, content = zipped(folder)
    sweep = Path(cluster.storage) / job.sweep
    code = sweep / "code" / name.removesuffix(".zip")
    # A requeued job and one that is resumed find the suite and plugins beside the code, wherever they start.
    command = [_beside(code, part) for part in command]
    text = slurm.script(cluster, job.id, command, str(code), slurm_log(cluster, job.sweep))
    file = sweep / "launch.sh"
    _say(console, f"write: {code}/")
    _show(console, str(file), text)
    _say(console, f"run: {shlex.join(['sbatch', '--parsable', str(file)])}")
    if dry_run:
        return job
    _unpack(code, content)
    file.write_text(text, encoding="utf-8")
    job = Job(job.sweep, cluster, slurm.submit(str(file)), job.submitted)
    job.write(store)
    return job


def _beside(code: Path, part: str) -> str:
    """A word of the command, its file's path made that of the shipped one."""
    option, equals, file = part.rpartition("=")
    return f"{option}{equals}{code / file}" if file == SUITE_FILE or file.startswith(f"{PLUGINS}/") else part


def _unpack(code: Path, content: bytes) -> None:
    """Unpacks zipped code into a folder, unless the same code is there."""
    if code.is_dir():
        return
    partial = code.with_name(f".{code.name}.{uuid.uuid4().hex}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(partial)
    (partial / "regbench-code").rename(code)
    partial.rmdir()


def _command(cluster: Distant, arguments: list[str]) -> list[str]:
    """What the head node runs."""
    # The batch script knows the address of the Ray that it started, and adds it.
    address = [] if isinstance(cluster, Slurm) else ["--address", "auto"]
    limits = [word for name, value in cluster.limits.items() for word in (f"--{name}", str(value))]
    places = ["--storage", cluster.storage, "--tracking", cluster.tracking]
    return ["python", "-m", "regbench.platform.job", *arguments, *places, *address, *limits]


def _code_uri(sweep: Storage, name: str) -> str:
    """Where the nodes read the zipped code: Ray's URIs have no query."""
    base = sweep.uri.partition("?")[0] if "://" in sweep.uri else f"file://{sweep.uri}"
    return f"{base.rstrip('/')}/code/{name}"


def _follow(job: Job, store: Storage, console: Console) -> int:
    try:
        status = job.follow()
    except KeyboardInterrupt:
        _say(console, f"\n{_way_back(job, store)}")
        return 130
    if status:
        _say(console, f"The job ended with exit status {status}. Continue with: {_again('resume', job, store)} --cluster FILE")
    return status


def _way_back(job: Job, store: Storage) -> str:
    return (
        f"The job {job.id} goes on without this terminal. Come back with: {_again('logs', job, store)}\n"
        f"How far it is: {_again('status', job, store)}    End it: {_again('stop', job, store)}"
    )


def _again(verb: str, job: Job, store: Storage) -> str:
    return f"regbench {verb} {job.sweep} --storage {shlex.quote(store.uri)}"


def _size(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1024:.0f} kB"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _show(console: Console, title: str, text: Any) -> None:
    _say(console, f"--- {title}\n{str(text).rstrip()}\n---")
