"""What can't fit is refused before anything compiles."""

import re

import numpy as np
import pytest

from jaxreward.contract.sizes import MOST_SEEDS
from jaxreward.run.memory import bytes_of_loops, bytes_of_state, check_memory
from jaxreward.run.plan import make_plan
from jaxreward.run.spec import resolve
from jaxreward.run.store import RunError
from jaxreward.sweep.spec import read_seeds


def experiment(**settings):
    return resolve("ppo", "CartPole-v1", settings={"layers": (8,), **settings})


def test_a_loop_keeps_what_a_trajectory_has_of_each_step():
    small, large = (bytes_of_loops(experiment(num_envs=4, num_steps=steps)) for steps in (100, 200))
    # At the least what was seen before and after a step, 4 numbers each.
    assert large - small >= 100 * 4 * 8 * 4


@pytest.mark.parametrize(
    "settings",
    [
        {"num_envs": 2**31 - 64, "num_steps": 1, "num_minibatches": 64},
        {"num_envs": 64, "num_steps": 2**24},
        {"layers": (200_000, 200_000)},
    ],
)
def test_sizes_that_fit_no_machine_are_refused(settings):
    with pytest.raises(ValueError, match=r"1 run of these sizes needs [\d.,e+]+ GB at least, and there are 10 GB"):
        check_memory(experiment(**settings), 1, 10**10)


def test_memory_is_counted_over_all_runs():
    tried = experiment(num_envs=4, num_steps=2)
    each = bytes_of_state(tried)
    check_memory(tried, 5, 5 * each)
    with pytest.raises(ValueError, match="6 runs of these sizes need "):
        check_memory(tried, 6, 5 * each)


def test_the_largest_memory_of_old_transitions_that_fits_is_told():
    """42 bytes each: two observations of 16, an action and a reward of 4 and two ends. One block more does not fit."""
    sizes = {"num_envs": 10, "num_steps": 2, "layers": (8,)}
    tried = resolve("dqn", "CartPole-v1", settings={**sizes, "capacity": 2_000_000_000})
    with pytest.raises(ValueError, match=r"needs 84 GB .* 10 GB: .* takes 84 GB, and capacity=\d+ fits") as error:
        check_memory(tried, 1, 10**10)
    most = int(re.search(r"capacity=(\d+) fits", str(error.value))[1])
    each = [
        bytes_of_state(resolve("dqn", "CartPole-v1", settings={**sizes, "capacity": most + more})) for more in (0, 20)
    ]
    assert each[0] <= 10**10 < each[1]


def test_more_seeds_than_there_can_be_are_refused_without_listing_them():
    for refused, kind in [(read_seeds, ValueError), (lambda n: make_plan((), None, n, 1, None), RunError)]:
        with pytest.raises(kind, match="1,000,000 seeds at most, not 1,000,000,000"):
            refused(10**9)
    assert read_seeds(MOST_SEEDS) == tuple(np.arange(MOST_SEEDS))
