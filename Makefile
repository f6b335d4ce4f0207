# `make` lists the targets. Each sets up .venv itself; PYTHON=… selects another Python (3.11 or newer).

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"
PYTEST := $(BIN)/python -m pytest
CORES := --numprocesses logical --maxprocesses 4
# One process more than there are cores: a third of the tests' time is waiting.
PARALLEL = --numprocesses $$($(BIN)/python -c 'import os; print(min(4, os.cpu_count() + 1))')
SHORT := --dist loadfile --no-loadscope-reorder -m "not soak and not docker"
# Coverage counts app, model_zoo and slides. It slows down most what the tests of training/ do; of these, three test model_zoo.
COUNTED := $(patsubst %,tests/training/test_%.py,metrics region slide_scope)
# Of these, whose programs are many and short, none runs a line that other tests do not run.
UNCOUNTED := $(patsubst %,tests/test_%.py,architecture documented_commands install kubernetes light_starts lock serve_is_locked wheel)
PAGES := tests/web/ tests/oidc/
OTHERS := $(filter-out tests/__pycache__/ tests/training/ tests/docker/ $(PAGES),$(wildcard tests/*/)) $(filter-out $(UNCOUNTED),$(wildcard tests/test_*.py)) $(COUNTED)
BEFORE_WEB := true # a command that runs before the tests of the pages
SOAKED = $(shell grep -rlE --include='test_*.py' 'mark.soak|AT_NIGHT' tests)
KERNELS := scripts/hatch_build.py model_zoo/kernels.h model_zoo/_kernels.c slides/_kernels.c
PIP := $(BIN)/python -m pip install --disable-pip-version-check
INSTALL := $(BIN)/python scripts/install.py
# Of these the tests import little or nothing: Python compiles what it imports.
UNCOMPILED := (dask|debugpy|fontTools|hypothesis|IPython|matplotlib|mypyc?|networkx|pandas|pip|pyarrow|pygments|schemathesis|scipy|setuptools|sklearn|sympy|tests|torch/(_inductor|distributed|testing))

.DEFAULT_GOAL := help
.PHONY: help serve train-env test training-test coverage soak nightly lint lock env images bundle backup restore monitor \
	docker-test format clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

serve: .venv/.serve ## Install the server with locked versions, migrate its database, create the first key, serve
	@exec $(BIN)/rosette serve

train-env: .venv/.test ## Install the training side and the tests' packages, and run nothing

test: coverage training-test lint ## Install everything, check style and types, run the tests with coverage

training-test: .venv/.test ## Run the tests of training/ and of what is installed, without coverage
	$(PYTEST) $(CORES) $(SHORT) tests/training $(UNCOUNTED) $(addprefix --ignore ,$(COUNTED))

coverage: .venv/.test ## Run the other tests with coverage, at last those of the pages
	@core=$$($(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")') && \
	export COVERAGE_CORE=$$core && set -x && status=0 && \
	{ $(PYTEST) $(PARALLEL) $(SHORT) --cov --cov-report= --cov-fail-under=0 $(OTHERS) || status=1; } && \
	$(BEFORE_WEB) && \
	{ $(PYTEST) $(PARALLEL) $(SHORT) --cov --cov-append --cov-report=term $(PAGES) || status=1; } && \
	exit $$status

soak: .venv/.test ## Run the long tests, short form: kills, activations, overload, damaged input
	$(PYTEST) $(CORES) --dist worksteal -m "soak and not nightly" $(SOAKED) || [ $$? -eq 5 ]

nightly: .venv/.test ## Run the long tests, full form: 50 kills of each kind, 10,000 predictions over activations, ...
	ROSETTE_TEST_NIGHTLY=1 $(PYTEST) $(CORES) --dist worksteal -m soak $(SOAKED)

docker-test: .venv/.test ## Build and test the stack: kills, replicas, backups (needs Docker)
	$(PYTEST) -m "not nightly" tests/docker

lint: .venv/.test ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(if $(CI),--cache-dir=/dev/null)

lock: .venv/.lock ## Write the hashes of every package that the images install (docker/*requirements.txt)
	$(LOCK) pyproject.toml --extra dicom --extra oidc --extra slides --output-file docker/requirements.txt
	$(LOCK) pyproject.toml --extra training --constraint docker/training-constraints.txt \
		--output-file docker/training-requirements.txt
	$(LOCK) docker/build.in --output-file docker/build-requirements.txt

env: ## Write .env and the stack's secrets if missing; NAME=… is the host name that clients use
	@docker/env.sh $(NAME)

images: ## Build the stack's images
	ROSETTE_HOSTNAME=$${ROSETTE_HOSTNAME:-localhost} docker compose build # any name does to build

bundle: images ## Write rosette.tar, which installs the stack on a machine without a network
	@docker/bundle.sh $(FILE)

backup: ## Back up the stack's database to backups/, or to FILE=…
	@docker/backup.sh $(FILE)

restore: ## Replace the stack's database by the backup FILE=…
	@docker/restore.sh --yes "$(FILE)"

monitor: ## Start Prometheus and Grafana for the stack, with a key of role metrics
	@docker/monitor.sh

format: .venv/.test ## Fix style automatically
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove everything that can be rebuilt; keeps the server's data
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* htmlcov model_zoo/_kernels.*.so slides/_kernels.*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/pip:
	@[ -n "$(PYTHON)" ] || { echo "Rosette needs Python 3.11 or newer and found none; set it: make PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -m venv --clear .venv || { rm -rf .venv; \
		echo "$(PYTHON) cannot create a virtual environment (on Debian and Ubuntu: apt-get install python3-venv)"; exit 1; }

.venv/.serve: pyproject.toml docker/requirements.txt $(KERNELS) | .venv/bin/pip
	$(PIP) --require-hashes --requirement docker/requirements.txt
	$(PIP) --no-deps --editable .
	@touch $@

# pip compiles modules on one core; compileall takes all.
.venv/.test: export PIP_NO_COMPILE = 1
.venv/.test: pyproject.toml scripts/install.py scripts/install-torch $(KERNELS) | .venv/bin/pip
	scripts/install-torch $(BIN)/python
	$(INSTALL) --editable '.[training,dev]'
	$(INSTALL) --no-deps --upgrade --target .venv/mlserver mlserver==1.7.1
	@$(BIN)/python -W ignore -m compileall -qq -j 0 -x '/$(UNCOMPILED)/' .venv || true
	@touch .venv/.serve $@

.venv/.lock: | .venv/bin/pip
	$(PIP) uv
	@touch $@
