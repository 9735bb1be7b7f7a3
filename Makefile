# `make bench` and `make test` need Python 3.11 or newer and nothing else; both make .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SAMPLERS ?= ddim,dpm

.PHONY: bench test lint check-all clean

bench: $(VENV)/.installed
	$(BIN)/samplerbench run --samplers $(SAMPLERS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# every sampler on every kind of path: three minutes
check-all: $(VENV)/.installed
	$(BIN)/samplerbench check all --paths all

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
