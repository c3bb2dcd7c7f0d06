"""Rules that learn step by step: one update by hand, and what they come to on a world that is solved."""

from math import log

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agents.loop import differential_q, optimistic_q, rvi_q
from jaxreward.agents.loop.parts.incremental import Values, explore
from jaxreward.agents.loop.parts.learner import Memory, Visit
from jaxreward.envs.average.never_ending import ContinuingEnv
from jaxreward.mdp import relative_value_iteration, tabular_mdp

VALUE = np.array([[1.0, 2.0], [3.0, 0.5]])
VISIT = Visit(0, 1, 0.25, 1)


def world():
    """Two states, two actions; going on a detour pays later."""
    rows = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.3, 0.7]]])
    return ContinuingEnv(tabular_mdp(rows, np.array([[0.2, 0.0], [1.0, 0.6]]), np.array([1.0, 0.0])))


def test_differential_q_moves_the_value_and_the_rate():
    values = Values(jnp.float32(VALUE), jnp.full((2, 2), 4.0), jnp.float32(0.1))
    after = differential_q.update(values, VISIT, differential_q.Hyperparams(0.8, 0.5, 0.25))
    error = 0.25 - 0.1 + 3 - 2  # its step size is 0.8 / sqrt(4)
    np.testing.assert_allclose(after.action_value, [[1, 2 + 0.4 * error], [3, 0.5]], rtol=1e-6)
    assert after.rate == pytest.approx(0.1 + 0.25 * 0.4 * error, rel=1e-6)


@pytest.mark.parametrize(("reference", "rate"), [("pair", 1.0), ("state", 2.0), ("largest", 3.0), ("mean", 1.625)])
def test_rvi_q_takes_its_rate_from_the_values(reference, rate):
    env = world()
    agent = rvi_q.rvi_q(env, env.default_params, rvi_q.Config(reference=reference))
    memory = Memory((), Values(jnp.float32(VALUE), jnp.full((2, 2), 1.0), jnp.zeros(())))
    held = method_of(agent).observe(memory, VISIT, rvi_q.Hyperparams()).held  # the pair's second visit
    expected = VALUE.copy()
    expected[0, 1] += (0.25 - rate + 3 - 2) / 2
    np.testing.assert_allclose(held.action_value, expected, rtol=1e-6)
    assert held.visits[0, 1] == 2
    assert held.rate == rvi_q.REFERENCES[reference](held.action_value)


def method_of(agent):
    return agent.step.__self__.method


def test_optimistic_q_never_raises_a_value():
    """H = 4, c = 2; the pair's fifth visit: step size 5 / 9, bonus 2 sqrt(4 / 5)."""
    hyperparams = optimistic_q.Hyperparams(4.0, 2.0)
    for learned, kept in ((2.5, 2.0), (0.1, 1.0)):
        before = optimistic_q.Values(
            jnp.float32([[1, kept], [3, 0.5]]), jnp.float32([[1, learned], [3, 0.5]]), jnp.full((2, 2), 4.0)
        )
        after = optimistic_q.observe(Memory((), before), VISIT, hyperparams).held
        target = 0.25 + 0.75 * 3 + 2 * (4 / 5) ** 0.5
        new = learned + 5 / 9 * (target - learned)
        assert after.learned[0, 1] == pytest.approx(new, rel=1e-6)
        assert after.action_value[0, 1] == pytest.approx(min(kept, new), rel=1e-6)
        assert after.visits.sum() == 17


def test_optimistic_qs_theory():
    ours = optimistic_q.in_theory(10_000, 3, 2, 2.0, 0.1)
    assert ours.horizon == pytest.approx((10_000 / (6 * log(400_000))) ** (1 / 3))
    assert ours.bonus == pytest.approx(8 * log(200_000) ** 0.5)
    assert optimistic_q.in_theory(100, 3, 2, 0.01, 0.1).horizon == pytest.approx((1 / 6) ** 0.5)


def test_exploration_takes_any_action_as_often_as_it_is_said():
    """Of 3 actions 2 are tied for the best; 40 % of steps take any: 40 / 3 % the worse one, the rest shared alike."""
    memory = Memory((), Values(jnp.float32([[1, 0, 1]]), jnp.zeros((1, 3)), jnp.zeros(())))
    hyperparams = rvi_q.Hyperparams(exploration=0.4)
    act = jax.vmap(lambda key: explore(memory, jnp.int32(0), key, hyperparams))
    shares = np.bincount(jax.jit(act)(jax.random.split(jax.random.key(0), 40_000)), minlength=3) / 40_000
    # Six standard errors of a share of one half.
    np.testing.assert_allclose(shares, [0.4 / 3 + 0.3, 0.4 / 3, 0.4 / 3 + 0.3], atol=6 * 0.5 / 200)


@pytest.mark.parametrize("name", ["differential_q", "rvi_q"])
def test_rates_come_to_the_gain(name):
    """Of a solved world; step sizes of 1 / n^0.7 meet the conditions of both papers, off-policy at full exploration."""
    env, module = world(), {"differential_q": differential_q, "rvi_q": rvi_q}[name]
    agent = getattr(module, name)(env, env.default_params, module.Config(num_steps=2_000))
    hyperparams = module.Hyperparams(step_size=0.5, step_decay=0.7, exploration=1.0)

    @jax.jit
    @jax.vmap
    def run(key):
        state = agent.init(key, hyperparams)
        state, metrics = jax.lax.scan(lambda state, _: agent.step(state), state, None, 40)
        return metrics["rate"][-10:].mean(), metrics["gain"][0], state.memory.held.action_value

    rate, gain, action_value = run(jax.random.split(jax.random.key(0), 4))
    solution = relative_value_iteration(env.mdp)
    np.testing.assert_allclose(gain, float(solution.gain[0]), rtol=1e-5)
    # A mistake of a sign or of the maximum is off by more: the second best policy loses 0.18.
    np.testing.assert_allclose(rate, gain, atol=0.03)
    assert (action_value.argmax(-1) == np.array([1, 0])[None]).all()
