# `make` lists the targets. BELLWETHER_* variables pass through to what is started.
.DEFAULT_GOAL := help
.PHONY: help install install-all up down demo test test-long check bench lock

PYTHON = $(shell for name in python3.11 python3.12 python3.13 python3; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
VENV := .venv/bin
UV = $(VENV)/uv pip install -q --system-certs --python $(VENV)/python
LOCK = $(VENV)/uv pip compile --system-certs --generate-hashes --no-emit-index-url --no-annotate \
	--python-version 3.11 --group build pyproject.toml

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

install: .venv/.base ## make .venv with what a worker on a CPU needs

install-all: .venv/.all ## the same with training, tests and benchmarks (5 GB)

up: .venv/.base ## start Kafka, Redis and Elasticsearch on this machine
	@$(VENV)/python -m ops.servers up

down: .venv/.base ## end them; their data stays in BELLWETHER_HOME
	@$(VENV)/python -m ops.servers down

demo: .venv/.base ## see it work, from Kafka to alerts; with ONCE=1 it ends by itself
	@$(VENV)/python -m ops.demo $(if $(ONCE),--once)

test: .venv/.all ## run the tests, two files at a time, each on servers of their own
	@$(VENV)/python -m pytest -q -m "not long" --numprocesses=2 --dist=loadfile --no-loadscope-reorder $(ARGS)

test-long: .venv/.all ## run the tests that take many minutes
	@$(VENV)/python -m pytest -q -m long $(ARGS)

check: .venv/.all ## lint, format and types, without the tests
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy

bench: .venv/.all ## run the benchmarks one by one
	@for file in $(filter-out %/__init__.py,$(wildcard benchmarks/*.py)); do \
		name=$$(basename $$file .py); echo "== $$name"; \
		$(VENV)/python -m benchmarks.$$name || exit 1; done

lock: .venv/.python ## resolve the requirements anew (UPGRADE=1: to the newest versions)
	$(LOCK) $(if $(UPGRADE),--upgrade) --all-extras -o requirements/all.txt
	$(LOCK) $(if $(UPGRADE),--upgrade) -c requirements/all.txt -o requirements/base.txt

.venv/.python: requirements/uv.txt
	@test -n "$(PYTHON)" || { echo "Bellwether needs Python 3.11 or newer." >&2; exit 1; }
	@test -x $(VENV)/python || $(PYTHON) -m ops.servers require venv
	@test -x $(VENV)/python || $(PYTHON) -m venv .venv
	@echo "Installing uv ..."
	@$(VENV)/python -m pip install -q --disable-pip-version-check --require-hashes -r $<
	@touch $@

.venv/.base: .venv/.python requirements/base.txt pyproject.toml
	@echo "Installing the packages of a worker into .venv (350 MB) ..."
	@$(UV) --require-hashes -r requirements/base.txt
	@$(UV) --no-deps --no-build-isolation -e .
	@touch $@

.venv/.all: .venv/.base requirements/all.txt
	@echo "Installing the packages for training, tests and benchmarks (5 GB) ..."
	@$(UV) --require-hashes -r requirements/all.txt
	@touch $@
