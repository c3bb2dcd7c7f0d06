"""What futures come to, against the exact values of a tabular MDP."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.distances.futures import Place, steps_of, worths
from jaxreward.distances.sampled import pair_of
from jaxreward.mdp import TabularEnv, TabularState, tabular_mdp

S, A, GAMMA, DRAWS = 4, 2, 0.8, 4_000
RNG = np.random.default_rng(0)
END = np.arange(S) == S - 1
MDP = tabular_mdp(RNG.dirichlet(np.ones(S), (S, A)), RNG.normal(size=(S, A, S)), terminal=END)
ENV = TabularEnv(MDP)
WORLD = pair_of(ENV, ENV.default_params, ENV, ENV.default_params).world


def at(index):
    index = jnp.asarray(index, jnp.int32)
    return Place(jax.nn.one_hot(index, S, dtype=jnp.float32), TabularState(index=index, time=jnp.zeros_like(index)))


CHANCE, PAID = np.asarray(MDP.transition, float), np.asarray(MDP.reward, float)
EXPECTED, GOING = (CHANCE * PAID).sum(-1) * ~END[:, None], CHANCE * ~END[:, None, None]


def exact(policy):
    """What actions are worth if a policy `[A]`, the same in all states, goes on: `[S, A]`."""
    chance, paid = (np.tensordot(policy, of, (0, 1)) for of in (GOING, EXPECTED))
    return EXPECTED + GAMMA * GOING @ np.linalg.solve(np.eye(S) - GAMMA * chance, paid)


@pytest.mark.parametrize("policy", [(0.5, 0.5), (0.9, 0.1), (0.0, 1.0)])
def test_futures_come_to_what_actions_are_worth(policy):
    """Within four standard errors, and the hundredth that they leave out."""
    odds, true = jnp.asarray(policy), exact(policy)[2]
    world = WORLD._replace(act=lambda place, key: jax.random.choice(key, A, p=odds))
    draw = lambda key: worths(world, at(2), jnp.arange(A), GAMMA, key)[:, 0]  # noqa: E731
    draws = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), DRAWS)), float)
    assert (abs(draws.mean(0) - true) < 4 * draws.std(0) / np.sqrt(DRAWS) + 0.01).all()
    apart = draws[:, 1] - draws[:, 0]
    assert abs(apart.mean() - (true[1] - true[0])) < 4 * apart.std() / np.sqrt(DRAWS) + 0.01
    assert apart.mean() < -0.2


def test_policies_that_go_on_make_a_difference():
    assert abs(exact((0.5, 0.5))[2] - exact((0.0, 1.0))[2]).max() > 0.1


@pytest.mark.parametrize(("discount", "steps"), [(0.0, 1), (0.1, 2), (0.99, 459)])
def test_futures_end_where_a_hundredth_is_left(discount, steps):
    assert steps_of(discount) == steps
