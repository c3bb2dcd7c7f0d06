"""Shaping: what it adds up to, and that no policy gains by it, by enumeration of all policies of small MDPs."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.reward import AgentDiscount, Transition, bind_discount, environment_reward
from jaxreward.rewards import potential_shaping, shaped
from tests.jaxreward.rewards.test_rewards import episodes, random_transitions, rollout

PHI = np.array([0.5, -2.0, 3.0, 1.5, -1.0])
potential = lambda s: jnp.asarray(PHI, float)[s]  # noqa: E731


def chained(transitions):
    """The same transitions with each observation the one that followed before, but at the start of an episode."""
    done = transitions.terminated | transitions.truncated
    start = transitions.observation
    follows = jnp.concatenate([start[:1], jnp.where(done[:-1], start[1:], transitions.next_observation[:-1])])
    return transitions._replace(observation=follows)


@pytest.mark.parametrize("discount", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("terminal", ["zero", "keep"])
def test_shaping_telescopes_over_each_episode(discount, terminal):
    with jax.enable_x64(True):
        transitions = chained(random_transitions(0, 30, 3))
        reward = potential_shaping(potential, discount, terminal)
        run = jax.jit(lambda params: rollout(reward, params, transitions)[0])
        values = np.asarray(run(reward.init(jax.random.key(0))))
        for env, steps in episodes(transitions):
            total = (discount ** np.arange(len(steps)) * values[steps, env]).sum()
            start, end = transitions.observation[steps[0], env], transitions.next_observation[steps[-1], env]
            ends_at_zero = terminal == "zero" and transitions.terminated[steps[-1], env]
            last = 0.0 if ends_at_zero else PHI[end]
            assert total == pytest.approx(discount ** len(steps) * last - PHI[start], abs=1e-12)


def test_terminated_wins_where_an_episode_is_truncated_too():
    yes = jnp.ones((1, 1), bool)
    transitions = random_transitions(0, 1, 1)._replace(terminated=yes, truncated=yes)
    value = rollout(potential_shaping(potential, 1.0), potential_shaping(potential, 1.0).init(None), transitions)[0]
    assert value[0, 0] == -PHI[transitions.observation[0, 0]]


def shaped_table(reward, rewards, terminal_states):
    """`reward` of every `(s, a, s')`, `[S, A, S]`."""
    params = bind_discount(reward.init(jax.random.key(0)), jnp.asarray(DISCOUNT))

    def one(s, a, after):
        ends = jnp.isin(after, jnp.asarray(terminal_states))
        transition = Transition(s, a, jnp.asarray(rewards)[s, a, after], after, ends, jnp.zeros((), bool))
        return reward.step(params, reward.reset(params), transition)[1]

    states, actions = jnp.arange(rewards.shape[0]), jnp.arange(rewards.shape[1])
    return np.asarray(jax.vmap(lambda s: jax.vmap(lambda a: jax.vmap(lambda n: one(s, a, n))(states))(actions))(states))


DISCOUNT = 0.9


def policy_values(probabilities, rewards, terminal_states):
    """The value of every deterministic policy, by linear solve: `{actions: [S]}`."""
    num_states, num_actions, _ = rewards.shape
    live = np.array([s not in terminal_states for s in range(num_states)])
    values = {}
    for actions in itertools.product(range(num_actions), repeat=num_states):
        p = probabilities[np.arange(num_states), actions] * live[:, None]
        r = (p * rewards[np.arange(num_states), actions]).sum(axis=1)
        values[actions] = np.linalg.solve(np.eye(num_states) - DISCOUNT * p, r)
    return values


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("terminal_states", "terminal"), [((3,), "zero"), ((3, 4), "zero"), ((), "zero"), ((), "keep")]
)
def test_every_policy_loses_just_the_potential_of_its_start(seed, terminal_states, terminal):
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        probabilities = rng.dirichlet(np.ones(5), size=(5, 2))
        rewards = rng.normal(size=(5, 2, 5))
        table = shaped_table(shaped(environment_reward(), potential, terminal=terminal), rewards, terminal_states)
        plain = policy_values(probabilities, rewards, terminal_states)
        changed = policy_values(probabilities, table, terminal_states)
        live = [s for s in range(5) if s not in terminal_states]
        for actions in plain:
            np.testing.assert_allclose(changed[actions][live], (plain[actions] - PHI)[live], atol=1e-12)
        best = lambda values: max(values, key=lambda actions: values[actions][live].sum())  # noqa: E731
        assert np.array(best(plain))[live].tolist() == np.array(best(changed))[live].tolist()


@pytest.mark.parametrize(("terminal", "best_action"), [("zero", 0), ("keep", 1)])
def test_a_potential_kept_at_terminal_states_changes_the_optimal_policy(terminal, best_action):
    # from state 0, action 0 ends in state 1 with reward 1, action 1 ends in state 2 with reward 0 and potential 3
    probabilities = np.zeros((3, 2, 3))
    probabilities[0, 0, 1] = probabilities[0, 1, 2] = probabilities[1, :, 1] = probabilities[2, :, 2] = 1.0
    rewards = np.zeros((3, 2, 3))
    rewards[0, 0, 1] = 1.0
    reward = shaped(environment_reward(), potential, terminal=terminal)
    values = policy_values(probabilities, shaped_table(reward, rewards, (1, 2)), (1, 2))
    assert max(values, key=lambda actions: values[actions][0])[0] == best_action


def test_shaping_follows_the_agents_discount_under_vmap():
    transitions = random_transitions(2, 6, 2)
    reward = potential_shaping(potential)
    params = reward.init(jax.random.key(0))
    assert isinstance(params["discount"], AgentDiscount)
    discounts = jnp.array([0.0, 0.5, 1.0])
    values = jax.jit(jax.vmap(lambda d: rollout(reward, bind_discount(params, d), transitions)[0]))(discounts)
    for value, discount in zip(values, discounts, strict=True):
        fixed = potential_shaping(potential, float(discount))
        np.testing.assert_array_equal(value, rollout(fixed, fixed.init(None), transitions)[0])


def test_a_fixed_discount_does_not_follow():
    params = potential_shaping(potential, 0.5).init(jax.random.key(0))
    assert bind_discount(params, jnp.float32(0.9))["discount"] == 0.5


def test_params_of_the_potential_have_gradients():
    transitions = random_transitions(2, 6, 2)
    reward = potential_shaping(lambda weight, s: weight * potential(s), discount=0.5, init=2.0)
    params = reward.init(jax.random.key(0))
    grad = jax.jit(jax.grad(lambda p: rollout(reward, p, transitions)[0].sum()))(params)
    after = np.where(transitions.terminated, 0.0, PHI[transitions.next_observation])
    assert params["potential"] == 2.0
    np.testing.assert_allclose(grad["potential"], (0.5 * after - PHI[transitions.observation]).sum(), rtol=1e-5)
    np.testing.assert_allclose(grad["discount"], 2.0 * after.sum(), rtol=1e-5)


def test_a_potential_of_the_state_sees_the_state():
    transitions = random_transitions(2, 6, 2)
    states = transitions._replace(state=transitions.observation, next_state=transitions.next_observation)
    blind = states._replace(observation=(), next_observation=())
    reward, of_state = potential_shaping(potential, 0.9), potential_shaping(potential, 0.9, of="state")
    expected = rollout(reward, reward.init(None), states)[0]
    np.testing.assert_array_equal(rollout(of_state, of_state.init(None), blind)[0], expected)


def test_vector_potentials_shape_vector_rewards():
    transitions = random_transitions(2, 6, 2)
    scalar = potential_shaping(potential, 0.5)
    vector = potential_shaping(lambda s: potential(s) * jnp.array([1.0, -1.0]), 0.5)
    expected = rollout(scalar, scalar.init(None), transitions)[0]
    values = rollout(vector, vector.init(None), transitions)[0]
    np.testing.assert_array_equal(values, jnp.stack([expected, -expected], -1))


def test_shaped_logs_task_and_shaping():
    transitions = random_transitions(2, 6, 2)
    reward = shaped(environment_reward(), potential, discount=0.9)
    values, parts, _ = rollout(reward, reward.init(jax.random.key(0)), transitions)
    np.testing.assert_array_equal(parts["task"], transitions.reward)
    np.testing.assert_array_equal(parts["task"] + parts["shaping"], values)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"terminal": "zeros"}, "no potential at a terminal state 'zeros'; did you mean 'zero'"),
        ({"of": "obs"}, "no argument of a potential 'obs'.*observation, state"),
        ({"discount": -0.1}, r"a discount lies in \[0, 1\]; got -0.1"),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        potential_shaping(potential, **kwargs)
