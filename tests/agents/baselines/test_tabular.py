"""Tables of action values: one change by hand, and what they come to in worlds that are solved."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments.classic_control.cartpole import CartPole
from gymnax.environments.classic_control.pendulum import Pendulum

from jaxreward import vmap
from jaxreward.agents.baselines import q_learning, sarsa, soft_q_learning
from jaxreward.agents.baselines.parts.finite import numbered
from jaxreward.agents.baselines.parts.tabular import (
    Rule,
    Table,
    TableConfig,
    TableHyperparams,
    changed,
    drawn,
    epsilon_greedy_policy,
    tabular,
    together,
)
from jaxreward.mdp import (
    TabularEnv,
    TabularParams,
    action_value,
    policy_value,
    soft_value_iteration,
    tabular_mdp,
    value_iteration,
)

DISCOUNT, TEMPERATURE, EPSILON = 0.8, 0.5, 0.4
REWARD = np.array([[0.0, 1.0], [2.0, -1.0], [0.5, 4.0], [0.0, 0.0]])
LEADS = np.array([[1, 2], [0, 2], [0, 3], [3, 3]])
SURE = np.eye(4)[LEADS]
NOISY = 0.8 * SURE + 0.2 * np.eye(4)[:3].mean(0)
WORLDS = [tabular_mdp(rows, REWARD, [1, 0, 0, 0], [False] * 3 + [True]) for rows in (SURE, NOISY)]
SEEDS, N, STEPS, ITERATIONS = 3, 4, 250, 24


def environment(**options):
    """The sure world; its episodes are cut after 5 steps, which is no part of what is to be learned."""
    return TabularEnv(WORLDS[0], max_steps_in_episode=5, **options)


AGENTS = {
    "q_learning": q_learning.q_learning,
    "sarsa": sarsa.sarsa,
    "expected": lambda *given: sarsa.sarsa(*given, sarsa.Config(expected=True)),
    "soft": soft_q_learning.soft_q_learning,
}
CONSTANT, FALLING = {"step_size": 0.5}, {"step_size": 1.0, "step_decay": 0.8}


@struct.dataclass
class Which(soft_q_learning.Hyperparams):
    """The number of an agent too, so that one program is all of them."""

    which: Any = 0


def any_rule(env):
    """The rules of the agents, each where its number says so."""
    rules = [make(env, env.default_params).step.__self__.rule for make in AGENTS.values()]
    return Rule(
        lambda *given: jnp.stack([rule.probabilities(*given) for rule in rules])[given[-1].which],
        lambda *given: jnp.stack([rule.worth(*given) for rule in rules])[given[-1].which],
    )


def hyperparams_of(which, noisy):
    """In the sure world a constant step, in the noisy one such that sums of steps diverge and of squares do not."""
    sampled = list(AGENTS)[which] == "sarsa"
    return Which(
        **(FALLING if noisy or sampled else CONSTANT),
        discount=DISCOUNT,
        temperature=TEMPERATURE,
        epsilon_start=1.0 if sampled else EPSILON,
        epsilon_end=1.0 if sampled else EPSILON,
        env_params=TabularParams(mdp=WORLDS[noisy], max_steps_in_episode=5),
        which=which,
    )


@cache
def learned():
    """Tables after 24,000 steps, `[agent, world, seed, S, A]`, and the metrics of the iterations, `[T, ...]`."""
    env = environment(one_hot=False)
    agent = tabular(env, env.default_params, TableConfig(num_envs=N, num_steps=STEPS), any_rule(env), "all")
    members = [hyperparams_of(which, noisy) for which in range(len(AGENTS)) for noisy in (0, 1)]
    hyperparams = jax.tree.map(lambda *leaves: np.stack(leaves), *members)
    batched = vmap(vmap(agent), population=True)

    @jax.jit
    def run(keys):
        return jax.lax.scan(lambda state, _: batched.step(state), batched.init(keys, hyperparams), length=ITERATIONS)

    state, metrics = run(jax.random.split(jax.random.key(0), (len(members), SEEDS)))
    tables = np.asarray(state.params.action_value).reshape(len(AGENTS), 2, SEEDS, 4, 2)
    return dict(zip(AGENTS, tables, strict=True)), jax.tree.map(np.asarray, metrics)


def optimal(mdp):
    return np.asarray(value_iteration(mdp, DISCOUNT).action_value)


def of_own_policy(table, mdp, epsilon):
    """The exact values of the policy that a table stands for."""
    policy = epsilon_greedy_policy(jnp.asarray(table), epsilon)
    return np.asarray(action_value(mdp, policy_value(mdp, policy, DISCOUNT), DISCOUNT))


def near(tables, expected, atol):
    """All but the terminal state's values, which nobody learns."""
    np.testing.assert_allclose(tables[..., :3, :], np.broadcast_to(expected, tables.shape)[..., :3, :], atol=atol)


# Taking an episode's end or its cut for the other is off by more than 0.8, the policy's own values for the optimal ones
# by more than 0.3, bootstrapping from the next episode's start by more than 0.12. In the sure world errors shrink by a
# factor at each visit; in the noisy one they are left with a deviation of 0.015, of which NEAR is eight times as much.
EXACT, NEAR = 1e-4, 0.12


def test_q_learning_comes_to_the_values_of_the_best_policy():
    tables = learned()[0]["q_learning"]
    for tables_of_one, mdp, atol in zip(tables, WORLDS, (EXACT, NEAR), strict=True):
        near(tables_of_one, optimal(mdp), atol)
        own = of_own_policy(tables_of_one[0], mdp, EPSILON)
        assert np.abs(own - optimal(mdp))[:3].max() > 0.3


def test_sarsa_comes_to_the_values_of_the_policy_that_acts():
    tables = learned()[0]["sarsa"]
    for tables_of_one, mdp in zip(tables, WORLDS, strict=True):
        near(tables_of_one, of_own_policy(np.zeros((4, 2)), mdp, 1.0), NEAR)


def test_expected_sarsa_comes_to_the_values_of_its_own_policy():
    tables = learned()[0]["expected"]
    for tables_of_one, mdp, atol in zip(tables, WORLDS, (EXACT, NEAR), strict=True):
        near(tables_of_one, np.stack([of_own_policy(table, mdp, EPSILON) for table in tables_of_one]), atol)


def test_soft_q_learning_comes_to_the_soft_values():
    tables = learned()[0]["soft"]
    for tables_of_one, mdp, atol in zip(tables, WORLDS, (EXACT, NEAR), strict=True):
        near(tables_of_one, soft_value_iteration(mdp, DISCOUNT, TEMPERATURE).action_value, atol)


def test_episodes_are_counted_over_the_steps_of_an_iteration():
    """In the sure world every episode that was not cut ends with the reward of 4, and all have at most 5 steps."""
    metrics = learned()[1]
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
    probabilities = epsilon_greedy_policy(jnp.array([1.0, 0.0, 1.0]), 0.3)
    np.testing.assert_allclose(probabilities, [0.45, 0.1, 0.45], rtol=1e-6)
    noise = (jnp.arange(3000) + 0.5) / 3000
    counts = np.bincount(drawn(jnp.broadcast_to(probabilities, (3000, 3)), noise))
    np.testing.assert_allclose(counts, [1350, 300, 1350], atol=1)


def test_epsilon_falls_as_it_is_told():
    env = environment()
    algorithm = q_learning.q_learning(env, env.default_params, q_learning.Config(num_envs=2, num_steps=5)).step.__self__
    hyperparams = TableHyperparams(epsilon_start=0.5, epsilon_end=0.1, epsilon_steps=40.0)
    told = [float(algorithm.epsilon(hyperparams, jnp.int32(i))) for i in (0, 1, 4, 9)]
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
