# The commands:  make run  does all set-up and runs the main job;  make web  does all set-up and serves the page;
# make up  serves it with the master, the gateway and a bucket, and the Discord bot if DISCORD_TOKEN is set;
# make test  does all set-up and passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Else every process that the tests start would compile all of this anew, and every worker of pytest all tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run web up test benchmark lint types imports compiled format lock lock-image clean

run: $(READY)
	@$(BIN)/python -m comfypod run --local --input test_input.json --output outputs
	@echo 'To type a prompt and watch: make web, then open http://127.0.0.1:8765/'

web: $(READY)
	@$(BIN)/python -m comfypod web --local $(OPTIONS)

up: $(READY)
	@$(BIN)/python -m comfypod up --local $(OPTIONS)

test: $(READY)
	@$(MAKE) --no-print-directory --jobs 2 lint types imports compiled
	@$(BIN)/python -m pytest -n auto --dist loadfile -rs --no-loadscope-reorder

# On the built-in engine, or on a real ComfyUI: make benchmark COMFYUI_COMMAND="..." OPTIONS="--only idle --rounds 1"
benchmark: $(READY)
	@$(BIN)/python -m benchmarks $(OPTIONS)

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy

imports: $(READY)
	@$(BIN)/lint-imports

# Else each of pytest's workers would compile every test by itself. What cannot be collected the run itself tells.
compiled: $(READY)
	@$(BIN)/python -m pytest --collect-only -qq > /dev/null || true

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# Set-up happens once and again only when a pin changes, so that a second run works without a network.
$(READY): requirements.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "comfypod needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12")'
	@echo "Setting up $(VENV) (once; this takes a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(READY)

# Pins every version anew, for all supported versions of Python at once; the comments at the top of the files stay.
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --no-header --no-annotate \
	--no-emit-index-url --upgrade
lock: $(READY)
	@mkdir -p build
	@$(COMPILE) --extra worker --output-file build/worker.txt
	@$(COMPILE) --extra worker --extra emulator --extra web --extra master --extra discord --extra previews --extra dev --constraint build/worker.txt --output-file build/all.txt
	@{ grep '^#' requirements.txt; cat build/worker.txt; } > build/requirements.txt
	@{ grep -E '^(#|-r )' requirements-dev.txt; grep -vxFf build/worker.txt build/all.txt; } > build/requirements-dev.txt
	@mv build/requirements.txt build/requirements-dev.txt .

# The image's packages: torch and what comes with it, a set for each CUDA; then everything else, with every node pack's.
lock-image: $(READY)
	@for set in cu128 cu130; do \
		$(BIN)/uv pip compile image/torch/$$set.in --constraint requirements.txt --python-version 3.12 \
			--python-platform x86_64-manylinux_2_28 --generate-hashes --quiet --no-header --no-annotate --no-emit-index-url \
			--output-file image/torch/$$set.txt || exit 1; done
	@$(BIN)/python -m comfypod nodes lock

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache outputs build dist
