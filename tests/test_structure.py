"""The house stands: imports point one way, `platform/` does not hide the standard library's module, and the wheel is whole."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = ("platform", "methods", "search_spaces", "clusters")
# Holds data alone, and lives where those who measure look for it.
DATA = {"regbench.effects": "benchmarks/effects"}
# What `import regbench` gives.
TOP = Path("platform", "package", "__init__.py")

# annotated_types are the limits of pydantic's fields.
METHODS = {
    *(
        "torch",
        "numpy",
        "scipy",
        "sklearn",
        "skimage",
        "pyarrow",
        "pydantic",
        "annotated_types",
        "yaml",
        "platformdirs",
        "regbench.methods",
    )
}
# What a floor of the house may import, besides the standard library.
MAY_IMPORT = {
    "methods": METHODS,
    "search_spaces": METHODS | {"optuna", "regbench.search_spaces"},
    "clusters": {
        "yaml", "pydantic", "jinja2", "ray.job_submission", "ray.exceptions", "aiohttp", "requests",
        "regbench.clusters", "regbench.methods.errors", "regbench.methods.strict",
    },
}  # fmt: skip
# Competitors of learners by gradient, a compiler, what reads a user's files and sends a user's objects: imported inside
# functions, so that importing methods stays light; cloudpickle is light itself.
EXCEPTIONS = {
    "methods/shared/bilevel/derivative_free.py": {"optuna", "dfols"},
    "methods/shared/kernels/covariance_slopes.py": {"numba"},
    "methods/shared/augmentation.py": {"torchvision"},
    "methods/shared/data/files/images.py": {"PIL"},
    "methods/shared/data/files/image_files.py": {"PIL"},
    "methods/shared/loading.py": {"PIL"},
    "methods/shared/data/files/hub.py": {"datasets"},
    "methods/shared/backbone.py": {"safetensors"},
    "methods/memory.py": {"cloudpickle"},
    "methods/shared/data/files/texts.py": {"transformers"},
    "methods/shared/language_models.py": {"transformers"},
    "methods/shared/reinforcement/causal_policies.py": {"transformers", "transformers.utils"},
}
# The rooms of the top floor, from the lowest up: a room imports itself and those named with it.
ROOMS = {
    "inventory": set(),
    "records": set(),
    "verdicts": {"records"},
    "suite": {"inventory", "records"},
    "search": {"suite", "records", "verdicts"},
    "execution": {"search", "suite", "records"},
    "comparison": {"execution", "suite", "records", "verdicts", "inventory"},
    "tracking": {"comparison", "records"},
}


def modules(folder: str) -> Iterator[Path]:
    return (path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def imported(path: Path) -> Iterator[str]:
    """The name of every module that a file imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_point_one_way(folder):
    wrong = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in modules(folder)
        for module in imported(path)
        if module.partition(".")[0] not in sys.stdlib_module_names
        and not within(module, MAY_IMPORT[folder] | EXCEPTIONS.get(str(path.relative_to(ROOT)), set()))
    }
    assert not wrong


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_of_the_platform_import_one_way(room):
    below = {"regbench.methods", "regbench.search_spaces", "regbench.clusters"}
    allowed = below | {f"regbench.platform.{name}" for name in ROOMS[room] | {room}}
    wrong = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in modules(f"platform/{room}")
        for module in imported(path)
        if module.partition(".")[0] == "regbench" and not within(module, allowed)
    }
    assert not wrong


def test_every_room_of_the_platform_has_its_place_in_the_order():
    rooms = {path.name for path in (ROOT / "platform").iterdir() if (path / "__init__.py").is_file()} - {TOP.parent.name}
    assert rooms == ROOMS.keys() | {"cli", "python"}, "the command line and what Python is offered stand above all"


def test_no_modules_import_each_other_in_a_circle():
    paths = [path for folder in FOLDERS for path in modules(folder)]
    names = {".".join(("regbench", *path.relative_to(ROOT).with_suffix("").parts)): path for path in paths}
    # Imports for the type checker alone are none: they are never executed.
    graph = {name: set(imported(path)) & names.keys() - {name} for name, path in names.items()}
    TopologicalSorter(graph).prepare()


def test_files_are_short():
    """One idea a file: a reader finds it, and reads it in one sitting."""
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in FOLDERS
        for path in modules(folder)
        if (lines := path.read_text(encoding="utf-8").count("\n")) > 420
    }
    assert not long


def test_importing_the_methods_imports_none_of_these():
    code = (
        "import sys, regbench.methods.registry as registry\n"
        "registry.all_methods()\n"
        "print(*sorted({'optuna', 'dfols', 'numba', 'ray', 'mlflow', 'datasets'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_no_init_makes_platform_a_package_that_hides_the_standard_librarys():
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_platform_is_the_standard_librarys_under_pytest():
    import platform

    assert platform.system()
    assert ROOT not in Path(platform.__file__).parents


@pytest.mark.parametrize("arguments", [["-c", "import platform; print(platform.system())"], ["-m", "platform"]], ids=" ".join)
def test_platform_is_the_standard_librarys_in_the_repository(arguments):
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(os.uname().sysname)


def test_every_folder_is_listed_as_a_package():
    paths = [path.relative_to(ROOT) for folder in FOLDERS for path in modules(folder)]
    found = {".".join(("regbench", *path.parent.parts)) if path != TOP else "regbench" for path in paths}
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(found | DATA.keys())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A folder that holds what the wheel of this checkout holds."""
    folder = tmp_path_factory.mktemp("wheel")
    # Built from a copy: a build leaves files beside its source, and would pack those of an earlier one.
    for name in (*FOLDERS, *DATA.values()):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (ROOT / "pyproject.toml", *ROOT.glob("README.md")):
        shutil.copy(path, folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder)]
    done = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("regbench-*.whl")
    shutil.unpack_archive(built, folder / "unpacked", "zip")
    return folder / "unpacked"


def test_the_wheel_holds_every_file_of_its_folders(wheel):
    tree = wheel.parent / "source"
    source = {path.relative_to(tree) for folder in FOLDERS for path in (tree / folder).rglob("*") if path.is_file()}
    source = source - {TOP} | {Path(TOP.name)}
    source |= {
        Path(package.removeprefix("regbench."), path.name)
        for package, folder in DATA.items()
        for path in (tree / folder).iterdir()
        if path.is_file()
    }
    packed = {path.relative_to(wheel / "regbench") for path in (wheel / "regbench").rglob("*") if path.is_file()}
    assert packed == source
    assert {Path("platform/comparison/report.html"), Path("search_spaces/suites/quickstart.yaml")} <= packed
    assert {Path(folder, "py.typed") for folder in ("platform", "methods", "search_spaces")} <= packed


def in_wheel(wheel: Path, code: str) -> str:
    """What a program prints that finds regbench in the wheel and not in this checkout."""
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=wheel.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_works_outside_the_checkout(wheel):
    printed = in_wheel(
        wheel,
        "import sys, regbench.methods, regbench.platform.cli as cli, regbench.platform.comparison.report as report\n"
        "from regbench.platform.suite.spec import read_suite\n"
        "print(regbench.methods.__file__, cli.__file__, report.__file__, read_suite('quickstart').name)\n"
        "sys.argv = ['regbench', 'list']\n"
        "cli.main()\n",
    )
    *files, suite = printed.splitlines()[0].split()
    assert all(wheel in Path(file).parents for file in files)
    assert suite == "quickstart"
    assert "label_smoothing" in printed
