"""What holds for every reward of the catalogue, and the rollout that its tests share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import rewards
from jaxreward.reward import ENVIRONMENTS, Transition, bind_discount, components
from jaxreward.rewards import (
    add,
    clip,
    constant,
    count_bonus,
    delay,
    ensemble,
    environment_reward,
    gate,
    markov,
    normalise,
    potential_shaping,
    scalarise,
    scale,
    shaped,
    sparsify,
    stack,
    transform,
    weighted,
)


def rollout(reward, params, transitions):
    """Values `[T, N, ...]`, named parts `[T, N]` and the last memory of a reward along transitions `[T, N, ...]`."""

    def step(memory, transition):
        ended, value = reward.step(params, memory, transition)
        fresh = reward.persist(ended, reward.reset(params))
        done = transition.terminated | transition.truncated
        memory = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, ended)
        return memory, (value, components(ended))

    num_envs = transitions.terminated.shape[1]
    memory = jax.vmap(lambda _: reward.reset(params))(jnp.arange(num_envs))
    memory, (values, parts) = jax.lax.scan(jax.vmap(step, axis_name=ENVIRONMENTS), memory, transitions)
    return values, parts, memory


def random_transitions(seed, steps, num_envs, done_rate=0.2):
    """Transitions `[T, N]` with observations in `0..4`, normal rewards and episodes that end in both ways."""
    rng = np.random.default_rng(seed)
    shape = (steps, num_envs)
    ends = rng.random(shape)
    return Transition(
        observation=jnp.asarray(rng.integers(5, size=shape)),
        action=jnp.asarray(rng.integers(2, size=shape)),
        reward=jnp.asarray(rng.normal(size=shape) + 1.0, float),
        next_observation=jnp.asarray(rng.integers(5, size=shape)),
        terminated=jnp.asarray(ends < done_rate / 2),
        truncated=jnp.asarray((ends >= done_rate / 2) & (ends < done_rate)),
    )


def episodes(transitions):
    """`(environment, steps)` of each piece of an episode, in order."""
    done = np.asarray(transitions.terminated | transitions.truncated)
    steps = np.arange(done.shape[0])
    for env in range(done.shape[1]):
        number = np.concatenate([[0], np.cumsum(done[:-1, env])])
        for episode in range(number[-1] + 1):
            yield env, steps[number == episode]


env = environment_reward()
learned = markov(lambda params, t: params["w"] * t.reward, init=lambda key: {"w": jax.random.normal(key)})
novelty = count_bonus(lambda t: t.next_observation, 5)

CATALOGUE = {
    "add": add(env, 0.5, lambda t: t.action, normalise(env)),
    "clip": clip(normalise(env), -1.0, 1.0),
    "constant": constant(2.0),
    "count_bonus": novelty,
    "delay": delay(normalise(env), 2),
    "ensemble": ensemble(add(learned, normalise(env), novelty), 3),
    "gate": gate(normalise(env), lambda t: t.action == 1),
    "normalise": normalise(env),
    "normalise twice": normalise(normalise(env)),
    "potential_shaping": potential_shaping(lambda x: x * 0.5),
    "scalarise": scalarise(stack(env, normalise(env)), jnp.array([1.0, 2.0])),
    "scale": scale(normalise(env), 3.0),
    "shaped": shaped(normalise(env), lambda params, x: params * x, init=0.3),
    "sparsify": sparsify(normalise(env), 3),
    "stack": stack(env, stack(normalise(env), novelty)),
    "transform": transform(normalise(env), jnp.tanh),
    "weighted": weighted(task=(normalise(env), 2.0), other=weighted(novelty=novelty)),
}


@pytest.mark.parametrize("name", CATALOGUE)
def test_runs_in_a_scan_under_jit_and_vmap_with_parameters_that_have_gradients(name):
    reward = CATALOGUE[name]
    transitions = random_transitions(0, 6, 2)
    params = reward.init(jax.random.key(0))

    def total(params):
        return rollout(reward, params, transitions)[0].sum()

    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, 2.0 * leaf]), params)
    value, grad = jax.jit(jax.vmap(jax.value_and_grad(total), axis_size=2))(batch)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(params))
    assert np.isfinite(value).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grad))
    run = jax.jit(total)
    single = jnp.stack([run(jax.tree.map(lambda leaf, i=i: leaf[i], batch)) for i in range(2)])
    np.testing.assert_allclose(value, single, rtol=1e-5)


@pytest.mark.parametrize("name", CATALOGUE)
def test_memory_keeps_its_type(name):
    reward = CATALOGUE[name]
    params = reward.init(jax.random.key(0))
    memory = reward.reset(params)
    transition = jax.tree.map(lambda leaf: leaf[0, 0], random_transitions(0, 1, 1))
    types = lambda tree: jax.tree.map(lambda leaf: jax.typeof(leaf), tree)  # noqa: E731
    assert types(reward.step(params, memory, transition)[0]) == types(memory)
    assert types(reward.persist(memory, memory)) == types(memory)


PERSISTENT = [name for name in CATALOGUE if name not in ("constant", "potential_shaping")]


@pytest.mark.parametrize("name", PERSISTENT)
def test_combinators_carry_what_persists_over_the_episode(name):
    reward = CATALOGUE[name]
    params = reward.init(jax.random.key(0))
    fresh = reward.reset(params)
    steps = jax.tree.map(lambda leaf: leaf[0, 0], random_transitions(0, 1, 1, done_rate=0.0))
    ended = reward.step(params, fresh, steps)[0]
    kept = reward.persist(ended, fresh)
    assert jax.tree.structure(kept) == jax.tree.structure(fresh)
    changed = [not np.array_equal(x, y) for x, y in zip(jax.tree.leaves(kept), jax.tree.leaves(fresh), strict=True)]
    assert any(changed)


def test_random_members_and_parts_get_keys_of_their_own():
    weights = ensemble(learned, 4).init(jax.random.key(0))["w"]
    pair = add(learned, learned).init(jax.random.key(0))
    named = weighted(a=learned, b=learned).init(jax.random.key(0))["rewards"]
    assert len(np.unique(weights)) == 4
    assert pair[0]["w"] != pair[1]["w"]
    assert named["a"]["w"] != named["b"]["w"]


@pytest.mark.parametrize("name", ["shaped", "normalise", "weighted", "ensemble"])
def test_discounts_follow_the_agents_wherever_they_are(name):
    reward = CATALOGUE[name]
    transitions = random_transitions(1, 8, 2)
    params = reward.init(jax.random.key(0))
    run = lambda discount: rollout(reward, bind_discount(params, discount), transitions)[0]  # noqa: E731
    values = jax.jit(jax.vmap(run))(jnp.array([0.5, 1.0]))
    np.testing.assert_allclose(values[1], rollout(reward, params, transitions)[0], rtol=1e-5)
    assert not np.allclose(values[0], values[1])


def test_the_catalogue_lists_what_it_has():
    assert all(hasattr(rewards, name) for name in rewards.__all__)
    assert len(set(rewards.__all__)) == len(rewards.__all__)


def test_anything_else_is_refused_as_a_reward():
    with pytest.raises(TypeError, match="expected a Reward, a function of a transition or a number; got str: 'goal'"):
        add(env, "goal")
