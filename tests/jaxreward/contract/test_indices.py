"""Indices beyond an array are found before anything is trained, by file and line, and nothing else is called one."""

import inspect

import jax
import jax.numpy as jnp
import pytest
from gymnax.environments import spaces
from gymnax.environments.environment import Environment

from jaxreward import markov, with_reward
from jaxreward.contract.environments import check_environment
from jaxreward.contract.indices import check_indices
from jaxreward.environment import scalar_environment
from jaxreward.envs import list_envs, make
from jaxreward.rewards.registry import get_reward, list_rewards

X, I = jax.ShapeDtypeStruct((4,), jnp.float32), jax.ShapeDtypeStruct((), jnp.int32)  # noqa: E741
TABLE = jnp.zeros((3, 4))

DOWNLOADS = {"MNISTBandit-bsuite"}
WRONG = {
    "a constant": (lambda x, i: x[17], 17),
    "from the end": (lambda x, i: x[-9], -9),
    "of another axis": (lambda x, i: TABLE[1, 7], 7),
    "several": (lambda x, i: x[jnp.array([1, 9])].sum(), 9),
    "written": (lambda x, i: x.at[9].set(1.0), 9),
    "added": (lambda x, i: x.at[jnp.array([0, 12])].add(1.0), 12),
    "taken": (lambda x, i: jnp.take(x, 9), 9),
    "sliced": (lambda x, i: jax.lax.dynamic_slice(x, (3,), (2,)), 3),
    "in a branch": (lambda x, i: jax.lax.cond(i > 100, lambda: x[8], lambda: x[1]), 8),
    "jitted": (lambda x, i: jax.jit(lambda y: y[5])(x), 5),
    "mapped": (lambda x, i: jax.vmap(lambda k: x[4] * k)(x), 4),
}
BY_DATA = {
    "of data": (lambda x, i: x[i], 4),
    "of a table": (lambda x, i: TABLE[1, i], 4),
    "in a loop": (lambda x, i: jax.lax.fori_loop(0, i + 2, lambda k, y: y + x[k], 0.0), 4),
    "by a function": (lambda x, i: jax.lax.dynamic_index_in_dim(x, i), 4),
    "far below": (lambda x, i: x[i - 20], -14),
}
RIGHT = {
    "within": lambda x, i: x[3] + x[-4] + x[jnp.array([0, -1])].sum() + TABLE[2, 3] + x[..., 3],
    "by data": lambda x, i: x[i % 4] + x[jnp.clip(i, 0, 3)] + x[jnp.argmax(x)],
    "a Python slice": lambda x, i: x[2:9].sum(),
    "said to be filled": lambda x, i: x.at[9].get(mode="fill", fill_value=0.0),
    "said to be dropped": lambda x, i: x.at[i].add(1.0, mode="drop"),
    "said on another line": lambda x, i: x.at[i].get(
        mode="clip",
    ),
}


def sample():
    return jnp.zeros((3, 4)), jnp.arange(3) + 2


def place(fn):
    return f"{__file__}:{inspect.getsourcelines(fn)[1]}"


@pytest.mark.parametrize("name", WRONG)
def test_a_constant_beyond_an_array_is_found_without_running_anything(name):
    fn, index = WRONG[name]
    with pytest.raises(ValueError, match=rf"index {index} is beyond axis .*, at {place(fn)}"):
        check_indices(fn, (X, I))


@pytest.mark.parametrize("name", BY_DATA)
def test_an_index_that_depends_on_data_is_looked_at_in_samples(name):
    fn, index = BY_DATA[name]
    check_indices(fn, (X, I))
    with pytest.raises(ValueError, match=rf"index {index} is out of bounds.*, at {place(fn)}"):
        check_indices(fn, (X, I), sample)


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_within_or_meant_so_is_no_mistake(name):
    check_indices(RIGHT[name], (X, I), sample)


def test_nothing_runs_where_no_index_depends_on_data():
    check_indices(lambda x, i: x[0] + i, (X, I), lambda: pytest.fail("samples were computed"))


class Walk(Environment):
    """A walk along 5 places, which pays what a table of `size` says of the place."""

    def __init__(self, size=5, start=None):
        super().__init__()
        self.table, self.start = jnp.arange(float(size)), start

    def reset_env(self, key, params):
        place = jnp.zeros((), jnp.int32)
        return (place if self.start is None else self.table[self.start])[None], place

    def step_env(self, key, state, action, params):
        place = jnp.minimum(state + 1, 4)
        return place[None], place, self.table[place], jnp.zeros((), bool), {}

    def is_truncated(self, state, params):
        return jnp.zeros((), bool)

    def action_space(self, params=None):
        return spaces.Discrete(2)


def test_an_environment_of_the_users_is_looked_at_by_its_constants_and_its_first_steps():
    check_environment(Walk(), ())
    with pytest.raises(ValueError, match=rf"index 3 is out of bounds for axis 0 with size 3, at {__file__}"):
        scalar_environment(Walk(3), ())
    with pytest.raises(ValueError, match=rf"index 8 is beyond axis 0 of an array of shape \(5,\), at {__file__}"):
        scalar_environment(Walk(start=8), ())


def test_an_environment_is_looked_at_once_with_the_same_params(monkeypatch):
    seen, one, other = [], Walk(), Walk()
    look = lambda env, params, _: seen.append((env, params))  # noqa: E731
    monkeypatch.setattr("jaxreward.contract.environments._check_steps", look)
    for env, params in [(one, 1.0), (one, 1.0), (one, 2.0), (other, 1.0), (one, jnp.asarray(1.0)), (one, 2.0)]:
        check_environment(env, params)
    assert seen == [(one, 1.0), (one, 2.0), (other, 1.0)]


def test_where_params_are_traced_or_wrong_an_environment_is_looked_at_again():
    wrong = Walk(3)
    for _ in range(2):
        with pytest.raises(ValueError, match="index 3 is out of bounds"):
            check_environment(wrong, ())
    jax.eval_shape(lambda params: check_environment(Walk(), params).reward, 1.0)


def test_a_reward_is_looked_at_over_the_steps_of_episodes():
    env, _ = make("CartPole-v1")
    for fn, index in [(lambda t: t.next_observation[17], 17), (lambda t: t.observation[t.state.time + 2], 4)]:
        with pytest.raises(ValueError, match=rf"index {index} is .*, at {place(fn)}"):
            with_reward(env, markov(fn))
    with_reward(env, markov(lambda t: t.next_observation[3] + t.observation[t.action]))


@pytest.mark.parametrize("name", list_rewards())
def test_no_reward_of_the_library_is_called_wrong(name):
    env, _ = make({"modular": "subrl/two_rooms", "proxy": "hacking/tomato"}.get(name, "barfi/gridworld"))
    with_reward(env, get_reward(name))


NAMES = [name for name in list_envs() if not name.startswith(("brax/", "playground/")) and name not in DOWNLOADS]


@pytest.mark.parametrize("name", NAMES)
def test_no_environment_is_called_wrong(name):
    env, params = make(name)
    with jax.numpy_rank_promotion("allow"):  # Swimmer-misc promotes ranks in gymnax's own code
        check_environment(env, params)
