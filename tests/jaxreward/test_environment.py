"""An environment with another reward: the same world, another number, and every field of a transition right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments.classic_control.cartpole import CartPole

from jaxreward import Reward, markov, with_reward
from jaxreward.environment import WithRewardParams, carry_over, reward_shape, scalar_environment, select
from jaxreward.rewards import weighted
from tests.probes import Counter, CounterParams, ExpensiveCounter

KEY = jax.random.key(0)
COUNTER = Counter()


def count_steps(persist=None):
    """Pays how many steps it saw, this one included; remembers in `memory`."""
    step = lambda params, memory, t: (memory + 1, memory + 1)  # noqa: E731
    parts = (lambda key: (), lambda params: jnp.zeros(()), step)
    return Reward(*parts, persist) if persist else Reward(*parts)


def run(env, params, actions, key=KEY, reset_key=KEY):
    """Steps through gymnax's own auto-resetting `step`; a list of what each returned."""
    _, state = env.reset(reset_key, params)
    steps = []
    for action, k in zip(actions, jax.random.split(key, len(actions)), strict=True):
        steps.append(env.step(k, state, jnp.asarray(action), params))
        state = steps[-1][1]
    return steps


def test_the_world_is_untouched_and_its_own_reward_is_kept():
    env = CartPole()
    wrapped = with_reward(env, markov(lambda w, t: w * t.observation[2], init=7.0))
    params = wrapped.default_params
    np.testing.assert_array_equal(wrapped.reset(KEY, params)[0], env.reset(KEY, params.env)[0])
    actions = [1] * 12  # falls within these: the resets are compared too
    plain, other = run(env, params.env, actions), run(wrapped, params, actions)
    before = wrapped.reset(KEY, params)[0]
    for (observation, state, reward, *ends, _), (observation_, state_, reward_, *ends_, info) in zip(
        plain, other, strict=True
    ):
        np.testing.assert_array_equal(observation, observation_)
        jax.tree.map(np.testing.assert_array_equal, state, state_.env)
        assert ends == ends_
        assert info["env_reward"] == reward
        np.testing.assert_allclose(reward_, 7.0 * before[2], rtol=1e-6)
        before = observation
    assert any(step[3] for step in plain)


def test_a_transition_holds_what_happened_also_at_the_end_of_an_episode():
    seen = []

    def spy(t):
        seen.append(t)
        return t.reward

    env = with_reward(COUNTER, markov(spy))
    params = env.default_params.replace(env=CounterParams(step=1.0, terminal=4.0, limit=3.0))
    _, state = env.reset_env(KEY, params)
    state = state.replace(env=state.env.replace(count=jnp.asarray(2.0)), observation=jnp.asarray([2.0]))
    for action, (terminated, truncated) in [(0, (False, True)), (1, (True, True))]:
        seen.clear()
        env.step_env(KEY, state, jnp.asarray(action), params)
        (t,) = seen
        assert (t.observation, t.state.count, t.action) == (2.0, 2.0, action)
        assert (t.next_observation, t.next_state.count) == (3.0 + action, 3.0 + action)
        assert (bool(t.terminated), bool(t.truncated)) == (terminated, truncated)
        assert (t.reward, t.info["left"]) == (2.0, 2.0)


def test_observation_after_an_auto_reset_is_the_new_start_and_not_the_old_end():
    env = with_reward(COUNTER, markov(lambda t: t.observation[0] * 100 + t.next_observation[0]))
    params = env.default_params
    count, state = (float(x) for x in env.reset(KEY, params)[0]), env.reset(KEY, params)[1]
    count = next(count)
    for key in jax.random.split(KEY, 12):
        observation, state, reward, terminated, _, info = env.step(key, state, jnp.asarray(0), params)
        assert reward == 100 * count + count + 1
        assert info["final_observation"] == count + 1
        assert bool(terminated) == (count + 1 >= 5)
        count = float(observation[0])


def test_memory_starts_anew_with_each_episode():
    env = with_reward(COUNTER, count_steps())
    age = 0
    for _, _, reward, terminated, truncated, _ in run(env, env.default_params, [1] * 12):
        age += 1
        assert reward == age
        age = 0 if terminated or truncated else age


@pytest.mark.parametrize("end", [{"terminal": 5.0}, {"terminal": 1e9, "limit": 5.0}])
def test_what_persists_is_carried_into_the_next_episode(end):
    env = with_reward(COUNTER, count_steps(persist=lambda ended, fresh: ended + fresh + 10))
    params = env.default_params.replace(env=CounterParams(**end))
    expected, ends = 0, 0
    for _, _, reward, terminated, truncated, _ in run(env, params, [1] * 12):
        expected += 1
        assert reward == expected
        expected += 10 * bool(terminated | truncated)
        ends += bool(terminated | truncated)
    assert ends > 2


def test_nested_rewards_see_each_others_and_keep_the_environments_own():
    inner = with_reward(COUNTER, weighted(left=(lambda t: t.reward, 2.0)))
    outer = with_reward(inner, count_steps(persist=lambda ended, fresh: ended))
    twice = with_reward(outer, markov(lambda w, t: w * t.reward + t.state.env.env.count, init=1000.0))
    params = twice.default_params
    counts = [float(np.squeeze(twice.reset(KEY, params)[0]))]
    for age, step in enumerate(run(twice, params, [0] * 9), 1):
        info = step[-1]
        assert info["env_reward"] == counts[-1]
        assert info["reward/left"] == 2 * counts[-1]
        assert step[2] == 1000 * age + counts[-1]
        counts.append(float(step[0][0]))
    assert min(np.diff(counts)) < 0  # an episode ended on the way


def test_named_components_are_in_the_info_and_add_up():
    reward = weighted(left=(lambda t: t.reward, 0.5), action=(lambda t: t.action, -3.0))
    env = with_reward(COUNTER, reward)
    for _, _, reward, _, _, info in run(env, env.default_params, [1, 0, 1]):
        assert info["reward/left"] == 0.5 * info["env_reward"]
        assert reward == info["reward/left"] + info["reward/action"]


def reward_sum(env, params, actions):
    """The sum of rewards along one episode of fixed actions."""
    _, state = env.reset_env(KEY, params)

    def step(state, action):
        _, state, reward, _, _ = env.step_env(KEY, state, action, params)
        return state, reward

    return jax.lax.scan(step, state, actions)[1].sum()


def test_params_are_reached_by_vmap_and_grad():
    env = with_reward(
        COUNTER, markov(lambda w, t: w["a"] * t.observation[0] - w["b"] ** 2 * t.action, init={"a": 1.0, "b": 1.0})
    )
    actions = jnp.asarray([0, 1, 0])
    start = float(env.reset(KEY, env.default_params)[0][0])
    counts = 3 * start + 0 + 1 + 3  # counts are left at start, start + 1, start + 3

    def total(a, b):
        return reward_sum(env, env.default_params.replace(reward={"a": a, "b": b}), actions)

    a, b = jnp.asarray([1.0, -2.0, 0.5]), jnp.asarray([0.0, 3.0, 2.0])
    np.testing.assert_allclose(jax.jit(jax.vmap(total))(a, b), counts * a - b**2)
    gradient_a, gradient_b = jax.vmap(jax.grad(total, (0, 1)))(a, b)
    np.testing.assert_allclose(gradient_a, np.full(3, counts))
    np.testing.assert_allclose(gradient_b, -2 * b)


def test_environment_params_are_reached_beside_the_rewards():
    env = with_reward(COUNTER, markov(lambda w, t: w * t.next_observation[0], init=2.0))
    steps, start = jnp.asarray([1.0, 4.0]), float(env.reset(KEY, env.default_params)[0][0])

    def total(step):
        return reward_sum(env, WithRewardParams(CounterParams(step=step), jnp.asarray(2.0)), jnp.zeros(2, jnp.int32))

    np.testing.assert_allclose(jax.vmap(total)(steps), 2 * (2 * start + 3 * steps))


def test_it_is_the_environment_in_everything_else():
    env = with_reward(ExpensiveCounter(), markov(lambda t: t.reward))
    assert (env.name, env.expensive_reset) == ("ExpensiveCounter", True)
    assert env.action_space(env.default_params).n == env.action_space().n == 2
    assert env.observation_space(env.default_params).shape == (1,)
    cartpole = with_reward(CartPole(), markov(lambda t: t.reward))
    assert (cartpole.name, cartpole.num_actions) == ("CartPole-v1", 2)
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = env.no_such_thing


def test_params_are_drawn_with_the_given_key():
    env = with_reward(COUNTER, markov(lambda w, t: w, init=lambda key: jax.random.normal(key)))
    key = jax.random.key(3)
    assert env.init_params(key).reward == jax.random.normal(key)
    assert env.init_params(key).env == COUNTER.default_params


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda t: t.state.cuont, "reads 'cuont' of a CounterState.*did you mean 'count'"),
        (lambda t: t.observaton[0], "reads 'observaton' of a Transition.*did you mean 'observation'"),
        (lambda t: t.info["lfet"], "key 'lfet'"),
        (lambda t: t.info.left, "reads 'left' of a dict"),
        (lambda t: t.observation.speed, "reads 'speed'"),
    ],
)
def test_a_missing_field_is_named_with_its_nearest_before_anything_runs(fn, message):
    with pytest.raises(ValueError, match=message):
        with_reward(COUNTER, markov(fn))


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (lambda t: None, r"a NoneType; expected a scalar, or an array \[K\] \(is a `return` missing"),
        (lambda t: {"a": t.reward}, "a dict"),
        (lambda t: "1", "a str"),
        (lambda t: b"1", "a bytes"),
        (lambda t: (t.reward, t.reward), r"a tuple; .*jnp.stack\(\[...\]\)"),
        (lambda t: [t.reward], "a list"),
        (lambda t: 1j, "a complex number"),
        (lambda t: t.reward * 1j, "a complex number"),
        (lambda t: jax.random.key(0), "a "),
    ],
)
def test_a_reward_that_is_no_number_is_refused_by_name(value, what):
    def paid(t):
        return value(t)

    of_step = Reward(lambda key: (), lambda params: (), lambda params, memory, t: (memory, paid(t)))
    for reward, name in [(markov(paid), "paid"), (of_step, "the reward")]:
        with pytest.raises(ValueError, match=f"{name} returned {what}"):
            with_reward(COUNTER, reward)


@pytest.mark.parametrize("value", [1, True, 0.5, np.float64(1.0), np.int8(1), np.ones(2), jnp.ones((), jnp.int32)])
def test_what_is_a_number_or_several_is_a_reward(value):
    env = with_reward(COUNTER, markov(lambda t: value))
    assert reward_shape(env, env.default_params) == np.shape(value)


def test_a_matrix_is_refused_with_its_shape():
    with pytest.raises(ValueError, match=r"shape \(2, 1\); expected a scalar \(\), or \[K\]"):
        with_reward(COUNTER, markov(lambda t: jnp.zeros((2, 1))))


def test_a_mistake_within_init_is_not_mistaken_for_another():
    def init(key):
        return key.no_such_method()

    with pytest.raises(Exception, match="no_such_method"):
        with_reward(COUNTER, markov(lambda w, t: w, init=init))


def test_a_vector_reward_is_an_environment_and_no_scalar():
    env = with_reward(COUNTER, markov(lambda t: jnp.stack([t.reward, 1.0])))
    assert reward_shape(env, env.default_params) == (2,)
    assert run(env, env.default_params, [0])[0][2].shape == (2,)
    with pytest.raises(ValueError, match=r"shape \(2,\); use `scalarise`"):
        scalar_environment(env, env.default_params)
    scalar_environment(COUNTER, COUNTER.default_params)


def test_select_goes_leaf_by_leaf_keys_included():
    keys = jax.random.split(KEY, 4)
    on_true = (jnp.ones((2, 3)), jnp.ones(2, jnp.int32), keys[:2])
    on_false = (jnp.zeros((2, 3)), jnp.zeros(2, jnp.int32), keys[2:])
    wide, flat, chosen = select(jnp.asarray([True, False]), on_true, on_false)
    np.testing.assert_array_equal(wide, [[1.0] * 3, [0.0] * 3])
    np.testing.assert_array_equal(flat, [1, 0])
    np.testing.assert_array_equal(jax.random.key_data(chosen), jax.random.key_data(keys[jnp.asarray([0, 3])]))


def test_an_environment_without_memory_of_its_own_carries_nothing_over():
    assert carry_over(COUNTER, "ended", "fresh") == "fresh"
