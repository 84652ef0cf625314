"""Cluster files: read strictly, without a place for secrets, and rendered into what Ray, KubeRay and Slurm accept."""

import os
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import Result
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ray.autoscaler._private.util import prepare_config, validate_config
from typer.main import get_command
from typer.testing import CliRunner

from regbench.clusters import kuberay, slurm
from regbench.clusters.cloud import ON_NODES, launcher_config, launcher_file
from regbench.clusters.environment import ENVIRONMENT_FILE, runtime_environment
from regbench.clusters.kinds import KINDS, parse_cluster, read_cluster, ready_made_clusters
from regbench.clusters.ship import add_environment, passed_on, zipped
from regbench.methods.errors import ConfigError
from regbench.platform.cli import app
from regbench.platform.shipment import pack
from regbench.platform.suite.spec import parse_suite, read_suite

COMMAND = ["python", "-m", "regbench.platform.job", "sweep", "suite.yaml", "--storage", "s3://bucket/a folder?region=x"]
CODE = "s3://bucket/folder/sweep/code/0123.zip"
SUITE = {"name": "tiny", "methods": ["label_smoothing"], "resources": {"gpu": 0.25}}


def changed(name: str, **changes: object) -> dict[str, object]:
    """A ready-made cluster file with some of its keys changed."""
    return yaml.safe_load(ready_made_clusters()[name]) | changes


def refusal(name: str, **changes: object) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_cluster(changed(name, **changes), "file.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_kind_has_a_ready_made_file():
    assert {yaml.safe_load(text)["kind"] for text in ready_made_clusters().values()} == set(KINDS)


@pytest.mark.parametrize("name", ready_made_clusters())
def test_ready_made_files_are_read(name):
    assert read_cluster(name) == parse_cluster(yaml.safe_load(ready_made_clusters()[name]))


@pytest.mark.parametrize("name", ready_made_clusters())
def test_commented_out_lines_are_keys_that_exist(name):
    keys = re.findall(r"^# ([a-z_]+): ", ready_made_clusters()[name], flags=re.MULTILINE)
    known = KINDS[read_cluster(name).kind].model_fields
    assert set(keys) <= set(known)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("aws", {"regoin": "us-west-2"}, "did you mean 'region'?"),
        ("aws", {"workers": {"type": "g5.xlarge", "cpus": 4, "gpus": 1, "max": 2, "spots": True}}, "did you mean 'spot'?"),
        ("aws", {"workers": {"type": "g5.xlarge", "cpus": 4, "gpus": 1, "min": 3, "max": 2}}, "min is 3, more than max, 2"),
        ("aws", {"key_name": "mine"}, "`key_name` and `ssh_private_key` belong together"),
        ("aws", {"storage": "results"}, "every node sees"),
        ("aws", {"tracking": "sqlite:///mlflow.db"}, "MLflow server"),
        ("gcp", {"zone": "us-west1"}, "zone"),
        ("existing", {"address": "10.0.0.1:6379"}, "http://host:port"),
        ("existing", {"kind": "adress"}, "did you mean 'address'?"),
        ("existing", {"kind": None}, "it needs a `kind`"),
        ("kubernetes", {"environment": ["TOKEN"]}, "needs `secret`"),
        ("kubernetes", {"storage": "/shared"}, "volume_claim"),
        ("kubernetes", {"namespace": "Not Allowed"}, "namespace"),
        ("slurm", {"storage": "s3://bucket/folder"}, "every node sees"),
        ("slurm", {"time": "soon"}, "time"),
        ("slurm", {"options": ["--qos=a\nrm -rf /"]}, "options"),
    ],
)
def test_mistakes_are_refused_with_what_to_do(name, changes, says):
    assert says in refusal(name, **changes)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("existing", {"storage": "s3://key:hush4711@bucket/folder"}),
        ("existing", {"tracking": "http://me:hush4711@mlflow.example.com"}),
        ("existing", {"environment": ["AWS_SECRET_ACCESS_KEY=hush4711"]}),
        ("local", {"tracking": "postgresql://me:hush4711@localhost/mlflow"}),
    ],
)
def test_secrets_are_refused_and_not_shown(name, changes):
    assert "hush4711" not in refusal(name, **changes)


def test_values_come_from_the_environment_only(monkeypatch):
    cluster = parse_cluster(changed("existing", environment=["REGBENCH_TEST_KEY"]))
    monkeypatch.delenv("REGBENCH_TEST_KEY", raising=False)
    with pytest.raises(ConfigError, match="REGBENCH_TEST_KEY on, but it is not set here"):
        passed_on(cluster)
    monkeypatch.setenv("REGBENCH_TEST_KEY", "hush4711")
    assert passed_on(cluster) == {"REGBENCH_TEST_KEY": "hush4711"}
    assert "hush4711" not in str(runtime_environment(cluster, "folder"))


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_rays_cluster_launcher_accepts(name):
    prepared = prepare_config(yaml.safe_load(launcher_file(read_cluster(name))))
    validate_config(prepared)
    types = prepared["available_node_types"]
    head, worker = types[prepared["head_node_type"]], types["worker"]
    assert (head["max_workers"], head["resources"]["CPU"]) == (0, 0)
    assert (worker["min_workers"], worker["max_workers"], worker["resources"]) == (0, 8, {"CPU": 8, "GPU": 1})
    for commands in (prepared["head_start_ray_commands"], prepared["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token ray start" in commands[-1]
    assert "--dashboard-host=127.0.0.1" in prepared["head_start_ray_commands"][-1]


def test_spot_is_a_choice():
    aws, gcp = changed("aws"), changed("gcp")
    workers = [launcher_config(parse_cluster(raw))["available_node_types"]["worker"]["node_config"] for raw in (aws, gcp)]
    assert workers[0]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert workers[1]["scheduling"]["provisioningModel"] == "SPOT"
    for raw in (aws, gcp):
        raw["workers"]["spot"] = False
    workers = [launcher_config(parse_cluster(raw))["available_node_types"]["worker"]["node_config"] for raw in (aws, gcp)]
    assert "InstanceMarketOptions" not in workers[0]
    assert workers[1]["scheduling"] == {"onHostMaintenance": "TERMINATE"}


MANIFESTS = [
    {},
    {"secret": "keys", "environment": ["AWS_ACCESS_KEY_ID"], "context": "mine"},
    {"storage": "/shared", "volume_claim": "claim", "service_account": None, "node_selector": {"pool": "gpu"}},
    {"workers": {"cpus": 4, "gpus": 0, "max": 2, "memory": "8Gi"}},
]


def manifest(**changes: object) -> dict:
    cluster = parse_cluster(changed("kubernetes", **changes))
    return yaml.safe_load(kuberay.manifest(cluster, "regbench-My.Sweep_1-0a1b2c3d", COMMAND, CODE))


def test_a_rayjob_says_what_kuberay_needs():
    job = manifest(**MANIFESTS[1])
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["metadata"] == {
        "name": "regbench-my-sweep-1-0a1b2c3d",
        "namespace": "default",
        "labels": {"app.kubernetes.io/name": "regbench"},
    }
    spec = job["spec"]
    assert shlex.split(spec["entrypoint"]) == COMMAND
    assert yaml.safe_load(spec["runtimeEnvYAML"])["working_dir"] == CODE
    assert (spec["shutdownAfterJobFinishes"], spec["backoffLimit"]) == (True, 2)
    ray = spec["rayClusterSpec"]
    assert ray["authOptions"] == {"mode": "token"}
    assert ray["enableInTreeAutoscaling"] is True
    head = ray["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    (workers,) = ray["workerGroupSpecs"]
    assert (workers["replicas"], workers["minReplicas"], workers["maxReplicas"]) == (0, 0, 8)
    for template, name in ((head["template"], "ray-head"), (workers["template"], "ray-worker")):
        (container,) = template["spec"]["containers"]
        assert (container["name"], container["image"]) == (name, "registry.example.com/regbench-runtime:2.60.0")
        reference = {"secretKeyRef": {"name": "keys", "key": "AWS_ACCESS_KEY_ID"}}
        assert container["env"] == [{"name": "AWS_ACCESS_KEY_ID", "valueFrom": reference}]
    assert container["resources"]["limits"] == container["resources"]["requests"]
    assert container["resources"]["limits"] == {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"}


def test_long_names_fit_into_kubernetes():
    name = kuberay.rayjob_name(f"regbench-{'Long_' * 12}-0a1b2c3d")
    assert len(name) <= 47
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
    assert name.endswith("-0a1b2c3d")


def structural(node: object) -> None:
    """Makes a CRD's schema refuse unknown fields, as `kubectl apply` with strict validation does."""
    if isinstance(node, list):
        for part in node:
            structural(part)
    if not isinstance(node, dict):
        return
    if "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        node.setdefault("additionalProperties", False)
    if node.pop("x-kubernetes-int-or-string", False):
        node.pop("type", None)
    for part in list(node.values()):
        structural(part)


@pytest.mark.skipif("REGBENCH_KUBERAY_CRD" not in os.environ, reason="REGBENCH_KUBERAY_CRD names no ray.io_rayjobs.yaml")
def test_rayjobs_fit_the_public_schema():
    definition = yaml.load(Path(os.environ["REGBENCH_KUBERAY_CRD"]).read_text(), yaml.CSafeLoader)
    (version,) = [version for version in definition["spec"]["versions"] if version["name"] == "v1"]
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    structural(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for changes in MANIFESTS:
        validator.validate(manifest(**changes))
    wrong = manifest()
    wrong["spec"]["rayClusterSpec"]["authOption"] = {"mode": "token"}
    assert not validator.is_valid(wrong)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"nodes": 1, "gpus": 0, "setup": [], "data": "/a b/c"},
        {"memory": "10G", "partition": "gpu", "options": ["--qos=long"]},
    ],
)
def test_batch_scripts_are_bash(changes):
    cluster = parse_cluster(changed("slurm", **changes))
    text = slurm.script(cluster, "regbench-tiny-1", COMMAND, "/a b/code", "/shared/tiny/slurm-%j.log")
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", text, flags=re.MULTILINE))
    assert options["nodes"] == str(cluster.nodes)
    assert options.get("gpus-per-node") == (str(cluster.gpus) if cluster.gpus else None)
    assert shlex.join(COMMAND) in text


def test_what_is_shipped_works_where_nothing_is_installed(tmp_path):
    suite = parse_suite(SUITE)
    pack(tmp_path / "code", suite)
    assert read_suite(tmp_path / "code" / "suite.yaml") == suite
    # -S: without site-packages' import hooks, so without the installed regbench; the libraries come back as a plain path.
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    program = (
        f"import sys; sys.path += [{libraries!r}]\n"
        "import regbench.methods, regbench.platform.sweep as sweep\n"
        "from importlib.metadata import version\n"
        "from regbench.clusters.kinds import ready_made_clusters\n"
        "print(regbench.methods.__file__, sweep.__file__, version('regbench'), 'slurm' in ready_made_clusters())"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "code")}
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    methods, sweep, _, complete = done.stdout.split()
    assert complete == "True"
    assert all(tmp_path / "code" in Path(file).parents for file in (methods, sweep))


def test_the_same_code_makes_the_same_file_whatever_the_date(tmp_path):
    for name, age in (("a", 0), ("b", 1_000_000)):
        pack(tmp_path / name, parse_suite(SUITE))
        for path in (tmp_path / name).rglob("*"):
            os.utime(path, (age, age))
    assert zipped(tmp_path / "a") == zipped(tmp_path / "b")


def test_shipped_values_are_for_this_user_only(tmp_path):
    add_environment(tmp_path, {"KEY": "hush4711"})
    assert (tmp_path / ENVIRONMENT_FILE).stat().st_mode & 0o077 == 0


def launch(folder: Path, *arguments: str) -> Result:
    (folder / "suite.yaml").write_text(yaml.safe_dump(SUITE))
    return CliRunner().invoke(app, ["launch", "suite.yaml", *arguments])


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("existing", ["submit job regbench-tiny-", "worker_process_setup_hook"]),
        ("aws", ["run: ray up --yes", "ray down regbench-ray.yaml", "--cpus 64 --gpus 8"]),
        ("kubernetes", ["kind: RayJob", "run: kubectl --namespace default apply"]),
        ("slurm", ["#SBATCH --gpus-per-node=4", "run: sbatch --parsable /shared/regbench/tiny/launch.sh"]),
        ("local", ["label_smoothing"]),
    ],
)
def test_a_dry_run_shows_everything_and_touches_nothing(tmp_path, monkeypatch, name, shows):
    monkeypatch.chdir(tmp_path)
    done = launch(tmp_path, "--cluster", name, "--dry-run")
    assert done.exit_code == 0, done.output
    assert [text for text in shows if text not in done.output] == []
    assert [path.name for path in tmp_path.iterdir()] == ["suite.yaml"]


def test_a_trial_that_fits_on_no_machine_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = changed("kubernetes", workers={"cpus": 8, "gpus": 0, "max": 2, "memory": "8Gi"})
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(raw))
    done = launch(tmp_path, "--cluster", "cluster.yaml", "--dry-run")
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == "a worker of a trial asks for 0.25 GPU, a machine of the cluster has 0"


def documented() -> list[list[str]]:
    """Every regbench command in the console blocks of the page on clusters."""
    page = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", page, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("$ ")]


def test_documented_commands_exist():
    known = get_command(app).commands
    assert len(documented()) >= 10
    for program, name, *arguments in documented():
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert program == "regbench"
        assert {argument for argument in arguments if argument.startswith("--")} <= options


@pytest.mark.parametrize("kind", ["aws", "gcp"])
def test_cloud_nodes_install_all_that_regbench_needs(kind):
    config = launcher_config(read_cluster(kind))
    (place,) = (node for node, here in config["file_mounts"].items() if here.endswith("requirements.txt"))
    assert any("pip install" in line and place in line for line in config["setup_commands"])
    pinned = {canonicalize_name(requirement.name): requirement for requirement in requirements(config["file_mounts"][place])}
    for line in metadata.requires("regbench"):
        needed = Requirement(line)
        if needed.marker is None:
            assert pinned[canonicalize_name(needed.name)].extras >= needed.extras, needed
    assert "default" in pinned["ray"].extras, "the job server"
    assert all(str(requirement.specifier).startswith("==") for requirement in pinned.values())
    assert "+" not in str(pinned["torch"].specifier), "PyTorch for CPUs on a GPU"


def requirements(path: str) -> list[Requirement]:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def test_what_cloud_nodes_install_is_what_tests_run_with():
    for requirement in requirements(launcher_config(read_cluster("aws"))["file_mounts"][ON_NODES]):
        assert requirement.specifier.contains(metadata.version(requirement.name)), requirement


def test_an_image_that_has_all_installs_nothing():
    config = launcher_config(parse_cluster(changed("aws", install=False)))
    assert not any("pip" in line for line in config["setup_commands"])
    assert list(config["file_mounts"]) == ["~/.ray/auth_token"]
