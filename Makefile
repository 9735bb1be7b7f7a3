# `make bench` and `make test` need Python 3.11 or newer and nothing else; both make .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL ?= $(BIN)/python -m pip install --quiet
UV := .uv/bin/uv
SAMPLERS ?= ddim,dpm

.PHONY: bench test lint docs picture package lowest check-all clean

bench: $(VENV)/.installed
	$(BIN)/samplerbench run --samplers $(SAMPLERS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the distributions, built and tried in an empty environment
package: $(UV)
	.ci/package $(UV)

# the tests with the oldest dependencies that pyproject.toml allows, and without its extras
lowest: $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .lowest
	$(UV) pip install --quiet --python .lowest --resolution lowest-direct --editable . 'pytest>=8' 'pytest-xdist>=3.6'
	.lowest/bin/python -m pytest --numprocesses auto --maxprocesses 4

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
	$(INSTALL) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) --editable '.[dev]'
	touch $@

# uv keeps one copy of torch for all environments
$(UV):
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet uv

$(VENV)/.installed-docs: $(VENV)/.installed
	$(INSTALL) --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) .uv .lowest build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
