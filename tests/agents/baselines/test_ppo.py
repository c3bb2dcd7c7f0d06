"""PPO against numpy, and on environments whose solution is known."""

from functools import cache, partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments.classic_control.cartpole import CartPole
from gymnax.environments.classic_control.pendulum import Pendulum

from jaxreward import markov, vmap, with_reward
from jaxreward.agents.baselines.parts.on_policy import explained_variance
from jaxreward.agents.baselines.ppo import (
    PPO,
    Batch,
    Config,
    Hyperparams,
    check_config,
    clipped_value_loss,
    drift_of,
    ppo,
)
from jaxreward.learning.networks import ACTIVATIONS, ActorCritic, head_for
from jaxreward.rewards import potential_shaping, weighted
from tests.as_users import AS_USERS
from tests.probes import Probe, ProbeParams, TargetProbe

SEEDS = 16  # all of them succeed: with 95 % confidence at least 83 % of all seeds would, as 0.83**16 = 0.05
DISCOUNT, TRACE = 0.8, 0.95


def algorithm(env, env_params, config):
    """The algorithm that `ppo` binds, to look inside."""
    head = head_for(env.action_space(env_params))
    network = ActorCritic(head.size, head.free, config.layers, ACTIVATIONS[config.activation], config.memory)
    return PPO(env, env_params, config, head, network, drift_of(config))


def stack(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *trees)


def train(agent, keys, hyperparams, iterations, options=None):
    """`(final state, metrics of each iteration)`, in one compiled program."""

    @partial(jax.jit, compiler_options=options)
    def run(keys, hyperparams):
        return jax.lax.scan(lambda state, _: agent.step(state), agent.init(keys, hyperparams), length=iterations)

    return run(keys, hyperparams)


# probes: what is learned is known exactly

LENGTH = 3
PROBES = {
    "constant": ProbeParams(constant=1.0),
    "observation": ProbeParams(cue=1.0),
    "delayed": ProbeParams(length=2, pays_last=True, shows_time=True, cue_steps=0, constant=1.0),
    "action": ProbeParams(action=1.0),
    "action and observation": ProbeParams(match=1.0),
    "truncated": ProbeParams(length=2, terminates=False, cue_steps=0, constant=1.0),
    "terminated": ProbeParams(length=2, terminates=True, cue_steps=0, constant=1.0),
    "memory": ProbeParams(length=LENGTH, pays_last=True, match=1.0),
}
SMALL = Config(num_envs=16, num_steps=12, layers=(16,))
ITERATIONS = 100
HYPERPARAMS = Hyperparams(
    learning_rate=0.01, discount=DISCOUNT, gae_lambda=TRACE, value_clip=jnp.inf, entropy_coefficient=0.0,
    anneal_iterations=ITERATIONS,
)  # fmt: skip
# Whatever a probe's value may be mistaken for is 0.16 or more away: a discount too much or too little.
NEAR = 0.05


@cache
def trained_on_probes():
    agent = vmap(vmap(ppo(Probe(), ProbeParams(), SMALL)), population=True)
    hyperparams = stack(*[HYPERPARAMS.replace(env_params=params) for params in PROBES.values()])
    keys = jax.random.split(jax.random.key(0), (len(PROBES), SEEDS))
    state, metrics = train(agent, keys, hyperparams, ITERATIONS, AS_USERS)
    return state.params, jax.tree.map(np.asarray, metrics)


def learned(probe, observation):
    """`(probability of the action 1, value)` of each seed at an observation."""
    params = jax.tree.map(lambda x: x[list(PROBES).index(probe)], trained_on_probes()[0])
    network = algorithm(Probe(), ProbeParams(), SMALL).network
    _, logits, value = jax.vmap(lambda p: network.apply(p, (), jnp.asarray(observation, float)))(params)
    return np.asarray(jax.nn.softmax(logits))[:, 1], np.asarray(value)


def all_near(values, expected):
    np.testing.assert_allclose(values, np.full(SEEDS, expected), atol=NEAR)


@pytest.mark.parametrize("cue", [-1.0, 1.0])
def test_a_constant_reward_is_worth_itself(cue):
    all_near(learned("constant", [cue, 0.0])[1], 1.0)


@pytest.mark.parametrize("cue", [-1.0, 1.0])
def test_a_reward_that_depends_on_the_observation_is_worth_what_is_observed(cue):
    all_near(learned("observation", [cue, 0.0])[1], cue)


def test_a_delayed_reward_is_discounted_once_for_each_step_of_delay():
    all_near(learned("delayed", [0.0, 0.0])[1], DISCOUNT)
    all_near(learned("delayed", [0.0, 1.0])[1], 1.0)


@pytest.mark.parametrize("cue", [-1.0, 1.0])
def test_the_better_action_is_found_and_valued(cue):
    probability, value = learned("action", [cue, 0.0])
    assert (probability > 0.95).all()
    all_near(value, 1.0)


@pytest.mark.parametrize("cue", [-1.0, 1.0])
def test_the_action_that_is_better_for_what_is_observed_is_found(cue):
    probability, value = learned("action and observation", [cue, 0.0])
    assert (probability > 0.95).all() if cue > 0 else (probability < 0.05).all()
    all_near(value, 1.0)


def test_truncation_is_bootstrapped_through():
    """A reward of 1 for ever, cut every two steps, with nothing to tell the steps apart."""
    all_near(learned("truncated", [0.0, 0.0])[1], 1 / (1 - DISCOUNT))


def test_termination_is_not_bootstrapped_through():
    """Its twin, which ends.

    One value `v` stands for both steps. Its targets are 1 at the last and
    `1 + discount * (trace + (1 - trace) * v)` at the first; it is their mean.
    """
    all_near(learned("terminated", [0.0, 0.0])[1], (2 + DISCOUNT * TRACE) / (2 - DISCOUNT * (1 - TRACE)))


def test_without_memory_a_cue_that_is_gone_cannot_be_matched():
    """Negative control: any memoryless policy is right half of the time, a mean reward of 0.

    The mean over the last 20 iterations of 64 episodes each has a standard deviation below 0.03 for each seed.
    """
    returns = trained_on_probes()[1]["episode/return"][-20:, list(PROBES).index("memory")].mean(0)
    assert (np.abs(returns) < 0.15).all()


def test_with_memory_the_cue_is_remembered():
    """At least 14 of 16 seeds: were it 60 % of all seeds or fewer, so many would succeed once in 50 times."""
    config = Config(num_envs=8, num_steps=12, num_minibatches=2, layers=(8,), memory=8)
    agent = vmap(ppo(Probe(), PROBES["memory"], config))
    hyperparams = HYPERPARAMS.replace(entropy_coefficient=0.01)  # else some settle before they find a use for memory
    keys = jax.random.split(jax.random.key(1001), SEEDS)
    state, metrics = train(agent, keys, hyperparams, ITERATIONS)
    assert (metrics["episode/return"][-20:].mean(0) > 0.9).sum() >= 14
    policy = agent.policy(state)
    mode = jax.jit(policy.mode)
    for cue in (0, 1):
        memory = policy.reset()
        for shown in (2.0 * cue - 1.0, 0.0, 0.0):
            memory, action = mode(memory, jnp.tile(jnp.asarray([shown, 0.0]), (SEEDS, 1)), keys)
        assert (action == cue).sum() >= 14


def test_a_continuous_action_finds_its_target():
    """The best action is half of the cue and costs nothing, so there its value is the constant reward."""
    config = Config(num_envs=16, num_steps=8, layers=(16,), normalise_observations=True)
    env, params = TargetProbe(), ProbeParams(constant=1.0)
    agent = vmap(ppo(env, params, config))
    state, metrics = train(agent, jax.random.split(jax.random.key(2), SEEDS), HYPERPARAMS, ITERATIONS)
    for cue in (-1.0, 1.0):
        mode = agent.policy(state).mode
        observation, keys = jnp.tile(jnp.asarray([cue, 0.0]), (SEEDS, 1)), jax.random.split(jax.random.key(3), SEEDS)
        _, action = mode((), observation, keys)
        np.testing.assert_allclose(action[:, 0], np.full(SEEDS, cue / 2), atol=0.1)
    assert (metrics["episode/return"][-1] > 0.9).all()
    assert (metrics["policy/entropy"][-1] < metrics["policy/entropy"][0]).all()


# one update against numpy

MINIBATCH = 50
LOSS = {"clip": 0.2, "value_clip": 0.3, "entropy_coefficient": 0.05, "value_coefficient": 0.7}


def random_batch(seed=0, size=MINIBATCH):
    rng = np.random.default_rng(seed)
    ones = {"value": rng.normal(size=size), "advantage": rng.normal(1.0, 2.0, size)}
    fields = {"features": rng.normal(size=(size, 2)), "log_prob": rng.uniform(-1.5, -0.2, size), **ones}
    fields = {name: jnp.asarray(x, jnp.float32) for name, x in fields.items()}
    return Batch(action=jnp.asarray(rng.integers(0, 2, size)), start=jnp.zeros(size, bool), memory=(), **fields)


@cache
def network_params():
    ppo_ = algorithm(Probe(), ProbeParams(), SMALL)
    params = ppo_.network.init(jax.random.key(0), (), jnp.zeros((1, 2)))
    scale = lambda path, x: 50 * x if "actor_out" in str(path) else x  # noqa: E731, logits that differ
    return ppo_, jax.tree_util.tree_map_with_path(scale, params)


def numpy_network(params, x):
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    linear = lambda layer, x: x @ layer["kernel"] + layer["bias"]  # noqa: E731
    hidden = {name: np.tanh(linear(params[name]["Dense_0"], x)) for name in ("actor", "critic")}
    return linear(params["actor_out"], hidden["actor"]), linear(params["critic_out"], hidden["critic"])[:, 0]


def numpy_loss(params, batch):
    """Equations 7 and 9, a loop over the minibatch."""
    batch = batch._replace(**{f: np.asarray(getattr(batch, f), np.float64) for f in ("features", "advantage", "value")})
    logits, values = numpy_network(params, batch.features)
    advantages = (batch.advantage - batch.advantage.mean()) / batch.advantage.std()
    policy = value = entropy = kl = clipped = 0.0
    for i in range(MINIBATCH):
        log_probs = logits[i] - np.log(np.exp(logits[i]).sum())
        log_ratio = log_probs[batch.action[i]] - float(batch.log_prob[i])
        ratio = np.exp(log_ratio)
        bounded = min(max(ratio, 1 - LOSS["clip"]), 1 + LOSS["clip"])
        policy -= min(ratio * advantages[i], bounded * advantages[i])
        old, target = batch.value[i], batch.value[i] + batch.advantage[i]
        near = old + min(max(values[i] - old, -LOSS["value_clip"]), LOSS["value_clip"])
        value += 0.5 * max((values[i] - target) ** 2, (near - target) ** 2)
        entropy -= (np.exp(log_probs) * log_probs).sum()
        kl += ratio - 1 - log_ratio
        clipped += ratio != bounded
    parts = {"loss/policy": policy, "loss/value": value, "policy/entropy": entropy, "policy/kl": kl}
    parts = {name: x / MINIBATCH for name, x in {**parts, "policy/clipped": clipped}.items()}
    value_loss, bonus = (
        LOSS["value_coefficient"] * parts["loss/value"],
        LOSS["entropy_coefficient"] * parts["policy/entropy"],
    )
    return parts["loss/policy"] + value_loss - bonus, parts


def test_the_loss_equals_a_loop_in_numpy():
    ppo_, params = network_params()
    total, parts = jax.jit(ppo_.loss)(params, random_batch(), Hyperparams(**LOSS))
    expected, expected_parts = numpy_loss(params, random_batch())
    assert 0 < parts["policy/clipped"] < 1  # both sides of the clip are met
    for name, value in expected_parts.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(total, expected, rtol=1e-4)


def test_the_gradient_makes_better_actions_likelier_and_worse_ones_less_so():
    ppo_, params = network_params()
    batch = random_batch()
    log_prob = lambda p: ppo_.head.distribution(ppo_.network.apply(p, (), batch.features)[1]).log_prob(batch.action)  # noqa: E731
    batch = batch._replace(log_prob=log_prob(params))
    policy_loss = lambda p: ppo_.loss(p, batch, Hyperparams(value_coefficient=0.0, entropy_coefficient=0.0))[0]  # noqa: E731
    descend = jax.tree.map(lambda p, g: p - 1e-3 * g, params, jax.jit(jax.grad(policy_loss))(params))
    advantage = batch.advantage - batch.advantage.mean()
    assert ((log_prob(descend) - log_prob(params)) * advantage).sum() > 0


@pytest.mark.parametrize(("advantage", "ratio", "moves"), [
    (1.0, 1.5, False), (1.0, 0.5, True), (-1.0, 1.5, True), (-1.0, 0.5, False), (1.0, 1.1, True), (-1.0, 0.9, True),
])  # fmt: skip
def test_what_moved_too_far_in_the_right_direction_moves_no_further(advantage, ratio, moves):
    """Two equal transitions with opposite advantages, of which only the first has a ratio that is not 1."""
    ppo_, params = network_params()
    features = jnp.asarray([[1.0, 0.5], [1.0, 0.5]])
    log_prob = jax.nn.log_softmax(ppo_.network.apply(params, (), features)[1])[:, 1]
    old = log_prob - jnp.log(jnp.asarray([ratio, 1.0]))
    zeros = jnp.zeros(2)
    batch = Batch(features, jnp.ones(2, jnp.int32), old, zeros, jnp.asarray([advantage, -advantage]), zeros > 0, ())
    only = Hyperparams(value_coefficient=0.0, entropy_coefficient=0.0)
    bias = jax.grad(lambda p: ppo_.loss(p, batch, only)[0])(params)["params"]["actor_out"]["bias"][1]
    # d log_prob / d bias of the action taken is 1 - p; the second transition contributes advantage / 2 of it.
    slope = (1 - jnp.exp(log_prob[1])) / 2 * advantage
    np.testing.assert_allclose(bias, slope - slope * ratio * moves, rtol=1e-3, atol=1e-6)


def test_value_loss_is_pessimistic_about_what_moved_beyond_the_clip():
    zeros = jnp.zeros(4)
    batch = Batch(zeros, zeros, zeros, zeros, jnp.asarray([1.0, 1.0, -1.0, 1.0]), zeros > 0, ())
    value = jnp.asarray([0.1, 0.8, 0.8, 3.0])
    # Targets 1, 1, -1, 1 and values no further than 0.2 from 0: the larger of (value - target)^2 and (near - target)^2.
    expected = 0.5 * np.mean([0.9**2, 0.8**2, 1.8**2, 2.0**2])
    np.testing.assert_allclose(clipped_value_loss(value, batch, 0.2), expected, rtol=1e-6)
    plain = 0.5 * np.mean([0.9**2, 0.2**2, 1.8**2, 2.0**2])
    np.testing.assert_allclose(clipped_value_loss(value, batch, jnp.inf), plain, rtol=1e-6)


def test_explained_variance_is_one_if_right_zero_if_constant_negative_if_worse():
    returns = jnp.asarray([1.0, 2.0, 3.0, 6.0])

    def explained(value):
        return explained_variance(random_batch(size=4)._replace(value=value, advantage=returns - value))

    np.testing.assert_allclose([explained(returns), explained(jnp.full(4, 9.0))], [1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(explained(-returns), -3.0, rtol=1e-5)  # var(2 g) / var(g) = 4
    two = jnp.stack([returns, 100 * returns], -1)  # values of one size each explain nothing
    means = jnp.broadcast_to(two.mean(0, keepdims=True), two.shape)
    apart = random_batch(size=4)._replace(value=means, advantage=two - means)
    np.testing.assert_allclose(explained_variance(apart), [0, 0], atol=1e-6)


# iterations

ONE = Config(num_envs=4, num_steps=8, num_epochs=1, num_minibatches=1, layers=(8,), normalise_observations=True)
MEMBERS = [Hyperparams(), Hyperparams(learning_rate=0.0), Hyperparams(anneal_iterations=2.0)]


@cache
def iterations():
    """Five iterations of three members on CartPole, and how often they were compiled."""
    agent = vmap(ppo(CartPole(), CartPole().default_params, ONE), population=True)
    keys = jnp.stack([jax.random.key(0)] * 3)
    states, metrics, step = [jax.jit(agent.init)(keys, stack(*MEMBERS))], [], jax.jit(agent.step)
    for _ in range(5):
        state, metric = step(states[-1])
        states.append(state)
        metrics.append(metric)
    return states, metrics, step._cache_size()


def changed(before, after, member):
    pairs = zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True)
    return any((x[member] != y[member]).any() for x, y in pairs)


def test_a_learning_rate_of_zero_leaves_that_member_as_it_is_and_only_that():
    states = iterations()[0]
    assert not changed(states[0], states[5], member=1)
    assert changed(states[4], states[5], member=0)


def test_nothing_is_learned_once_the_learning_rate_is_annealed_to_zero():
    states = iterations()[0]
    assert [changed(a, b, member=2) for a, b in pairwise(states)] == [True, True] + [False] * 3


def test_the_learning_rate_falls_linearly():
    """Adam's step is proportional to the rate: with equal gradients, half of the rate is half of the step."""
    ppo_, params = network_params()
    gradient = jax.tree.map(jnp.ones_like, params)
    hyperparams = Hyperparams(learning_rate=0.1, anneal_iterations=4.0)
    sizes = []
    for iteration in range(6):
        optimiser = ppo_.optimiser(hyperparams, iteration)
        updates, _ = optimiser.update(gradient, optimiser.init(params))
        sizes.append(float(jax.tree.leaves(updates)[0].ravel()[0]))
    np.testing.assert_allclose(np.asarray(sizes) / sizes[0], [1, 0.75, 0.5, 0.25, 0, 0], rtol=1e-5)
    assert sizes[0] < 0


def test_the_first_minibatch_meets_the_policy_that_acted():
    """One epoch of one minibatch: every ratio is 1 but for the rounding of a batched product."""
    for metrics in iterations()[1]:
        np.testing.assert_allclose(metrics["policy/kl"], np.zeros(3), atol=1e-6)
        np.testing.assert_array_equal(metrics["policy/clipped"], np.zeros(3))
        np.testing.assert_allclose(metrics["loss/policy"], np.zeros(3), atol=1e-5)  # advantages have mean zero


def test_a_step_is_compiled_once():
    """As it would not be if what `init` gives and what `step` gives differed in type, weak types included."""
    states, _, compilations = iterations()
    assert compilations == 1
    assert len({jax.tree.structure(state) for state in states}) == 1


def test_counters_and_metrics():
    states, metrics, _ = iterations()
    np.testing.assert_array_equal(states[5].iteration, [5, 5, 5])
    keys = [jax.random.key_data(state.key[0]).tolist() for state in states]
    assert len({tuple(key) for key in keys}) == 6
    assert (metrics[0]["env_steps"] == 32).all()
    assert all(value.shape == (3,) for value in metrics[0].values())


def test_observation_moments_are_those_of_everything_seen():
    states = iterations()[0]
    ppo_ = algorithm(CartPole(), CartPole().default_params, ONE)

    @jax.jit
    def observations(state):
        return ppo_.collect(state, *jax.random.split(state.key, 4)[1:3])[2].observation

    member = lambda state: jax.tree.map(lambda x: x[0], state)  # noqa: E731
    everything = [np.asarray(observations(member(state))).reshape(-1, 4) for state in states[:5]]
    everything = np.concatenate(everything).astype(np.float64)
    seen = member(states[5]).seen
    assert seen.samples == len(everything) == 5 * 32
    np.testing.assert_allclose(seen.mean, everything.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(seen.variance, everything.var(0), rtol=1e-3)


@pytest.mark.parametrize("units", [0, 4], ids=["memoryless", "recurrent"])
def test_advantages_bootstrap_from_what_followed_and_not_from_the_next_start(units):
    """By hand, on a truncated probe that shows its time: the final observation is never acted in.

    What followed is seen with the memory of all that was seen before it in the episode.
    """
    config = Config(num_envs=2, num_steps=6, layers=(8,), memory=units)
    params = ProbeParams(length=2, terminates=False, shows_time=True, constant=1.0, cue=2.0)
    ppo_ = algorithm(Probe(), params, config)
    hyperparams = Hyperparams(discount=DISCOUNT, gae_lambda=TRACE)

    @jax.jit
    def collect(key):
        state = ppo_.init(key, hyperparams)
        state = state._replace(memory=jax.tree.map(lambda x: x + 0.5, state.memory))  # of an episode under way
        trajectory = ppo_.collect(state, *jax.random.split(key))[2]
        batch, _ = ppo_.advantages(state, trajectory)
        return state, trajectory, batch, ppo_.loss(state.params, batch, hyperparams)[1]

    state, trajectory, batch, losses = collect(jax.random.key(5))
    memory, read = state.memory, jax.jit(ppo_.network.apply)
    now, following = np.zeros((6, 2)), np.zeros((6, 2))
    for t in range(6):
        memory, _, now[t] = read(state.params, memory, trajectory.observation[t])
        following[t] = read(state.params, memory, trajectory.next_observation[t])[2]
        if trajectory.truncated[t].all():
            memory = ppo_.network.initial_carry(2)
    np.testing.assert_array_equal(trajectory.truncated[:, 0], [False, True] * 3)
    np.testing.assert_array_equal(trajectory.next_observation[:, 0, 1], [1, 2] * 3)
    delta = np.asarray(trajectory.reward) + DISCOUNT * following - now
    expected = delta.copy()
    expected[[0, 2, 4]] += DISCOUNT * TRACE * delta[[1, 3, 5]]
    np.testing.assert_allclose(batch.advantage, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(batch.start[:, 0], [False, False, True, False, True, False])
    # The loss sees the same values again: what is left of it is the advantages.
    np.testing.assert_allclose(losses["loss/value"], 0.5 * np.square(expected).mean(), rtol=1e-4)


# what a user can get wrong


@pytest.mark.parametrize(("config", "message"), [
    (Config(num_envs=3, num_steps=5, num_minibatches=4), r"num_minibatches=4 .* num_envs \* num_steps=15.* is (3|5)"),
    (Config(num_envs=6, num_steps=8, num_minibatches=4, memory=8), r"num_minibatches=4 .*num_envs=6.* is 3"),
    (Config(activation="tahn"), "unknown activation 'tahn'.*tanh"),
])  # fmt: skip
def test_a_config_that_cannot_work_is_refused_with_what_would(config, message):
    with pytest.raises(ValueError, match=message):
        check_config(config)


def test_a_vector_reward_is_refused():
    env = with_reward(Probe(), markov(lambda t: jnp.stack([t.reward, t.reward])))
    with pytest.raises(ValueError, match=r"scalar reward.*shape \(2,\)"):
        ppo(env, env.default_params)


def test_the_discount_of_a_shaping_follows_the_agents():
    env = with_reward(Probe(), potential_shaping(lambda t: t.sum()))
    ppo_ = algorithm(env, env.default_params, ONE)
    bound = ppo_.params_of_env(Hyperparams(discount=0.123))
    assert any(np.isclose(leaf, 0.123) for leaf in jax.tree.leaves(bound.reward))


def test_policies_act_in_the_space_and_sample_around_their_mode():
    env = Pendulum()
    agent = ppo(env, env.default_params, Config(num_envs=2, num_steps=2, num_minibatches=1, layers=(4,)))
    policy = agent.policy(jax.jit(agent.init)(jax.random.key(0), Hyperparams()))
    keys = jax.random.split(jax.random.key(1), 200)
    observation = jnp.asarray([1.0, 0.0, 0.0])
    _, actions = jax.jit(jax.vmap(lambda key: policy.act(policy.reset(), observation, key)))(keys)
    _, mode = policy.mode(policy.reset(), observation, keys[0])
    assert actions.shape == (200, 1)
    assert (np.abs(actions) <= 2.0).all()
    assert np.unique(actions).size > 50
    # Deviation 1 in raw actions, clipped to one, twice that in torque: the median's standard error is 0.18.
    assert np.abs(np.median(actions) - mode[0]) < 0.7


# learning

UP, DOWN, LEFT = range(3)
LEARNERS = 8  # all succeed: with 95 % confidence at least 69 % of all seeds would


@cache
def learned_cartpole():
    """CartPole with a reward of 1 a step, with -1 a step, and with one for leaning to the left, 8 seeds each."""
    reward = weighted(alive=(lambda t: t.reward, 1.0), lean=(lambda t: t.next_observation[2], 0.0))
    env = with_reward(CartPole(), reward)
    config = Config(num_envs=8, num_steps=64, layers=(32,))
    agent = vmap(vmap(ppo(env, env.default_params, config)), population=True)
    weights = [{"alive": 1.0, "lean": 0.0}, {"alive": -1.0, "lean": 0.0}, {"alive": 0.1, "lean": -10.0}]
    params = [env.default_params.replace(reward={**env.default_params.reward, "weights": w}) for w in weights]
    hyperparams = stack(*[Hyperparams(learning_rate=5e-3, anneal_iterations=80, env_params=p) for p in params])
    keys = jax.random.split(jax.random.key(0), (3, LEARNERS))
    return jax.tree.map(np.asarray, train(agent, keys, hyperparams, 80, AS_USERS)[1])


def last(name, member, iterations=10):
    return np.nanmean(learned_cartpole()[name][-iterations:, member], 0)


def first(name, member):
    return np.nanmean(learned_cartpole()[name][:2, member], 0)


def test_cartpole_is_learned():
    """A random policy keeps the pole up for 22 steps."""
    assert (first("episode/return", UP) < 50).all()
    learned = last("episode/return", UP)
    # The lower end of the mean's 95 % interval over 8 seeds (Student's t with 7 degrees of freedom).
    assert learned.mean() - 2.365 * learned.std(ddof=1) / np.sqrt(len(learned)) > 150
    assert (learned > 2 * first("episode/return", UP)).all()


def test_a_swapped_reward_is_what_is_learned():
    """Paid to fall, it falls as soon as it can: 8 to 10 steps from any start, pushing to one side only."""
    assert (last("episode/length", DOWN) < 11).all()
    np.testing.assert_allclose(last("episode/return", DOWN), -last("episode/length", DOWN), rtol=1e-5)
    np.testing.assert_allclose(last("episode/env_return", DOWN), last("episode/length", DOWN), rtol=1e-5)


def test_a_reward_for_leaning_is_learned_with_its_sign():
    assert (np.abs(first("episode/lean", LEFT)) < 20).all()
    assert (last("episode/lean", LEFT) > 50).all()


def test_named_parts_add_up_to_the_return_in_the_metrics():
    metrics = learned_cartpole()
    ended = metrics["episode/count"] > 0
    total = metrics["episode/alive"] + metrics["episode/lean"]
    np.testing.assert_allclose(total[ended], metrics["episode/return"][ended], rtol=1e-3, atol=1e-3)
