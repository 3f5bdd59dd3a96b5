# Run `make` without a target to see what there is. Paths stay relative: the checkout may be
# anywhere, also below a directory with spaces in its name.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

BIN := .venv/bin
INSTALLED := .venv/.installed
CODE := $(wildcard orchestrator supervisors tests examples benchmarks)
UV ?= $(BIN)/uv
# More than there are cores: tests wait a lot, for processes, timeouts and the database.
TEST_PROCESSES ?= 3

# Many processes are started here: each would compile everything again.
export PYTHONDONTWRITEBYTECODE :=

# A virtual environment holds its own path: one that was moved or copied is made anew.
ifneq ($(shell cat .venv/.path 2>/dev/null),$(CURDIR))
$(shell rm -f $(INSTALLED))
endif

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'

.PHONY: setup
setup: $(INSTALLED) ## install everything into .venv

$(INSTALLED): requirements.lock pyproject.toml
	@python=; for candidate in python3 python3.13 python3.12 python3.11; do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			python=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "error: Insula needs Python 3.11 or newer; python3 here is: $$(python3 --version 2>&1)" >&2; \
		echo "hint: install Python 3.11+ and put it on the PATH as python3 or python3.11" >&2; \
		exit 1; \
	fi; \
	if [ "$$(cat .venv/.path 2>/dev/null)" != "$(CURDIR)" ] || ! $(BIN)/python -c '' 2>/dev/null; then \
		echo "making .venv with $$($$python --version)"; \
		"$$python" -m venv --clear .venv && printf '%s\n' "$(CURDIR)" > .venv/.path; \
	fi
	@echo "installing the pinned dependencies"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes \
		--requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(INSTALLED)

.PHONY: demo
demo: $(INSTALLED) ## serve 16 airlines, run their reports, kill the daemon and recover
	@$(BIN)/python -m examples.flights.demo

.PHONY: test
test: $(INSTALLED) ## run the test suite, but for the slow ones
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) -m "not slow"

.PHONY: test-slow
test-slow: $(INSTALLED) ## run the slow ones: storms, kills at every statement, 2,000 examples of the model
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) -m slow --hypothesis-profile=model

.PHONY: test-fast
test-fast: $(INSTALLED) ## run the tests that need no database
	$(BIN)/python -m pytest tests/unit tests/rules -m "not slow"

.PHONY: soak
soak: $(INSTALLED) ## run the engine, the slots and tenants against their models, and 100,000 messages: half an hour
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --hypothesis-profile=soak tests/engine/model tests/lifecycle/model \
		tests/unit/supervisors/test_slot.py tests/supervisors/test_stress.py

.PHONY: check
check: $(INSTALLED) ## format, lint, types, layers, dependencies, the rules of the house
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m ruff check
	$(BIN)/python -m mypy $(CODE)
	$(BIN)/lint-imports
	$(BIN)/python -m deptry orchestrator supervisors
	$(BIN)/python -m pytest --quiet tests/rules

.PHONY: fix
fix: $(INSTALLED) ## format, and mend what ruff can mend
	$(BIN)/python -m ruff format
	$(BIN)/python -m ruff check --fix

.PHONY: docs
docs: $(INSTALLED) ## write the reference pages that are made from the code
	$(BIN)/python -m orchestrator.settings.reference > docs/reference/configuration.md
	$(BIN)/python -m orchestrator.cli.reference cli > docs/reference/cli.md
	$(BIN)/python -m orchestrator.cli.reference errors > docs/reference/errors.md

# What more to pass: make bench BENCH="--only A,B --rounds 1 --budget 5"
BENCH ?=

.PHONY: bench
bench: $(INSTALLED) ## measure everything, 15 minutes at most; BENCH=--quick looks whether it works
	$(BIN)/python -m benchmarks --budget 15 $(BENCH)

.PHONY: bench-peers
bench-peers: $(INSTALLED) ## the same work through other libraries, in turns; 20 minutes at most
	$(BIN)/python -m benchmarks --peers --budget 20 $(BENCH)

.PHONY: bench-tenants
bench-tenants: $(INSTALLED) ## the whole life of 1,000 tenants, verb by verb; 18 minutes at most
	$(BIN)/python -m benchmarks.tenants --budget 18 $(BENCH)

.PHONY: bench-report
bench-report: $(INSTALLED) ## write the newest figures into docs/explanation/performance.md
	$(BIN)/python -m benchmarks.report

.PHONY: lock
lock: $(INSTALLED) ## pin the dependencies anew
	$(UV) pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --quiet \
		--custom-compile-command "make lock" --output-file requirements.lock

.PHONY: ci
ci: ## what continuous integration runs
	.ci/run

.PHONY: clean
clean: ## remove .venv and everything else that is made
	rm -rf .venv .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
