# `make demo` and `make test` are all that is needed on a fresh machine with Python 3.11 and make.
PYTHON ?= python3
VENV   ?= .venv
CORES  ?= 2
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test test-fast fuzz mutants check config-docs clean
.DEFAULT_GOAL := help

help:
	@echo "make demo         set up, simulate a small beamtime, reconstruct it, show the errors"
	@echo "make test         set up and run all tests"
	@echo "make test-fast    run the tests that need no Snakemake and no Slurm and take less than a second or two"
	@echo "make fuzz         try 1500 damaged and hostile inputs (a quarter of an hour)"
	@echo "make mutants      run 200 wrong programs against the tests (an hour or two; goes on where it was stopped)"
	@echo "make check        formatting, lint and types"
	@echo "make docs         build the documentation as a web site, build/site (links are checked)"
	@echo "make config-docs  write config/README.md and the schema again from the models"

# torch comes first and pinned: without it other packages would pull a build with gigabytes of CUDA.
$(READY): requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (about two minutes, once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check $$(grep '^torch==' requirements.lock)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

demo: $(READY)
	@$(BIN)/snakemake --cores $(CORES)
	@$(BIN)/speckleflow show results/demo

# one process a core, and one that mostly waits for Slurm
test: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $$(($(CORES) + 1)) --dist loadgroup

test-fast: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(CORES) --dist loadfile --ignore=tests/envs \
	  --ignore=tests/stages/test_sabotage.py -m "not slow and not workflow and not slurm"

# benchmarks/fuzz.md
fuzz: $(READY)
	@$(BIN)/python -m tests.fuzz.campaign 1500

# benchmarks/mutation.md; results are kept in runs/mutation, which may be removed to begin again
mutants: $(READY)
	@$(BIN)/python -m benchmarks.mutation

check: $(READY)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/snakefmt --check Snakefile workflow/rules
	@$(BIN)/snakemake --lint

config-docs: $(READY)
	@$(BIN)/python -m speckleflow.config.docs

docs: $(READY)
	@$(BIN)/python docs/site.py
	@echo "build/site/README.html"

clean:
	rm -rf $(VENV) results raw logs .snakemake
