# Each target makes .venv when it is missing or pyproject.toml has changed; pictures go to out/.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint check slow bench clean

demo: .venv/.cpu
	$(BIN)/overpaint demo --out out --overwrite

# Two processes, a test file each at a time; torch's threads would only wait for one another.
test: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/.dev build/typing/overpaint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

# Needs about 16 GB of memory, 12 GB of disk and half an hour.
slow: .venv/.dev
	$(BIN)/pytest -m slow

# Needs a quiet machine, a C++ compiler and an hour and a half; see `python -m benchmarks.peers --help` for other models and sizes.
bench: .venv/.bench
	$(BIN)/python -m benchmarks.cold --write
	$(BIN)/python -m benchmarks.steps --size 256 --steps 10 --write
	$(BIN)/python -m benchmarks.diffusers_pair --write
	$(BIN)/python -m benchmarks.upscale --write
	$(BIN)/python -m benchmarks.inpaint --write
	$(BIN)/python -m benchmarks.sharing --write
	$(BIN)/python -m benchmarks.serving h200 --write
	$(BIN)/python -m benchmarks.serving engines --count 100 --arrivals 100 --write
	$(BIN)/python -m benchmarks.serving peers --count 60 --arrivals 60 --write
	$(BIN)/python -m benchmarks.serving server --write
	$(BIN)/python -m benchmarks.peers --plot benchmarks/results/peers.png --write

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "overpaint needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

.venv/.cpu: .venv/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[cpu]'
	touch $@

.venv/.dev: .venv/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

.venv/.bench: .venv/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[bench]'
	touch $@

# The type checker has to find the package under its own name, whatever the checkout is called.
build/typing/overpaint:
	mkdir -p build/typing
	ln -sfn "$(CURDIR)" $@

clean:
	rm -rf .venv build out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
