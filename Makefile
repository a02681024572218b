# Each verb sets up what it needs: .venv is made, and made anew when pyproject.toml has changed.
#
#   make run       run the series headlessly on the real data; ends with a table and a page to read
#   make test      check style and types, run the tests and the notebooks: about ten minutes
#   make test-long the tests that take too long for every day: about twenty minutes
#   make lab       open the notebooks in JupyterLab
#   make check     format, lint and types only
#   make refresh   run the committed notebooks anew, in place, and show which facts and claims changed
#   make matrix    is the suite green under other conditions as well? about 40 minutes
#   make faults    break data, kernels and trainings in every way there is; about half an hour
#   make bench     race against what people use today, in an environment of its own; about two hours
#   make mutants   break the helpers in one place after another, and count what the tests notice; an hour
#
# PYTHON=python3.12 chooses an interpreter; ARGS="--profile quick" is handed on by `run`.
# PIP_ARGS is handed to pip: see "A smaller torch" in docs/installing.md.

PYTHON ?= python3
ARGS ?=
PIP_ARGS ?=
BIN := .venv/bin
READY := .venv/.ready
WORKERS := -n logical --maxprocesses 8 --dist loadfile
BENCH_READY := .venv-bench/.ready
MUTANTS_READY := .venv/.ready-mutants

.PHONY: run test test-long lab check refresh matrix faults bench mutants

run: $(READY)
	@$(BIN)/python -m helpers run $(ARGS)

# one thread for each worker: two workers with two threads each on two cores are ten times slower
test: check
	@$(BIN)/python -m coverage erase
	@OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest -m "not long" -rs $(WORKERS) \
		--no-loadscope-reorder tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest --nbval --nbval-current-env \
		--nbval-cell-timeout=1200 $(WORKERS) notebooks
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report

test-long: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long -rs $(WORKERS) --no-loadscope-reorder tests

lab: $(READY)
	@$(BIN)/jupyter lab --notebook-dir=. notebooks/01_explore.ipynb

check: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy helpers

refresh: $(READY)
	@$(BIN)/python -m tests.refresh

matrix: $(READY)
	@$(BIN)/python -m tests.matrix $(ARGS)

faults: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults $(ARGS)

bench: $(BENCH_READY)
	@.venv-bench/bin/python -m benchmarks.limits
	@.venv-bench/bin/python -m benchmarks.reliability
	@.venv-bench/bin/python -m benchmarks.race $(ARGS)

# one thread: a process that has started several cannot be forked, and mutmut forks for each mutant
mutants: $(MUTANTS_READY)
	@rm -rf mutants
	@OMP_NUM_THREADS=1 $(BIN)/mutmut run $(ARGS)
	@$(BIN)/python -m tests.mutants

$(MUTANTS_READY): $(READY)
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) --editable '.[test,mutation]'
	@touch $(MUTANTS_READY)

$(BENCH_READY): benchmarks/requirements.txt pyproject.toml
	@echo "Setting up .venv-bench (once; this takes a few minutes)"
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet $(PIP_ARGS) --requirement benchmarks/requirements.txt
	@touch $(BENCH_READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $$($(PYTHON) --version 2>&1) was found: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "This Python lacks venv. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Setting up .venv (once; this takes a few minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) --editable '.[test]'
	@touch $(READY)
