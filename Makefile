# Two commands: `make run` bills a sample from an empty checkout, `make test` runs every test.
# Python 3.11, 3.12 or 3.13 and make are all they need.
PYTHON ?= $(or $(firstword $(foreach name,python3.11 python3.12 python3.13,$(shell $(name) -c "" 2>/dev/null && echo $(name)))),python3)
BIN := .venv/bin
SAMPLE := data/sample_feeds
# What installs: uv, the one that is there or one of this version in .venv. Names, versions and hashes
# come from requirements.lock; what a target needs comes from pyproject.toml.
UV_VERSION := 0.13.9
UV = $(or $(shell command -v uv),$(BIN)/uv)
INSTALL = $(UV) pip install --quiet --python $(BIN)/python --constraints requirements.lock --requirements pyproject.toml

# What the FOCUS validator runs on; the job's own 3.11 is too old for it.
FOCUS_PYTHON ?= $(shell for python in $(PYTHON) python3.12 python3.13 $(HOME)/.pyenv/versions/3.1[23].*/bin/python; do \
	$$python -c "import sys; sys.exit(sys.version_info[:2] not in ((3, 12), (3, 13)))" 2>/dev/null && echo $$python && break; done)

# Handed on through the environment, so that no shell reads what an id contains.
export DAY LINE ACTION REASON CUSTOMER SCENARIO HISTORY BASE

.PHONY: run test test-slow test-spark test-spark-dev fuzz bill explain replay import check-catalog settle forget accept-withdrawal bench lint focus-validator focus-gate ui portal docs inputs board

.venv/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))" \
		|| { echo "Python 3.11, 3.12 or 3.13 is needed; name it with PYTHON=..."; exit 1; }
	@echo "Installing what billing needs into .venv (half a minute, once)"
	@$(PYTHON) -m venv .venv
	@command -v uv >/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(INSTALL)
	@touch $@

# What developers need besides: the tools and the clients of all extras but Spark's.
.venv/.dev: .venv/.installed
	@echo "Installing what the tests need into .venv (half a minute, once)"
	@$(INSTALL) --group dev $(addprefix --extra ,s3 entsoe gridstatus electricitymaps postgres portal)
	@touch $@

## run: generate six weeks of sample feeds, bill them, publish, say what was billed
run: .venv/.installed
	@$(BIN)/python -m gpu_credits sample $(SAMPLE)
	@SEEDS_DIR=seeds FEEDS_URL=$(SAMPLE) DATA_DIR=data BOOKS_OPEN_ON=2026-01-05 \
		$(BIN)/python -m gpu_credits bill 2026-01-05 2026-02-15

## bill: bill delivery days FROM to TO with SEEDS_DIR, FEEDS_URL and DATA_DIR from the environment
bill: .venv/.installed
	@test -n "$(FROM)" && test -n "$(TO)" || { echo "Usage: make bill FROM=2026-01-05 TO=2026-01-31"; exit 2; }
	@$(BIN)/python -m gpu_credits bill $(FROM) $(TO)

## test: every test but the slow ones
test: .venv/.dev
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

## test-slow: the tests that take minutes each: faults, floods, browsers
test-slow: .venv/.dev
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

.venv/spark/.installed: | .venv/.dev
	@echo "Installing the client of Spark, and Spark itself for a test cluster, into .venv/spark (500 MB, once)"
	@$(INSTALL) --extra spark
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["spark-cluster"])' \
		| xargs $(UV) pip install --quiet --python $(BIN)/python --target .venv/spark
	@touch $@

## test-spark: the books of Spark equal those of DuckDB, on a cluster of this machine; needs Java 17.
##             The sample to February 1st; with SAMPLE_ENDS=2026-02-15 all of it
test-spark: .venv/spark/.installed
	@$(BIN)/python -m pytest tests/test_spark.py -m "not dev_set"

## test-spark-dev: the same with six weeks of real feeds, where the shared folder is
test-spark-dev: .venv/spark/.installed
	@$(BIN)/python -m pytest tests/test_spark.py -m dev_set

## fuzz: the tests with generated input again, with new input, EXAMPLES times as much
fuzz: .venv/.dev
	@HOSTILE_EXAMPLES=$(or $(EXAMPLES),10) $(BIN)/python -m pytest -n 2 --hypothesis-profile explore -m "not slow" \
		$$(grep -lE "^from hypothesis|^import hypothesis" tests/test_*.py)

## lint: what CI checks besides the tests; sqlfluff compiles the models, so it needs a billed sample
lint: .venv/.dev run
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@DATA_DIR=$(CURDIR)/data DBT_SEEDS_PATH=../data/seeds DBT_TARGET_PATH=$(CURDIR)/data/dbt/target \
		$(BIN)/sqlfluff lint --processes 1 dbt_project/models
	@$(BIN)/dg check defs

.venv/focus/.installed: .ci/focus-requirements.txt | .venv/.installed
	@$(FOCUS_PYTHON) -m venv .venv/focus
	@.venv/focus/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r .ci/focus-requirements.txt
	@touch $@

## focus-validator: install the official FOCUS validator, where there is a Python for it
focus-validator:
	@python="$(FOCUS_PYTHON)"; if [ -n "$$python" ]; then \
		$(MAKE) --no-print-directory .venv/focus/.installed FOCUS_PYTHON="$$python"; \
	else \
		echo "Skipped: the FOCUS validator needs Python 3.12 or 3.13, and none is here; name it with FOCUS_PYTHON=..."; \
	fi

## focus-gate: run the FOCUS validator on what DATA_DIR (default: data) has published
focus-gate: focus-validator
	@test ! -e .venv/focus/.installed || .venv/focus/bin/python .ci/focus_gate.py \
		$(addprefix $(or $(DATA_DIR),data)/published/current/focus_cost_and_usage,.csv /)

## explain: take an invoice line down to the delivered events, with sums that add up at every step
explain: .venv/.installed
	@test -n "$$LINE" || { echo "Usage: make explain LINE=<invoice_line_id>"; exit 2; }
	@$(BIN)/python -m gpu_credits explain -- "$$LINE"

## replay: what deliveries FROM to TO would have cost with the seeds of SCENARIO (folders), beside today's
replay: .venv/.installed
	@test -n "$$SCENARIO" && test -n "$(FROM)" && test -n "$(TO)" || { echo "Usage: make replay SCENARIO='<folder> ...' FROM=2026-01-05 TO=2026-02-03 [FORMAT=markdown]"; exit 2; }
	@$(BIN)/python -m gpu_credits replay $$SCENARIO --from $(FROM) --to $(TO) --format $(or $(FORMAT),text)

## import: bill usage files that exist already, HISTORY (folder or URL), into books of their own
import: .venv/.installed
	@test -n "$$HISTORY" && test -n "$(FROM)" && test -n "$(TO)" || { echo "Usage: make import HISTORY=<folder or URL> FROM=2026-01-05 TO=2026-02-03"; exit 2; }
	@$(BIN)/python -m gpu_credits import "$$HISTORY" $(FROM) $(TO)

## check-catalog: refuse an edit of SEEDS_DIR, since BASE (folder or Git reference), that reaches into closed cycles
check-catalog: .venv/.installed
	@test -n "$$BASE" || { echo "Usage: make check-catalog BASE=<folder or Git reference>"; exit 2; }
	@$(BIN)/python -m gpu_credits check-catalog $(if $(CLOSED_THROUGH),--closed-through $(CLOSED_THROUGH)) -- "$$BASE"

## settle: say that a person saw to a policy action, so that it is not sent any more, nor listed
settle: .venv/.installed
	@test -n "$$ACTION" && test -n "$$REASON" || { echo "Usage: make settle ACTION=<action_id> REASON=<what was done>"; exit 2; }
	@$(BIN)/python -m gpu_credits settle --reason "$$REASON" -- "$$ACTION"

## forget: take back delivery day DAY, landed by mistake and not billed; its files are moved aside
forget: .venv/.installed
	@test -n "$$DAY" || { echo "Usage: make forget DAY=2026-03-12"; exit 2; }
	@$(BIN)/python -m gpu_credits forget -- "$$DAY"

## accept-withdrawal: let the usage delivery of DAY lack the event ids that the check nothing_withdrawn names
accept-withdrawal: .venv/.installed
	@test -n "$$DAY" && test -n "$$REASON" || { echo "Usage: make accept-withdrawal DAY=2026-01-07 REASON=<why, and who says so>"; exit 2; }
	@$(BIN)/python -m gpu_credits accept-withdrawal --reason "$$REASON" -- "$$DAY"

## bench: measure a night of SIZE (100k, 1m, 10m, 50m) beside its limit and its peers, and show it
bench: .venv/.dev
	@$(BIN)/python -m benchmarks.night $(or $(BENCH_DIR),data/bench) --size $(or $(SIZE),100k) --turns $(or $(TURNS),5)
	@$(BIN)/python -m benchmarks.report

## ui: the Dagster UI on http://127.0.0.1:3000
ui: .venv/.installed
	@$(BIN)/python -m gpu_credits ui

## portal: show the gauges on http://127.0.0.1:8000; with CUSTOMER=<id>, a link to its gauge first
portal: .venv/.installed
	@$(INSTALL) --extra portal
	@test -z "$$CUSTOMER" || $(BIN)/python -m gpu_credits portal link -- "$$CUSTOMER"
	@$(BIN)/python -m gpu_credits portal serve

## docs: every table, column, test and reader on one page, published/docs/index.html in DATA_DIR
docs: .venv/.installed
	@$(BIN)/python -m gpu_credits docs

## inputs: write the tables of docs/inputs.md anew, from what the job goes by
inputs: .venv/.installed
	@$(BIN)/python -m orchestration.inputs_page

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
