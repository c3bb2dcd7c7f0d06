# `make demo` and `make test` need Python 3.11 to 3.14 and git, nothing else. The newest is taken that is found, or
# the one that is named: `make demo PYTHON=/path/to/python`. A .venv that is there stays what it is.

PIP := .venv/bin/python -m pip --disable-pip-version-check

.PHONY: demo test types tests docs check-oldest check-wheel

# 16 configurations x 8 seeds in one compiled program; a new run folder each time.
demo: .venv/installed
	.venv/bin/jaxreward sweep --env MountainCar-v0 --reward experiments/sweeps/mountain_car.py:reward \
		--grid reward.weights.gain=0,10,100,1000 learning_rate=5e-3,1e-2,2e-2,4e-2 --seeds 8 --steps 98_304 \
		--set num_envs=8 num_steps=64 "layers=(32,32)" --log-every 8

# Types are checked while tests run: neither keeps two cores busy.
test: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	@$(MAKE) --no-print-directory --jobs 2 types tests

types: .venv/installed-dev
	rm -rf build && $(PIP) install --quiet --no-deps --target build/typed .
	cd build && MYPYPATH=typed ../.venv/bin/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache -p jaxreward

tests: .venv/installed-dev
	MAKEFLAGS= .venv/bin/pytest

# Those of one room: `make test-agents/subpo`.
ROOMS := $(filter test-%,$(MAKECMDGOALS))
.PHONY: $(ROOMS)
$(ROOMS): .venv/installed-dev
	@test -e tests/$(@:test-%=%) || { echo "there are no tests/$(@:test-%=%), but" \
		$$(cd tests && find . -type d -not -name '__*' | sort | cut -c3-) >&2; exit 2; }
	.venv/bin/pytest tests/$(@:test-%=%)

# All tests run on one Python; that the oldest works too is checked briefly.
check-oldest: .venv-oldest/installed
	.venv-oldest/bin/python .ci/check_install.py

# The documentation, into docs/_build/html; what is broken in it is an error.
docs: | .venv/bin/python
	@.venv/bin/python -c 'import furo, myst_nb' 2>/dev/null || \
		{ echo "the documentation needs more: .venv/bin/python -m pip install -c constraints.txt -e '.[docs]'" >&2; exit 1; }
	.venv/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# A wheel, in an environment that has what it depends on and not the source, trains.
check-wheel: .venv/installed
	rm -rf build && $(PIP) wheel --quiet --no-deps --wheel-dir build/wheel .
	.venv/bin/python -m venv --without-pip build/fresh
	cd build/fresh/lib/python*/site-packages && ../../../../../$(PIP) install --quiet --no-deps --target . ../../../../wheel/*.whl \
		&& ../../../../../.venv/bin/python -c 'import sys; print(*(p for p in sys.path if "-packages" in p), sep="\n")' > rest.pth
	cd build && fresh/bin/python -m jaxreward.cli train --env CartPole-v1 --quiet --steps 64 --folder run \
		--set num_envs=4 num_steps=16 "layers=(4,)"

%/installed: pyproject.toml constraints.txt | %/bin/python
	@echo "installing what constraints.txt says ..."
	$*/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt -e .
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing what constraints.txt says ..."
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@ .venv/installed

.venv/bin/python:
	python=$$(.ci/find-python newest '$(PYTHON)') && "$$python" -m venv .venv

.venv-oldest/bin/python:
	python=$$(.ci/find-python oldest) && "$$python" -m venv .venv-oldest
