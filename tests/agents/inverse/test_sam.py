"""SAM: TD3 under a discriminator that stays as it is, a demonstrator that it does as, and pessimism in numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import vmap
from jaxreward.agents.baselines.parts.critics import MLP
from jaxreward.agents.baselines.td3 import Config as TD3Config
from jaxreward.agents.baselines.td3 import Hyperparams as TD3Hyperparams
from jaxreward.agents.baselines.td3 import td3
from jaxreward.agents.inverse.parts.discriminator import pessimistic, reward_of, slopes
from jaxreward.agents.inverse.parts.forward_model import ForwardModel, reads
from jaxreward.agents.inverse.parts.judge import Pairs
from jaxreward.agents.inverse.sam import Config, Hyperparams, sam
from jaxreward.environment import with_reward
from jaxreward.learning.n_step import Steps
from jaxreward.reward import markov
from tests.probes import Probe, ProbeParams, TargetProbe

SIZES = {"num_envs": 8, "num_updates": 4, "batch_size": 32, "capacity": 1_024, "warm_up": 64, "layers": (16,)}
JUDGED = {"discriminator_layers": (16,)}


@pytest.fixture
def file(tmp_path):
    """Actions of half of the cue less 0.3; the environment pays for half of it."""
    cue = np.random.default_rng(0).choice([-1.0, 1.0], 256)
    action = cue / 2 - 0.3 + 0.05 * np.random.default_rng(1).normal(size=256)
    np.savez(tmp_path / "half.npz", observation=np.stack([cue, 0 * cue], -1), action=action[:, None])
    return str(tmp_path / "half.npz")


def test_it_does_as_was_shown_and_not_as_it_is_paid(file):
    agent = sam(TargetProbe(), ProbeParams(), Config(demonstrations=file, **SIZES, **JUDGED))
    batch, numbers = (
        vmap(agent),
        Hyperparams(learning_rate=3e-3, critic_learning_rate=3e-3, discriminator_learning_rate=3e-3, target_step=0.02),
    )

    @jax.jit
    def run(keys):
        return jax.lax.scan(lambda s, _: batch.step(s), batch.init(keys, numbers), None, 600)

    states, metrics = run(jax.random.split(jax.random.key(0), 8))
    act = lambda state, seen: agent.policy(state).mode((), seen, jax.random.key(0))[1][0]  # noqa: E731
    asked = jnp.array([[-1.0, 0.0], [1.0, 0.0]])
    found = jax.vmap(jax.vmap(act, (None, 0)), (0, None))(states, asked)
    np.testing.assert_allclose(np.median(found, 0), [-0.8, 0.2], atol=0.15)
    np.testing.assert_array_equal(metrics["loss/discriminator"][:7], 0)  # the eighth block fills what is waited for
    assert (metrics["loss/discriminator"][7:] > 0).all()


@pytest.mark.parametrize("n_step", [1, 2])
def test_under_a_discriminator_that_stays_it_is_td3_on_what_that_says(file, n_step):
    sizes = {**SIZES, "n_step": n_step}
    params = ProbeParams(length=3, cue_steps=3)
    imitates = sam(TargetProbe(), params, Config(demonstrations=file, **sizes, **JUDGED, spectral_norm=False))
    algorithm = imitates.init.__self__
    state = imitates.init(jax.random.key(0), Hyperparams(discriminator_learning_rate=0.0))
    judged = state.judge

    def says(transition):
        one = jax.tree.map(lambda leaf: leaf[None], (transition.observation, transition.action))
        pairs = Pairs(one[0], algorithm.box.from_env(one[1]))
        return algorithm.judge.reward(judged, pairs, None)[0]

    env = with_reward(TargetProbe(), markov(says))
    plain = td3(env, env.default_params.replace(env=params), TD3Config(**sizes))
    alone = plain.init(jax.random.split(jax.random.key(0))[0], TD3Hyperparams())
    step, step_alone = jax.jit(imitates.step), jax.jit(plain.step)
    for _ in range(12):
        (state, metrics), (alone, others) = step(state), step_alone(alone)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(close, state.learner, alone.learner)
    jax.tree.map(np.testing.assert_array_equal, state.judge.params, judged.params)
    close(metrics["loss/critics"], others["loss/critics"])
    assert np.abs(alone.replay.steps.reward).max() > 0
    np.testing.assert_array_equal(state.replay.steps.action, alone.replay.steps.action)


def test_old_steps_are_worth_what_the_judge_of_today_says_and_less_where_it_is_steep(file):
    config = Config(demonstrations=file, **SIZES, **JUDGED, pessimistic="discriminator")
    algorithm = sam(TargetProbe(), ProbeParams(), config).init.__self__
    steps = jax.tree.map(jnp.asarray, Steps(np.eye(2), np.array([[1.0], [-2.0]]), *np.zeros((3, 2)), np.eye(2)))
    for seed in range(2):
        judge = algorithm.init(jax.random.key(seed), Hyperparams()).judge
        judge = judge._replace(params=jax.tree.map(lambda x: 3 * x, judge.params))
        state = algorithm.init(jax.random.key(9), Hyperparams(pessimism=0.5, penalty_target=0.1))
        given = algorithm.earn(state._replace(judge=judge))(steps)
        x = jnp.array([[1.0, 0.0, 0.5], [0.0, 1.0, -1.0]])  # actions in half widths of [-2, 2]
        logits = algorithm.judge.model.logits(algorithm.judge.params(judge))
        steep = np.maximum(slopes(logits, x) - 0.1, 0)
        expected = np.log1p(np.exp(logits(x))) * np.exp(-0.5 * steep**2)
        np.testing.assert_allclose(given, expected, rtol=1e-5)
        assert (given < reward_of(logits(x), "positive")).all()


def test_pessimism_takes_nothing_where_it_is_flat_and_more_the_steeper():
    slope = jnp.array([0.0, 1.0, 2.0, 3.0])
    factor = pessimistic(jnp.ones(4), slope, 1.0, 0.5)
    np.testing.assert_allclose(factor, np.exp([0, 0, -0.5, -2]), rtol=1e-6)
    np.testing.assert_array_equal(pessimistic(jnp.ones(4), slope, 1.0, 0.0), 1)


def test_a_model_of_the_dynamics_takes_from_batches_in_which_it_is_steep(file):
    """A linear model, whose outputs in sum have one slope everywhere: the columns' sums, as one vector."""
    model = ForwardModel(MLP(2, (), jnp.tanh))
    draw = np.random.default_rng(0)
    steps = Pairs(*(jnp.asarray(draw.normal(size=(12, 5, size)), jnp.float32) for size in (2, 1)))
    start = model.init(jax.random.key(0), steps)
    dense = jax.tree.map(lambda leaf: 4 * leaf, start.params)
    numbers = Hyperparams(learning_rate=0.0, forward_target=1.0, least_factor=0.2)
    followed = steps._replace(following=model.told(dense, reads(steps)) + 1)
    state, told = jax.jit(model.train)(start._replace(params=dense), followed, numbers)
    weights = next(np.asarray(leaf) for leaf in jax.tree.leaves(dense) if leaf.ndim == 2)
    steep = max(np.linalg.norm(weights.sum(1)) - 1, 0) ** 2
    assert steep > 0
    np.testing.assert_allclose(state.recent, steep, rtol=1e-5)  # the last 10 of 12
    np.testing.assert_allclose(told["loss/forward"], 1, rtol=1e-5)
    spread = state._replace(recent=jnp.arange(10.0))
    expected = max(np.exp(-steep / np.arange(10).std()), 0.2)
    np.testing.assert_allclose(model.factor(spread, steps, numbers), np.full((12, 1), expected), rtol=1e-5)
    far = numbers.replace(forward_target=100.0)
    np.testing.assert_array_equal(model.factor(spread, steps, far), 1)
    np.testing.assert_allclose(model.factor(start._replace(params=dense), steps, numbers), 0.2)  # no spread yet


def test_the_model_of_the_dynamics_learns_what_follows_and_lowers_what_old_steps_are_worth(file):
    algorithm = sam(TargetProbe(), ProbeParams(), Config(demonstrations=file, **SIZES, **JUDGED, pessimistic="forward"))
    algorithm = algorithm.init.__self__
    draw = np.random.default_rng(0)
    seen, action = (jnp.asarray(draw.normal(size=(300, 32, size)), jnp.float32) for size in (2, 1))
    truth = jnp.stack([seen[..., 0] - action[..., 0], 2 * seen[..., 1]], -1)
    pairs, numbers = Pairs(seen, action, truth), Hyperparams(learning_rate=1e-2, forward_target=0.1)
    state = algorithm.init(jax.random.key(0), numbers)
    learned, _ = jax.jit(algorithm.forward.train)(state.judge.forward, pairs, numbers)
    one = jax.tree.map(lambda leaf: leaf[0], pairs)
    error = jnp.square(algorithm.forward.told(learned.params, reads(one)) - truth[0]).mean()
    assert error < 0.05 * jnp.square(truth[0]).mean()
    steps = Steps(seen[:2], 2 * action[:2], *jnp.zeros((3, 2, 32)), truth[:2])
    judged = state._replace(judge=state.judge._replace(forward=learned))
    flat = state._replace(judge=state.judge._replace(forward=learned), hyperparams=numbers.replace(forward_target=99.0))
    ratio = np.asarray(algorithm.earn(judged)(steps) / algorithm.earn(flat)(steps))
    assert ratio.shape == (2, 32)
    np.testing.assert_allclose(ratio, 0.7, rtol=1e-5)  # as steep as the truth, it is beyond what is allowed everywhere


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"demonstrations": ""}, "sam learns from a file"),
        ({"relabel": True}, "relabel=True: sam tells"),
        ({"pessimistic": "forward", "reward": "logit"}, "pessimistic=forward lowers .*those of reward=logit may be"),
        ({"pessimistic": "forwards"}, "did you mean 'forward'"),
        ({"penalty": "wgam"}, "wgam.*wgan"),
    ],
)
def test_what_does_not_fit_is_refused(file, options, message):
    with pytest.raises(ValueError, match=message):
        sam(TargetProbe(), ProbeParams(), Config(**{"demonstrations": file, **SIZES, **options}))


def test_discrete_actions_are_refused(file):
    with pytest.raises(TypeError, match="sam"):
        sam(Probe(), ProbeParams(), Config(demonstrations=file, **SIZES))
