# The commands of the README. Everything is set up on first use, from the hash-locked files.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export DAGSTER_HOME := $(CURDIR)
export DAGSTER_DISABLE_TELEMETRY := 1

.PHONY: demo ui test lint clean lock

demo: $(VENV)/installed ## a whole account into out/, from nothing
	$(BIN)/mogul demo

ui: $(VENV)/installed ## Dagster on the same state, on the loopback interface
	$(BIN)/mogul ui

test: $(VENV)/installed-test lint ## everything that is tested
	$(BIN)/dagster definitions validate -w workspace.yaml
	$(BIN)/coverage erase
	$(BIN)/pytest -n 2 --dist worksteal --cov --cov-report=
	$(BIN)/coverage report --fail-under=90 | tail -n 40

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# --no-deps: the lock names everything, and pip takes an extra of a locked package for an unlocked one.
LOCKED := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r

$(VENV)/installed: requirements.lock pyproject.toml
	@echo "Setting up $(VENV), once: about a minute"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(LOCKED) requirements.lock
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/installed-test: requirements-test.lock $(VENV)/installed
	@echo "Adding what the tests need"
	$(LOCKED) requirements-test.lock
	@touch $@

lock: ## after a change of dependencies; wants uv
	uv lock --quiet
	uv export --quiet --no-header --no-annotate --no-emit-project --no-dev --format requirements-txt > requirements.lock
	uv export --quiet --no-header --no-annotate --no-emit-project --format requirements-txt > requirements-test.lock

clean: ## what the demo made; the environment stays
	rm -rf out history schedules storage logs .nux .telemetry
