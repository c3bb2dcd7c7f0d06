"""The tomato gridworld against its rules played in plain Python, and its exact values against enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs import make
from jaxreward.envs.hacking.tomato import BOARDS, MOVES, Tomato
from jaxreward.envs.hacking.tomato_values import exact_returns, optimal_policy
from jaxreward.learning.rollout import reset_batch, rollout
from jaxreward.run.spec import rewarded

ACTIONS = np.random.default_rng(0).integers(0, 4, (40, 16))
TOY = Tomato("toy")


def played(board, actions):
    """True rewards, proxies and watered tomatoes of one episode, on a drawn board."""
    rows = BOARDS[board].split()
    free = {(r, c): kind for r, row in enumerate(rows) for c, kind in enumerate(row) if kind != "#"}
    where = next(place for place, kind in free.items() if kind == "A")
    tomatoes, watered, seen = [place for place, kind in free.items() if kind == "t"], set(), []
    for action in actions:
        step = where[0] + MOVES[action][0], where[1] + MOVES[action][1]
        where = step if step in free else where
        watered |= {where} & set(tomatoes)
        watered = {t for t in watered if (t[0] - where[0]) ** 2 + (t[1] - where[1]) ** 2 <= 9}
        true = 0.02 * len(watered)
        seen.append((true, 0.02 * len(free) if free[where] == "O" else true, len(watered) == len(tomatoes)))
    return np.array(seen).T


def test_steps_follow_the_rules():
    for board in BOARDS:
        env = Tomato(board)
        params = env.default_params

        def run(actions, env=env, params=params):
            def step(state, action):
                _, state, reward, terminated, info = env.step_env(jax.random.key(0), state, action, params)
                return state, (reward, info["reward/proxy"], terminated)

            return jax.lax.scan(step, env.reset_env(jax.random.key(0), params)[1], actions)

        states, found = jax.jit(jax.vmap(run, 1))(jnp.asarray(ACTIONS))
        expected = np.stack([played(board, actions) for actions in ACTIONS.T])
        np.testing.assert_allclose(np.stack(found, 1), expected, atol=1e-6, err_msg=board)
        assert expected[:, 0].max() > 0.02
        assert (np.asarray(states.time) == len(ACTIONS)).all()


def test_values_are_those_of_the_best_of_all_sequences():
    """Of five steps, all of which are played; and what always slips is worth what acting at random is."""
    params = TOY.default_params.replace(max_steps_in_episode=5)
    best = {}
    for actions in itertools.product(range(4), repeat=5):
        true, proxy, ended = played("toy", actions)
        upto = int(np.argmax(ended)) + 1 if ended.any() else 5
        for name, paid in (("true", true), ("proxy", proxy)):
            best[name] = max(best.get(name, 0), paid[:upto].sum())
    for name in best:
        policy = optimal_policy(TOY, params, name == "proxy")
        np.testing.assert_allclose(getattr(exact_returns(TOY, params, policy), name), best[name], rtol=1e-6)
    always_slips = params.replace(slip=jnp.ones(()))
    uniform = exact_returns(TOY, params, np.full((1, TOY.num_cells, 16, 4), 0.25))
    np.testing.assert_allclose(exact_returns(TOY, always_slips, policy), uniform, rtol=1e-12)


@pytest.mark.parametrize(("proxy", "true_return", "proxy_return"), [(False, 9.74, 9.74), (True, 2.36, 47.36)])
def test_whoever_maximises_the_proxy_stands_in_the_bucket(proxy, true_return, proxy_return):
    """What an episode pays, worked out apart from this code."""
    env = Tomato()
    found = exact_returns(env, env.default_params, optimal_policy(env, env.default_params, proxy))
    np.testing.assert_allclose(found, (true_return, proxy_return), atol=5e-3)


def test_who_trains_on_the_proxy_has_the_true_reward_beside_it():
    """Uniform actions earn what they are exactly worth, by both, within five standard errors."""
    env, params = rewarded(*make("hacking/tomato_toy", max_steps_in_episode=20), "proxy")

    def run(key):
        start, noise, steps = jax.random.split(key, 3)
        envs = reset_batch(env, params, 2_000, start)
        actions = jax.random.randint(noise, (20, 2_000), 0, 4)
        act = lambda carry, seen, action: (carry, action, ())  # noqa: E731
        return rollout(env, params, act, (), envs, actions, steps, lambda t: t.info["env_reward"])[2:]

    steps, metrics = jax.jit(run)(jax.random.key(0))
    assert metrics["episode/return"] == metrics["episode/proxy"]
    ended = np.cumsum(np.asarray(steps.done), 0)
    first = np.concatenate([np.zeros((1, 2_000)), ended[:-1]]) == 0
    assert np.asarray(steps.terminated).any()
    assert ended[-1].all()
    uniform = exact_returns(env.env, params.env, np.full((1, env.env.num_cells, 16, 4), 0.25))
    assert uniform.proxy > 1.4 * uniform.true
    for paid, expected in ((steps.reward, uniform.proxy), (steps.recorded, uniform.true)):
        returns = (np.asarray(paid) * first).sum(0)
        assert abs(returns.mean() - expected) < 5 * returns.std() / np.sqrt(2_000)


def test_a_picture_and_what_is_refused():
    state = TOY.reset_env(jax.random.key(0), TOY.default_params)[1]
    image = np.asarray(jax.jit(lambda state: TOY.image(state, TOY.default_params, 50))(state))
    assert image[5, 5].sum() < 1  # a wall
    assert image[15, 35, 0] > 0.7 > image[15, 35, 1]  # the bucket
    assert image[35, 35, 2] > 0.7 > image[35, 35, 0]  # the agent
    with pytest.raises(ValueError, match="did you mean 'level'"):
        make("hacking/tomato", board="levl")
    with pytest.raises(ValueError, match="shows no proxy of its reward"):
        rewarded(*make("CartPole-v1"), "proxy")
