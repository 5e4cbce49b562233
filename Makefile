# `make run` and `make test` do everything on a fresh machine with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run test check ui install install-dev clean

help:  ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: install  ## install, run the main job on real data, print the forecast
	@$(BIN)/cbi run

test: install-dev  ## lint, type check, and the whole test suite
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@DAGSTER_DISABLE_TELEMETRY=yes $(BIN)/dg check defs
	@$(BIN)/python -m pytest

ui: install  ## open the Dagster UI on http://127.0.0.1:3000
	@$(BIN)/cbi ui

install: $(VENV)/.installed  ## create .venv with the tested versions
install-dev: $(VENV)/.installed-dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "CBI needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing CBI into $(VENV) (a few minutes the first time) ..."
	@$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[gcp,dev]'
	@touch $@

clean:  ## remove the environment and everything that was computed; bundles and models are kept
	rm -rf $(VENV) .dagster data/artifacts .pytest_cache .mypy_cache .ruff_cache
