# Two commands do all, on a fresh machine with Python 3.11 or newer and make:
#     make demo     set up, then run the main job (DEMO_ARGS="--data mihi")
#     make test     set up, then run the tests (PYTEST_ARGS="-k trials")
# The environment is .venv, in this folder. Its rules install what pyproject.toml
# asks for at the versions of constraints.txt, and run again when either changes.

# The first Python that is new enough and can make environments; override with
# make PYTHON=/path/to/python3.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	if "$$p" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo "$$p"; break; fi; done)
DEMO_ARGS ?=
DEMO_DIR ?= .
PYTEST_ARGS ?=
MUTATION_ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -c constraints.txt
RUN := .venv/.installed-run
DEV := .venv/.installed-dev
MUTATION := .venv/.installed-mutation
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# `make -j demo test`: the demo must not run while the other installs.
DEV_GOALS := $(filter test test-slow mutation lint format doc examples speed,$(MAKECMDGOALS))
DEMO_ENV := $(if $(DEV_GOALS),$(DEV),$(RUN))

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow mutation lint format doc examples speed clean

help:
	@echo "make demo       align two sessions and print the decoding scores"
	@echo "make test       the tests, without the slow ones"
	@echo "make test-slow  the slow tests"
	@echo "make mutation   whether the tests notice small changes of the code"
	@echo "make lint       ruff, codespell, numpydoc"
	@echo "make format     let ruff lay out the code"
	@echo "make doc        the documentation, examples not run"
	@echo "make examples   the documentation, with every example run"
	@echo "make speed      whether anything has become slower than the stored ratios"
	@echo "make clean      remove the environment and everything built"

# A stamp says that an install ran to its end. Each install first removes the stamps,
# so that an interrupted one starts again, from an empty environment.
$(RUN): pyproject.toml setup.py constraints.txt
	@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "skerdiff needs Python 3.11 or newer$(if $(PYTHON),; $(PYTHON) is not)." \
	"Name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	test -e $@ || "$(PYTHON)" -m venv --clear .venv
	rm -f $(RUN) $(DEV) $(MUTATION)
	$(PIP) setuptools
	$(PIP) --no-build-isolation -e '.[plot]'
	touch $@

$(DEV): $(RUN)
	rm -f $(RUN) $(DEV) $(MUTATION)
	$(PIP) --no-build-isolation -e '.[dev]'
	touch $(RUN) $@

$(MUTATION): $(DEV)
	rm -f $(RUN) $(DEV) $(MUTATION)
	$(PIP) --no-build-isolation -e '.[dev,mutation]'
	touch $(RUN) $(DEV) $@

# The picture goes into DEMO_DIR, the current folder unless given.
demo: $(DEMO_ENV)
	root="$$PWD"; cd "$(DEMO_DIR)" && "$$root/$(BIN)/skerdiff" demo $(DEMO_ARGS)

test: $(DEV)
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

# pytest exits with 5 when it finds no test. That is right only while no file marks
# one as slow; otherwise the marker or the selection is broken.
test-slow: $(DEV)
	$(PYTEST) -m slow $(PYTEST_ARGS); code=$$?; \
	if [ $$code -eq 5 ] && ! grep -rqE --include='*.py' 'mark\.slow' tests; \
	then echo "No test is marked slow: nothing to run."; code=0; fi; exit $$code

# Which targets and how many mutants: MUTATION_ARGS="trials -n 100", or --help.
mutation: $(MUTATION)
	$(BIN)/python tests/mutation.py $(MUTATION_ARGS)

# Checks that ask for a section, or that need the real signature; `make doc` makes them
# on what is public.
SECTIONS := GL08,PR01,PR02,RT01,YD01

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	find skerdiff benchmarks -name '*.py' -exec $(BIN)/numpydoc lint --ignore $(SECTIONS) -- {} +

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The generated pages are made afresh, or a page of something removed would stay.
SPHINX = rm -rf doc/generated doc/auto_examples doc/benchmark_tables && MPLBACKEND=Agg \
	$(BIN)/python -m sphinx -W --keep-going -b html

doc: $(DEV)
	$(SPHINX) -D plot_gallery=0 doc doc/_build/html

# Both write to the same folders, so one after the other when both are asked for.
examples: $(DEV) $(filter doc,$(MAKECMDGOALS))
	export OMP_NUM_THREADS=1; $(SPHINX) -D plot_gallery=1 doc doc/_build/html

speed: $(DEV)
	$(BIN)/python -m benchmarks speed

clean:
	rm -rf .venv build *.egg-info doc/_build doc/generated doc/auto_examples doc/benchmark_tables \
	.pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
