"""Shaping by the auxiliary reward: by hand, what returns lose by it, and that episodes agree with their steps."""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import with_reward
from jaxreward.environment import reward_shape
from jaxreward.learning.estimators import discounted_returns
from jaxreward.learning.rollout import reset_batch
from jaxreward.learning.rollout import rollout as roll
from jaxreward.reward import AgentDiscount, Transition, bind_discount, episode_rewards
from jaxreward.rewards import environment_reward, shaped
from jaxreward.rewards.auxiliary_potential import auxiliary_potential
from jaxreward.rewards.beside import beside
from tests.jaxreward.rewards.test_rewards import episodes, random_transitions, rollout

KEY = jax.random.key(0)
OPTIONS = [
    {"of": "arrival"},
    {"of": "arrival", "truncated": "zero"},
    {"of": "action"},
]


def by_hand(end="terminated"):
    """Three steps that earn 1, 2 and 4, and of which the auxiliary reward says 10, 20 and 40."""
    ends = jnp.array([False, False, True])
    return Transition(
        *(jnp.zeros(3), jnp.zeros(3), jnp.array([1.0, 2.0, 4.0]), jnp.zeros(3)),
        terminated=ends & (end == "terminated"),
        truncated=ends & (end == "truncated"),
        info={"reward/auxiliary": jnp.array([10.0, 20.0, 40.0])},
    )


def paid(transitions, scale=0.1, discount=0.5, **options):
    reward = auxiliary_potential(scale, discount, **options)
    params = reward.init(KEY)
    valid = jnp.ones(transitions.reward.shape[0], bool)
    return episode_rewards(reward, params, reward.reset(params), transitions, valid)[1]


@pytest.mark.parametrize(
    ("options", "end", "expected"),
    [
        # potentials 0, 1, 2 and, of the state in which it ends, 0 or 4
        ({"of": "arrival"}, "terminated", [1 + 0.5, 2 + 1 - 1, 4 - 2]),
        ({"of": "arrival"}, "truncated", [1 + 0.5, 2 + 1 - 1, 4 + 2 - 2]),
        ({"of": "arrival", "truncated": "zero"}, "truncated", [1 + 0.5, 2 + 1 - 1, 4 - 2]),
        # potentials 1, 2, 4 and, behind the end, 0
        ({"of": "action"}, "terminated", [1 + 1 - 1, 2 + 2 - 2, 4 - 4]),
        ({"of": "action"}, "truncated", [1 + 1 - 1, 2 + 2 - 2, 4 - 4]),
        ({"of": "action"}, "none", [1 + 1 - 1, 2 + 2 - 2, 4 - 4]),
    ],
)
def test_by_hand(options, end, expected):
    np.testing.assert_allclose(paid(by_hand(end), **options), expected, rtol=1e-6)


def with_auxiliary(seed, steps, num_envs, **kwargs):
    transitions = random_transitions(seed, steps, num_envs, **kwargs)
    said = jax.random.normal(jax.random.key(seed), transitions.reward.shape, float)
    return transitions._replace(info={"reward/auxiliary": said})


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("end", ["terminated", "truncated"])
@pytest.mark.parametrize("discount", [0.0, 0.7, 1.0])
def test_returns_to_go_lose_the_potential_of_the_moment(options, end, discount):
    with jax.enable_x64(True):
        steps, scale = 7, -1.5
        transitions = jax.tree.map(lambda x: x[:, 0], with_auxiliary(0, steps, 1, done_rate=0.0))
        transitions = transitions._replace(**{end: jnp.arange(steps) == steps - 1})
        to_go = lambda rewards: discounted_returns(rewards, jnp.zeros(steps, bool), discount)  # noqa: E731
        lost = to_go(transitions.reward) - to_go(paid(transitions, scale, discount, **options))
        said = scale * transitions.info["reward/auxiliary"]
        potential = said if options["of"] == "action" else jnp.concatenate([jnp.zeros(1), said[:-1]])
        last = said[-1] if options == {"of": "arrival"} and end == "truncated" else 0.0
        kept = last * discount ** jnp.arange(steps, 0, -1)
        np.testing.assert_allclose(lost, potential - kept, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS[:2], ids=str)
def test_an_episode_at_once_is_an_episode_step_by_step(options):
    with jax.enable_x64(True):
        transitions = with_auxiliary(1, 16, 2, done_rate=0.4)
        reward = auxiliary_potential(0.3, 0.9, **options)
        values, _, _ = jax.jit(lambda p: rollout(reward, p, transitions))(reward.init(KEY))
        for env, steps in episodes(transitions):
            episode = jax.tree.map(lambda x, env=env, steps=steps: x[steps, env], transitions)
            np.testing.assert_allclose(paid(episode, 0.3, 0.9, **options), values[steps, env], atol=1e-14)


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_what_follows_an_episode_changes_nothing_in_it(end):
    for options in OPTIONS:
        alone = by_hand(end)
        longer = jax.tree.map(lambda x: jnp.concatenate([x, jnp.full_like(x[:2], jnp.nan)]), alone)
        np.testing.assert_array_equal(paid(longer, **options)[:3], paid(alone, **options))


def test_of_states_alone_it_is_potential_shaping():
    """Where the auxiliary reward is a function of the state that a step leads to, and zero of the first."""
    potential = lambda s: jnp.array([0.0, -2.0, 3.0, 1.5, -1.0])[s]  # noqa: E731
    places = jnp.array([0, 3, 1, 1, 4, 2])
    steps = len(places) - 1
    transitions = Transition(
        *(places[:-1], jnp.zeros(steps), jnp.arange(steps, dtype=float), places[1:]),
        terminated=jnp.arange(steps) == steps - 1,
        truncated=jnp.zeros(steps, bool),
        info={"reward/auxiliary": potential(places[1:])},
    )
    known = shaped(environment_reward(), potential, discount=0.9)
    params = known.init(KEY)
    expected = episode_rewards(known, params, known.reset(params), transitions, jnp.ones(steps, bool))[1]
    np.testing.assert_allclose(paid(transitions, 1.0, 0.9), expected, rtol=1e-5, atol=1e-6)


def test_each_of_a_batch_has_its_own_scale_and_follows_its_agents_discount():
    params = auxiliary_potential().init(KEY)
    assert isinstance(params["discount"], AgentDiscount)
    reward, valid = auxiliary_potential(), jnp.ones(3, bool)

    @jax.jit
    @jax.vmap
    def both(scale, discount):
        bound = bind_discount({**params, "scale": scale}, discount)
        return episode_rewards(reward, bound, reward.reset(bound), by_hand(), valid)[1]

    scales, discounts = jnp.array([0.1, -2.0, 0.0]), jnp.array([0.5, 1.0, 0.9])
    for values, scale, discount in zip(both(scales, discounts), scales, discounts, strict=True):
        np.testing.assert_allclose(values, paid(by_hand(), float(scale), float(discount)), rtol=1e-6)
    assert bind_discount(auxiliary_potential(discount=0.5).init(KEY), 0.9)["discount"] == 0.5


def test_scale_and_discount_have_gradients():
    reward, valid = auxiliary_potential(0.1, 0.5), jnp.ones(3, bool)
    total = lambda params: episode_rewards(reward, params, jnp.zeros(()), by_hand(), valid)[1].sum()  # noqa: E731
    grad = jax.jit(jax.grad(total))(reward.init(KEY))
    assert grad["scale"] == (10 + 20) * (0.5 - 1)
    assert grad["discount"] == pytest.approx(0.1 * (10 + 20))


def double(transition):
    return 2.0 * transition.action


def shaped_cartpole(**options):
    env = with_reward(gymnax.make("CartPole-v1")[0], beside(environment_reward(), auxiliary=double))
    return with_reward(env, auxiliary_potential(0.25, 0.9, **options))


def test_each_episode_of_an_environment_starts_without_a_potential():
    env = shaped_cartpole()
    params = env.default_params
    act = lambda carry, observation, noise: (carry, jnp.ones(4, jnp.int32), ())  # noqa: E731
    batch = reset_batch(env, params, 4, KEY)
    _, _, steps, _ = jax.jit(lambda k: roll(env, params, act, (), batch, jnp.zeros(30), k))(KEY)
    assert steps.terminated.any()
    after = np.where(steps.terminated, 0.0, 0.5)
    before = np.concatenate([np.zeros((1, 4)), after[:-1]])  # the ended episode's is zero, as a start's
    np.testing.assert_allclose(steps.reward, 1.0 + 0.9 * after - before, rtol=1e-6)


def test_of_an_action_it_is_for_whole_episodes():
    env = shaped_cartpole(of="action")
    assert reward_shape(env, env.default_params) == ()
    _, state = env.reset_env(KEY, env.default_params)
    assert jnp.isnan(jax.jit(env.step_env)(KEY, state, jnp.int32(1), env.default_params)[2])


def test_it_needs_an_auxiliary_reward():
    for of in ("arrival", "action"):
        with pytest.raises(ValueError, match="'reward/auxiliary', which is not there"):
            with_reward(gymnax.make("CartPole-v1")[0], auxiliary_potential(of=of))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"of": "arival"}, "no step of an auxiliary potential 'arival'; did you mean 'arrival'"),
        ({"truncated": "zeros"}, "no potential at a time limit 'zeros'; did you mean 'zero'"),
        ({"discount": 1.5}, r"a discount lies in \[0, 1\]; got 1.5"),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        auxiliary_potential(**kwargs)
