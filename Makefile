# One line each: `make run` shows what this project does, `make test` shows that it works.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
# `:=`, so that every line of a recipe sees the same folder
SWEEP := runs/first-light/$(shell date +%Y-%m-%d_%H-%M-%S)

.DEFAULT_GOAL := help
.PHONY: help run test faults bench bench-gpu lint lock sbom clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

run: $(STAMP) ## train on the built-in corpus with and without a correlation head and print the table (minutes)
	$(BIN)/python -m xmtc.run -m head=none,lcenet hydra.sweep.dir=$(SWEEP)
	$(BIN)/python -m xmtc.report $(SWEEP)

test: $(STAMP) ## run the test suite
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

faults: $(STAMP) ## kill runs and ranks, harm files, disks, memory and clocks, fuzz, mutate, soak, and look at what comes of it (hours)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.kills --kills 500 --where anywhere --log runs/faults.jsonl
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.kills --kills 500 --where writing --log runs/faults.jsonl
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.ranks --cases 20 --log runs/ranks.jsonl
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.damage --cases 10000 --log runs/damage.jsonl
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.fuzz --plain --inputs 20000 --seeds 50 --log runs/fuzz.jsonl
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.disk --cases 200 --log runs/disk.jsonl
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.restarts --kills 400 --log runs/restarts.jsonl
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.cache --cases 200 --log runs/cache.jsonl
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.memory --cases 200 --log runs/memory.jsonl
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.reading --cases 200 --log runs/reading.jsonl
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.clock --cases 100 --log runs/clock.jsonl
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.mutants --log runs/mutants.jsonl
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.soak --minutes 120 --log runs/soak.jsonl

# those with sizes are run smaller than on a GPU
BENCHES := classifier "classifier --labels 3000000" convolution estimate evaluation loader predict prepare scaling sharded svm \
  labelcorank step "wiki500k-step --documents 16 --words 20000 --labels 20000"

bench: $(STAMP) ## measure everything that needs no GPU; a JSON line each
	@for name in $(BENCHES); do $(BIN)/python -m xmtc.bench $$name --json || exit 1; done

bench-gpu: $(STAMP) ## measure on a GPU: the whole step, and at Wiki-500K's shape
	@for name in step wiki500k-step; do $(BIN)/python -m xmtc.bench $$name --json || exit 1; done

lint: $(STAMP) ## check style and types
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

# 3.11.5: what some of the packages ask for. CPU: a folder, or a page of links, with torch's CPU wheels
LOCK := $(BIN)/python -m uv pip compile -q pyproject.toml --extra all --constraint constraints.txt --generate-hashes \
  --python-version 3.11.5 --no-annotate --custom-compile-command 'make lock'

lock: $(STAMP) ## list what `.[all]` brings with the SHA-256 of every file (from the package index; CPU=... for torch's CPU build)
	$(PIP) install -q 'uv>=0.9'
	$(LOCK) --universal --output-file requirements.lock
	[ -z "$(CPU)" ] || $(LOCK) --find-links $(CPU) --python-platform x86_64-manylinux_2_28 --output-file requirements-cpu.lock

SBOM := cyclonedx_py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --output-format JSON

sbom: $(STAMP) ## the bill of materials of `.[all]` with checksums, from requirements.lock, as dist/sbom.json (CycloneDX)
	$(PIP) install -q -c constraints.txt 'cyclonedx-bom>=7'
	mkdir -p dist
	$(BIN)/python -m $(SBOM) --output-file dist/sbom.json

clean: ## remove the environment and caches; runs, stores and corpora stay
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installed again whenever what to install has changed, so that `git pull` needs nothing else.
# torch comes first and alone: it is by far the largest, and a failure there is then easy to read.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "xmtc needs Python 3.11 or newer, but PYTHON=$(PYTHON) is `$(PYTHON) --version 2>&1`:" \
	       "try make PYTHON=python3.11" >&2; exit 2; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) install -q --no-compile -c constraints.txt torch==2.13.0
	$(PIP) install -q --no-compile -c constraints.txt -e '.[all,test]'
# twenty thousand files, which pip would compile on one core; a few are templates and no Python
	@$(BIN)/python -W ignore -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@
