# After a clone: make demo, make test. Needs Python >= 3.11 with venv; gcc and the Python headers for the compiled parts.

# The first Python that really runs: pyenv puts names on the PATH that only print an error.
RUNS   := -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do $$p $(RUNS) && echo $$p && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input
LOG    := $(VENV)/install.log
PYTEST := $(BIN)/python -m pytest -q

# What is installed, what is compiled, and what only tests need, each with a file that says when.
INSTALLED := $(VENV)/.installed
BUILT     := $(VENV)/.built
TESTABLE  := $(VENV)/.testable

.PHONY: help demo lab test compiled plain checked check bench peers build run clean fresh
.DEFAULT_GOAL := help

help:
	@echo "make demo    see it trade: a generated market, no keys needed"
	@echo "make lab     what tables, searches and notebooks need: pandas, pyarrow, optuna"
	@echo "make test    lint, types, and all tests: compiled, in plain Python, with bounds checks"
	@echo "make check   lint and types only"
	@echo "make bench   the benchmarks (a quiet machine, please)"
	@echo "make peers   the lab's benchmarks beside other people's packages, in an environment of their own"
	@echo "make build   compile again what is compiled"
	@echo "make run     how to run the engine"
	@echo "make clean   remove everything made here but the virtual environment"

demo: fresh
	@$(BIN)/ultra demo

lab: fresh
	@echo "installing what tables, searches and notebooks need ..."
	@$(BIN)/python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
		print(*p['dependencies'], *p['optional-dependencies']['lab'], sep='\n')" >$(VENV)/requirements-lab.txt
	@$(PIP) install -r $(VENV)/requirements-lab.txt >$(LOG) 2>&1 || { tail -20 $(LOG); exit 1; }

# The same files three times. What is wrong in one way only is wrong in the compiler, in mypyc or in an index.
# Two ways at a time: they share nothing but the sources. What each says comes when it is through.
test: check
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target compiled plain checked

compiled:
	@echo "== compiled"
	@$(PYTEST) --benchmark-disable

plain:
	@echo "== plain Python: no JIT, no mypyc, no C"
	@ULTRA_PURE=1 NUMBA_DISABLE_JIT=1 $(PYTEST) --benchmark-disable -m "not jit_only and not slow"

checked:
	@echo "== compiled with bounds checks"
	@NUMBA_BOUNDSCHECK=1 ULTRA_CACHE_DIR=.cache/checked $(PYTEST) --benchmark-disable -m "not jit_only and not slow"

check: $(TESTABLE) fresh
	@$(BIN)/ruff check ultra native bench tests setup.py
	@$(BIN)/ruff format --check ultra native bench tests setup.py
	@$(BIN)/mypy

bench: $(TESTABLE) fresh
	@$(PYTEST) bench --benchmark-only

# Packages to compare with bring older pandas and NumPy than ours: they get a home of their own. The package itself is
# not installed there but run from here, or its build would take the place of ours.
PEERS := .venv-peers

peers: $(PEERS)/.installed
	@ULTRA_PURE=1 ULTRA_PEERS=$(PEERS)/bin/python $(PEERS)/bin/python -m pytest -q --benchmark-only \
		bench/bench_bars.py bench/bench_backtest.py bench/bench_indicators.py

$(PEERS)/.installed: pyproject.toml
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@echo "installing into $(PEERS) (first time: a few minutes) ..."
	@$(PYTHON) -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
		more = p['optional-dependencies']; test = [w for w in more['dev'] if w.startswith('pytest')]; \
		print(*p['dependencies'], *more['lab'], *more['peers'], *test, sep='\n')" >$(PEERS)/requirements.txt
	@$(PEERS)/bin/python -m pip install --disable-pip-version-check --no-input -r $(PEERS)/requirements.txt \
		>$(PEERS)/install.log 2>&1 || { tail -20 $(PEERS)/install.log; exit 1; }
	@touch $@

run: fresh
	@$(BIN)/ultra run --help

clean:
	rm -rf build dist *.egg-info .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -f *.so ultra/*.so ultra/cold/*.so ultra/_build_info.json $(BUILT)
	find . \( -path ./$(VENV) -o -path ./$(PEERS) \) -prune -o -name __pycache__ -type d -exec rm -rf {} +

# Asks the package itself whether a source changed after it was compiled: a checkout changes times, not texts.
fresh: $(BUILT)
	@$(BIN)/python -c "import sys, ultra.cold as cold; sys.exit(bool(cold.build_report()['stale']))" 2>/dev/null \
		|| $(MAKE) --no-print-directory build

build: $(INSTALLED)
	@echo "compiling ..."
	@$(PIP) install --no-build-isolation --no-deps -e . >$(LOG) 2>&1 || { tail -20 $(LOG); exit 1; }
	@touch $(BUILT)
	@$(BIN)/python -c "import ultra.cold as c; c.compiled() or print('ultra: runs uncompiled:', c.build_report()['reason'])"

$(BUILT): $(INSTALLED) setup.py $(wildcard native/*.h native/*.py)
	@$(MAKE) --no-print-directory build

# Only what pyproject.toml lists; the package itself is `build`, in this same environment, so it is compiled once.
$(INSTALLED): pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 found: install one, or make PYTHON=/path/to/python"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "apt install python3-venv"; exit 1; }
	@echo "installing into $(VENV) (first time: about half a minute) ..."
	@$(BIN)/python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb')); \
		print(*p['project']['dependencies'], *p['build-system']['requires'], sep='\n')" >$(VENV)/requirements.txt
	@$(PIP) install -r $(VENV)/requirements.txt >$(LOG) 2>&1 || { tail -20 $(LOG); exit 1; }
	@touch $@

$(TESTABLE): $(INSTALLED)
	@echo "installing what the tests need (first time: about a minute) ..."
	@$(BIN)/python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
		print(*p['dependencies'], *p['optional-dependencies']['dev'], sep='\n')" >$(VENV)/requirements-dev.txt
	@$(PIP) install -r $(VENV)/requirements-dev.txt >$(LOG) 2>&1 || { tail -20 $(LOG); exit 1; }
	@touch $@
