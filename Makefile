# Two commands: `make demo` runs the whole pipeline, `make test` checks everything. Both set themselves up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# tests wait a lot, so there are more of them at once than processors; which belong together is in tests/conftest.py; in
# the order of the folders, for files of few but long tests would come last otherwise
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder

# without compiled modules every process that a test starts would compile them anew: three times the work
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test pytest test-fast lint docs bench clean

demo: $(VENV)/.demo
	$(BIN)/sightwords demo

test: lint pytest

pytest: $(VENV)/.compiled
	$(BIN)/python -m pytest $(PARALLEL)

# leaves out the slow tests: the fast round while working
test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

# the site, in site/
docs: $(VENV)/.dev
	$(BIN)/python scripts/write_reference.py
	$(BIN)/zensical build --strict --clean

# every figure of docs/benchmarks.md, on this machine
bench: $(VENV)/.dev
	$(BIN)/python benchmarks/bench.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# a pip of today, which finds the versions twice as fast as the one that comes with Python 3.11
$(VENV)/bin/python:
	$(PYTHON) -m venv --upgrade-deps $(VENV)

# pip chooses torch and torchvision together, from one index; it need not compile the 25,000 modules that there are, for
# Python compiles those that are imported
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --editable

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(INSTALL) ".[minilm]"
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(INSTALL) ".[dev]"
	@touch $@

# one process compiles what tests import, beside mypy, before three would each do it
$(VENV)/.compiled: $(VENV)/.dev
	-$(BIN)/python -m pytest --collect-only -qq >/dev/null
	@touch $@

clean:
	rm -rf $(VENV) sightwords-demo
