# `make` alone lists the targets. Each sets up what it needs: .venv is made, and made anew when
# pyproject.toml has changed.
#
# PYTHON=python3.12 chooses an interpreter; ARGS="--profile quick" is handed on by `run`, and also
# by `bench`, `faults`, `gpu`, `matrix` and `mutants`.
# PIP_ARGS is handed to pip: see "A smaller torch" in docs/installing.md.

PYTHON ?= python3
ARGS ?=
PIP_ARGS ?=
BIN := .venv/bin
READY := .venv/.ready
WORKERS := -n logical --maxprocesses 8 --dist loadfile
BENCH_READY := .venv-bench/.ready
MUTANTS_READY := .venv/.ready-mutants
MADE := .venv .venv-bench .pytest_cache .mypy_cache .ruff_cache .coverage* mutants site slides wheels tests/screenshots

# pip's torch for Linux contains CUDA, unless an index with another build is named
INDEX := $(PIP_ARGS) $(PIP_INDEX_URL) $(PIP_EXTRA_INDEX_URL)
CUDA := $(if $(findstring cpu,$(INDEX)),,$(filter Linux,$(shell uname -s)))
MEGABYTES := $(if $(CUDA),7500,2500)
SIZE := $(if $(CUDA),about 7 GB with a torch for GPUs (how to take one of 1 GB: see A smaller torch in docs/installing.md),about 2 GB)

# JupyterLab asks nobody whether it may fetch news, which a class without a network cannot have
LAB_SETTINGS := .venv/share/jupyter/lab/settings
NO_NEWS := {"@jupyterlab/apputils-extension:notification": {"checkForUpdates": false, "fetchNews": "false"}}

# settings of the user must not change what the tests see
test coverage test-long refresh exercises: export MATPLOTLIBRC := /dev/null
test coverage test-long refresh exercises: export IPYTHONDIR := $(CURDIR)/.venv/ipython

.DEFAULT_GOAL := help
.PHONY: help run test coverage test-long lab wheels check refresh exercises site slides matrix faults bench gpu mutants clean

help: # show this list
	@sed -n 's/^\([a-z-]*\):[^#]*# \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

run: $(READY) # run the eight notebooks on the real data; ends with a table and a page to read
	@$(BIN)/python -m helpers run $(ARGS)

# one thread for each worker: two workers with two threads each on two cores are ten times slower
define DAILY_TESTS
@OMP_NUM_THREADS=1 $(BIN)/python $(1) -m pytest -m "not long" -rs $(WORKERS) --no-loadscope-reorder \
	--nbval --nbval-current-env --nbval-cell-timeout=1200 tests notebooks
endef

test: check # check style and types, run the tests and all notebooks
	$(call DAILY_TESTS,)

coverage: check # as test, and list the lines of helpers/ that no test runs
	@$(BIN)/python -m coverage erase
	$(call DAILY_TESTS,-m coverage run)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report

test-long: $(READY) # the tests that take too long for every day: about half an hour
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long -rs $(WORKERS) --no-loadscope-reorder tests

lab: $(READY) # open copies of the notebooks in JupyterLab
	@mkdir -p my-notebooks/exercises/student
	@cd notebooks && for name in *.ipynb exercises/student/*.ipynb; do \
		test -e ../my-notebooks/$$name || cp $$name ../my-notebooks/$$name; done
	@echo "Your copies are in my-notebooks/ and stay as you leave them. Delete one to get the original back."
	@mkdir -p $(LAB_SETTINGS) && echo '$(NO_NEWS)' > $(LAB_SETTINGS)/overrides.json
	@$(BIN)/jupyter lab --notebook-dir=. my-notebooks/01_explore.ipynb

wheels: $(READY) # collect the packages in wheels/, to install machines without a network from there
	@$(BIN)/python -m pip freeze --exclude-editable > .venv/packages.txt
	@$(BIN)/python -m pip wheel $(PIP_ARGS) --no-deps --wheel-dir wheels \
		--requirement .venv/packages.txt 'setuptools>=68' # the last one builds the course itself
	@du -sh wheels

check: $(READY) # check format, style and types only
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy helpers

refresh: $(READY) # run the committed notebooks again, in place, and show what changed
	@$(BIN)/python -m tests.refresh

exercises: $(READY) # run the exercises, and write their student versions and solutions
	@$(BIN)/python -m tests.exercises

site: $(READY) # write the course as web pages, from the committed outputs, to site/: ten seconds
	@$(BIN)/python -m tests.site
	@echo "Read it at $(CURDIR)/site/index.html"

slides: $(READY) # write each notebook as slides, from the committed outputs, to slides/
	@$(BIN)/python -m tests.slides
	@echo "Open them in a browser: $(CURDIR)/slides/01_explore.html and the others. S shows the speaker's notes."

matrix: $(READY) # run the tests under other conditions as well: twenty minutes each
	@$(BIN)/python -m tests.matrix $(ARGS)

faults: $(READY) # damage data, kill kernels and trainings: is nothing lost? half an hour
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults $(ARGS)

bench: $(BENCH_READY) # compare the time to an accuracy with that of other libraries: about two hours
	@.venv-bench/bin/python -m benchmarks.race $(ARGS)

gpu: $(READY) # check and measure training on the GPU of this machine: at most eight minutes
	@$(BIN)/python -m benchmarks.gpu $(ARGS)

# one thread: a process that has started several cannot be forked, and mutmut forks for each mutant
mutants: $(MUTANTS_READY) # mutation test: change helpers/ in one place after another; do the tests notice? hours
	@rm -rf mutants
	@OMP_NUM_THREADS=1 MUTANTS=fast $(BIN)/mutmut run $(ARGS)
	@$(BIN)/python -m tests.mutants --again | OMP_NUM_THREADS=1 xargs -r $(BIN)/mutmut run
	@$(BIN)/python -m tests.mutants

clean: # show what can be deleted; YES=1 deletes it, RUNS=1 includes runs/
	@du -sh $(wildcard $(MADE) $(if $(RUNS),runs)) 2>/dev/null || echo "There is nothing to delete."
	@$(if $(YES),rm -rf $(MADE) $(if $(RUNS),runs),echo "Nothing was deleted: make clean YES=1 does it.")

$(MUTANTS_READY): $(READY)
	@$(BIN)/python -m pip install $(PIP_ARGS) --editable '.[test,mutation]'
	@touch $(MUTANTS_READY)

$(BENCH_READY): benchmarks/requirements.txt pyproject.toml
	@echo "Setting up .venv-bench, once: $(SIZE)."
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install $(PIP_ARGS) --requirement benchmarks/requirements.txt
	@touch $(BENCH_READY)

$(READY): pyproject.toml
	@command -v $(PYTHON) >/dev/null || \
		{ echo "There is no $(PYTHON). Install Python 3.11 or newer, or name it: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $$($(PYTHON) --version 2>&1) was found: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "This Python lacks venv. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@test -w . || \
		{ echo "Nothing can be written into this folder. Clone the project into another one." >&2; exit 1; }
	@free=$$(df -Pm . | awk 'NR == 2 { print $$4 }'); test -d .venv || test "$$free" -ge $(MEGABYTES) || \
		{ echo "The packages need $(MEGABYTES) MB, and $$free MB are free on this disk." >&2; exit 1; }
	@echo "Setting up .venv, once, in 2 to 10 minutes: $(SIZE)."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --no-compile $(PIP_ARGS) --editable '.[test]' || \
		{ echo "The packages could not be installed; pip says why above. Without a network, see docs/installing.md. The same command tries again." >&2; exit 1; }
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true # on all cores; some packages hold templates
	@touch $(READY)
