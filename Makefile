# make demo, make quick, make test, make lint, make bench, make bench-gpu: each makes its own environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One process per core; bytecode is kept, for the processes that tests start. A single test: .venv/bin/pytest -k its_name
PYTEST := PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/$(VENV)/pycache $(BIN)/pytest -n auto --maxprocesses 8

.PHONY: demo quick test bench bench-gpu lint fuzz soak clean

$(VENV)/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "inbeam needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(VENV)/ready
	$(BIN)/inbeam demo

quick: $(VENV)/ready
	$(PYTEST) -m "not slow" --durations=5 --durations-min=2

test: $(VENV)/ready
	$(PYTEST)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/ready
	$(BIN)/pip install --quiet --disable-pip-version-check dectris-compression || echo "no compiler: the floor is left out"
	cd bench && ../$(BIN)/python throughput.py && ../$(BIN)/python live.py && ../$(BIN)/python undecoded.py && ../$(BIN)/python small_frames.py && ../$(BIN)/python sparsify.py && ../$(BIN)/python map.py && ../$(BIN)/python diff_map.py && ../$(BIN)/python roi.py && ../$(BIN)/python page.py && ../$(BIN)/python tomography.py && ../$(BIN)/python tomography_live.py && ../$(BIN)/python gridding.py && ../$(BIN)/python mosaicity.py && ../$(BIN)/python topotomo.py && ../$(BIN)/python several.py && ../$(BIN)/python picture.py

bench-gpu: $(VENV)/ready
	cd bench && ../$(BIN)/python gpu.py && ../$(BIN)/python projection.py

fuzz: $(VENV)/ready
	$(BIN)/python tests/fuzz/run.py --messages 1000000

soak: $(VENV)/ready
	$(BIN)/python tests/soak.py --frames 1000000 --kills 210
	$(BIN)/python tests/soak_receivers.py --kills 200
	$(BIN)/python tests/soak_dask.py --scans 28

clean:
	rm -rf $(VENV) demo
