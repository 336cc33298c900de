# The commands of this project. CI runs these same targets (.ci/run). Each sets up what it needs by itself:
# all that has to be there is make and a Python >= 3.11 with pip, and Go for `make jaeger` and `make test-jaeger`.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
BIN := $(VENV)/bin
INPUTS := pyproject.toml constraints-dev.txt
PYTEST_ARGS ?=
BENCH_ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

# $(call install,DIRECTORY,PYTHON,ARGUMENTS OF pip install). An environment left half made or made by a Python that is
# gone is made anew; one that only lacks a changed dependency is brought up to date.
define install
	@$(1)/bin/python -c '' 2>/dev/null || { echo "making $(1) with $(2)"; "$(2)" -m venv --clear $(1); }
	@echo "installing into $(1): $(3)"
	@$(1)/bin/python -m pip install --quiet --constraint constraints-dev.txt --upgrade pip
	@$(1)/bin/python -m pip install --quiet --constraint constraints-dev.txt $(3)
	@touch $(1)/.installed
endef

# Looked up only when an environment has to be made.
DEFAULT_PYTHON = $(or $(PYTHON),$(shell tools/pythons --default),$(error no Python >= 3.11 found: install one, or name it with `make PYTHON=/path/to/python`))

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# -- environments ------------------------------------------------------------------------------------------------------

$(VENV)/.installed: $(INPUTS)
	$(call install,$(VENV),$(DEFAULT_PYTHON),--editable '.[otlp]' --group dev)

.venvs/bench/.installed: $(INPUTS) bench/requirements.txt
	$(call install,.venvs/bench,$(DEFAULT_PYTHON),--editable . --requirement bench/requirements.txt)

# A peer whose versions do not go with ours; all of them are in its file.
build/bench-asyncio/.installed: bench/requirements-asyncio.txt
	@echo "making build/bench-asyncio with $(DEFAULT_PYTHON)"
	@"$(DEFAULT_PYTHON)" -m venv --clear build/bench-asyncio
	@build/bench-asyncio/bin/python -m pip install --quiet --requirement $<
	@touch $@

# Programs of others, whose libraries do not go with ours; and what the programs are taken from.
.venvs/programs/.installed: pyproject.toml tests/programs/requirements.txt
	@$(@D)/bin/python -c '' 2>/dev/null || "$(DEFAULT_PYTHON)" -m venv --clear $(@D)
	@echo "installing into $(@D): --editable . --requirement tests/programs/requirements.txt"
	@$(@D)/bin/python -m pip install --quiet --editable . --requirement tests/programs/requirements.txt
	@touch $@

build/programs/.fetched: tests/programs/sources.txt | $(VENV)/.installed
	@echo "fetching the source distributions in $<"
	@$(BIN)/python -m pip download --quiet --no-deps --no-binary :all: --require-hashes --dest build/programs --requirement $<
	@for archive in build/programs/*.tar.gz; do tar -xzf "$$archive" -C build/programs; done
	@touch $@

.venvs/%/.installed: $(INPUTS)
	$(call install,.venvs/$*,$(shell tools/pythons $*),--editable '.[otlp]' --group test --group examples)

.PHONY: venv
venv: $(VENV)/.installed ## make .venv, the environment of the other commands

.PHONY: pins
pins: ## resolve the newest versions and write them to constraints-dev.txt
	rm -rf build/pins
	"$(DEFAULT_PYTHON)" -m venv build/pins
	build/pins/bin/python -m pip install --quiet --upgrade pip
	grep -v '^-c' bench/requirements.txt > build/pins/bench.txt
	build/pins/bin/python -m pip install --quiet '.[otlp]' --group dev --requirement build/pins/bench.txt
	head -2 constraints-dev.txt > build/pins/new
	build/pins/bin/python -m pip freeze --all | grep -Ev '^(setuptools|spanloom)\b' | sort -f >> build/pins/new
	mv build/pins/new constraints-dev.txt

# -- see it run --------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: $(VENV)/.installed ## run the example pipeline on a real local HTTP server
	@$(BIN)/python examples/fetch_and_count.py

.PHONY: jaeger
jaeger: $(VENV)/.installed ## start Jaeger and a Collector (built with Go) with the demo in them, until Ctrl-C
	@$(BIN)/python -m tools.backends

# -- tests -------------------------------------------------------------------------------------------------------------

.PHONY: test test-fast test-all test-jaeger test-browser test-programs coverage
test: $(VENV)/.installed ## run the tests on the default Python
	tools/pytest-twice $(BIN)/python $(PYTEST_ARGS)

test-fast: $(VENV)/.installed ## run the tests that are not marked slow
	tools/pytest-twice $(BIN)/python -m "not slow" $(PYTEST_ARGS)

# What takes long (a million jobs, hundreds of kills, the pages of the docs) is run on the oldest Python only, and on
# those between it and the newest what asyncio makes a difference to.
CORE := tests/callbacks tests/concurrency tests/diagnosis tests/instrument tests/testing
CORE += --ignore=tests/concurrency/test_differential.py # thousands of programs, on the oldest and the newest
test-all: ## run the tests on every Python >= 3.11 this machine has, on two of them at once
	@found=$$(tools/pythons); \
	if [ -z "$$found" ]; then echo "no Python >= 3.11 found"; exit 1; fi; \
	echo "Pythons found:"; echo "$$found" | sed 's/^/  /'; \
	set --; selected=; newest=$$(echo "$$found" | tail -1 | cut -d' ' -f1); \
	for version in $$(echo "$$found" | cut -d' ' -f1); do \
		if [ -n "$$selected" ]; then \
			selected='-m "not slow"'; \
			if [ "$$version" != "$$newest" ]; then selected="$$selected $(CORE)"; fi; \
		fi; \
		set -- "$$@" "test-on-$$version" "SELECTED_$$version=$$selected"; \
		selected=less; \
	done; \
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target --keep-going "$$@"

test-on-%: .venvs/%/.installed
	@echo; echo '== tests on Python $* $(SELECTED_$*)'
	@tools/pytest-twice .venvs/$*/bin/python $(SELECTED_$*) $(PYTEST_ARGS)

test-jaeger: $(VENV)/.installed ## run the tests against a real Jaeger and a real Collector (built with Go)
	tools/backends/build jaeger
	tools/backends/build otelcol
	tools/pytest-twice $(BIN)/python tests/jaeger $(PYTEST_ARGS)

test-browser: $(VENV)/.installed ## run the tests that open pages in a real Chromium
	tools/install-command chromium
	tools/pytest-twice $(BIN)/python tests/browser $(PYTEST_ARGS)

test-programs: $(VENV)/.installed .venvs/programs/.installed build/programs/.fetched ## run programs of others under spanloom run
	tools/pytest-twice $(BIN)/python tests/programs $(PYTEST_ARGS)

coverage: $(VENV)/.installed ## run the tests and print the lines and branches they miss
	$(BIN)/python -m pytest --cov --cov-report=term-missing $(PYTEST_ARGS)

# -- checks ------------------------------------------------------------------------------------------------------------

.PHONY: check format
check: $(VENV)/.installed ## check style, types and architecture
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	PATH="$$PWD/$(BIN):$$PATH" pyright --verifytypes spanloom --ignoreexternal
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/lint-imports --no-logo --no-cache --config tools/cycles.toml

format: $(VENV)/.installed ## format the sources and fix what can be fixed
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# -- speed -------------------------------------------------------------------------------------------------------------

.PHONY: bench bench-check
bench: .venvs/bench/.installed build/bench-asyncio/.installed ## measure against bare asyncio and other libraries, in one run
	.venvs/bench/bin/python -m bench $(BENCH_ARGS)

bench-check: $(VENV)/.installed ## count instructions per job (needs valgrind) and fail if there are more than allowed
	$(BIN)/python -m bench.instructions --check

# -- documentation and releases ----------------------------------------------------------------------------------------

.PHONY: docs dist clean
docs: $(VENV)/.installed ## build the documentation into build/docs and run its code blocks
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet -b html docs build/docs
	tools/pytest-twice $(BIN)/python tests/test_docs.py $(PYTEST_ARGS)
	@echo "documentation: build/docs/index.html"

dist: $(VENV)/.installed ## build the wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove environments, caches and builds
	rm -rf .venv .venvs build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache htmlcov .coverage*
