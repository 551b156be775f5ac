# Two commands: `make run` bills a sample from an empty checkout, `make test` runs every test.
# Python 3.11 and make are all they need.
PYTHON ?= $(or $(shell command -v python3.11),python3)
BIN := .venv/bin
SAMPLE := data/sample_feeds

# Handed on through the environment, so that no shell reads what an id contains.
export LINE ACTION REASON CUSTOMER SCENARIO HISTORY BASE

.PHONY: run test test-slow bill explain replay import check-catalog settle lint ui portal docs board

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

## replay: what deliveries FROM to TO would have cost with the seeds of SCENARIO (folders), beside today's
replay: .venv/.installed
	@test -n "$$SCENARIO" && test -n "$(FROM)" && test -n "$(TO)" || { echo "Usage: make replay SCENARIO='<folder> ...' FROM=2026-01-05 TO=2026-02-03 [FORMAT=markdown]"; exit 2; }
	@$(BIN)/python -m orchestration.replay $$SCENARIO --from $(FROM) --to $(TO) --format $(or $(FORMAT),text)

## import: bill usage files that exist already, HISTORY (folder or URL), into books of their own
import: .venv/.installed
	@test -n "$$HISTORY" && test -n "$(FROM)" && test -n "$(TO)" || { echo "Usage: make import HISTORY=<folder or URL> FROM=2026-01-05 TO=2026-02-03"; exit 2; }
	@$(BIN)/python -m orchestration.replay.history "$$HISTORY" $(FROM) $(TO)

## check-catalog: refuse an edit of SEEDS_DIR, since BASE (folder or Git reference), that reaches into closed cycles
check-catalog: .venv/.installed
	@test -n "$$BASE" || { echo "Usage: make check-catalog BASE=<folder or Git reference>"; exit 2; }
	@$(BIN)/python -m orchestration.replay.catalog_change "$$BASE" $(if $(CLOSED_THROUGH),--closed-through $(CLOSED_THROUGH))

## settle: say that a person saw to a policy action, so that it is not sent any more, nor listed
settle: .venv/.installed
	@test -n "$$ACTION" && test -n "$$REASON" || { echo "Usage: make settle ACTION=<action_id> REASON=<what was done>"; exit 2; }
	@$(BIN)/python -m orchestration.delivery settle --reason "$$REASON" "$$ACTION"

## ui: the Dagster UI on http://127.0.0.1:3000
ui: .venv/.installed
	@$(BIN)/python -m orchestration.ui

## portal: show the gauges on http://127.0.0.1:8000; with CUSTOMER=<id>, a link to its gauge first
portal: .venv/.installed
	@test -z "$$CUSTOMER" || $(BIN)/python -m orchestration.gauges.portal link "$$CUSTOMER"
	@$(BIN)/python -m orchestration.gauges.portal serve

## docs: every table, column, test and reader on one page, published/docs/index.html in DATA_DIR
docs: .venv/.installed
	@$(BIN)/python -m orchestration.documentation

.venv/board/.installed: | .venv/.installed
	@echo "Installing what draws the board into .venv/board (about a minute, once)"
	@$(BIN)/python -m venv .venv/board
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["board"])' \
		| xargs .venv/board/bin/python -m pip install --quiet --disable-pip-version-check
	@touch $@

## board: draw finance's board from the current publication, published/board/ in DATA_DIR
board: export DATA_DIR := $(abspath $(or $(DATA_DIR),data))
board: export DO_NOT_TRACK := 1
board: .venv/board/.installed
	@mkdir -p "$(DATA_DIR)/published/board"
	@for format in html png; do \
		.venv/board/bin/dct render dbt_project/charts/finance.yml --project-dir dbt_project --no-cache --format $$format \
			--output "$(DATA_DIR)/published/board/.finance.$$format" >/dev/null \
		&& mv "$(DATA_DIR)/published/board/.finance.$$format" "$(DATA_DIR)/published/board/finance.$$format" || exit 1; \
	done
	@echo "Board: $(DATA_DIR)/published/board/finance.html, .png"
