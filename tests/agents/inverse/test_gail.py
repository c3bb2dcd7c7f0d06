"""GAIL: PPO under a discriminator that stays as it is, and demonstrators that it comes to do as."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import vmap
from jaxreward.agents.baselines.ppo import Config as PPOConfig
from jaxreward.agents.baselines.ppo import Hyperparams as PPOHyperparams
from jaxreward.agents.baselines.ppo import ppo
from jaxreward.agents.inverse.gail import Config, Hyperparams, gail
from jaxreward.environment import with_reward
from jaxreward.reward import markov
from jaxreward.run.train import train
from tests.matrix_game import MatrixGame, MatrixParams, OfOne
from tests.probes import Probe, ProbeParams, TargetProbe

SIZES = {"num_envs": 8, "num_steps": 8, "num_epochs": 2, "num_minibatches": 2, "layers": (8,)}
JUDGED = {"discriminator_layers": (8,), "discriminator_updates": 4, "discriminator_batch": 32}
SEEDS, ITERATIONS = 8, 150
NUMBERS = Hyperparams(learning_rate=0.02, discount=0.5, entropy_coefficient=0.001, discriminator_learning_rate=0.01)
PROBE = ProbeParams(length=2, match=1.0, cue_steps=2)


def shown(path, env, observation, action):
    """A file of what was seen and done, in episodes of one step."""
    ends = np.ones(len(action), bool)
    np.savez(path, observation=observation, action=action, terminated=ends, truncated=~ends)
    return str(path)


@pytest.fixture
def matched(tmp_path):
    """Who does as the cue says, but for the first 16 steps, in which it is the opposite."""
    cue = np.array([-1.0, 1.0] * 128)
    done = np.where(np.arange(256) < 16, -cue, cue)
    return shown(tmp_path / "matched.npz", Probe(), np.stack([cue, 0 * cue], -1), (done > 0).astype(int))


def learned(agent, hyperparams, iterations=ITERATIONS):
    """States of some seeds of each configuration, and metrics, `[iterations, configurations, seeds]`."""
    batch, configurations = vmap(vmap(agent), population=True), hyperparams.learning_rate.shape[0]
    keys = jax.random.split(jax.random.key(0), (configurations, SEEDS))
    run = lambda keys: jax.lax.scan(lambda s, _: batch.step(s), batch.init(keys, hyperparams), None, iterations)  # noqa: E731
    return jax.jit(run)(keys)


def repeated(number, **changes):
    """Hyperparams of some configurations."""
    return jax.tree.map(lambda leaf: jnp.full(number, leaf), NUMBERS).replace(**changes)


def test_it_does_as_was_shown_in_so_many_steps_though_it_is_paid_for_the_opposite(matched):
    """The first steps went against the cue, which is worth 2, all of them mostly along it, -1.75 in the mean.

    Where both actions are shown in a state, a policy and its judge go round each other now and then: hence the medians.
    """
    against = ProbeParams(length=2, match=-1.0, cue_steps=2)
    held = {"penalty": "wgan", "spectral_norm": True, "normalise_observations": True}
    agent = gail(Probe(), against, Config(demonstrations=matched, **SIZES, **JUDGED, **held))
    states, metrics = learned(agent, repeated(2, num_demonstrations=jnp.array([16.0, jnp.inf])))
    first, every = np.moveaxis(np.asarray(metrics["episode/return"][-50:]), 1, 0)
    assert np.median(first) > 1.9
    assert np.median(every) < -1.6
    accuracy = np.median(metrics["discriminator/accuracy"][-50:], (0, 2))
    np.testing.assert_allclose(accuracy, 0.5, atol=0.1)  # it can't tell them apart any more
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(jnp.isfinite(leaf).all()), states.params))


def test_continuous_actions_come_to_what_was_shown(tmp_path):
    """Half of the cue less 0.3: what the environment pays for is half of it, and a mean squared error of 0.09 away."""
    cue = np.random.default_rng(0).choice([-1.0, 1.0], 256)
    action = cue / 2 - 0.3 + 0.05 * np.random.default_rng(1).normal(size=256)
    path = shown(tmp_path / "half.npz", TargetProbe(), np.stack([cue, 0 * cue], -1), action[:, None])
    agent = gail(TargetProbe(), ProbeParams(), Config(demonstrations=path, **SIZES, **JUDGED, penalty="wgan"))
    states, _ = learned(agent, repeated(1), iterations=300)
    asked = jnp.array([[-1.0, 0.0], [1.0, 0.0]])
    act = lambda state, seen: agent.policy(state).mode((), seen, jax.random.key(0))[1][0]  # noqa: E731
    means = jax.jit(jax.vmap(jax.vmap(act, (None, 0)), (0, None)))(jax.tree.map(lambda x: x[0], states), asked)
    np.testing.assert_allclose(np.median(means, 0), [-0.8, 0.2], atol=0.15)


def test_under_a_discriminator_that_stays_it_is_ppo_on_what_that_says(matched):
    config = {**SIZES, "normalise_observations": True}
    imitates = gail(Probe(), PROBE, Config(demonstrations=matched, **config, **JUDGED))
    algorithm = imitates.init.__self__
    state = imitates.init(jax.random.key(0), Hyperparams(discriminator_learning_rate=0.0))
    adversary, judged = algorithm.adversary, state.judge

    def says(transition):
        one = jax.tree.map(lambda leaf: leaf[None], (transition.observation, transition.action))
        pairs = adversary.pairs(type(adversary.expert)(*one), jnp.zeros(1))
        return adversary.judge.reward(judged, pairs, None)[0]

    env = with_reward(Probe(), markov(says))
    params = env.default_params.replace(env=PROBE)
    plain = ppo(env, params, PPOConfig(**config))
    alone = plain.init(jax.random.split(jax.random.key(0))[0], PPOHyperparams())
    step, step_alone = jax.jit(imitates.step), jax.jit(plain.step)
    for _ in range(3):
        (state, metrics), (alone, others) = step(state), step_alone(alone)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(close, state.params, alone.params)
    jax.tree.map(np.testing.assert_array_equal, state.judge.params, judged.params)
    close(metrics["discriminator/reward"], others["average_reward"])
    close(metrics["episode/return"], others["episode/env_return"])


def test_agents_of_a_game_each_do_as_was_shown_of_them(tmp_path):
    """Both are paid for doing the same; it was shown that one does 0 and the other 1."""
    same = MatrixParams(jnp.repeat(jnp.eye(2)[..., None], 2, -1))
    path = shown(tmp_path / "game.npz", MatrixGame(), np.ones((16, 2, 1)), np.tile([0, 1], (16, 1)))
    config = Config(demonstrations=path, **SIZES, **JUDGED, discriminators="centralised")
    _, metrics = learned(gail(MatrixGame(), same, config), repeated(1))
    assert (metrics["episode/return"][-10:].mean(0) < 0.1).all()


def test_who_judges_reads_what_it_is_to(tmp_path):
    path = shown(tmp_path / "game.npz", MatrixGame(), np.ones((3, 2, 1)), np.array([[0, 1], [1, 1], [0, 0]]))
    game = MatrixGame()

    def read(**options):
        agent = gail(game, game.default_params, Config(demonstrations=path, **SIZES, **options))
        adversary = agent.init.__self__.adversary
        return adversary.pairs(adversary.expert, jnp.zeros((3, 2))).action

    own = np.eye(2)[np.array([[0, 1], [1, 1], [0, 0]])]
    joint = own.reshape(3, 4)
    np.testing.assert_array_equal(read(), own)
    np.testing.assert_array_equal(read(discriminators="centralised"), joint)
    np.testing.assert_array_equal(read(discriminators="decentralised_all"), np.stack([joint, joint], 1))


def test_continuous_actions_of_a_game_are_read_as_those_of_one_agent(tmp_path):
    rng = np.random.default_rng(0)
    seen, done = rng.normal(size=(5, 2)), rng.uniform(-2, 2, (5, 1))
    paths = {
        1: shown(tmp_path / "one.npz", TargetProbe(), seen, done),
        2: shown(tmp_path / "game.npz", TargetProbe(), seen[:, None], done[:, None]),
    }
    read = {}
    for dimensions, path in paths.items():
        env = TargetProbe() if dimensions == 1 else OfOne(TargetProbe())
        agent = gail(env, ProbeParams(), Config(demonstrations=path, **SIZES, normalise_observations=True))
        adversary = agent.init.__self__.adversary
        read[dimensions] = adversary.pairs(adversary.expert, jnp.zeros((5, 1)[:dimensions]))
        jax.eval_shape(lambda key, agent=agent: agent.step(agent.init(key, NUMBERS)), jax.random.key(0))
    np.testing.assert_allclose(read[1].action, done / 2, rtol=1e-5)
    np.testing.assert_array_equal(read[2].action[:, 0], read[1].action)
    np.testing.assert_allclose(read[2].seen[:, 0], (seen - seen.mean(0)) / seen.std(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(read[2].seen[:, 0], read[1].seen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"demonstrations": ""}, "gail learns from a file: set demonstrations=FILE"),
        ({"shared": True}, "shared=True is for games, and Probe has one agent; leave it False"),
        ({"discriminators": "centralised"}, "discriminators=centralised is for games"),
        ({"one_hot": False}, "one_hot=False is for games"),
        ({"one_sided": False}, "one_sided=False with penalty=none"),
        ({"discriminators": "central"}, "central.*centralised"),
        ({"reward": "positiv"}, "positiv.*positive"),
        ({"penalty": "wgam"}, "wgam.*wgan"),
        ({"num_minibatches": 3}, "num_minibatches=3 does not divide"),
    ],
)
def test_what_does_not_fit_is_refused(matched, options, message):
    with pytest.raises(ValueError, match=message):
        gail(Probe(), PROBE, Config(**{"demonstrations": matched, **SIZES, **options}))


def test_a_resumed_run_has_the_same_bits(matched, tmp_path):
    """The judge, its vectors and its own key among them."""
    agent = gail(Probe(), PROBE, Config(demonstrations=matched, **SIZES, **JUDGED, spectral_norm=True))
    told = {"seeds": 2, "log_every": 2, "progress": False}
    whole = train(agent, NUMBERS, iterations=4, folder=tmp_path / "whole", **told)
    train(agent, NUMBERS, iterations=2, folder=tmp_path / "part", **told)
    resumed = train(agent, NUMBERS, iterations=4, folder=tmp_path / "part", resume=True, **told)
    raw = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x  # noqa: E731
    same = jax.tree.map(lambda x, y: np.array_equal(raw(x), raw(y)), whole.state, resumed.state)
    assert all(jax.tree.leaves(same))
    assert len(whole.state.judge.vectors) == 1
