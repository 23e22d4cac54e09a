# Two commands do all the set-up: `make demo` shows a login, `make test` runs the suite.
# Each target installs into .venv only what it needs, and again only when pyproject.toml changes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP     = $(BIN)/python -m pip install --quiet --disable-pip-version-check
TESTS  ?= tests

# Options for pytest, as in: make test PYTEST_ARGS="-k scram -x"
PYTEST_ARGS ?=

# For make fuzz: how long for each parser, which ones (all of them by default), how many attackers.
FUZZ_SECONDS ?= 20
FUZZ_PARSERS ?=
FUZZ_ATTACKS ?= 5000

# For make bench, as in: make bench BENCH_ARGS="--only scram --json out.json"
BENCH_ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv test check format interop peers demo wheel-test matrix fuzz bench clean
.PHONY: check-ruff check-format check-mypy check-pyright check-laws

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.has-check ## Everything a developer needs, in .venv

test: $(VENV)/.has-test ## The whole suite, real peers apart
	@$(BIN)/pytest -n auto $(TESTS) --ignore=tests/interop $(PYTEST_ARGS)

check: check-ruff check-format check-mypy check-pyright check-laws ## ruff, mypy and pyright (strict), the import laws

check-ruff: $(VENV)/.has-check
	$(BIN)/ruff check
check-format: $(VENV)/.has-check
	$(BIN)/ruff format --check
check-mypy: $(VENV)/.has-check
	$(BIN)/mypy
check-pyright: $(VENV)/.has-check
	$(BIN)/pyright
check-laws: $(VENV)/.has-check
	$(BIN)/lint-imports --no-cache --no-logo

format: $(VENV)/.has-check ## Let ruff mend what it can
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

interop: $(VENV)/.has-test peers ## Real peers: gsasl, Cyrus SASL, OpenLDAP, PostgreSQL, Prosody, ...
	@$(BIN)/pytest -n 2 --dist loadfile tests/interop $(PYTEST_ARGS)

demo: $(VENV)/.has-cli ## A server and a client on loopback; each login drawn
	@$(BIN)/sasl demo

wheel-test: ## The suite against the built wheel, away from the source tree
	@PYTHON="$(PYTHON)" PYTEST_ARGS="$(PYTEST_ARGS)" bash .ci/wheel-test

matrix: ## The suite on each supported Python that this machine has
	@PYTEST_ARGS="$(PYTEST_ARGS)" bash .ci/matrix

# What a parser chokes on is kept in tests/fuzz/corpus, where the suite tries it ever after.
fuzz: $(VENV)/.has-fuzz ## Fuzz each parser for FUZZ_SECONDS, and the protocol between attackers
	@$(BIN)/python tests/tools/fuzz.py --seconds $(FUZZ_SECONDS) $(FUZZ_PARSERS)
	@SASL_ATTACKS=$(FUZZ_ATTACKS) $(BIN)/pytest -q tests/attacker

# From the repository's root, where the folder bench/ is found as a package.
bench: $(VENV)/.has-bench ## Speed beside the floor and other libraries, as a table (docs/speed.md)
	@$(BIN)/python -m bench $(BENCH_ARGS)

clean: ## Remove what was made, .venv too
	rm -rf $(VENV) .venv-3.* .fuzz .peers dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# For the interop tests: packages of npm and of Python in .peers; Debian's where there is root and apt.
peers:
	@PYTHON="$(PYTHON)" bash .ci/peers

# ---------------------------------------------------------------------------------------------------
# One environment, five fillings, each with a stamp of its own.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sasl-core needs Python 3.11 or later; try: make PYTHON=python3.11")'
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.has-cli: pyproject.toml | $(BIN)/python
	@echo "installing sasl-core with its command line"
	@$(PIP) --editable '.[cli]'
	@touch $@

$(VENV)/.has-test: pyproject.toml | $(BIN)/python
	@echo "installing sasl-core and what its tests need"
	@$(PIP) --editable '.[cli,test]'
	@touch $@ $(VENV)/.has-cli

$(VENV)/.has-bench: pyproject.toml | $(BIN)/python
	@echo "installing sasl-core, its command line, and what it is measured against"
	@$(PIP) --editable '.[cli,bench]'
	@touch $@ $(VENV)/.has-cli

$(VENV)/.has-fuzz: pyproject.toml | $(BIN)/python
	@echo "installing sasl-core, what its tests need, and the fuzzer"
	@$(PIP) --editable '.[cli,test,fuzz]'
	@touch $@ $(VENV)/.has-test $(VENV)/.has-cli

$(VENV)/.has-check: pyproject.toml | $(BIN)/python
	@echo "installing sasl-core, what its tests need, and the checkers"
	@$(PIP) --editable '.[cli,test,check]'
	@touch $@ $(VENV)/.has-test $(VENV)/.has-cli
