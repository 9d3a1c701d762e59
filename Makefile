# make demo    set up, then watch one honest prover and three dishonest ones
# make test    set up, then everything that continuous integration checks
#
# The environment is .venv: made if it is not there, filled from pyproject.toml at the versions of constraints.txt, and
# filled again only when one of the two changes. PYTHON=python3.12 chooses the interpreter, JOBS=8 the test workers.

SHELL := /bin/sh
.SUFFIXES:
.DELETE_ON_ERROR:

BIN := .venv/bin
STAMP := .venv/.installed
JOBS ?= 2
NEW_ENOUGH := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$python -c '$(NEW_ENOUGH)' 2>/dev/null; then echo $$python; break; fi; done)

GENERATED := attribution_pb2.py attribution_pb2.pyi attribution_pb2_grpc.py attribution_pb2_grpc.pyi

.PHONY: help demo test install proto lint types imports fresh vectors unit slow bench clean

help:
	@echo 'make demo     set up, then one honest prover and three dishonest ones on loopback'
	@echo 'make test     set up, then all that continuous integration checks:'
	@echo '              lint types imports fresh vectors unit (each is a target of its own)'
	@echo 'make slow     set up, then search ten minutes for what breaks the default certificate'
	@echo 'make bench    set up, then the figures of benchmarks/RESULTS.md'
	@echo 'make proto    regenerate protocol/wire/generated from proto/attribution.proto'
	@echo 'make clean    remove .venv and every cache'

demo: $(STAMP)
	$(BIN)/python tests/journeys/demo.py

test: lint types imports fresh vectors unit

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n '$(PYTHON)' || { echo 'expected Python 3.11 to 3.14 on the path, found none: install one, or make PYTHON=...'; \
		exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

proto: $(STAMP)
	$(BIN)/python proto/generate.py protocol/wire/generated

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

# The generated code is committed, so that installing needs no compiler; it must be what the compiler makes.
fresh: $(STAMP)
	@made=$$(mktemp -d) && trap 'rm -rf "$$made"' EXIT && $(BIN)/python proto/generate.py "$$made" && for file in $(GENERATED); do \
		cmp "$$made/$$file" "protocol/wire/generated/$$file" || { echo 'stale generated code: run make proto'; exit 1; }; \
	done

vectors: $(STAMP)
	@if test -f proto/check_vectors.py; then $(BIN)/python proto/check_vectors.py; else \
		echo 'proto/check_vectors.py is not there yet: the vectors are unchecked'; fi

# One thread a worker: the workers share the cores already.
unit: $(STAMP)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m 'not gpu'

# Not part of test: what matters of it is there with fixed seeds.
slow: $(STAMP)
	$(BIN)/python -m benchmarks.adversary --seconds 400
	$(BIN)/python -m benchmarks.adversary --seconds 200 --answers delegated

bench: $(STAMP)
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
