"""Soft actor-critic: losses in numpy, the soft-optimal policy, the temperature, the bootstrap."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces

from jaxreward import vmap
from jaxreward.agents.baselines.sac import SAC, Config, Hyperparams, networks, sac
from jaxreward.learning.n_step import Batch
from jaxreward.mdp import TabularEnv, garnet, soft_value_iteration
from tests.probes import ProbeParams, Regulator, TargetProbe

LOSS = {"temperature": 0.3, "entropy_per_dimension": -0.7, "entropy_share": 0.4, "discount": 0.9, "target_step": 0.2}
SPACES = {"box": spaces.Box(np.array([-1.0, 0.0]), np.array([3.0, 0.5]), (2,)), "discrete": spaces.Discrete(3)}
SIZE, FEATURES = 5, 3


def random_batch(kind):
    """A batch, and noise for it; the second transition is a termination."""
    rng = np.random.default_rng(1)
    act = rng.uniform([-1, 0], [3, 0.5], (SIZE, 2)) if kind == "box" else rng.integers(0, 3, SIZE)
    discount = np.where(np.arange(SIZE) == 1, 0, 0.9)
    see = lambda: rng.normal(size=(SIZE, FEATURES))  # noqa: E731
    batch = Batch(see(), act, rng.normal(size=SIZE), see(), discount, np.ones(SIZE))
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.int32 if x.dtype.kind == "i" else jnp.float32), batch)


@cache
def computed(kind):
    """One update and all that it is made of, in one program; float64 arrays."""
    algorithm = SAC(*networks(SPACES[kind], Config(layers=(4,), activation="tanh"), "sac"))
    batch, hyperparams = random_batch(kind), Hyperparams(**LOSS)

    @jax.jit
    def program(key):
        learner = algorithm.start(key, batch.observation, hyperparams)
        # Further apart than they start, so that a mistaken part shows.
        moved = jax.tree.map(lambda x: x + 0.3 * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), learner)
        learner = learner._replace(params=moved.params._replace(log_temperature=learner.params.log_temperature))
        noise = algorithm.noise(key, (2, SIZE))
        value = algorithm.soft_value(learner, batch.next_observation, noise[1])
        target = algorithm.target(learner, batch, value)
        gradient, metrics = jax.grad(algorithm.loss, has_aux=True)(learner.params, hyperparams, batch, target, noise[0])
        after = algorithm.update(learner, hyperparams, batch, key)
        return learner, noise, target, gradient, metrics, after

    doubled = lambda x: np.asarray(x, np.float64) if jnp.issubdtype(x.dtype, jnp.floating) else np.asarray(x)  # noqa: E731
    return jax.tree.map(doubled, (batch, *program(jax.random.key(3))))


def mlp(params, x):
    layers = params["params"]
    hidden = layers["Torso_0"]["Dense_0"]
    x = np.tanh(x @ hidden["kernel"] + hidden["bias"])
    return x @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"]


def worth(critics, read):
    """The two critics, `[2, B, values]`."""
    return np.stack([mlp(jax.tree.map(lambda x: x[k], critics), read) for k in range(2)])


def expected(kind, policy, critics, features, noise):
    """The smaller value of what the policy does, and its entropy."""
    outputs = mlp(policy, features)
    if kind == "discrete":
        probability = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
        smaller = worth(critics, features).min(0)
        return (probability * smaller).sum(-1), -(probability * np.log(probability)).sum(-1)
    mean, log_std = np.split(outputs, 2, -1)
    action = np.tanh(mean + np.exp(log_std) * noise)
    density = np.exp(-(noise**2) / 2 - log_std) / np.sqrt(2 * np.pi) / (1 - action**2)
    return worth(critics, np.concatenate([features, action], -1))[..., 0].min(0), -np.log(density).sum(-1)


def losses(kind, params, batch, target, noise, parts=(True, True, True)):
    """The losses of the critics, the policy and the temperature."""
    if kind == "box":
        low, high = SPACES[kind].low, SPACES[kind].high
        unit = 2 * (batch.action - low) / (high - low) - 1
        taken = worth(params.critics, np.concatenate([batch.observation, unit], -1))[..., 0]
    else:
        taken = worth(params.critics, batch.observation)[:, np.arange(SIZE), batch.action]
    value, entropy = expected(kind, params.policy, params.critics, batch.observation, noise)
    heat = np.exp(params.log_temperature)
    wanted = -0.7 * 2 if kind == "box" else 0.4 * np.log(3)
    return (
        0.5 * np.square(taken - target).mean(1).sum(),
        -(value + heat * entropy).mean(),
        heat * (entropy.mean() - wanted),
    )


@pytest.mark.parametrize("kind", SPACES)
def test_targets_and_losses_equal_those_in_numpy(kind):
    batch, learner, noise, target, _, metrics, _ = computed(kind)
    value, entropy = expected(kind, learner.params.policy, learner.target, batch.next_observation, noise[1])
    soft = value + 0.3 * entropy
    by_hand = batch.reward + np.where(np.arange(SIZE) == 1, 0, 0.9 * soft)
    np.testing.assert_allclose(target, by_hand, rtol=1e-5, atol=1e-5)
    critic_loss, policy_loss, _ = losses(kind, learner.params, batch, target, noise[0])
    np.testing.assert_allclose(metrics["loss/critics"], critic_loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/policy"], policy_loss, rtol=1e-4, atol=1e-5)
    now = expected(kind, learner.params.policy, learner.params.critics, batch.observation, noise[0])[1].mean()
    np.testing.assert_allclose(metrics["policy/entropy"], now, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics["policy/temperature"], 0.3, rtol=1e-6)


@pytest.mark.parametrize("kind", SPACES)
def test_each_loss_has_its_gradient_in_its_own_part(kind):
    """Against finite differences in double precision, of the last layer's bias of each part."""
    batch, learner, noise, target, gradient, _, _ = computed(kind)
    for part, name in enumerate(("critics", "policy", "log_temperature")):
        own, slope = getattr(learner.params, name), getattr(gradient, name)
        place = lambda tree: tree if name == "log_temperature" else tree["params"]["Dense_0"]["bias"]  # noqa: E731
        for where in np.ndindex(np.shape(place(own))):
            sides = []
            for step in (1e-6, -1e-6):
                moved = jax.tree.map(np.array, own)
                if name == "log_temperature":
                    moved = moved + step
                else:
                    place(moved)[where] += step
                sides.append(losses(kind, learner.params._replace(**{name: moved}), batch, target, noise[0])[part])
            difference = (sides[0] - sides[1]) / 2e-6
            np.testing.assert_allclose(place(slope)[where], difference, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("kind", SPACES)
def test_an_update_is_a_step_of_adam_and_the_targets_follow(kind):
    """Adam's first step is its step size against the sign of the gradient, but for its epsilon."""
    _, learner, _, _, _, _, (after, _) = computed(kind)
    step = jax.tree.map(lambda new, old: np.abs(new - old).max(), after.params, learner.params)
    assert max(jax.tree.leaves(step)) == pytest.approx(3e-4, rel=1e-2)
    follow = lambda old, new: old + 0.2 * (new - old)  # noqa: E731
    expected_target = jax.tree.map(follow, learner.target, after.params.critics)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), after.target, expected_target)
    assert after.rate == 0


# what is learned is known

SEEDS = 8  # all of them succeed: with 95 % confidence at least 69 % of all seeds would
GAMMA, SHARE = 0.8, 0.5
HEATS = [0.3, 1.0]


@cache
def chain():
    """Three states, two actions, and rewards that are sure."""
    mdp = garnet(jax.random.key(2), 3, 2, 2)
    mean = (mdp.transition * mdp.reward).sum(-1, keepdims=True)
    return mdp._replace(reward=jnp.broadcast_to(mean, mdp.reward.shape))


def stack(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *trees)


def trained(env, config, members, iterations):
    """The learners at the end, `[member, seed, ...]`, and the metrics, `[iteration, member, seed]`; one program."""
    agent = vmap(vmap(sac(env, env.default_params, config)), population=True)

    @jax.jit
    def run(keys, hyperparams):
        state, metrics = jax.lax.scan(lambda s, _: agent.step(s), agent.init(keys, hyperparams), length=iterations)
        return state.learner, metrics

    keys = jax.random.split(jax.random.key(0), (len(members), SEEDS))
    return jax.tree.map(np.asarray, run(keys, stack(*members)))


@cache
def of_the_chain():
    """An MDP of three states whose episodes are cut after three steps, which values should not show.

    Without hidden layers policy and critics are tables. Two members have a temperature that stays, one learns it.
    """
    config = Config(num_envs=8, num_steps=4, num_updates=8, batch_size=64, capacity=8_192, warm_up=64, layers=())
    common = {"learning_rate": 0.03, "critic_learning_rate": 0.01, "discount": GAMMA, "target_step": 0.05}
    members = [Hyperparams(**common, temperature=heat, temperature_learning_rate=0.0) for heat in HEATS]
    members += [Hyperparams(**common, temperature_learning_rate=0.01, entropy_share=SHARE)]
    return trained(TabularEnv(chain(), max_steps_in_episode=3), config, members, 250)


def table(params):
    """What a network without hidden layers says of each state."""
    layer = params["params"]["Dense_0"]
    return layer["kernel"] + layer["bias"][..., None, :]


@cache
def solved():
    """What is soft-optimal at the temperature of each member and seed, `[member, seed, 3, 2]`: values and policies."""
    heats = jnp.exp(jnp.asarray(of_the_chain()[0].params.log_temperature))
    solve = jax.vmap(jax.vmap(lambda heat: soft_value_iteration(chain(), GAMMA, heat)))
    solution = jax.jit(solve)(heats)
    return np.asarray(solution.action_value), np.asarray(solution.policy)


def test_values_are_the_soft_optimal_ones():
    """Their mean over both critics. An end of an episode taken for a termination would change them by 0.8 or more.

    Of 8,000 steps the rarest pair has some 50, and the value of what follows it deviates by up to 0.84: its mean is
    known to 0.1.
    """
    values = table(of_the_chain()[0].params.critics).mean(2)
    np.testing.assert_allclose(values, solved()[0], atol=0.2)


def test_the_policy_is_the_soft_optimal_one():
    """An error of 0.2 in the difference of two values, at a temperature of 0.3, is one of up to 0.16."""
    logits = table(of_the_chain()[0].params.policy)
    policy = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(policy, solved()[1], atol=0.16)
    assert np.abs(policy - solved()[1]).mean() < 0.03


def test_a_learned_temperature_gives_the_entropy_that_is_asked_for():
    learner, metrics = of_the_chain()
    entropy = metrics["policy/entropy"][-50:, -1].mean(0)  # of batches, whose states differ: to a hundredth or so
    np.testing.assert_allclose(entropy, SHARE * math.log(2), atol=0.02)
    held = np.exp(learner.params.log_temperature)[: len(HEATS)]
    np.testing.assert_allclose(held, np.broadcast_to(np.array(HEATS)[:, None], held.shape), rtol=1e-6)


@cache
def of_the_regulator():
    """A linear system, whose soft-optimal policy is a normal that is known; see `Regulator`."""
    sizes = {"num_envs": 8, "num_steps": 4, "num_updates": 8, "batch_size": 32, "capacity": 4_096, "warm_up": 256}
    rates = {"learning_rate": 3e-3, "critic_learning_rate": 5e-3, "temperature_learning_rate": 1e-2}
    member = Hyperparams(**rates, temperature=0.1, target_step=0.05, discount=GAMMA)
    learner, metrics = trained(Regulator(), Config(**sizes, layers=(32, 32), activation="tanh"), [member], 400)
    return jax.tree.map(lambda x: np.asarray(x[0], np.float64), learner), jax.tree.map(lambda x: x[:, 0], metrics)


def outputs_at(params, x):
    """What a network says of `x [B, F]`, for each seed."""
    layers = params["params"]
    x = np.broadcast_to(x, (SEEDS, *x.shape))
    for hidden in layers["Torso_0"].values():
        x = np.tanh(np.einsum("sbf,sfh->sbh", x, hidden["kernel"]) + hidden["bias"][:, None])
    return np.einsum("sbh,sho->sbo", x, layers["Dense_0"]["kernel"]) + layers["Dense_0"]["bias"][:, None]


def test_the_policy_and_the_temperature_are_those_of_the_regulator():
    """`Q(x, a)` is `-(1 + discount P) a^2` and less of `a`: the best policy has half the temperature over that for its
    variance, and the optimal regulator for its mean. The entropy of `a / 1.25` is to be -1, which gives the variance.

    A mistake of a deviation of the policy's own, 0.11, costs as much as that noise does. Two deviations fit between the
    best actions and the bounds, and tanh is bent by a few hundredths there; so much the temperature may be off, twice.
    """
    learner, metrics = of_the_regulator()
    weight, gain = Regulator.solved(GAMMA)
    variance = 1.25**2 * math.exp(-2) / (2 * math.pi * math.e)
    places = np.linspace(-1, 1, 9)
    mean, log_std = np.moveaxis(outputs_at(learner.params.policy, places[:, None]), -1, 0)
    action = 0.25 + 1.25 * np.tanh(mean)
    assert (np.abs(action + gain * places).max(1) < math.sqrt(variance)).all()
    np.testing.assert_allclose(action @ places / (places @ places), np.full(SEEDS, -gain), atol=0.08)
    deviation = 1.25 * (np.exp(log_std) * (1 - np.tanh(mean) ** 2)).mean(1)
    np.testing.assert_allclose(deviation, np.full(SEEDS, math.sqrt(variance)), rtol=0.15)
    heat = metrics["policy/temperature"][-50:].mean(0)
    np.testing.assert_allclose(heat, np.full(SEEDS, 2 * (1 + GAMMA * weight) * variance), rtol=0.15)
    np.testing.assert_allclose(metrics["policy/entropy"][-50:].mean(0), -np.ones(SEEDS), atol=0.02)


# what a user can get wrong


def test_actions_without_bounds_are_refused():
    class Unbounded(TargetProbe):
        def action_space(self, params=None):
            return spaces.Box(-np.inf, np.inf, (1,))

    with pytest.raises(ValueError, match=r"sac scales .* side \(0,\) .*from -inf to inf.*ppo"):
        sac(Unbounded(), ProbeParams())


def test_other_spaces_are_refused():
    class Strange(TargetProbe):
        def action_space(self, params=None):
            return spaces.Tuple((spaces.Discrete(2),))

    with pytest.raises(TypeError, match="sac has no policy for the action space Tuple; supported are Discrete and Box"):
        sac(Strange(), ProbeParams())


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="no activation 'rely'; did you mean 'relu'"):
        sac(TargetProbe(), ProbeParams(), Config(activation="rely"))
