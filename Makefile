# `make`: set up in .venv and run the benchmark; `make test`: check the program. Needs Python 3.11 or newer and make.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: all run setup verify test test-slow test-slurm simulation bench bench-gpu growth lint clean

all: run

run: $(BIN)/.ready
	@snakemake

setup: $(BIN)/.ready

# the main job's results against the published digests, ARGS="--tier small" for those of another tier
verify: run
	@bnbench verify $(ARGS)

# the lock file first, as pinned; then this project on top, in place
$(BIN)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	-@$(BIN)/python -m bnbench.arithmetic.build
	touch $@

# what the tests and checks need besides
$(BIN)/.ready-dev: $(BIN)/.ready requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	touch $@

test: $(BIN)/.ready-dev
	pytest -n 2 -m "not slow"

test-slow: $(BIN)/.ready-dev
	pytest -n 2 -m "slow and not slurm"

# error rates and power of verdicts; prints the table of docs/statistics.md
simulation: $(BIN)/.ready-dev
	@python -m tests.claims.simulation

# on a cluster of its own, on this machine alone; as root, with Debian's slurmctld slurmd slurm-client munge
test-slurm: $(BIN)/.ready-dev
	pytest -m slurm

# the programs that this one is timed against
$(BIN)/.ready-bench: $(BIN)/.ready requirements-bench.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock -r requirements-bench.lock
	touch $@

# ARGS="--grids a b --rounds 3": see benchmarks/README.md
bench: $(BIN)/.ready-bench
	@python -m benchmarks.compare $(ARGS)

# needs a GPU and a torch built for it
bench-gpu: $(BIN)/.ready
	@python -m benchmarks.gpu $(ARGS)

growth: $(BIN)/.ready-bench
	@python -m benchmarks.growth $(ARGS)

lint: $(BIN)/.ready-dev
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	snakefmt --check workflow
	snakemake --lint

clean:
	rm -rf .snakemake $$($(PYTHON) -P src/bnbench/core/paths.py)
