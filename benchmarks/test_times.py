"""CPU seconds of the tests, processes that they start and wait for included: which files are heavy, which methods exceed 8 s.

    python benchmarks/test_times.py tests/methods

takes pytest's arguments, runs the tests one after the other and prints the heaviest. A method's seconds are those of its
contract and own tests: of the test files under ``tests/methods`` that import its module. One that imports several methods
is divided among them; plain methods, with which others are compared, have no part in that.
"""

import ast
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from regbench.methods.contract_trainings import smoke, smoke_run, train
from regbench.methods.registry import all_methods

ROOT = Path(__file__).parents[1]
CONTRACT = "tests/methods/test_contract.py"
BUDGET = 8.0
SHOWN = 15


class Times:
    """A plugin of pytest that notes the CPU seconds of each test, its share of fixtures included.

    Attributes:
        files: seconds by test file, relative to the repository.
        contracts: seconds of the contract's clauses by method.
    """

    def __init__(self) -> None:
        self.files: Counter[str] = Counter()
        self.contracts: Counter[str] = Counter()

    def pytest_collection_finish(self) -> None:
        """Trains once: what PyTorch imports with the first optimizer of a process is no method's."""
        plain = all_methods()["cross_entropy"]
        train(smoke(plain), smoke_run(plain))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> object:
        """Sets up, runs and tears down a test."""
        before = cpu_seconds()
        try:
            return (yield)
        finally:
            spent = cpu_seconds() - before
            file = str(item.path.relative_to(ROOT))
            self.files[file] += spent
            parameters = getattr(getattr(item, "callspec", None), "params", {})
            if file == CONTRACT and "clause" in parameters and isinstance(parameters["method"], type):
                self.contracts[parameters["method"].slug] += spent


def cpu_seconds() -> float:
    """User and system time of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def methods_of(file: Path) -> set[str]:
    """The methods whose modules a test file imports; without plain ones, where there are others."""
    names = {node.module for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)}
    found = {slug: method for slug, method in all_methods().items() if method.__module__ in names}
    return {slug for slug, method in found.items() if slug != method.track.baseline} or set(found)


def by_method(times: Times) -> Counter[str]:
    """Seconds of contract and own tests of each method."""
    seconds = Counter(times.contracts)
    for file, spent in times.files.items():
        if file.startswith("tests/methods/") and file != CONTRACT:
            methods = methods_of(ROOT / file)
            seconds.update(dict.fromkeys(methods, spent / len(methods)) if methods else {})
    return seconds


def table(title: str, seconds: Counter[str], shown: int) -> Table:
    """The heaviest, and the sum of all."""
    found = Table("", "CPU s", title=f"{title}: {seconds.total():.0f} s")
    for name, spent in seconds.most_common(shown):
        found.add_row(name, f"{spent:.1f}")
    return found


def main() -> int:
    """Runs the tests and prints two tables."""
    times, console = Times(), Console()
    status = pytest.main(["-n0", "-q", f"--rootdir={ROOT}", *(sys.argv[1:] or [str(ROOT / "tests")])], plugins=[times])
    console.print(table("Files", times.files, SHOWN))
    methods = by_method(times)
    above = sum(spent > BUDGET for spent in methods.values())
    console.print(table("Methods, contract and own tests", methods, max(SHOWN, above)))
    console.print(f"above {BUDGET:g} s: {above} of {len(methods)} methods")
    return int(status)


if __name__ == "__main__":
    raise SystemExit(main())
