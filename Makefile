# `make bench` and `make test` need Python 3.11 or newer and nothing else; both make .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SAMPLERS ?= ddim,dpm

.PHONY: bench test lint docs picture check-all clean

bench: $(VENV)/.installed
	$(BIN)/samplerbench run --samplers $(SAMPLERS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the documentation as a site, in build/docs; every link in it is checked
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# README's picture, from the committed results; needs Chromium
picture: $(VENV)/.installed-dev
	$(BIN)/python docs/picture.py

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

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
