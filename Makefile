# Each verb sets up what it needs: .venv is made, and made anew when pyproject.toml has changed.
#
#   make run       run the series headlessly on the real data; ends with a table and a page to read
#   make test      everything that says whether the project is sound
#   make lab       open the notebooks in JupyterLab
#   make check     format, lint and types only
#   make refresh   run the committed notebooks anew, in place
#
# PYTHON=python3.12 chooses an interpreter; ARGS="--profile quick" is handed on by `run`.
# PIP_ARGS is handed to pip: see "A smaller torch" in the README.

PYTHON ?= python3
ARGS ?=
PIP_ARGS ?=
BIN := .venv/bin
READY := .venv/.ready

.PHONY: run test lab check refresh

run: $(READY)
	@$(BIN)/python -m helpers run $(ARGS)

test: check
	@$(BIN)/python -m pytest -m "" tests
	@$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout=1200 notebooks

lab: $(READY)
	@$(BIN)/jupyter lab --notebook-dir=. notebooks/01_explore.ipynb

check: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy helpers

refresh: $(READY)
	@$(BIN)/jupyter nbconvert --to notebook --execute --inplace notebooks/*.ipynb \
		--ExecutePreprocessor.record_timing=False --KernelManager.transport_encryption=auto

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $$($(PYTHON) --version 2>&1) was found: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "This Python lacks venv. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Setting up .venv (once; this takes a few minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) --editable '.[test]'
	@touch $(READY)
