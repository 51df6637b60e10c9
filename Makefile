# `make run` installs into .venv and plays the bundled drive; `make test` installs and tests; `make test-cuda` also tests
# what runs on NVIDIA cards, without one.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml CMakeLists.txt $(shell find fusion_rt nodes configs -type f -not -name '*.pyc')

.PHONY: run test test-cuda lint clean

run: $(VENV)/.run
	$(BIN)/fusion-rt run configs/driving.yaml

# Whose names the tests compare with ours: version -> folder; they need no GPU.
BINDINGS := build/tensorrt-bindings

test: $(VENV)/.test $(BINDINGS)/10 $(BINDINGS)/11
	$(BIN)/pytest --numprocesses 2  # many wait for processes and sockets

# The NVIDIA path on a driver without a card; on a machine with one: make test-cuda CUDA=card
CUDA ?= stub
test-cuda: $(VENV)/.cuda
	FUSION_RT_CUDA=$(CUDA) $(BIN)/pytest tests/cuda

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

$(BINDINGS)/%: | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-deps --target $@.part 'tensorrt-cu13-bindings==$*.*'
	mv $@.part $@

$(VENV)/.cuda: $(VENV)/.test
	$(BIN)/python -m pip install --quiet '.[test,sim,train,cuda]'
	touch $@

clean:
	rm -rf $(VENV) build dist
