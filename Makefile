# Everything a newcomer types. The first call makes .venv from the hashed requirements and says so.
# Needs: Python 3.11 or newer, make, and nothing else.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/made-from
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
# One more than there are cores: a third of the time a test waits, for a server that was killed or a deadline.
WORKERS := $(shell expr $(CORES) + 1)
# Our processes start in two thirds of the time when their code is compiled once, and the tests start hundreds.
export PYTHONDONTWRITEBYTECODE :=
COMPILE := $(BIN)/uv pip compile --quiet --system-certs --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

.DEFAULT_GOAL := help
.PHONY: help demo up test bench check audit lock clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

demo: $(STAMP) ## the whole system on embedded servers, with sample traffic; exit 0 when all of it held
	@$(BIN)/greffier demo

up: $(STAMP) ## the same system, staying up; data under var/
	@$(BIN)/greffier up --data var

test: $(STAMP) ## the test suite, without the long runs
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not slow and not distro' $(ARGS)

bench: $(STAMP) ## how fast, beside what the servers themselves can do
	@$(BIN)/greffier bench all $(ARGS)

check: $(STAMP) ## style, types, arrows
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

audit: $(STAMP) ## known vulnerabilities in what we install; needs the network; a package skipped is a failure
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off -r requirements/dev.txt

lock: $(STAMP) ## requirements/*.txt from pyproject.toml, at the versions already there; `make lock ARGS=--upgrade` moves them
	@$(COMPILE) $(ARGS) --group build --output-file requirements/build.txt
	@$(COMPILE) $(ARGS) pyproject.toml --output-file requirements/run.txt
	@$(COMPILE) $(ARGS) pyproject.toml --extra local --group dev --output-file requirements/dev.txt

clean: ## remove what make made, data included
	@rm -rf $(VENV) var

# Remade when the hashed requirements change, and from nothing when it was left half made.
$(STAMP): requirements/dev.txt pyproject.toml
	@sh .ci/venv $(VENV)
	@touch $(STAMP)
