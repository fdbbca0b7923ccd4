# Two commands do everything on a fresh machine with Python >= 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
READY := $(VENV)/.ready
BROWSER := $(VENV)/.browser

# Where it is set, each of the many processes that a test or a stack starts would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo up test long coverage properties chaos scale check fix bench lock clean
help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# 7.9 GB on disk when it is done: CUDA's libraries, which come with PyTorch, are most of it.
$(READY): requirements.lock pyproject.toml
	@test -e $@ || echo "installing the locked packages into $(VENV): 7.9 GB on disk, most of it PyTorch's CUDA libraries"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $(READY)

# Debian's browser, with which tests look at the pages; they skip, and say why, where it is not there.
$(BROWSER): $(READY)
	@if command -v chromium >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing chromium for the tests of the pages"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
			>$(VENV)/chromium.log 2>&1 || echo "no chromium: $$(tail -n 1 $(VENV)/chromium.log); the tests of the pages skip"; \
	else echo "no chromium, and only root can install it by apt-get: the tests of the pages skip"; fi
	@touch $(BROWSER)

demo: $(READY) ## train on generated clips, or on DATASET=FOLDER of yours, and print the leaderboard
	$(BIN)/twostream demo $(if $(DATASET),--dataset "$(DATASET)")

up: $(READY) ## start the whole stack on this machine and keep it running
	$(BIN)/twostream up

# The order is drawn by a seed that stays; ARGS=--randomly-seed=7 draws another, which must pass as well.
test: $(READY) $(BROWSER) ## run the tests
	$(BIN)/python -m pytest $(ARGS)

long: $(READY) $(BROWSER) ## run the tests that `make test` leaves out, since they take long, but for those of chaos
	$(BIN)/python -m pytest -m "long and not chaos" $(ARGS)

coverage: $(READY) $(BROWSER) ## run the tests and say which branches they miss
	$(BIN)/python -m pytest --cov --cov-report=term $(ARGS)

properties: $(READY) ## decode thousands of generated clips in every way, and compare with plain PyAV
	PROPERTY_CASES=$(or $(CASES),3000) $(BIN)/python -m pytest --timeout 3600 tests/worker/video/decoding/test_whole_clips.py \
		tests/worker/video/decoding/test_unpack.py $(ARGS)

chaos: $(READY) ## do harm to a whole fleet while it works, and print what each fault cost
	$(BIN)/python -m pytest tests/chaos -m chaos -n 0 $(ARGS)

scale: $(READY) ## run the stages on as many clips as UCF101 has, and bound the memory of each process
	$(BIN)/python -m pytest -n 0 -m scale -s tests/worker/scale $(ARGS)

check: $(READY) ## formatting, lint, types, import contracts, spelling, Dockerfile and compose file
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/hadolint Dockerfile

fix: $(READY) ## mend what can be mended
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: $(READY) ## run every benchmark
	$(BIN)/python -m benchmarks

lock: ## renew requirements.lock
	test -x $(UV) || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
	$(UV) pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --extra worker --extra local --extra s3 --extra pretrained --extra onnx --group dev \
		pyproject.toml -o requirements.lock

clean: ## remove the virtual environment
	rm -rf $(VENV)
