# make setup    a virtual environment in this checkout, made once and reused
# make demo     learn prompts on the embedded data and show what they change
# make test     the fast tests, on CPUs: some minutes on two cores
# make test-all the fast and the slow tests: kills, fuzzing, whole studies, models at their real size
# make figures  every table and figure of README and docs again, from docs/evidence
# make docs     the docs as a site, in site/index.html; `make docs-serve` shows it with search
# make gpu      the tests and benchmark rows that need a GPU, into one JSON file
# Every target works from any directory: make -C path/to/checkout demo

ROOT := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
PYTHON ?= python3
SEED ?= 0
# the base model of the demo: sam or seem
BASE ?= sam
# processes that run the tests; each takes up to 2 GB of memory
JOBS ?= auto
# what pytest gets besides: ARGS='-k cache', or ARGS='-p randomly' for another order in each run
ARGS ?= -p no:randomly
# stack: openmmlab (upstream, the default) or onedl (the maintained fork)
STACK ?= openmmlab
VENV := $(ROOT)/.venv$(if $(filter onedl,$(STACK)),-onedl)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs
FULL := MMSEG_SSPROMPT_EXAMPLES=full

.PHONY: help setup demo test test-all test-slow test-onedl coverage figures docs docs-serve notebooks gpu lint format release-check clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' $(ROOT)/Makefile

setup: $(READY)

$(READY): $(ROOT)/setup.py $(wildcard $(ROOT)/requirements/*.txt)
	@echo '==> setting up $(VENV) (a few minutes, once)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo '==> installing the $(STACK) stack and torch'
	@cd $(ROOT) && $(BIN)/python mmseg_ssprompt/cli/logged.py $(VENV)/setup.log $(PIP) install --progress-bar off \
	    -r requirements/$(STACK).txt -r requirements/runtime.txt -r requirements/tests.txt
	@echo '==> installing mmseg_ssprompt'
	@cd $(ROOT) && $(PIP) install --quiet --no-deps --editable .
	@$(BIN)/python -c 'import mmseg_ssprompt, torch; print("mmseg_ssprompt", mmseg_ssprompt.__version__, "on torch", torch.__version__)'
	@touch $@

demo: setup
	@cd $(ROOT) && $(BIN)/mmseg-ssprompt demo --base $(BASE) --seed $(SEED)

test: setup
	@cd $(ROOT) && $(PYTEST) $(ARGS)

test-all: setup
	@cd $(ROOT) && $(FULL) $(PYTEST) -m 'not gpu' $(ARGS)

test-slow: setup
	@cd $(ROOT) && $(FULL) $(PYTEST) -m 'slow and not gpu' $(ARGS)

test-onedl:
	@$(MAKE) --no-print-directory -f $(ROOT)/Makefile STACK=onedl test

# Coverage of `make test`, which fails below 98 %: processes that the tests start count too.
coverage: setup
	@cd $(ROOT) && rm -f .coverage .coverage.*
	@cd $(ROOT) && $(BIN)/python -m coverage run -m pytest -n $(JOBS) --dist worksteal $(ARGS)
	@cd $(ROOT) && $(BIN)/python -m coverage combine --quiet && $(BIN)/python -m coverage report

# From committed results; `python -m dev.measured_runs` and `python -m dev.reproduce` renew those.
figures: setup
	@cd $(ROOT) && $(BIN)/python -m dev.figures

$(VENV)/.docs: $(ROOT)/requirements/docs.txt $(READY)
	@cd $(ROOT) && $(PIP) install --quiet -r requirements/docs.txt
	@touch $@

# A link, an anchor or a docstring that cannot be resolved fails; so does a page without a place.
docs: $(VENV)/.docs
	@cd $(ROOT) && $(MKDOCS) build --strict --quiet && echo 'open $(ROOT)/site/index.html'

docs-serve: $(VENV)/.docs
	@cd $(ROOT) && $(MKDOCS) serve

# What notebooks show, again; for a minute or two.
notebooks: setup
	@cd $(ROOT) && $(BIN)/python -m dev.run_notebooks

# With PYTHON=... an environment that is there, and no network; otherwise in that of `make setup`.
ifeq ($(origin PYTHON),command line)
gpu:
	@cd $(ROOT) && $(PYTHON) -m dev.gpu_check
else
gpu: setup
	@cd $(ROOT) && $(BIN)/python -m dev.gpu_check
endif

$(VENV)/.lint: $(ROOT)/requirements/lint.txt $(READY)
	@cd $(ROOT) && $(PIP) install --quiet -r requirements/lint.txt
	@touch $@

lint: $(VENV)/.lint
	@cd $(ROOT) && $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@cd $(ROOT) && $(BIN)/python -m mypy

format: $(VENV)/.lint
	@cd $(ROOT) && $(BIN)/ruff check --fix . && $(BIN)/ruff format .

# What .ci/run leaves out; hours. Its result goes into docs/evidence/release_check.json.
release-check: setup
	@cd $(ROOT) && $(BIN)/python -m dev.release_check

clean:
	rm -rf $(ROOT)/.venv $(ROOT)/.venv-onedl $(ROOT)/work_dirs/demo* $(ROOT)/build $(ROOT)/site $(ROOT)/*.egg-info
	find $(ROOT) -name __pycache__ -type d -prune -exec rm -rf {} +
