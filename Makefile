# Two commands: `make run` bills a sample from an empty checkout, `make test` runs every test.
# Python 3.11 and make are all they need.
PYTHON ?= $(or $(shell command -v python3.11),python3)
BIN := .venv/bin
SAMPLE := data/sample_feeds

# Handed on through the environment, so that no shell reads what an id contains.
export LINE

.PHONY: run test test-slow bill explain lint ui

.venv/.installed: requirements.lock
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))" || { echo "Python 3.11 is needed; name it with PYTHON=..."; exit 1; }
	@echo "Installing the pinned requirements into .venv (about a minute, once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile -r requirements.lock
	@touch $@

## run: generate six weeks of sample feeds, bill them, publish, say what was billed
run: .venv/.installed
	@$(BIN)/python -m orchestration.sample $(SAMPLE)
	@SEEDS_DIR=seeds FEEDS_URL=$(SAMPLE) DATA_DIR=data BOOKS_OPEN_ON=2026-01-05 \
		$(BIN)/python -m orchestration.bill 2026-01-05 2026-02-15

## bill: bill delivery days FROM to TO with SEEDS_DIR, FEEDS_URL and DATA_DIR from the environment
bill: .venv/.installed
	@test -n "$(FROM)" && test -n "$(TO)" || { echo "Usage: make bill FROM=2026-01-05 TO=2026-01-31"; exit 2; }
	@$(BIN)/python -m orchestration.bill $(FROM) $(TO)

## test: every test but the slow ones
test: .venv/.installed
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

## test-slow: the tests that take minutes each: faults, floods, browsers
test-slow: .venv/.installed
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

## lint: what CI checks besides the tests; sqlfluff compiles the models, so it needs a billed sample
lint: run
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@DATA_DIR=$(CURDIR)/data DBT_SEEDS_PATH=../data/seeds DBT_TARGET_PATH=$(CURDIR)/data/dbt/target \
		$(BIN)/sqlfluff lint --processes 1 dbt_project/models
	@$(BIN)/dg check defs

## explain: take an invoice line down to the delivered events, with sums that add up at every step
explain: .venv/.installed
	@test -n "$$LINE" || { echo "Usage: make explain LINE=<invoice_line_id>"; exit 2; }
	@$(BIN)/python -m orchestration.explain "$$LINE"

## ui: the Dagster UI on http://127.0.0.1:3000
ui: .venv/.installed
	@$(BIN)/python -m orchestration.ui
