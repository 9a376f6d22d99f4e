# make demo    the toy run: set up, train, prune, retrain, render; some ten minutes on two cores
# make check   linters and the tests of what is edited most: three minutes on two idle cores
# make test    lint and all tests
# make bench   all benchmarks, for hours; writes docs/performance.md (ROUNDS=1: sooner; BENCH="--only gemm": see benchmarks/report.py)
# make test-pythons   unit tests and short runs under each Python from 3.11 to 3.13 that is here
# make setup   only .venv (demo and test do it when needed)
# make lint, make docs, make results, make clean: see below
PYTHON ?= python3
CORES ?= all
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
RULES := Snakefile workflow/rules
# in this order: a machine has one Slurm at a time, and its tests wait more than they work
LONG_TESTS := tests/cluster/test_slurm.py tests/smoke tests/real tests/cluster/test_accounting.py

OFTEN := $(patsubst %,tests/unit/experiment/test_%.py,chain config footing identity papers reading schedule shipped_yaml) \
	$(patsubst %,tests/unit/reporting/test_%.py,reference_docs results) tests/unit/foundation tests/unit/claims/test_verdict.py \
	tests/unit/cli/test_verbs.py tests/unit/planning/test_checks.py tests/unit/pruning/test_schemes.py tests/contract

export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := demo
.PHONY: demo check test test-pythons bench setup lint docs results clean

demo: $(VENV)/installed
	$(BIN)/snakemake --cores $(CORES) --config preset=toy
	@echo "Tables and figures: results/toy/index.html"

check: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(OFTEN)

test: lint
	$(BIN)/python -m pytest -rs -n $(WORKERS) --dist loadfile tests/unit tests/contract tests/golden tests/dag
	$(BIN)/python -m pytest -rs -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(LONG_TESTS)

test-pythons:
	sh tests/pythons.sh

bench: $(VENV)/installed
	$(BIN)/python benchmarks/report.py $(if $(ROUNDS),--rounds $(ROUNDS)) $(BENCH)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/basedpyright
	$(BIN)/snakefmt --check $(RULES)
	$(BIN)/snakemake --lint
	$(BIN)/hadolint envs/Dockerfile
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir $(VENV)/site

# docs/configuration.md and docs/chains.md, from the schemas and from the table of steps
docs: $(VENV)/installed
	$(BIN)/python -m nmtprune docs

# docs/results.md and README's results, from the claims of the runs under results/reference
results: $(VENV)/installed
	$(BIN)/python -m nmtprune results

# What the toy run made. Other results, which may have cost days, and .venv stay.
clean:
	rm -rf results/toy results/data/toy* results/models/toy* results/logs/*/toy* results/logs/toy results/costs/*/toy* results/costs/toy results/origins/*/toy*

setup: $(VENV)/installed

$(VENV)/installed: envs/requirements.txt envs/install.sh
	@command -v $(PYTHON) > /dev/null || { echo "There is no $(PYTHON); name a Python of 3.11 to 3.13: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "$(PYTHON) is $$($(PYTHON) --version); nmtprune needs 3.11, 3.12 or 3.13 (fairseq cannot be imported by later ones): make PYTHON=/path/to/python3.11"; exit 1; }
	@command -v g++ > /dev/null || { echo "fairseq needs a C++ compiler and there is no g++; install one (Debian, Ubuntu: apt install g++)"; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || { echo "fairseq needs the headers of $(PYTHON) (Debian, Ubuntu: apt install python3-dev)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	PYTHON=$(BIN)/python sh envs/install.sh
	touch $@

$(VENV)/installed-dev: $(VENV)/installed envs/requirements-dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c envs/requirements.txt -r envs/requirements-dev.txt
	touch $@
