"""Tables of action values: one change by hand, and what they come to in worlds that are solved."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments.classic_control.cartpole import CartPole
from gymnax.environments.classic_control.pendulum import Pendulum

from jaxreward import vmap
from jaxreward.agents.baselines import q_learning, sarsa, soft_q_learning
from jaxreward.agents.baselines.parts.finite import numbered
from jaxreward.agents.baselines.parts.tabular import Table, TableHyperparams, changed, drawn, epsilon_greedy, together
from jaxreward.mdp import (
    TabularEnv,
    TabularParams,
    action_value,
    policy_value,
    soft_value_iteration,
    tabular_mdp,
    value_iteration,
)

DISCOUNT, TEMPERATURE, EXPLORATION = 0.8, 0.5, 0.4
REWARD = np.array([[0.0, 1.0], [2.0, -1.0], [0.5, 4.0], [0.0, 0.0]])
LEADS = np.array([[1, 2], [0, 2], [0, 3], [3, 3]])
SURE = np.eye(4)[LEADS]
NOISY = 0.8 * SURE + 0.2 * np.eye(4)[:3].mean(0)
WORLDS = [tabular_mdp(rows, REWARD, [1, 0, 0, 0], [False] * 3 + [True]) for rows in (SURE, NOISY)]
SEEDS, N, STEPS, ITERATIONS = 3, 4, 250, 24


def environment(**options):
    """The sure world; its episodes are cut after 5 steps, which is no part of what is to be learned."""
    return TabularEnv(WORLDS[0], max_steps_in_episode=5, **options)


def hyperparams_of(module, sure, noisy):
    """In the sure world a constant step, in the noisy one such that sums of steps diverge and of squares do not."""
    common = {
        "discount": DISCOUNT,
        "exploration": EXPLORATION,
        **({"temperature": TEMPERATURE} if "soft" in module.__name__ else {}),
    }
    members = [
        module.Hyperparams(**{**common, **own}, env_params=TabularParams(mdp=mdp, max_steps_in_episode=5))
        for own, mdp in zip((sure, noisy), WORLDS, strict=True)
    ]
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *members)


def learned(module, name, sure, noisy, **config):
    """Tables after 24,000 steps, `[world, seed, S, A]`, and the metrics of the iterations, `[T, world, seed]`."""
    env = environment(one_hot=False)
    agent = getattr(module, name)(env, env.default_params, module.Config(num_envs=N, num_steps=STEPS, **config))
    batched, hyperparams = vmap(vmap(agent), population=True), hyperparams_of(module, sure, noisy)

    @jax.jit
    def run(keys):
        return jax.lax.scan(lambda state, _: batched.step(state), batched.init(keys, hyperparams), length=ITERATIONS)

    state, metrics = run(jax.random.split(jax.random.key(0), (2, SEEDS)))
    return np.asarray(state.table.action_value), jax.tree.map(np.asarray, metrics)


CONSTANT, FALLING = {"step_size": 0.5}, {"step_size": 1.0, "step_decay": 0.8}


@cache
def q_tables():
    return learned(q_learning, "q_learning", CONSTANT, FALLING)


def optimal(mdp):
    return np.asarray(value_iteration(mdp, DISCOUNT).action_value)


def of_own_policy(table, mdp, exploration):
    """The exact values of the policy that a table stands for."""
    policy = epsilon_greedy(jnp.asarray(table), exploration)
    return np.asarray(action_value(mdp, policy_value(mdp, policy, DISCOUNT), DISCOUNT))


def near(tables, expected, atol):
    """All but the terminal state's values, which nobody learns."""
    np.testing.assert_allclose(tables[..., :3, :], np.broadcast_to(expected, tables.shape)[..., :3, :], atol=atol)


# Taking an episode's end or its cut for the other is off by more than 0.8, the policy's own values for the optimal ones
# by more than 0.3, bootstrapping from the next episode's start by more than 0.14. In the sure world errors shrink by a
# factor at each visit; in the noisy one they are left with a deviation of 0.015, of which NEAR is eight times as much.
EXACT, NEAR = 1e-4, 0.12


def test_q_learning_comes_to_the_values_of_the_best_policy():
    tables, _ = q_tables()
    for tables_of_one, mdp, atol in zip(tables, WORLDS, (EXACT, NEAR), strict=True):
        near(tables_of_one, optimal(mdp), atol)
        own = of_own_policy(tables_of_one[0], mdp, EXPLORATION)
        assert np.abs(own - optimal(mdp))[:3].max() > 0.3


def test_sarsa_comes_to_the_values_of_the_policy_that_acts():
    exploring = {**FALLING, "exploration": 1.0}
    tables, _ = learned(sarsa, "sarsa", exploring, exploring)
    for tables_of_one, mdp in zip(tables, WORLDS, strict=True):
        near(tables_of_one, of_own_policy(np.zeros((4, 2)), mdp, 1.0), NEAR)


def test_expected_sarsa_comes_to_the_values_of_its_own_policy():
    tables, _ = learned(sarsa, "sarsa", CONSTANT, FALLING, expected=True)
    for tables_of_one, mdp, atol in zip(tables, WORLDS, (EXACT, NEAR), strict=True):
        near(tables_of_one, np.stack([of_own_policy(table, mdp, EXPLORATION) for table in tables_of_one]), atol)


def test_soft_q_learning_comes_to_the_soft_values():
    tables, _ = learned(soft_q_learning, "soft_q_learning", CONSTANT, FALLING)
    for tables_of_one, mdp, atol in zip(tables, WORLDS, (EXACT, NEAR), strict=True):
        near(tables_of_one, soft_value_iteration(mdp, DISCOUNT, TEMPERATURE).action_value, atol)


def test_episodes_are_counted_over_the_steps_of_an_iteration():
    """In the sure world every episode that was not cut ends with the reward of 4, and all have at most 5 steps."""
    metrics = q_tables()[1]
    lengths, counts = metrics["episode/length"][:, 0], metrics["episode/count"][:, 0]
    assert (lengths <= 5).all()
    # All steps belong to an episode that ended or to one that runs on.
    assert (np.abs((lengths * counts).cumsum(0) - N * STEPS * (1 + np.arange(ITERATIONS))[:, None]) < 5 * N).all()
    np.testing.assert_allclose(
        metrics["episode/return"][:, 0] * counts / (N * STEPS), metrics["average_reward"][:, 0], atol=0.1
    )


def test_metrics_of_steps_are_weighed_by_their_episodes():
    given = {
        "episode/count": np.array([2.0, 0, 1]),
        "episode/return": np.array([3.0, np.nan, 6]),
        "average_reward": np.array([1.0, 2, 6]),
    }
    found = together({name: jnp.asarray(value) for name, value in given.items()})
    assert {name: float(value) for name, value in found.items()} == {
        "episode/count": 3,
        "episode/return": 4,
        "average_reward": 3,
    }


def test_errors_of_one_pair_are_averaged_and_are_one_visit():
    table = Table(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[0.0, 1.0], [0.0, 5.0]]))
    state, action, error = (np.array(x) for x in ([0, 1, 0], [1, 0, 1], [1.0, -2.0, 4.0]))
    after = changed(table, state, action, jnp.asarray(error), TableHyperparams(step_size=0.5, step_decay=1.0))
    np.testing.assert_allclose(after.action_value, [[1.0, 2.0 + 0.5 / 2 * 2.5], [3.0 - 0.5 * 2.0, 4.0]])
    np.testing.assert_array_equal(after.visits, [[0, 2], [1, 5]])


def test_actions_are_taken_as_often_as_they_should_be():
    """Two of three actions are tied; even noise of 3,000 points gives their shares to one of them."""
    probabilities = epsilon_greedy(jnp.array([1.0, 0.0, 1.0]), 0.3)
    np.testing.assert_allclose(probabilities, [0.45, 0.1, 0.45], rtol=1e-6)
    noise = (jnp.arange(3000) + 0.5) / 3000
    counts = np.bincount(drawn(jnp.broadcast_to(probabilities, (3000, 3)), noise))
    np.testing.assert_allclose(counts, [1350, 300, 1350], atol=1)


def test_exploration_falls_as_it_is_told():
    env = environment()
    algorithm = q_learning.q_learning(env, env.default_params, q_learning.Config(num_envs=2, num_steps=5)).step.__self__
    hyperparams = TableHyperparams(exploration=0.5, last_exploration=0.1, exploration_steps=40.0)
    told = [float(algorithm.exploration(hyperparams, jnp.int32(i))) for i in (0, 1, 4, 9)]
    np.testing.assert_allclose(told, [0.5, 0.4, 0.1, 0.1], rtol=1e-6)


def test_states_are_numbered_where_they_can_be():
    seen = jnp.eye(4)[jnp.array([2, 0])]
    one_hot, number = (numbered(env, env.default_params, "me") for env in (environment(), environment(one_hot=False)))
    assert one_hot[:2] == number[:2] == (4, 2)
    np.testing.assert_array_equal(one_hot.number(seen), [2, 0])
    np.testing.assert_array_equal(number.number(jnp.array([2, 0])), [2, 0])


def test_others_are_refused():
    env = CartPole()
    with pytest.raises(
        ValueError, match=r"q_learning has a table .*TabularEnv.*CartPole-v1 shows a Box of shape \(4,\).*ppo"
    ):
        q_learning.q_learning(env, env.default_params)
    with pytest.raises(TypeError, match="sarsa has a value for each of a few actions; Pendulum-v1 has a Box"):
        sarsa.sarsa(Pendulum(), Pendulum().default_params)
