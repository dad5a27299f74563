# Two commands on a fresh machine: `make run` and `make test`. Everything lands in .venv/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt plugins/template/pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)

.PHONY: run test check clean install

install: $(STAMP)

$(STAMP):
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,test]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --editable plugins/template
	rm -f $(VENV)/.installed-*
	touch $@

# Start the service on the embedded weights; prints the address of the page and opens it where there is a desktop.
run: install
	$(BIN)/affect serve --open

# Static checks and every test.
test: check
	$(BIN)/python -m pytest

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache
