# Each target works as the only command on a fresh machine with Python 3.11 or 3.12 and git.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all parity lint setup clean

demo: setup
	$(BIN)/python scripts/demo.py

# One thread a process: two that each spin on all cores wait for each other.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal --durations=15

# What every change must pass: minutes.
test: setup
	$(PYTEST) -m "not full"

# Every test: the other members, all planted faults, long runs, what strangers get wrong.
test-all: setup
	$(PYTEST)

# The gate: all checks of every shipped member in both modes of MindSpore, with reports.
parity: setup
	$(BIN)/python scripts/parity.py gate --jobs 2 --report reports --junit reports/junit.xml

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

setup: .venv/installed

# Stamped, so that a second run starts at once and a changed pin installs again.
.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

clean:
	rm -rf .venv reports
