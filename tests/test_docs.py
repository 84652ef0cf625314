"""The documentation says what is true: its commands exist, its links lead somewhere, its generated pages are fresh."""

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import typer
import yaml

from regbench.methods import plugins
from regbench.methods.registry import create, method_class
from regbench.methods.shared import data as data_sets
from regbench.platform.cli import app
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import parse_suite
from regbench.search_spaces import ready_made_suites

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
METHOD_PAGES = sorted((ROOT / "docs" / "methods").glob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MAKE = {"make demo", "make test"}
# Programs of others, which the guide to clusters needs.
OTHERS = {"ray", "kubectl", "RAY_AUTH_MODE=token"}


def blocks(page: Path, *languages: str) -> list[str]:
    return [code for language, code in FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


def commands(page: Path) -> list[str]:
    """Shell commands of a page: lines after ``$`` of sessions, lines of scripts, and ``regbench …`` within the text."""
    sessions = [line[2:] for code in blocks(page, "console") for line in code.splitlines() if line.startswith("$ ")]
    scripts = [line for code in blocks(page, "bash", "sh", "shell") for line in code.splitlines() if line.strip()]
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return sessions + [line for line in scripts if not line.startswith("#")] + re.findall(r"`(regbench [^`]+)`", text)


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("page", "command"), [(page.name, command) for page in PAGES for command in commands(page)])
def test_every_command_is_one_that_exists(page, command, monkeypatch):
    for holder, name in ((plugins, "_active"), (data_sets, "_defined")):
        monkeypatch.setattr(holder, name, {})
    if "--plugin" in command:
        # A plugin of the reader's; test_your_own_page.py has it.
        return
    if command in MAKE:
        target = command.removeprefix("make ")
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    program, *arguments = shlex.split(command, comments=True)
    if program in OTHERS:
        return
    assert program == "regbench"
    found = typer.main.get_command(app)
    while hasattr(found, "commands"):
        name, *arguments = arguments
        found = found.commands[name]
    if command == f"regbench {name}":
        # Named within the text.
        return
    given = found.make_context(name, arguments).params
    method, suite = given.get("method"), given.get("suite")
    if method and not method.isupper():
        create(method, dict(pair.split("=") for pair in given.get("settings") or []))
        assert not given.get("data") or given["data"] in method_class(method).track.data
    if suite and not suite.isupper() and not suite.endswith(".yaml"):
        assert suite in ready_made_suites()


def test_generated_pages_are_fresh(generator):
    assert {f"methods/{page.name}" for page in METHOD_PAGES} == {
        page for page in generator.PAGES if page.startswith("methods/")
    }
    stale = [page for page, text in generator.PAGES.items() if (ROOT / "docs" / page).read_text(encoding="utf-8") != text()]
    assert not stale, "run: python docs/generate.py"


@pytest.mark.parametrize("page", [*PAGES, *METHOD_PAGES], ids=lambda page: page.name)
def test_links_within_the_documentation_resolve(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def own(suite: str) -> bool:
    """Whether a suite needs files of the reader's; ``test_your_own_page.py`` follows the page that has these."""
    return "plugins:" in suite or "csv:" in suite or "images:" in suite


@pytest.mark.parametrize(
    "text",
    [code for page in PAGES for code in blocks(page, "yaml") if not own(code)],
    ids=lambda text: text.partition("\n")[0],
)
def test_every_suite_can_be_planned(text):
    assert studies(parse_suite(yaml.safe_load(text)))


def test_every_page_is_reached_from_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {page.name for page in PAGES if f"docs/{page.name}" in readme} == {
        path.name for path in (ROOT / "docs").glob("*.md")
    }
