# Every target sets itself up: a fresh clone needs Python 3.11+ and a C++ compiler, nothing else.
PYTHON ?= $(shell command -v python3.12 >/dev/null 2>&1 && python3.12 -c '' >/dev/null 2>&1 && echo python3.12 || echo python3)
BIN := .venv/bin
READY := .venv/.ready
NVCC := build/cuda/.ready
APART := tests/export tests/crf tests/chaos
JOBS ?= 2  # test processes, of one thread each
NATIVE := $(wildcard crf/native/* evaluation/native/*)

.PHONY: quickstart test test-slow check lint types imports docs format clean

quickstart: $(READY)
	$(BIN)/segtool quickstart --out runs/quickstart

test: check
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadfile -m "not slow and not gpu"

# All but the tests. For those of one part: .venv/bin/pytest tests/data -m "not slow"
check: lint types imports

# Those that compile and trace do not mind company; those that train and serve have the machine to themselves.
test-slow: $(READY) $(NVCC)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadfile -m "slow and not gpu" $(APART)
	$(BIN)/pytest -m "slow and not gpu" $(APART:%=--ignore=%)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy -p segtool

imports: $(READY)
	$(BIN)/lint-imports

# The documentation site, in build/site; every warning is an error, links are checked.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --site-dir build/site

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml CMakeLists.txt $(NATIVE)
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "segtool needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $(READY)

# The build's CUDA compiler, for tests that run what it makes of the kernels. Not in .venv: PyTorch has a CUDA of its own.
$(NVCC): pyproject.toml $(READY)
	mkdir -p build/cuda
	$(BIN)/python -c 'import tomllib; print(*(r for r in tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"] if r.startswith("nvidia-")), sep="\n")' > build/cuda.txt
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target build/cuda -r build/cuda.txt
	touch $(NVCC)

clean:
	rm -rf .venv build
