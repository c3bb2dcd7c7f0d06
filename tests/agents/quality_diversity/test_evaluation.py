"""Genomes, what comes of them, and where behaviours are compared."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from jaxreward.agents.quality_diversity.parts.controller import controller_of
from jaxreward.agents.quality_diversity.parts.evaluation import EvaluationConfig, make_evaluator
from jaxreward.agents.quality_diversity.parts.space import BehaviourConfig, given_space, sampled_steps
from jaxreward.agents.quality_diversity.parts.statistics import count, empty_statistics, metrics, uniformity
from jaxreward.environment import with_reward
from jaxreward.envs import make
from jaxreward.quality_diversity import log_signature, signature
from jaxreward.reward import markov


@pytest.mark.parametrize(
    ("task", "layers", "size"), [("qd/point2d", 2, 48), ("qd/hard_maze", 2, 63), ("qd/arm", 2, 228)], ids=str
)
def test_the_authors_network_has_as_many_genes_as_theirs(task: str, layers: int, size: int) -> None:
    env, params = make(task)
    assert controller_of(env, params, "shared_bias", layers, 5).size == size


def test_the_authors_network_by_matrices() -> None:
    env, params = make("qd/hard_maze")
    controller = controller_of(env, params, "shared_bias", 2, 5)
    genomes = np.random.default_rng(0).normal(size=(7, 63)).astype(np.float32)
    seen = np.random.default_rng(1).normal(size=5).astype(np.float32)
    found = jax.jit(jax.vmap(controller.act, (0, None)))(genomes, seen)
    for genome, action in zip(genomes, found, strict=True):
        first, rest = genome[:25].reshape(5, 5), genome[26:]
        second, last = rest[:25].reshape(5, 5), rest[26:36].reshape(5, 2)
        squash = lambda z: 2 / (1 + np.exp(-z)) - 1  # noqa: E731
        expected = squash(squash(squash(seen @ first + genome[25]) @ second + rest[25]) @ last + rest[36])
        np.testing.assert_allclose(action, expected, atol=1e-6)


def test_a_constant_genome_is_the_action_and_an_mlp_has_a_bias_for_each_unit() -> None:
    env, params = make("qd/point2d")
    constant = controller_of(env, params, "constant")
    assert constant.size == 2
    np.testing.assert_array_equal(constant.act(jnp.array([0.3, -0.2]), jnp.zeros(2)), jnp.array([0.3, -0.2]))
    mlp = controller_of(env, params, "mlp", 1, 4)
    assert mlp.size == (2 + 1) * 4 + (4 + 1) * 2
    np.testing.assert_array_equal(mlp.act(jnp.zeros(mlp.size), jnp.ones(2)), jnp.zeros(2))


def test_a_trial_is_the_episode_step_by_step_and_an_ended_one_repeats_its_last() -> None:
    env, params = make("qd/arm")
    steps = (3, 20, 99)
    evaluator = make_evaluator(
        env, params, EvaluationConfig(), lambda state, info: (state, info["descriptor"]), lambda _: steps
    )
    genomes = jax.random.normal(jax.random.key(3), (4, 228))
    key = jax.random.key(0)
    outcomes = jax.device_get(jax.jit(evaluator.evaluate)(genomes, params, key))
    step_env, act = jax.jit(env.step_env), jax.jit(evaluator.controller.act)
    for row, genome in enumerate(genomes):
        observation, state = env.reset_env(key, params)
        total, kept = 0.0, {}
        for step in range(100):
            observation, state, reward, terminated, info = step_env(key, state, act(genome, observation), params)
            total += float(reward)
            kept[step] = jax.device_get((state, info["descriptor"]))
            if terminated or env.is_truncated(state, params):
                break
        assert outcomes.steps[row] == step + 1
        np.testing.assert_allclose(outcomes.reward[row], total, atol=1e-6)
        for slot, at in enumerate(steps):
            found = jax.tree.map(lambda leaf, i=row, s=slot: leaf[i, s], outcomes.record)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, kept[min(at, step)])
    assert outcomes.steps.min() < 99  # some ended before the last look


def test_a_reward_over_the_task_is_what_is_earned() -> None:
    env, _ = make("qd/point2d")
    always = with_reward(env, markov(lambda transition: jnp.asarray(2.0)))
    evaluator = make_evaluator(
        always, always.default_params, EvaluationConfig(controller="constant"), lambda state, _: state.time
    )
    found = evaluator.evaluate(jnp.zeros((2, 2)), always.default_params, jax.random.key(0))
    np.testing.assert_array_equal(found.reward, [100.0, 100.0])


@pytest.mark.parametrize(
    ("env", "config", "said"),
    [
        ("CartPole-v1", EvaluationConfig(), "continuous actions|descriptor_bounds"),
        ("Pendulum-v1", EvaluationConfig(), "descriptor_bounds"),
        ("qd/point2d", EvaluationConfig(controller="mlpp"), "mlp"),  # type: ignore[arg-type]
        ("qd/point2d", EvaluationConfig(genome_low=1.0, genome_high=1.0), "genome_low"),
    ],
    ids=["discrete", "no descriptor", "controller", "limits"],
)
def test_what_does_not_fit_is_refused(env: str, config: EvaluationConfig, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_evaluator(*make(env), config)


def test_steps_are_sampled_as_the_authors_do() -> None:
    for num_steps, samples in [(50, 1), (50, 5), (2000, 5), (7, 3), (1, 1), (4, 3)]:
        expected = np.ceil(np.linspace(0, num_steps - 1, samples + 1))[1:].astype(int)
        assert sampled_steps(num_steps, samples) == tuple(expected)
    with pytest.raises(ValueError, match="1 to 49"):
        sampled_steps(50, 50)


def test_spaces_made_from_descriptors() -> None:
    env, params = make("qd/point2d")
    genomes = jax.random.normal(jax.random.key(1), (4, 48))

    def placed(behaviour: str) -> tuple[jax.Array, jax.Array]:
        space = given_space(BehaviourConfig(behaviour))  # type: ignore[arg-type]
        evaluator = make_evaluator(env, params, EvaluationConfig(), space.watch, space.steps)
        outcome = evaluator.evaluate(genomes, params, jax.random.key(0))
        behaviour_, surprise = space.place((), outcome, params)
        assert not surprise.any()
        return behaviour_, outcome.record

    final, _ = placed("final")
    samples, _ = placed("samples")
    assert samples.shape == (4, 10)
    np.testing.assert_array_equal(samples[:, -2:], final)
    for behaviour, of, time in [
        ("signature", signature, False),
        ("log_signature", log_signature, False),
        ("time_signature", signature, True),
        ("time_log_signature", log_signature, True),
    ]:
        found, paths = placed(behaviour)
        assert paths.shape == (4, 50, 2)
        expected = jnp.stack([of(path, 2, time=time) for path in paths])
        np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(ValueError, match="log_signature"):
        given_space(BehaviourConfig("log_signatur"))  # type: ignore[arg-type]


def test_the_tally_counts_what_was_tried() -> None:
    env, params = make("qd/point2d")
    evaluator = make_evaluator(env, params, EvaluationConfig())
    outcomes = evaluator.evaluate(jax.random.normal(jax.random.key(0), (400, 48)), params, jax.random.key(0))
    counts = jnp.arange(400) % 3 > 0
    statistics = count(empty_statistics(env), env, outcomes, visits=True, counts=counts)
    statistics = count(statistics, env, outcomes, visits=False, counts=~counts)
    chosen = np.asarray(counts)
    low, high = np.array(env.descriptor_bounds)
    edges = [np.linspace(low[i], high[i], 51) for i in range(2)]
    visits = np.histogram2d(*np.asarray(outcomes.descriptor)[chosen].T, bins=edges)[0]
    assert int(statistics.visits.sum()) == chosen.sum()
    told = metrics(statistics)
    np.testing.assert_allclose(told["coverage"], (visits > 0).mean(), atol=1e-3)  # borders of cells may round
    assert float(told["evaluations"]) == 400 == float(told["episode/count"])
    assert int(told["env_steps"]) == 400 * 50
    np.testing.assert_allclose(told["episode/return"], np.mean(outcomes.reward), rtol=1e-6)
    for area in range(4):
        of = np.asarray(outcomes.reward)[np.asarray(outcomes.area) == area]
        assert float(told[f"best/area_{area}"]) == (of.max() if of.size else 0)


def test_uniformity_is_scipys_distance_taken_from_one() -> None:
    for visits in ([1, 0, 0, 0], [5, 3, 0, 1], [2, 2, 2, 2]):
        expected = 1 - jensenshannon(np.array(visits) / sum(visits), np.full(4, 0.25), base=2)
        np.testing.assert_allclose(uniformity(jnp.array(visits)), expected, atol=1e-6)
