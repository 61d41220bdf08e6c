# `make help` lists what there is. Everything runs in an environment of its own, .venv/.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The newest Python that can make an environment; failing that, any that is new enough, to say what it lacks.
PYTHON ?= $(shell for need in venv,ensurepip sys; do for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c "import $$need, sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null && { echo "$$p"; exit; }; done; done)
VENV := .venv
BIN := $(VENV)/bin
# The database of `make demo` and `make serve`, unless you name another.
export COUNTERFOIL_HOME ?= $(CURDIR)/var
PYTEST_ARGS ?=
BENCH_ARGS ?= --quick

.PHONY: help demo test check fix serve bench lock clean
help: ## List the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-8s %s\n", $$1, $$2}'

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "Counterfoil needs Python 3.11 or newer, and there is none on the PATH. Install it, or say: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { echo "This Python has no venv. On Debian and Ubuntu: apt-get install python3-venv. Then run the same command again." >&2; exit 1; }
	@echo "Making $(VENV) with $$("$(PYTHON)" --version) ..."
	@"$(PYTHON)" -m venv $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing what it runs on (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@echo "Installing what the tests need (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/.run ## Take a year of real retail data through the platform, and see what became of every voucher
	@$(BIN)/counterfoil demo

serve: $(VENV)/.run ## Run the API, the pages and the worker on http://127.0.0.1:8080
	@$(BIN)/counterfoil serve

test: $(VENV)/.dev ## Run the tests (PYTEST_ARGS="-k link" for some)
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: $(VENV)/.dev ## Check style, types and the rules of the house
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

fix: $(VENV)/.dev ## Mend what can be mended by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.dev ## Run the benchmarks (BENCH_ARGS= for the full sizes; see benchmarks/README.md)
	@for bench in benchmarks/[a-z]*.py; do echo "== $$bench"; $(BIN)/python "$$bench" $(BENCH_ARGS); done

lock: ## Resolve the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate --extra demo --group build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate --extra demo --extra spark --group build --group dev -c requirements.lock \
		pyproject.toml -o requirements-dev.lock

clean: ## Remove the environment and what the demo made
	rm -rf $(VENV) demo-out var
