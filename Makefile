# `make run` installs into .venv and plays the bundled drive; `make test` installs and tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml CMakeLists.txt $(shell find fusion_rt nodes configs -type f -not -name '*.pyc')

.PHONY: run test lint clean

run: $(VENV)/.run
	$(BIN)/fusion-rt run configs/driving.yaml

test: $(VENV)/.test
	$(BIN)/pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.run: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet .
	touch $@

$(VENV)/.test: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet '.[test,sim,train]'
	touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) build dist
