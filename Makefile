# `make run` and `make test` do everything on a fresh machine with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test month ui install install-dev install-emulators clean

help:  ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: install  ## install, run the main job on real data, print the forecast
	@$(BIN)/cbi run

test: install-dev install-emulators  ## lint, type check, check the definitions and generated pages, and run the whole test suite
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@mkdir -p .dagster && cp dagster.yaml .dagster/dagster.yaml
	@DAGSTER_HOME=$(CURDIR)/.dagster $(BIN)/dg check defs
	@$(BIN)/cbi features dictionary --check
	@$(BIN)/cbi features life --check
	@$(BIN)/cbi sources coverage --check
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

month: install-dev  ## live through December 2024 in a real daemon, about half an hour; writes docs/simulated_month.md
	@OMP_NUM_THREADS=1 $(BIN)/python -m cbi_pipeline_tests.month

ui: install  ## open the Dagster UI on http://127.0.0.1:3000
	@$(BIN)/cbi ui

install: $(VENV)/.installed  ## create .venv with the tested versions
install-dev: $(VENV)/.installed-dev

install-emulators: install-dev  ## the BigQuery server of the tests, in .emulators (needs Python 3.13)
	@$(BIN)/python cbi_pipeline_tests/install_emulators.py

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "CBI needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Run: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11")'
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing CBI into $(VENV) (a few minutes the first time) ..."
	@$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[gcp,dev]'
	@touch $@

clean:  ## remove the environment and all that can be computed again; bundles, models and the warehouse are kept
	rm -rf $(VENV) .emulators .dagster data/artifacts .pytest_cache .mypy_cache .ruff_cache
