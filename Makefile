# Everything here needs python3, pip and make, nothing else; the first target that runs sets up .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup setup-bench demo check test lint types bench torture clean docs site

help:
	@echo "make demo    set up, train the MNIST CNN, evaluate it, predict with it"
	@echo "make check   lint, check types, run the fast tests"
	@echo "make test    lint, check types, run all tests and measure their coverage"
	@echo "make torture  disturb training in thousands of ways (minutes; COUNT, SEED, JOBS, TRIALS)"
	@echo "make setup | lint | types | bench | docs | site | clean"

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

$(VENV)/ready-bench: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,bench]'
	touch $@

setup: $(VENV)/ready

demo: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" ./recipes/demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# Two processes run the tests; one that has finished its share takes over tests of the other.
PARALLEL := -n 2 --dist worksteal

check: lint types
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

test: lint types
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term:skip-covered --cov-fail-under=90

bench: $(VENV)/ready-bench
	$(BIN)/python -m bench

# Of each kind of trials COUNT, drawn by SEED; COUNT=all for all of them. docs/reliability.md has the figures.
TRIALS ?= faults kills parents damage power
COUNT ?= 600
SEED ?= 0
JOBS ?= 2

torture: setup
	PYTHONPATH=tests $(BIN)/python -m torture $(TRIALS) --count $(COUNT) --seed $(SEED) --jobs $(JOBS)

site: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "build/site/index.html"

docs: setup
	$(BIN)/python -m dltrain.config.generate

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage .coverage.*
