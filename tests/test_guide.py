"""The author's guide shows what is: the worked example is the method's file, and the other sketches keep the contract."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from regbench.methods.contract import CLAUSES, NotApplicable, distributed
from regbench.methods.method import Method
from regbench.methods.registry import methods_in
from regbench.search_spaces.ranges import all_spaces

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
BEGINNING = next(block for block in BLOCKS if block.startswith("import math"))
SKETCHES = dict(re.findall(r"`(\w+)\.py`\n\n```python\n(.*?)```", GUIDE, flags=re.DOTALL))


@pytest.fixture(scope="module")
def sketches(tmp_path_factory) -> dict[str, type[Method]]:
    """Each sketch as a module of its own, outside the package, as an author elsewhere would have it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    sys.path.insert(0, str(folder))
    for slug, code in SKETCHES.items():
        (folder / f"{slug}.py").write_text(f"{BEGINNING}\n\n{code}", encoding="utf-8")
    importlib.invalidate_caches()
    yield {slug: methods_in(slug)[slug] for slug in SKETCHES}
    sys.path.remove(str(folder))


def test_the_worked_example_is_the_method():
    assert BLOCKS[0] == (ROOT / "methods" / "classification" / "mixup.py").read_text(encoding="utf-8")


def test_the_search_space_line_is_in_its_module():
    line = BLOCKS[1]
    assert line in (ROOT / "search_spaces" / "classification.py").read_text(encoding="utf-8")
    assert "alpha" in all_spaces()["mixup"]


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("slug", SKETCHES)
def test_a_sketch_keeps(sketches, slug, clause):
    try:
        clause(sketches[slug])
    except NotApplicable as nothing:
        pytest.skip(str(nothing))


def test_sketches_train_on_two_workers(sketches):
    assert len(sketches) == 5
    distributed(*sketches.values())
