# `make demo` and `make test` do the set-up themselves. Repeated runs are quick.
PY = .venv/bin/python

# Hundreds of tests start the command. Without bytecode, each start compiles the whole package (0.3 s).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-deep bench bench-full docs lint types unit format wheel constraints clean

help:
	@echo 'make demo       the main job on the embedded server: a 1 GiB file, hashed, sent over HTTP/2, verified'
	@echo 'make test       all checks: format, lint, types, layers, kernels, functional, command line'
	@echo 'make test-deep  slow checks: sanitizers, emulated processors, long fault runs'
	@echo 'make bench      the quick forms of the benchmarks, as tables: some minutes'
	@echo 'make bench-full all benchmarks at full size: some hours'
	@echo 'make docs       the documentation as a site, in build/site'
	@echo 'make wheel      dist/: a source distribution, and a wheel that needs no system libraries'
	@echo 'make setup      the set-up alone, with all extras'
	@echo 'make format     format the code'
	@echo 'make clean      remove all build results'

setup:
	@.ci/setup.sh

demo: setup
	@$(PY) -m cosxfer demo

# mypy uses one core, so it runs beside the tests.
test: lint
	@$(MAKE) --no-print-directory -j 2 types unit

lint: setup
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

types: setup
	$(PY) -m mypy

unit: setup
	$(PY) -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m 'not deep'  # two cores: many tests wait

test-deep: setup
	@.ci/deep/client_peers.sh
	@.ci/deep/browser.sh
	@.ci/deep/wire_peers.sh
	$(PY) -m pytest -n 3 --dist worksteal -m deep  # two cores: many tests wait

bench: setup
	@.ci/deep/wire_peers.sh
	$(PY) bench/hashing.py --quick
	$(PY) bench/wire.py --quick
	$(PY) bench/upload.py --quick
	$(PY) bench/small.py --quick
	$(PY) bench/download.py --quick
	$(PY) bench/sync.py --quick
	$(PY) bench/schedule.py --quick
	$(PY) bench/journal.py --quick
	$(PY) bench/survival.py --scenarios 20

bench-full: setup
	@.ci/deep/wire_peers.sh
	@bench/clients/install.sh
	$(PY) bench/hashing.py
	$(PY) bench/wire.py
	$(PY) bench/upload.py
	$(PY) bench/small.py
	$(PY) bench/download.py
	$(PY) bench/sync.py
	$(PY) bench/peers.py
	$(PY) bench/simulate.py
	$(PY) bench/schedule.py --validate
	$(PY) bench/schedule.py
	$(PY) bench/journal.py
	$(PY) bench/survival.py --scenarios 200
	$(PY) -m pytest bench/micro

docs: setup
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs -q build -f .ci/mkdocs.yml && echo 'build/site/index.html'

wheel: setup
	@.ci/wheel.sh

format: setup
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

# For Python 3.11 and later, and for all platforms. Listed versions stay; delete the file to renew all.
constraints:
	rm -rf build/constraints && $(or $(PYTHON),python3) -m venv build/constraints
	build/constraints/bin/pip install -q uv
	build/constraints/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-strip-markers \
	    --no-annotate --no-header \
	    $(foreach extra,cli server bench dev docs,--extra $(extra)) pyproject.toml -o .ci/constraints.txt
	{ printf '%s\n' '# The versions of all that setup.sh installs, with the hashes of their files for all platforms: a build repeats, and pip' \
	    '# refuses any other file. Renewed with `make constraints`.'; cat .ci/constraints.txt; } > build/constraints.txt
	mv build/constraints.txt .ci/constraints.txt

clean:
	rm -rf .venv build dist cosxfer.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find cosxfer -name '*.so' -delete
