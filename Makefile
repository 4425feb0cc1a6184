# make setup   a virtual environment in this checkout, made once and reused
# make demo    learn prompts on the embedded data and show what they change
# make test    the test suite, on CPUs
# Every target works from any directory: make -C path/to/checkout demo

ROOT := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
PYTHON ?= python3
SEED ?= 0
# processes that run the tests; each takes up to 2 GB of memory
JOBS ?= auto
# stack: openmmlab (upstream, the default) or onedl (the maintained fork)
STACK ?= openmmlab
VENV := $(ROOT)/.venv$(if $(filter onedl,$(STACK)),-onedl)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready

.PHONY: help setup demo test test-cuda test-onedl lint format clean

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
	@cd $(ROOT) && $(BIN)/mmseg-ssprompt demo --seed $(SEED)

test: setup
	@cd $(ROOT) && $(BIN)/python -m pytest -n $(JOBS)

test-cuda: setup
	@cd $(ROOT) && MMSEG_SSPROMPT_CUDA=1 $(BIN)/python -m pytest tests/test_cuda.py

test-onedl:
	@$(MAKE) --no-print-directory -f $(ROOT)/Makefile STACK=onedl test

lint: setup
	@cd $(ROOT) && $(PIP) install --quiet -r requirements/lint.txt
	@cd $(ROOT) && $(BIN)/ruff check . && $(BIN)/ruff format --check .

format: setup
	@cd $(ROOT) && $(PIP) install --quiet -r requirements/lint.txt
	@cd $(ROOT) && $(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:
	rm -rf $(ROOT)/.venv $(ROOT)/.venv-onedl $(ROOT)/work_dirs/demo $(ROOT)/build $(ROOT)/*.egg-info
	find $(ROOT) -name __pycache__ -type d -prune -exec rm -rf {} +
