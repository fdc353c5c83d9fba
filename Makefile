# Needs Python ≥ 3.11 and nothing else; every target installs what it needs into .venv, once.

PYTHON ?= python3
BIN := .venv/bin
# Strict: a link that leads nowhere is an error. The variable silences an announcement of the theme's.
MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.NOTPARALLEL:  # two targets must not install into one environment at the same time
.PHONY: run test test-lowest test-newest coverage check mutants fuzz docs reports bench gpu clean

run: .venv/.core
	$(BIN)/roofline analyze --model vicuna-7b --hw v100 --quant int4 --visual-tokens 40

# One thread for numpy in each worker: on cores that others share, its BLAS waits for its second one.
test test-lowest test-newest: export OPENBLAS_NUM_THREADS = 1

# Lines and branches are measured on the way, into .coverage.json. SlipCover warns that it measures no
# branches of the tests, which nobody asked for; torch.compile cannot trace what it watches.
# loadfile: a file's costly fixtures (a built and installed wheel) are made once, by one worker; in the
# order of tests/conftest.py, not those of most tests first, which are the quick ones.
# Compiled first, for the processes of their own that tests start: see bench
test: .venv/.test
	$(BIN)/python -m compileall -q roofline
	PYTHONWARNINGS='ignore:Unable to activate pytest:RuntimeWarning' \
	$(BIN)/python -m slipcover -m pytest -n auto --dist loadfile --no-loadscope-reorder -m 'not compiled'
	$(BIN)/python -m pytest -m compiled tests/torch_side/measure

# The same tests with the lowest and with the newest release of each package that pyproject.toml names
# and admits, each in an environment made anew. Minutes of downloads, so not part of .ci/run.
test-lowest: HOLD = $(PYTHON) tools/lowest_versions.py
test-newest: HOLD = true
test-lowest test-newest: test-%:
	rm -rf .venv-$*
	$(PYTHON) -m venv .venv-$*
	$(HOLD) > .venv-$*/constraints.txt
	.venv-$*/bin/python -m pip install -q -c .venv-$*/constraints.txt -e '.[test]'
	.venv-$*/bin/python -m pip freeze --exclude-editable
	.venv-$*/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m 'not compiled'
	.venv-$*/bin/python -m pytest -m compiled tests/torch_side/measure

.coverage.json: $(shell find roofline tests hardware models -name '*.py' -o -name '*.yaml')
	$(MAKE) test

coverage: .coverage.json
	$(BIN)/python tools/coverage_report.py

# .test as well: the type checker has to see the torch that roofline.torch_side uses
check: .venv/.test .venv/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/docs.py --check
	$(MKDOCS) --quiet
	$(BIN)/python tools/gallery.py --check
	$(MAKE) fuzz
	$(MAKE) coverage

# Faults planted in copies of the tree, and whether a test notices: minutes, so not part of CI.
# Another draw: make mutants ARGS='--path roofline/fitting --sample 200 --seed 1'
mutants: .venv/.test .venv/.check
	$(BIN)/python tools/mutants.py $(ARGS)

# Inputs that nobody means: damaged specs and records, and command lines. Another draw, and more:
# make fuzz SEED=7 SPECS=10000 COMMANDS=10000 RECORDS=2000. One case: make fuzz SEED=7 ONLY=specs:17
SEED ?= 0
SPECS ?= 5000
COMMANDS ?= 5000
RECORDS ?= 1000
fuzz: .venv/.test
	$(BIN)/python tools/fuzz --seed $(SEED) --specs $(SPECS) --commands $(COMMANDS) \
	  --records $(RECORDS) $(if $(ONLY),--only $(ONLY))

# What pages derive from the code, the tutorial's outputs, and the site: open site/index.html.
docs: .venv/.test
	$(BIN)/python tools/docs.py
	$(BIN)/python tools/tutorial.py
	$(MKDOCS)

# The first hour on a GPU: docs/gpu.md. One stage: make gpu ARGS='--stage calibrate'
gpu: .venv/.test
	$(BIN)/python tools/gpu.py $(ARGS)

reports: .venv/.report
	$(BIN)/python tools/gallery.py

# Compiled first: sources edited since the installation would be compiled at each start again.
bench: .venv/.test
	$(BIN)/python -m compileall -q roofline
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/reducers.py
	$(BIN)/python benchmarks/report.py

# The core and no extra: no torch. Compiled, because an editable installation is not, and where
# PYTHONDONTWRITEBYTECODE is set every single start would compile all modules anew.
.venv/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	$(BIN)/python -m compileall -q roofline
	touch $@

# An extra of pyproject.toml: .venv/.report, .venv/.test, .venv/.check
.venv/.%: .venv/.core
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[$*]'
	touch $@

clean:
	rm -rf .venv .venv-* dist build site .mutants .coverage.json .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
