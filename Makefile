# Everything happens in .venv. `make demo` installs what a user needs; `make install`, `make test`
# and `make check` add the tools of developers and TensorFlow for the import of its checkpoints.

export OMP_WAIT_POLICY = PASSIVE
export RAY_USAGE_STATS_ENABLED = 0
# Without files of bytecode each process of tests compiles all modules, and pytest all tests, anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
PIP = .venv/bin/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: demo install install-hashed test test-fast check format audit docs dist image clean

demo: .venv/.app
	rm -rf out/demo
	.venv/bin/autochrome colorize examples/photos out/demo
	@echo
	@echo "pictures       out/demo/images/"
	@echo "results        out/demo/results/*.parquet"
	@echo "review page    out/demo/report/index.html"

install: .venv/.dev

# Nothing but the very files that hashes.txt names: for Linux on x86-64 with Python 3.11. PyTorch
# comes by its version alone, as its builds differ.
install-hashed: .venv/bin/python
	.venv/bin/python -m pip install --quiet --no-deps torch==2.13.0
	.venv/bin/python -m pip install --quiet --no-deps --only-binary :all: --require-hashes -r hashes.txt
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch .venv/.app .venv/.dev

# Half of what tests do is to wait for processes to start, so files run side by side.
test: .venv/.dev
	.venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# What a developer runs while at work: these tests compute, so that more processes than cores, each
# with imports of its own, would only take longer.
test-fast: .venv/.dev
	.venv/bin/python -m pytest -n logical --maxprocesses 4 --dist loadfile -m "not slow"

check: .venv/.dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

format: .venv/.dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# The pins against the advisory database; where that is out of reach, a line says so.
audit: .venv/bin/python
	@test -x .audit/bin/pip-audit || { .venv/bin/python -m venv .audit && \
		.audit/bin/python -m pip install --quiet pip-audit; } || { rm -rf .audit; \
		echo "not audited: pip-audit cannot be installed"; exit 0; }; \
	test ! -x .audit/bin/pip-audit || .venv/bin/python benchmarks/audit.py .audit/bin/pip-audit

# Pages of docs/ in out/site; a broken link or a page without its place is an error.
docs: .venv/.dev
	.venv/bin/python -m mkdocs build --strict --quiet
	@echo "out/site/index.html"

# The wheel is built from the source distribution, so that both are known to be whole.
dist: .venv/.dev
	rm -rf build dist
	.venv/bin/python -m build --no-isolation
	@echo "to install it: pip install -c constraints.txt dist/autochrome-$(VERSION)-py3-none-any.whl"

# What the nodes of a cluster run: the wheel on Ray's own image.
image: dist
	docker build -f deploy/Dockerfile -t autochrome:$(VERSION) .

clean:
	rm -rf .venv .audit out build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# torch comes first and alone, so that a build of it that is there already (CPU, CUDA) is kept.
.venv/.app: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) torch==2.13.0
	$(PIP) -e .
	@touch $@

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Autochrome needs Python 3.11 or newer on PATH, or: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu install python3-venv"; exit 1; }

# iiif-prezi3 asks for a Pillow that is older than ours, and works with ours.
.venv/.dev: .venv/.app
	$(PIP) --quiet -e '.[dev,import]'
	$(PIP) --quiet --no-deps iiif-prezi3
	@touch $@
