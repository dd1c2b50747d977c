# One word per task; each does its own set-up, in .venv. Another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
PYTEST_ARGS ?=
BENCH_ARGS ?=
FREE_THREADED ?= $(CURDIR)/build/free-threaded-venv/bin/python
TEST_PROCESSES ?= 2

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := -m pip install -qq --disable-pip-version-check
CXX_FILES = $(wildcard cpp_core/*.h cpp_core/*.cc tests/cpp/*.h tests/cpp/*.cc benchmarks/cpp/*.cc)

# Each process starts on its half of the tests, so that tests of a file mostly share what they compile.
IN_PARALLEL = -n $(TEST_PROCESSES) --dist worksteal

# Older ThreadSanitizer runtimes cannot start where the kernel spreads addresses too widely.
FIXED_ADDRESSES = $(shell setarch -R true 2>/dev/null && echo setarch -R)

CPP := cpp-default cpp-asan cpp-tsan
.PHONY: demo test test-all test-cuda lint format docs cpp $(CPP) pytest free-threaded sanitize-python count-instructions
.PHONY: wheel-test container clean
.PHONY: bench bench-all bench-free-threaded bench-cpp
.DELETE_ON_ERROR:

demo: $(VENV)/demo.stamp
	$(BIN)/python examples/demo.py

test: lint cpp pytest # the quickest to fail comes first

pytest: $(VENV)/dev.stamp
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "not integration" $(PYTEST_ARGS)

test-all: $(VENV)/test.stamp
	$(BIN)/python -m pytest -m integration $(PYTEST_ARGS)

# Batched simulators on this machine's GPU: that nothing is copied or waited for, and what the pool costs there.
test-cuda: $(VENV)/test.stamp
	$(BIN)/python -m pytest -m integration tests/test_batched_cuda.py $(PYTEST_ARGS)
	$(BIN)/python -m benchmarks.batched --device cuda:0

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

# The site, in build/site. A dead link, a page that the navigation lacks, or a name that is gone fails;
# with --quiet, mkdocs would not count the warnings that --strict is about.
docs: $(VENV)/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

cpp: $(CPP)

$(CPP): export PATH := $(CURDIR)/$(BIN):$(PATH)
$(CPP): cpp-%: $(VENV)/dev.stamp
	$(BIN)/cmake --preset $* --log-level=NOTICE
	$(BIN)/cmake --build --preset $*
	$(FIXED_ADDRESSES) $(BIN)/ctest --preset $*

# Skipped, with the reason, where no free-threaded Python can be had.
free-threaded:
	tools/test-free-threaded $(PYTEST_ARGS)

# The engine and generated modules under sanitizers, driven from Python.
sanitize-python: $(VENV)/dev.stamp
	tools/sanitize-python address $(PYTEST_ARGS)
	tools/sanitize-python thread $(PYTEST_ARGS)

# Such as: make bench BENCH_ARGS="--env cartpole --contender ours-process"; make bench BENCH_ARGS=growth
bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-all: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks --all $(BENCH_ARGS)

# With the wheel that `make free-threaded` installs; the checkout's packages have no _core for that Python.
bench-free-threaded:
	@mkdir -p build/elsewhere
	@ln -sfn ../../benchmarks build/elsewhere/benchmarks
	cd build/elsewhere && PYTHON_GIL=0 $(FREE_THREADED) -m benchmarks $(BENCH_ARGS)

# Instructions of a step, beside the committed baseline. ARGS: --update
count-instructions: $(VENV)/dev.stamp
	tools/count-instructions $(ARGS)

bench-cpp: build/handover
	build/handover

build/handover: benchmarks/cpp/handover.cc $(wildcard cpp_core/*.h)
	@mkdir -p $(@D)
	$(CXX) -std=c++20 -O3 -DNDEBUG -Wall -Wextra -Werror -I. -pthread -o $@ $<

# What may differ between the checkout and a wheel: files that are found, compiled or started, and what is exported.
WHEEL_TESTS := audit building compiler doctor examples generator processes public_names readme resources wheels \
  pool gym_face gymnasium_face dm_face

# Builds the wheel out of the sdist, and tests it where the checkout cannot be imported by accident.
wheel-test: $(VENV)/dev.stamp
	rm -rf build/wheel
	$(BIN)/python -m build --outdir build/wheel .
	$(BIN)/python -m venv build/wheel/venv
	build/wheel/venv/bin/python $(PIP_INSTALL) --constraint constraints.txt "$$(echo build/wheel/*.whl)[dev]"
	mkdir build/wheel/elsewhere
	cd build/wheel/elsewhere && ../venv/bin/python -c \
	  "import envpool_protocol as p; assert 'site-packages' in p.__file__, p.__file__; print('testing', p.__file__)"
	cd build/wheel/elsewhere && ENVPOOL_WRAP_WHEEL="$$(echo $(CURDIR)/build/wheel/*.whl)" \
	  ../venv/bin/python -m pytest $(IN_PARALLEL) \
	  $(WHEEL_TESTS:%="$(CURDIR)/tests/test_%.py") -p no:cacheprovider -m "not integration and not slow" $(PYTEST_ARGS)

# docker/Dockerfile without a Docker daemon, and a check of what it made. Needs root.
container:
	tools/container-build envpool-wrapper
	tools/container-build --run envpool-wrapper

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .nox
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The set-up: the venv, in it this checkout (again whenever the core changes), then the extra that is asked for.
$(VENV)/pyvenv.cfg:
	@command -v "$(PYTHON)" >/dev/null || { echo "Missing: $(PYTHON). Debian, Ubuntu: sudo apt-get install" \
	  "python3 python3-venv python3-dev g++; Fedora: sudo dnf install python3-devel gcc-c++;" \
	  "macOS: brew install python@3.12"; exit 1; }
	@$(PYTHON) tools/check_machine.py
	@echo "Setting up $(VENV): downloads and compiles, a minute or two."
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/core.stamp: $(VENV)/pyvenv.cfg pyproject.toml CMakeLists.txt $(wildcard cpp_core/*.h cpp_core/*.cc)
	$(BIN)/python $(PIP_INSTALL) --editable .
	@# Many tests start Pythons, which may have been told not to keep what they compile.
	@$(BIN)/python -m compileall -q envpool_protocol envpool_wrap
	@touch $@

# The package is there already: pip adds what the extra lacks.
$(VENV)/%.stamp: $(VENV)/core.stamp constraints.txt
	$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt "envpool-wrapper[$*]"
	@touch $@
