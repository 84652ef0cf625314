"""Commands that only tell something, and refusals of names, answer without the libraries that take seconds to import."""

import json
import subprocess
import sys

import pytest
import yaml

from regbench.platform.inventory.inventory import inventory
from regbench.platform.suite.outline import outline
from regbench.platform.suite.spec import read_suite
from regbench.search_spaces import ready_made_suites

HEAVY = ("torch", "sklearn", "scipy", "pandas", "matplotlib", "ray", "mlflow", "optuna", "numba")
COMMANDS = {
    0: [
        ["--help"],
        ["list"],
        ["list", "--track", "classification"],
        ["show", "ps_kd"],
        ["suites"],
        ["data", "list"],
        ["data", "where", "digits"],
        ["compare", "--effects"],
        ["status"],
        ["sweep", "quickstart", "--dry-run"],
    ],
    2: [
        ["show", "ps_kdd"],
        ["list", "--track", "clasification"],
        ["check", "ps_kdd"],
        ["run", "ps_kdd"],
        ["run", "ps_kd", "--set", "epoch=3"],
        ["run", "ps_kd", "--data", "digit"],
        ["data", "show", "digit"],
        ["sweep", "quickstat"],
        ["sweep", "method.yaml"],
        ["sweep", "setting.yaml"],
        ["sweep", "data.yaml"],
        ["sweep", "objective.yaml"],
        ["launch", "quickstart", "--cluster", "awss"],
        ["resume", "none"],
        ["compare", "none"],
        ["sync", "none"],
        ["stop", "none"],
        ["logs", "none"],
    ],
}
WRONG = {
    "method": {"methods": ["ps_kdd"]},
    "setting": {"methods": ["ps_kd"], "settings": {"epoch": 3}},
    "data": {"methods": ["ps_kd"], "data": ["digit"]},
    "objective": {"methods": ["ps_kd"], "objectives": ["acuracy"]},
}
# Runs commands one after the other in one process, and says after each how it ended and what of the heavy is there.
SCRIPT = """
import contextlib, io, json, sys
from regbench.platform.cli import main
found = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["regbench", *arguments]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main()
        except SystemExit as ended:
            found.append([ended.code or 0, sorted(set(json.loads({heavy!r})) & sys.modules.keys())])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def known():
    """What the commands read was made of this code before: by the first of them, on a user's machine."""
    inventory()
    for name in ready_made_suites():
        outline(read_suite(name))


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("status", COMMANDS)
def test_nothing_heavy_is_imported(tmp_path, status):
    for name, suite in WRONG.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"name": name} | suite))
    script = SCRIPT.format(heavy=json.dumps(HEAVY))
    command = [sys.executable, "-c", script, json.dumps(COMMANDS[status])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = dict(zip(map(" ".join, COMMANDS[status]), json.loads(done.stdout), strict=True))
    assert found == {" ".join(arguments): [status, []] for arguments in COMMANDS[status]}
