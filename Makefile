# Two commands matter: `make demo` runs the main job, `make test` passes the tests. Both set up everything they need, as does
# `make quick`: all tests but those that start processes or train at length.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# What is compiled once serves the hundreds of processes that sweeps and tests start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test quick lint types setup clean

demo: setup
	$(BIN)/regbench sweep quickstart --continue

test: setup lint types
	$(BIN)/python -m pytest

quick: setup lint
	$(BIN)/python -m pytest -m "not costly"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy follows folders, not the mapping of pyproject.toml: it gets a tree of links.
types: setup
	mkdir -p build/types/regbench
	for part in platform methods search_spaces clusters; do ln -sfn ../../../$$part build/types/regbench/$$part; done
	ln -sfn ../../../platform/package/__init__.py build/types/regbench/__init__.py
	MYPYPATH=build/types $(BIN)/mypy -p regbench

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@# Most of what is installed is never imported: what is, is compiled then.
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# For their own tests alone: other packages would find torchvision, too, see tests/vision_libraries.py.
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check -c constraints.txt --no-deps --upgrade \
		--target $(VENV)/vision torchvision timm
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
