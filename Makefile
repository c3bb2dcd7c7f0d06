# `make demo` and `make test` need Python 3.11 to 3.13 and git, nothing else.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)
PIP := .venv/bin/python -m pip --disable-pip-version-check

.PHONY: demo test

# 16 configurations x 8 seeds in one compiled program; a new run folder each time.
demo: .venv/installed
	.venv/bin/jaxreward sweep --env MountainCar-v0 --reward experiments/sweeps/mountain_car.py:reward \
		--grid reward.weights.gain=0,10,100,1000 learning_rate=5e-3,1e-2,2e-2,4e-2 --seeds 8 --steps 98_304 \
		--set num_envs=8 num_steps=64 "layers=(32,32)" --log-every 8

test: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	rm -rf build && $(PIP) install --quiet --no-deps --target build/typed .
	cd build && MYPYPATH=typed ../.venv/bin/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache -p jaxreward
	.venv/bin/pytest

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing what constraints.txt says ..."
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing what constraints.txt says ..."
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@ .venv/installed

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv .venv
