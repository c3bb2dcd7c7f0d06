"""ORPO: divergences against closed forms, what it comes to on a bandit, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import vmap
from jaxreward.agents.baselines.parts.on_policy import Batch
from jaxreward.agents.baselines.ppo import Config as PPOConfig
from jaxreward.agents.baselines.ppo import ppo
from jaxreward.agents.hacking.orpo import Config, Hyperparams, orpo
from jaxreward.agents.hacking.parts.actions import action_divergence
from jaxreward.agents.hacking.parts.divergences import MEASURES, chi2_of, taken
from jaxreward.agents.inverse.gail import Config as GailConfig
from jaxreward.envs import make
from jaxreward.learning.networks import categorical_head, gaussian_head
from jaxreward.mdp import TabularEnv, tabular_mdp
from jaxreward.run.spec import resolve

SIZES = {"num_envs": 16, "num_steps": 4, "num_epochs": 2, "num_minibatches": 2, "layers": (8,)}
JUDGED = {"discriminator_layers": (8,), "discriminator_updates": 8, "discriminator_batch": 128}
P, Q = np.array([4, 2, 2]) / 8, np.array([0.2, 0.5, 0.3])
BANDIT = TabularEnv(tabular_mdp(np.ones((1, 2, 1)), [[0.0, 1.0]]), max_steps_in_episode=1)


def exact(kind, p):
    sums = {"kl": p * np.log(p / Q), "chi2": (p - Q) ** 2 / Q, "tv": np.abs(p - Q) / 2}
    return np.sqrt(exact("chi2", p)) if kind == "sqrt_chi2" else sums[kind].sum()


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def test_what_is_taken_is_the_derivative_of_the_divergence():
    """In a policy's logits, against finite differences; steps are as many as the policy takes of eight."""
    steps, bad = np.log(P / Q)[np.repeat(np.arange(3), [4, 2, 2])], np.array([np.nan, np.inf, -np.inf])
    told = jax.jit(lambda d, bad: {kind: (taken(kind, d, 1.0, 1e3), taken(kind, bad, 0.5, 7.0)) for kind in FACTORS})
    for kind, (penalty, clipped) in jax.tree.map(np.asarray, told(steps, bad)).items():
        penalty = penalty[[0, 4, 6]]
        up, down = (
            np.array([exact(kind, softmax(np.log(P) + sign * h)) for h in 1e-4 * np.eye(3)]) for sign in (1, -1)
        )
        np.testing.assert_allclose(
            FACTORS[kind] * P * (penalty - P @ penalty), (up - down) / 2e-4, atol=2e-5, err_msg=kind
        )
        assert clipped[0] == 0
        assert (abs(clipped) <= 7).all()


FACTORS = {"kl": 1, "chi2": 2, "sqrt_chi2": 1, "tv": 0.5}
"""By which multiples of what is taken are derivatives."""


def test_chi_squared_is_its_mean_without_the_ends():
    d = np.concatenate([np.log(np.repeat(P / Q, [80, 40, 40])), [50.0]])
    np.testing.assert_allclose(chi2_of(jnp.asarray(d[:8])), np.expm1(np.sort(d[:8])).mean(), rtol=1e-5)
    np.testing.assert_allclose(chi2_of(jnp.asarray(d)), np.expm1(np.sort(d))[1:-1].mean(), rtol=1e-5)


def test_a_discriminator_finds_the_divergence():
    """Of three actions, by networks that are told apart by each loss; for `wasserstein` rows are sqrt(2) apart."""
    states = {}
    for kind in ("chi2", "tv", "wasserstein"):
        agent = orpo(*make("CartPole-v1"), Config(divergence=kind, discriminator_layers=(16,), **SIZES))
        states[kind] = agent.init.__self__

    @jax.jit
    def run(key):
        found = {}
        for kind, algorithm in states.items():
            key, key_init, key_p, key_q = jax.random.split(key, 4)
            one = lambda rows: algorithm.reader.pairs(Rows(jnp.eye(3)[rows]), None)  # noqa: E731
            hyper = Hyperparams(discriminator_learning_rate=5e-3)
            judged = algorithm.judge.init(key_init, one(jnp.arange(2)))
            drawn = lambda key, p: one(jax.random.choice(key, 3, (600, 512), p=jnp.asarray(p)))  # noqa: E731
            judged, _ = algorithm.judge.train(judged, drawn(key_q, Q), drawn(key_p, P), hyper)
            d = -algorithm.judge.model.logit(judged.params, one(jnp.arange(3)), hyper)
            steps = [d[np.repeat(np.arange(3), counts)] for counts in ([40, 20, 20], [16, 40, 24])]
            found[kind] = d, MEASURES[kind].estimate(*steps)
        return found

    found = jax.tree.map(np.asarray, run(jax.random.key(0)))
    np.testing.assert_allclose(found["chi2"][0], np.log(P / Q), atol=0.1)
    np.testing.assert_allclose(found["chi2"][1], P @ np.expm1(found["chi2"][0]), rtol=1e-5)
    np.testing.assert_array_equal(np.sign(found["tv"][0]), np.sign(P - Q))
    np.testing.assert_allclose(found["tv"][1], exact("tv", P), rtol=0.1)
    np.testing.assert_allclose(found["wasserstein"][1], np.sqrt(2) * exact("tv", P), rtol=0.1)


class Rows:
    """Steps of one thing to see and no action."""

    def __init__(self, features):
        self.features, self.action = features, jnp.zeros(features.shape[:-1], jnp.int32)


def test_it_comes_to_what_the_regularised_bandit_has_as_its_best():
    """`p - c / 2 chi2` is highest at `p = 1/2 + 1 / (4 c)`, where a uniform reference takes either of two actions."""
    sizes = {**SIZES, "num_envs": 64}
    agent = orpo(BANDIT, BANDIT.default_params, Config(divergence="chi2", **sizes, **JUDGED))
    numbers = Hyperparams(learning_rate=3e-3, entropy_coefficient=0.0, discriminator_learning_rate=0.01)
    numbers = jax.tree.map(lambda leaf: jnp.full(2, leaf), numbers).replace(coefficient=jnp.array([1.0, 3.0]))
    batch = vmap(vmap(agent), population=True)

    @jax.jit
    def run(keys):
        return jax.lax.scan(lambda state, _: batch.step(state), batch.init(keys, numbers), None, 300)[1]

    metrics = jax.tree.map(np.asarray, run(jax.random.split(jax.random.key(0), (2, 2))))
    returns = metrics["average_reward"][150:].mean((0, 2))
    np.testing.assert_allclose(returns, [1 / 2 + 1 / 4, 1 / 2 + 1 / 12], atol=0.03)
    np.testing.assert_allclose(metrics["reference/average_reward"].mean((0, 2)), 0.5, atol=0.01)
    assert (metrics["env_steps"] == 2 * 64 * 4).all()


def test_divergences_of_actions_are_their_integrals():
    logits, reference = np.log(P)[None], np.log(Q)[None]
    found = {kind: float(action_divergence(kind, categorical_head(3), logits, reference)[0]) for kind in KINDS}
    for kind in KINDS:
        np.testing.assert_allclose(found[kind], exact(kind, P), rtol=1e-5, err_msg=kind)
    head = gaussian_head(make("Pendulum-v1")[0].action_space(None))
    outputs, other, wide = np.log([[np.exp(0.3), 0.8]]), np.log([[np.exp(-0.2), 1.1]]), np.log([[np.exp(0.3), 2.0]])
    x, density = np.linspace(-12, 12, 20_001), lambda m, s, x: np.exp(-((x - m) ** 2) / 2 / s**2) / s
    p, q = (density(m, s, x) / np.sqrt(2 * np.pi) for m, s in ((0.3, 0.8), (-0.2, 1.1)))
    expected = {"kl": (p * np.log(p / q)).sum() * (x[1] - x[0]), "chi2": ((p - q) ** 2 / q).sum() * (x[1] - x[0])}
    told = jax.jit(lambda a, b: {kind: action_divergence(kind, head, a, b) for kind in KINDS})
    for kind, value in expected.items():
        np.testing.assert_allclose(told(outputs, other)[kind], value, rtol=1e-4, err_msg=kind)
    infinite = told(wide, other)  # 2 s2^2 < s1^2: KL stands for it
    np.testing.assert_allclose(infinite["chi2"], infinite["kl"])
    far = np.log([[np.exp(0.6), 0.05]]), np.log([[1.0, 0.05]])  # exp of 144: KL stands for that too, and for its slope
    slope = jax.jit(jax.grad(lambda a: sum(action_divergence(kind, head, a, far[1])[0] for kind in KINDS)))(far[0])
    np.testing.assert_allclose(slope[0, 0], (2 + 0.5 / np.sqrt(72)) * 0.6 / 0.05**2, rtol=1e-3)


KINDS = ("kl", "chi2", "sqrt_chi2")


def test_a_clone_is_what_was_done_and_may_be_how_the_policy_starts(tmp_path):
    """A policy that pushes left three times of four; and PPO's loss has the divergence of actions beside, so much."""
    seen, action = np.ones((512, 4)), np.arange(512) % 4 == 0
    np.savez(tmp_path / "done.npz", observation=seen, action=action.astype(int), terminated=action)
    options = {"reference": "cloned", "demonstrations": str(tmp_path / "done.npz"), "start": "reference"}
    config = Config(regularise="actions", divergence="kl", cloning_updates=150, **options, **SIZES)
    algorithm = orpo(*make("CartPole-v1"), config).init.__self__

    @jax.jit
    def run(key, features, number):
        cloned = algorithm.reference.init(key, jnp.inf)
        start = algorithm.reference.as_actor(cloned, algorithm.network.init(key, (), features))
        clone = algorithm.reference.outputs(cloned, features)
        batch = Batch(features, jnp.zeros(16, jnp.int32), *[number] * 3, number > 2, ())
        moved = jax.tree.map(lambda leaf: leaf + jnp.sin(jnp.arange(leaf.size)).reshape(leaf.shape), start)
        near, hyper = dataclasses.replace(algorithm, near=cloned), Hyperparams(coefficient=0.5, discount=0.75)
        losses = [kind.loss(moved, batch, hyper)[0] for kind in (plain, near)]
        own, changed = (jax.nn.log_softmax(algorithm.forward(params, (), features)[1]) for params in (start, moved))
        return jax.nn.log_softmax(clone), own, losses, changed

    plain = ppo(*make("CartPole-v1"), PPOConfig(**SIZES)).init.__self__
    given = np.ones((16, 4)), np.linspace(-1, 1, 16)
    clone, own, (alone, near), changed = jax.tree.map(np.asarray, run(jax.random.key(0), *given))
    np.testing.assert_allclose(np.exp(clone[0]), [0.75, 0.25], atol=0.03)
    np.testing.assert_allclose(own, clone, rtol=1e-5)
    away = (np.exp(changed) * (changed - clone)).sum(-1).mean()
    assert away > 1e-3
    np.testing.assert_allclose(near - alone, 0.5 / (1 - 0.75) * away, rtol=1e-3)


@pytest.mark.parametrize(
    ("env", "settings", "message"),
    [
        ("CartPole-v1", {"divergence": "chi"}, "did you mean 'chi2'"),
        ("CartPole-v1", {"divergence": "tv", "regularise": "actions"}, "divergence of actions"),
        ("CartPole-v1", {"reference": "cloned"}, "set demonstrations=FILE"),
        ("CartPole-v1", {"start": "reference"}, "nothing is cloned to start from"),
        ("CartPole-v1", {"memory": 4}, "memory=4: orpo compares"),
        ("CartPole-v1", {"normalise_observations": True}, "normalise_observations=True: orpo compares"),
        ("CartPole-v1", {"demonstrations": "a.npz"}, "set reference=cloned"),
        ("CartPole-v1", {"regularise": "actions", "discount": 1.0}, "set a discount below 1"),
        ("Pendulum-v1", {"regularise": "actions"}, "no Gaussian is near"),
    ],
)
def test_what_is_refused(env, settings, message):
    with pytest.raises(ValueError, match=message):
        resolve("orpo", env, settings=settings)


def test_a_clone_reads_pictures_as_the_policy_does(tmp_path):
    """Only shapes are looked at."""
    env, params = make("Breakout-MinAtar")
    shape = env.observation_space(params).shape
    np.savez(
        tmp_path / "done.npz", observation=np.zeros((8, *shape)), action=np.arange(8) % 2, terminated=np.ones(8, bool)
    )
    options = {"reference": "cloned", "demonstrations": str(tmp_path / "done.npz"), "start": "reference"}
    agent = orpo(env, params, Config(conv=(2,), cloning_updates=1, **options, **SIZES))
    state = jax.eval_shape(agent.init, jax.random.key(0), Hyperparams())
    after, _ = jax.eval_shape(agent.step, state)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)


@pytest.mark.parametrize("config", [Config, GailConfig])
def test_what_a_run_began_with_is_told_of_its_demonstrations_and_of_its_objective(tmp_path, config):
    for name in ("shown.npz", "drift.safetensors"):
        (tmp_path / name).write_text(name)
    files = {"demonstrations": str(tmp_path / "shown.npz"), "objective": str(tmp_path / "drift.safetensors")}
    digested = config(**files).for_env(None, None)
    assert len({digested.digest, digested.objective_digest, ""}) == 3
