# Everything a clone needs: each target sets up its own .venv, and is quick once that is done.
# Another Python: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Stamps, so that a demo waits for no type checker, and a test for no plots. They are older than pyproject.toml when that changes.
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench
# pip's warnings (about the machine's own package folders) would drown the first lines a user sees; errors stay.
PIP := $(PY) -m pip --disable-pip-version-check --quiet --quiet
# Arguments for pytest: make test ARGS="-k schedule -x"
ARGS ?=
# Test files at once. Each has servers of its own, and no test depends on speed; with 0 a failing one is easier to watch.
JOBS ?= 2
# The pyright of PyPI asks the network for a newer one at each run unless told not to.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help demo demo-alt test test-long lint format bench bench-page clean
.NOTPARALLEL:

help: ## Print what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(RUN) ## Run the diary example: private Redis, two beats, two workers, one of them killed (DIARY=file.jsonl for your own)
	$(PY) -m examples.diary.demo

demo-alt: $(RUN) ## Run the news example: a private Redis, the hub, three services, one of them killed (FEED=file or folder for your own)
	$(PY) -m examples.alt.demo

test: $(DEV) lint ## Run all checks and tests, but not those marked long (ARGS= goes to pytest)
	@# Where no server, or no npm package, can be installed its tests are skipped; in CI that is an error.
	$(PY) tests/servers/install.py || test "$$CI" != true
	$(PY) tests/hub/node/install.py || test "$$CI" != true
	$(PY) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-long: $(DEV) ## Run the tests marked long
	$(PY) tests/servers/install.py || test "$$CI" != true
	$(PY) tests/hub/node/install.py || test "$$CI" != true
	$(PY) -m pytest -m long $(ARGS)

lint: $(DEV) ## Check style, types, import layers, Dockerfile and compose files
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict streamtask
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/hadolint Dockerfile
	$(if $(shell command -v docker-compose),$(check-compose),$(no-compose))

format: $(DEV) ## Write the sources in the one format, and mend what ruff can mend
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: $(DEV) ## Measure speed and cost beside a bare redis-py loop (PEERS=1 or names, ROWS=prefix, N=0.1, ROUNDS=3, OUT=folder); WHAT=floor, scaling, guarantees, hub
	$(PY) tests/servers/install.py
	$(strip $(PY) -m benchmarks$(if $(WHAT),.$(WHAT)) $(if $(PEERS),--peers $(PEERS)) $(if $(ROWS),--rows $(ROWS)) \
	  $(if $(N),--n $(N)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(OUT),--out $(OUT)))

bench-page: $(BENCH) ## Write the plots and tables of docs/explanation/performance.md from benchmarks/results (or RESULTS=folder)
	$(PY) -m benchmarks.plots $(or $(RESULTS),benchmarks/results) docs/explanation/performance
	$(PY) -m benchmarks.page $(or $(RESULTS),benchmarks/results) docs/explanation/performance.md

clean: ## Remove what make set up (.venv, .servers, peers, caches); data of private servers stays
	rm -rf $(VENV) .servers benchmarks/.venvs .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

define check-compose
docker-compose -f compose/compose.yaml config --quiet
docker-compose -f compose/mq.yaml config --quiet
endef

define no-compose
@echo "docker-compose is not installed, compose/ is not checked: apt-get install docker-compose" >&2; test "$$CI" != true
endef

$(RUN): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "streamtask needs Python 3.11 or newer, but $(PYTHON) is `$(PYTHON) --version 2>&1`. Install a newer one, on Debian 12 or" \
	  "Ubuntu 24.04 by: apt-get install python3 python3-venv; or name it: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PY) -c 'import pip' 2>/dev/null || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
	  "$(PYTHON) cannot make a virtual environment: apt-get install python3-venv (README.md has the way by uv, too)" >&2; exit 1; }
	@echo "Setting up $(VENV) for streamtask (once, about half a minute) ..."
	@$(PY) -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install 'pip>=25.1'
	@$(PIP) install --editable '.[embedded,examples,hub]'
	@touch $@

$(DEV): $(RUN)
	@echo "Installing the test tools into $(VENV) (once, about a minute) ..."
	@$(PIP) install --editable '.[hub-grpc]' --group dev
	@touch $@

$(BENCH): $(DEV)
	@echo "Installing matplotlib into $(VENV) (once) ..."
	@$(PIP) install --group bench
	@touch $@
