# Everything a newcomer needs: `make demo` and `make test` work on a fresh machine with Python 3.11 or newer, gcc and node.
# Debian packages are never needed; tests that use gdal-bin say so and skip without it (`apt-get install gdal-bin`).

PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test test-all check bench lint clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/geoloom demo --out demo

# Two processes of one thread each: as many as the smallest machine has cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: install
	$(PYTEST) -m "not slow"

test-all: install
	$(PYTEST)

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test-all

# Hours at full size: a scene of 40,000² is among them. One by one: python -m benchmarks.NAME --help. On a machine with a
# GPU there is python -m benchmarks.gpu too.
BENCHMARKS := peers identity lanes memory ingest cogs vectors georeference seams chaos fixed_cost orchestration scheduler \
	labels few_shot automatic sam_decoder label_ids label_memory evaluate training ablation rare_class transfer scale

bench: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	set -e; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name; done

clean:
	rm -rf .venv demo bench build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
