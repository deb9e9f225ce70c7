# The commands of the README. Everything is set up on first use, from the hash-locked files.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export DAGSTER_HOME := $(CURDIR)
export DAGSTER_DISABLE_TELEMETRY := 1

.PHONY: demo ui test test-fast lint peers clean lock lock-peers

demo: $(VENV)/installed ## a whole account into out/, from nothing
	$(BIN)/mogul demo

ui: $(VENV)/installed ## Dagster on the same state, on the loopback interface
	$(BIN)/mogul ui

test: $(VENV)/installed-test lint peers ## everything that is tested
	$(BIN)/dagster definitions validate -w workspace.yaml
	$(BIN)/coverage erase
	$(BIN)/pytest -n 2 --dist worksteal --cov --cov-report=
	$(BIN)/coverage report --fail-under=90 | tail -n 40

test-fast: $(VENV)/installed-test ## what needs no peer: about a minute
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not peer and not slow"

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

# A peer has an environment of its own: their dependencies contradict each other, and ours.
PEERS := .peers
LOCKS := mogul_assets_tests/peers
python_of_bigquery := 3.13
version = $(or $(python_of_$*),3.11)

peers: $(patsubst $(LOCKS)/%.lock,$(PEERS)/%/installed,$(wildcard $(LOCKS)/*.lock)) $(PEERS)/azure/installed ## the servers that tests talk to

# Nothing downloads an interpreter. Where there is none the tests of the peer are skipped with the reason, or fail in CI.
$(PEERS)/%/installed: $(LOCKS)/%.lock | $(VENV)/installed-test
	@echo "Setting up the $* peer"
	@mkdir -p $(@D)
	@if PATH="$$(pyenv prefix $(version) 2>/dev/null)/bin:$$PATH" \
	    $(BIN)/uv venv --quiet --clear --no-python-downloads --python $(version) $(@D); \
	then $(BIN)/uv pip sync --quiet --require-hashes --python $(@D)/bin/python $< && touch $@; \
	else mkdir -p $(@D) && echo "there is no Python $(version)" > $(@D)/missing; fi

$(PEERS)/azure/installed: $(LOCKS)/azure/package-lock.json $(LOCKS)/azure/package.json
	@echo "Setting up the azure peer"
	@mkdir -p $(@D)
	@if command -v npm > /dev/null; \
	then cp $^ $(@D) && npm ci --prefix $(@D) --silent --no-audit --no-fund && touch $@; \
	else echo "there is no npm" > $(@D)/missing; fi

lock: $(VENV)/installed-test ## after a change of dependencies
	$(BIN)/uv lock --quiet
	$(BIN)/uv export --quiet --no-header --no-annotate --no-emit-project --no-dev --format requirements-txt > requirements.lock
	$(BIN)/uv export --quiet --no-header --no-annotate --no-emit-project --format requirements-txt > requirements-test.lock

lock-peers: $(patsubst $(LOCKS)/%.in,lock-%,$(wildcard $(LOCKS)/*.in)) ## after a change of a peer's dependencies
	cd $(LOCKS)/azure && npm install --package-lock-only --omit-lockfile-registry-resolved --silent --no-audit --no-fund

lock-%: $(VENV)/installed-test
	cd $(LOCKS) && $(CURDIR)/$(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate \
	  --python-version $(version) --output-file $*.lock $*.in

clean: ## what the demo made; the environment stays
	rm -rf out history schedules storage logs .nux .telemetry
