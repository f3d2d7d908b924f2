# Everything happens in .venv. `make demo` installs what a user needs; `make install`, `make test`
# and `make check` add the tools of developers and TensorFlow for the import of its checkpoints.

export OMP_WAIT_POLICY = PASSIVE
export RAY_USAGE_STATS_ENABLED = 0

PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PIP = .venv/bin/python -m pip install --quiet -c constraints.txt

.PHONY: demo install test test-fast check format clean

demo: .venv/.app
	rm -rf out/demo
	.venv/bin/autochrome colorize examples/photos out/demo
	@echo
	@echo "pictures       out/demo/images/"
	@echo "results        out/demo/results/*.parquet"
	@echo "review page    out/demo/report/index.html"

install: .venv/.dev

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

clean:
	rm -rf .venv out build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# torch comes first and alone, so that a build of it that is there already (CPU, CUDA) is kept.
.venv/.app: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Autochrome needs Python 3.11 or newer on PATH, or: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu install python3-venv"; exit 1; }
	$(PIP) torch==2.13.0
	$(PIP) -e .
	@touch $@

.venv/.dev: .venv/.app
	$(PIP) -e '.[dev,import]'
	@touch $@
