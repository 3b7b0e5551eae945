# Earmark's workshop. `make` alone tells what there is.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# Every tool is called by its place in .venv: nothing installed elsewhere is used by accident.
BIN := .venv/bin
STAMP := .venv/installed-for
DIST := dist
PYTHON_FOLDERS := $(wildcard services clients/python/earmark clients/conformance tests tools bench)
PROTO_FILES := $(wildcard proto/earmark/v1/*.proto)
PIP_TOOLS := pip-tools==7.6.2
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PIP_COMPILE = --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe

# Scripts in .venv hold the folder's absolute path: a copied, moved or broken .venv is made anew.
INSTALLED_FOR := $(shell $(BIN)/python -c 'print(open("$(STAMP)").read().strip())' 2>/dev/null)
ifneq ($(INSTALLED_FOR),$(CURDIR))
.PHONY: $(STAMP)
endif

define FIND_PYTHON
python=""; \
for candidate in python3.11 python3; do \
  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
    python="$$candidate"; break; \
  fi; \
done; \
if [ -z "$$python" ]; then \
  echo "Earmark needs Python 3.11 or later on the PATH, as python3.11 or python3." >&2; exit 1; \
fi
endef

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

.PHONY: install
install: $(STAMP) ## Create .venv with the pinned packages and both wheels, editable

$(STAMP): requirements/dev.txt pyproject.toml clients/python/pyproject.toml
ifneq ($(INSTALLED_FOR),$(CURDIR))
	@echo "Installing the pinned packages into .venv: about a minute, the first time only."
	@$(FIND_PYTHON); "$$python" -m venv --clear .venv
else
	@echo "Bringing .venv up to date."
endif
	@$(PIP) install --require-hashes --requirement requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable clients/python --editable .
	@$(PIP) check
	@echo "$(CURDIR)" > $@

.PHONY: proto
proto: $(STAMP) ## Generate the Python code from proto/
	$(BIN)/python tools/generate_proto.py

.PHONY: sync
sync: $(STAMP) ## Generate the blocking Python client from the async one
	$(BIN)/python tools/generate_sync.py

.PHONY: format
format: $(STAMP) ## Format the code and apply the linter's safe fixes
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: check
check: lint types imports contract ## Everything that needs no server: lint, types, imports, contract

.PHONY: lint
lint: $(STAMP) ## Look for faults of style and form in the Python code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(STAMP) ## Check the types, strictly
	$(BIN)/mypy --strict $(PYTHON_FOLDERS)

.PHONY: imports
imports: $(STAMP) ## Check who may import whom
	$(BIN)/lint-imports --no-logo

.PHONY: contract
contract: $(STAMP) ## Check the style of proto/ and that the generated code is fresh
	$(BIN)/python tools/generate_proto.py --check
	$(BIN)/python tools/generate_sync.py --check
	$(BIN)/python tools/generate_proto.py --image .venv/contract.binpb
	BUF_CACHE_DIR=.venv/buf $(BIN)/buf lint .venv/contract.binpb --config buf.yaml --path earmark

.PHONY: test
test: $(STAMP) ## Run every test
	$(BIN)/pytest $(ARGS)

.PHONY: test-unit
test-unit: $(STAMP) ## Run the tests that need no server
	$(BIN)/pytest tests/unit $(ARGS)

# Nothing is fetched: the pinned hatchling builds the sources, and the wheels from those sources. What is
# packed is dated by the commit, so that one commit gives the same bytes everywhere.
.PHONY: dist
dist: $(STAMP) ## Build both wheels, and their sources, into dist/
	@rm -f $(DIST)/earmark_client-* $(DIST)/earmark_server-*
	@export SOURCE_DATE_EPOCH="$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || echo 1767225600)}"; \
	for project in clients/python .; do \
	  $(BIN)/pyproject-build --no-isolation --outdir $(DIST) "$$project"; \
	done

INPUTS ?= 100000

.PHONY: fuzz
fuzz: $(STAMP) ## Call the service wrongly in every way; INPUTS=100000 SEED=1
	@exec $(BIN)/python -m tests.fuzz --inputs $(INPUTS) --seed $(if $(SEED),$(SEED),1) $(ARGS)

.PHONY: bench
bench: $(STAMP) ## Measure how fast it is here; ARGS="--rounds 1 --only hot,noop" are passed on
	@exec $(BIN)/python -m bench $(ARGS)

SEED ?=
SECONDS ?= 240

.PHONY: chaos
chaos: $(STAMP) ## Real processes under faults, and what became of each call; SEED=7 SECONDS=60 are passed on
	@exec $(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) --seconds $(SECONDS) $(ARGS)

.PHONY: chaos-mutants
chaos-mutants: $(STAMP) ## Break the code in one way after the other, and see which check finds it; ONLY=no_row_lock,...
	@exec $(BIN)/python -m tests.chaos.mutants --only "$(ONLY)" $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: demo
demo: $(STAMP) ## Start everything, tell the story of one organization, stop
	@exec $(BIN)/earmark-admin demo

.PHONY: up
up: $(STAMP) ## Start everything and keep it running; ARGS="..." are passed on
	@exec $(BIN)/earmark-admin up $(ARGS)

.PHONY: requirements
requirements: ## Pin every package again from requirements/*.in; ARGS=--upgrade for newer ones
	@$(FIND_PYTHON); \
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	"$$python" -m venv "$$folder"; \
	"$$folder/bin/pip" install --disable-pip-version-check --quiet $(PIP_TOOLS); \
	for name in runtime build dev; do \
	  echo "Pinning requirements/$$name.txt ..."; \
	  CUSTOM_COMPILE_COMMAND="make requirements" "$$folder/bin/pip-compile" $(PIP_COMPILE) $(ARGS) \
	    --output-file "requirements/$$name.txt" "requirements/$$name.in"; \
	done

.PHONY: clean
clean: ## Remove .venv, caches and built files
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find services clients tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} +
