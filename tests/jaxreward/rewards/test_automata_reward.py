"""Rewards of automata: what they pay, what of them a policy sees, and what it is worth to see it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces

from jaxreward.agents.barfi.barfi import Config as BarfiConfig
from jaxreward.agents.barfi.barfi import barfi
from jaxreward.agents.baselines.reinforce import Hyperparams, reinforce
from jaxreward.agents.subpo.subpo import Hyperparams as SubpoHyperparams
from jaxreward.agents.subpo.subpo import subpo
from jaxreward.environment import WithRewardState, memories, stage, with_reward
from jaxreward.envs import make
from jaxreward.envs.ending import terminate_when
from jaxreward.mdp import (
    TabularEnv,
    TabularState,
    deterministic_policies,
    policy_value,
    reward_table,
    tabular_mdp,
    to_tabular,
)
from jaxreward.objectives import product
from jaxreward.observed import Observed, observed, shown, shown_space
from jaxreward.reward import Reward, Transition, environment_reward, outlives
from jaxreward.rewards import add, count_bonus, ensemble, weighted
from jaxreward.rewards.automata import ltl, machine_reward, reward_machine, specification

RING = tabular_mdp(np.stack([np.roll(np.eye(3), move, 1) for move in (1, -1)], 1), np.zeros(3), np.eye(3)[0])
"""Three places in a ring: action 0 goes up, 1 down."""


def at(place):
    return lambda t: t.next_state.index == place


def places(t):
    return {"one": at(1)(t), "two": at(2)(t)}


def ring(one_hot=True):
    return TabularEnv(RING, one_hot=one_hot)


MACHINE = reward_machine(
    ("begin", "one", "seen", 0.5), ("seen", "two", "end", 2.0), ("seen", "!one & !two", "begin", -1.0)
)


def steps_of(visited):
    """A made-up episode that visits these places."""
    state = jax.vmap(lambda index: ring().states.replace(index=index, time=index))(jnp.asarray(visited))
    zero, no = jnp.zeros(len(visited)), jnp.zeros(len(visited), bool)
    return Transition(zero, zero, zero, zero, no, no, (), state)


def paid(reward, params, visited):
    def step(memory, transition):
        return reward.step(params, memory, transition)

    return jax.lax.scan(step, reward.reset(params), steps_of(visited))[1]


def test_a_machine_pays_for_what_it_read_under_jit_and_vmap_and_is_differentiable():
    reward = machine_reward(MACHINE, places)
    params = reward.init(jax.random.key(0))
    words = np.array([[1, 1, 0, 1, 2, 2], [2, 0, 1, 0, 2, 1], [1, 2, 1, 0, 1, 2]])
    rewards = jax.jit(jax.vmap(lambda word: paid(reward, params, word)))(words)
    np.testing.assert_array_equal(rewards, [[0.5, 0, -1, 0.5, 2, 0], [0, 0, 0.5, -1, 0, 0.5], [0.5, 2, 0, 0, 0, 0]])
    times = jax.jit(jax.grad(lambda params: paid(reward, params, words[0]).sum()))(params)
    assert times == {"begin_seen": 2.0, "seen_begin": 1.0, "seen_end": 1.0}


def test_formulas_pay_once_when_they_are_decided():
    reach, avoid = ltl("F (one & F two)", places), ltl("G !two", places, observed=False)
    words = jnp.array([[2, 1, 0, 2, 2], [0, 1, 1, 0, 1]])
    both = jax.jit(
        jax.vmap(lambda word: [paid(reward, reward.init(jax.random.key(0)), word) for reward in (reach, avoid)])
    )
    satisfied, violated = both(words)
    np.testing.assert_array_equal(satisfied, [[0, 0, 0, 1, 0], [0] * 5])
    np.testing.assert_array_equal(violated, [[-1, 0, 0, 0, 0], [0] * 5])


def tabular(env):
    """The exact MDP of the ring with a reward of a machine of some states, in all of their pairs."""
    params, size = env.default_params, observed(env.reward.reset(env.default_params.reward))[0].size
    place, memory = (jnp.asarray(x.ravel(), jnp.int32) for x in np.indices((3, size)))
    inner = TabularState(index=place, time=jnp.zeros_like(place))
    seen = jnp.asarray(np.eye(3, dtype=np.float32)[np.asarray(place)])
    return to_tabular(env, params, WithRewardState(inner, seen, Observed(memory, size)))


def test_a_policy_that_sees_the_automaton_can_do_what_no_other_can():
    """Up, and back: in state 0 it is to go one way at first and the other way later."""
    formula = "one & X (!one & !two & X two)"
    mdp = tabular(with_reward(ring(), ltl(formula, places)))
    labels = {"one": np.arange(3) == 1, "two": np.arange(3) == 2}
    pairs = product(RING, specification(formula).machine, labels)
    np.testing.assert_array_equal(pairs.transition, mdp.transition)
    np.testing.assert_array_equal(pairs.reward * (pairs.transition > 0), mdp.reward * (mdp.transition > 0))
    np.testing.assert_array_equal(pairs.start, mdp.start)

    up = np.arange(mdp.num_states) % (mdp.num_states // 3) == 0  # before anything was read
    seeing = np.where(up[:, None], [1.0, 0.0], [0.0, 1.0])
    blind = np.repeat(np.asarray(deterministic_policies(RING)), mdp.num_states // 3, 1)
    policies = jnp.asarray(np.concatenate([seeing[None], blind]), jnp.float32)
    values = jax.jit(jax.vmap(lambda policy: jnp.sum(mdp.start * policy_value(mdp, policy, 0.9))))(policies)
    np.testing.assert_allclose(values, [0.9**2, *[0.0] * 8], rtol=1e-5, atol=1e-6)


def test_what_is_seen_is_the_place_and_the_automaton_after_a_reset_too():
    reward = weighted(task=ltl("F (one & F two)", places), hint=(at(0), 0.1))
    vector, number = with_reward(ring(), reward), with_reward(ring(one_hot=False), reward)
    cut = vector.default_params.replace(env=vector.default_params.env.replace(max_steps_in_episode=3))

    @jax.jit
    def played(key):
        def walk(env):
            now, seen = env.reset(key, cut), []
            for action in (0, 0, 0, 0):
                seen.append(now[0])
                now = env.step(key, now[1], action, cut)[:2]
            return jnp.stack([*seen, now[0]])

        return walk(vector), walk(number)

    vectors, numbers = played(jax.random.key(0))
    np.testing.assert_array_equal(np.argmax(vectors[:, :3], 1), [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(np.argmax(vectors[:, 3:], 1), [0, 1, 2, 0, 1])  # the third step ended an episode
    np.testing.assert_array_equal(numbers, np.array([0, 1, 2, 0, 1]) * 3 + [0, 1, 2, 0, 1])
    assert vector.observation_space(cut).shape == vectors.shape[1:]
    assert number.observation_space(cut).n == 9
    assert with_reward(ring(), ltl("F one", places, observed=False)).observation_space(cut).shape == (3,)


def test_images_get_planes_and_all_agents_of_a_game_see_the_same():
    memory = {"a": Observed(jnp.int32(1), 2), "b": (Observed(jnp.array([0.5, 2.0])), jnp.zeros(7))}
    wide = shown(jnp.ones((4, 5, 3)), memory)
    assert wide.shape == (4, 5, 7)
    np.testing.assert_array_equal(wide[2, 3], [1, 1, 1, 0, 1, 0.5, 2])
    space = shown_space(spaces.Box(0, jnp.array([1.0, 2.0, 3.0]), (4, 5, 3)), memory)
    np.testing.assert_array_equal(space.high[0, 0], [1, 2, 3, 1, 1, np.inf, np.inf])
    assert (space.shape, space.low.shape) == ((4, 5, 7), (4, 5, 7))
    assert shown(jnp.ones((2, 3)), memory["a"], agents=2).tolist() == [[1, 1, 1, 0, 1]] * 2
    assert shown(jnp.array([4, 0]), memory["a"], agents=2).tolist() == [9, 1]
    assert shown(jnp.array([4, 0]), memory["a"]).tolist() == [4, 0, 0, 1]
    assert shown(jnp.float32(3.0), memory["a"]).tolist() == [3, 0, 1]
    assert shown(jnp.zeros(2), Observed(jnp.int32(1), 3), agents=2).tolist() == [[0, 0, 1, 0]] * 2
    assert shown(jnp.uint8(100), Observed(jnp.int32(1), 4)) == 401
    pixels, halves = jnp.full((2, 2, 3), 7, jnp.uint8), Observed(jnp.array([0.5, -1.0]))
    assert shown(pixels, halves)[0, 0].tolist() == [7, 7, 7, 0.5, -1]
    assert shown(pixels, memory["a"]).dtype == jnp.uint8
    assert shown_space(spaces.Box(0, 255, (2, 2, 3), jnp.uint8), halves).dtype == jnp.float32
    with pytest.raises(ValueError, match="numbers that are not counted"):
        shown(jnp.int32(3), memory)
    with pytest.raises(ValueError, match=r"observation is a dict; expected one array, or a reward with observed=False"):
        shown({"x": jnp.zeros(2)}, memory)
    with pytest.raises(ValueError, match="space is a Dict"):
        shown_space(spaces.Dict({}), memory)


def test_what_is_seen_goes_through_an_ensemble_and_makes_the_stage():
    env = with_reward(with_reward(ring(), ensemble(ltl("F one", places), 3)), environment_reward())
    params = env.default_params
    assert env.observation_space(params).shape == (3 + 3 * 2,)
    assert stage(env, params)[0] is env.env
    assert len(memories(env, params)) == 1
    with pytest.raises(ValueError, match="remembers something that the policy sees"):
        reward_table(env, params)
    plain = with_reward(ring(), ltl("F one", places, observed=False))
    assert stage(plain, plain.default_params)[0] is plain.env


def test_what_outlives_an_episode_can_not_be_seen_and_played_by_whole_episodes():
    fine = add(ltl("F one", places), environment_reward())
    counting = add(ltl("F one", places), count_bonus(lambda t: t.next_state.index, 3))
    seen = with_reward(ring(), fine)
    assert memories(seen, seen.default_params) == ()
    env = with_reward(ring(), counting)
    with pytest.raises(ValueError, match="shows what it remembers, and something of it outlives an episode"):
        memories(env, env.default_params)
    within = terminate_when(with_reward(ring(), counting), lambda t: t.reward)
    with pytest.raises(ValueError, match="is within Ending, and something of it outlives an episode"):
        memories(within, within.default_params)
    kept = Reward(lambda _: (), lambda _: Observed(jnp.zeros(())), counting.step, lambda ended, _: ended)
    assert outlives(kept, kept.reset(()))
    assert not outlives(fine, fine.reset(fine.init(jax.random.key(0))))
    env = with_reward(ring(), Reward(kept.init, kept.reset, lambda p, m, t: (Observed(m.value + 1), 0.0), kept.persist))
    state = env.reset_env(jax.random.key(0), env.default_params)[1]
    later = state.replace(memory=Observed(jnp.float32(7)))
    assert env.carry_over(later, state).memory.value == 0.0  # it is what the fresh observation shows


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda t: {"one": at(1)(t), "to": at(2)(t)}, "no proposition 'two'; did you mean 'to'"),
        (lambda t: at(1)(t), "labels returned a .*; expected a dict of booleans by proposition, such as {'one'"),
        (lambda t: {"one": t.next_observation > 0, "two": at(2)(t)}, r"proposition 'one' is bool\[3\]"),
        (lambda t: {"one": at(1)(t), "two": t.reward}, "proposition 'two' is float32; expected a single boolean"),
    ],
)
def test_labels_that_do_not_say_what_a_machine_reads_are_refused_at_once(labels, message):
    with pytest.raises(ValueError, match=message):
        with_reward(ring(), ltl("F (one & F two)", labels))


@pytest.mark.parametrize(("make_agent", "hyperparams"), [(subpo, SubpoHyperparams()), (reinforce, Hyperparams())])
def test_agents_that_play_whole_episodes_step_the_automaton_along(make_agent, hyperparams):
    """Only shapes are looked at."""
    env = with_reward(make("subrl/two_rooms")[0], ltl("F paid", lambda t: {"paid": t.reward > 0}))
    agent = make_agent(env, env.default_params)
    state = jax.eval_shape(agent.init, jax.random.key(0), hyperparams)
    after, _ = jax.eval_shape(agent.step, state)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)


def test_what_barfi_learns_is_not_shown_to_the_policy():
    env = with_reward(make("barfi/gridworld")[0], ltl("F paid", lambda t: {"paid": t.reward > 0}))
    with pytest.raises(ValueError, match=r"shows the policy what it remembers, .* make it with observed=False"):
        barfi(env, env.default_params, BarfiConfig(num_steps=100, learned="environment"))
