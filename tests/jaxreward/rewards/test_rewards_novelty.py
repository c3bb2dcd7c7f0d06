"""Bonuses for novelty: a random network's against NumPy and finite differences, landmarks against a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.reward import Transition
from jaxreward.rewards import landmark_bonus, random_network_bonus
from tests.jaxreward.rewards.test_rewards import episodes, random_transitions, rollout

RATE = 0.05


def places(steps, num_envs, valid=True):
    """Steps in the plane, normal around (3, -1)."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(steps, num_envs, 2)) + np.array([3.0, -1.0])
    ends = jnp.zeros((steps, num_envs), bool)
    now = jnp.asarray(seen, float)
    return Transition(now, ends, jnp.zeros(ends.shape), now, ends, ends, valid=jnp.broadcast_to(valid, ends.shape))


def said(layers, x):
    return np.maximum(x @ layers.hidden + layers.bias, 0) @ layers.out


def cut(x, past):
    scale = past.std(0) if len(past) else np.ones(2)
    return np.clip((x - (past.mean(0) if len(past) else 0)) / scale, -5, 5)


def slopes(loss, predictor):
    """Of each weight, by finite differences."""
    found = []
    for name, leaf in predictor._asdict().items():
        slope = np.zeros_like(leaf)
        for i in np.ndindex(leaf.shape):
            change = np.zeros_like(leaf)
            change[i] = 1e-6
            up, down = (loss(predictor._replace(**{name: leaf + sign * change})) for sign in (1, -1))
            slope[i] = (up - down) / 2e-6
        found.append(slope)
    return type(predictor)(*found)


def test_a_random_network_pays_its_predictors_error_and_all_environments_teach_it():
    reward = random_network_bonus(2, bonus=2.0, learning_rate=RATE, width=3, outputs=4)
    valid = np.ones((3, 4), bool)
    valid[0, 1] = valid[1, 3] = False
    transitions = places(3, 4, valid)
    x = np.asarray(transitions.observation, np.float64)
    there = jnp.where(jnp.asarray(valid)[..., None], transitions.observation, jnp.nan)
    params = jax.jit(reward.init)(jax.random.key(0))
    run = jax.jit(lambda p: rollout(reward, p, transitions._replace(next_observation=there)))
    values, _, memory = run(params)
    target, predictor = (jax.tree.map(lambda w: np.asarray(w, np.float64), params[x]) for x in ("target", "predictor"))

    def error(predictor, at):
        return np.square(said(predictor, at) - said(target, at)).mean(-1)

    first = cut(x[0], np.zeros((0, 2)))[valid[0]]
    np.testing.assert_allclose(values[0][valid[0]], 2 * error(predictor, first), rtol=1e-4)
    # Adam's first step is the gradient by its own size, so the second step's errors are known too.
    slope = slopes(lambda weights: error(weights, first).mean(), predictor)
    predictor = jax.tree.map(lambda w, g: w - RATE * g / (np.abs(g) + 1e-8), predictor, slope)
    second = cut(x[1], x[0][valid[0]])[valid[1]]
    np.testing.assert_allclose(values[1][valid[1]], 2 * error(predictor, second), rtol=1e-3)
    seen = jax.tree.map(lambda leaf: leaf[0], memory.value)
    np.testing.assert_allclose(seen.mean, x[valid].mean(0), rtol=1e-5)
    np.testing.assert_allclose(seen.squares / seen.steps, x[valid].var(0), rtol=1e-4)
    assert seen.steps == valid.sum() == 10
    assert all((leaf == leaf[:1]).all() for leaf in jax.tree.leaves(memory.value))  # all environments hold the same


def test_what_was_often_seen_pays_less_and_another_episode_does_not_forget():
    reward = random_network_bonus(1, learning_rate=0.01, width=8)
    params = jax.jit(reward.init)(jax.random.key(1))

    def visit(memory, x):
        alone = Transition(x, (), jnp.zeros(()), x, jnp.array(False), jnp.array(False))
        memory, paid = reward.step(params, memory, alone)
        return reward.persist(memory, reward.reset(params)), paid

    seen = jnp.concatenate([jnp.tile(jnp.array([0.9, 1.1]), 200), jnp.array([1.1, 3.0])])
    paid = np.asarray(jax.jit(lambda p: jax.lax.scan(visit, reward.reset(p), seen[:, None])[1])(params))
    assert paid[-2] < 0.05 * paid[4:8].mean()
    assert paid[-1] > 20 * paid[-2]


@pytest.mark.parametrize("scope", ["episode", "lifetime"])
def test_landmarks_are_apart_and_each_pays_once(scope):
    base = random_transitions(0, 40, 2)
    transitions = base._replace(next_observation=places(40, 2).observation)
    reward = landmark_bonus(2, 1.2, capacity=5, bonus=0.5, scope=scope)
    values, _, memory = jax.jit(lambda p: rollout(reward, p, transitions))(reward.init(jax.random.key(0)))
    there, expected, kept = np.asarray(transitions.next_observation), np.zeros((40, 2)), {}
    for env, steps in episodes(transitions):
        known = [] if scope == "episode" else kept.setdefault(env, [])
        for t in steps:
            if len(known) < 5 and all(np.linalg.norm(there[t, env] - place) > 1.2 for place in known):
                known.append(there[t, env])
                expected[t, env] = 0.5
        kept[env] = known
    np.testing.assert_array_equal(values, expected)
    assert scope == "episode" or memory.number.max() == 5  # a map that is full
    for env, known in kept.items():
        if memory.number[env]:
            np.testing.assert_array_equal(memory.places[env, : len(known)], np.stack(known))


def test_what_is_refused():
    alone = jax.tree.map(lambda leaf: leaf[0, 0], places(1, 1))
    for make in (lambda: random_network_bonus(3), lambda: landmark_bonus(3, 1.0)):
        reward = make()
        params = jax.eval_shape(reward.init, jax.random.key(0))
        stepped = lambda params, alone, r=reward: r.step(params, r.reset(params), alone)  # noqa: E731
        with pytest.raises(ValueError, match="set size=2"):
            jax.eval_shape(stepped, params, alone)
    with pytest.raises(ValueError, match=r"1 or more; got .*'width': 0"):
        random_network_bonus(3, width=0)
    with pytest.raises(ValueError, match="room for 1 or more"):
        landmark_bonus(2, 1.0, capacity=0)
    with pytest.raises(ValueError, match="0 or more; got radius=-1"):
        landmark_bonus(2, -1)
    with pytest.raises(ValueError, match="no scope of landmarks 'episodes'"):
        landmark_bonus(2, 1.0, scope="episodes")
