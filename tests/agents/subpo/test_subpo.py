"""SubPO against an objective that is enumerated: every path of a small process with random moves, and its chance."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces
from jax.test_util import check_grads

from jaxreward import Agent, vmap, with_reward
from jaxreward.agents.subpo.parts.estimators import ESTIMATORS, others_mean
from jaxreward.agents.subpo.subpo import Batch, Config, Hyperparams, SubPO, subpo
from jaxreward.envs import make as make_env
from jaxreward.learning.networks import head_for
from jaxreward.reward import Transition
from jaxreward.rewards import constant
from jaxreward.rewards.sets.coverage import coverage
from jaxreward.rewards.sets.function import marginal_gains
from tests.by_default import by_default

STATES, ACTIONS, STEPS = 3, 2, 3
# Place s covers two cells, neighbours share one: F is neither modular nor a function of the last place alone.
CELLS = jnp.asarray(np.array([[0, 1], [1, 2], [2, 3]], np.int32))
WEIGHTS = np.array([1.0, 3.0, 0.5, 2.0], np.float32)
MOVES = np.random.default_rng(7).dirichlet(np.full(STATES, 0.7), (STATES, ACTIONS)).astype(np.float32)


@struct.dataclass
class WalkState:
    cell: Any
    time: Any


@struct.dataclass
class WalkParams:
    moves: Any  # [S, A, S]


class Walk(environment.Environment):
    """Random moves between three places, for three steps."""

    num_places, horizon, name, num_actions = STATES, STEPS + 1, "Walk", ACTIONS

    @property
    def default_params(self):
        return WalkParams(jnp.asarray(MOVES))

    def reset_env(self, key, params):
        state = WalkState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
        return self.observe(state), state

    def step_env(self, key, state, action, params):
        cell = jax.random.choice(key, STATES, p=params.moves[state.cell, action]).astype(jnp.int32)
        state = WalkState(cell, state.time + 1)
        return self.observe(state), state, jnp.zeros(()), state.time == STEPS, {}

    def is_truncated(self, state, params):
        return jnp.zeros((), bool)

    def observe(self, state):
        return jnp.concatenate([jax.nn.one_hot(state.cell, STATES), jax.nn.one_hot(state.time, STEPS + 1)])

    def place(self, observation):
        return jnp.argmax(observation[..., :STATES], -1).astype(jnp.int32)

    def action_space(self, params=None):
        return spaces.Discrete(ACTIONS)


WALK = with_reward(Walk(), marginal_gains(coverage(CELLS, WEIGHTS), lambda state: state.cell))
SMALL = Config(num_envs=6, num_steps=STEPS, layers=(8, 8))


def brute_force(cells):
    return sum(float(WEIGHTS[c]) for c in {int(c) for s in cells for c in np.asarray(CELLS)[s]})


class Algorithm(SubPO):
    """One that programs can be compiled for, once each."""

    __hash__, __eq__ = object.__hash__, object.__eq__


@functools.cache
def make(**options):
    config = Config(**{**vars(SMALL), **options})
    return Algorithm(WALK, WALK.default_params, config, head_for(WALK.action_space(WALK.default_params)))


class Paths:
    """All paths: states `[M, T + 1]`, actions `[M, T]`, gains `[T, M]`, the observations on the way `[T, M, F]`."""

    def __init__(self):
        pairs = itertools.product(itertools.product(range(ACTIONS), range(STATES)), repeat=STEPS)
        paths = [(*zip(*path, strict=True),) for path in pairs]
        self.actions = np.array([a for a, _ in paths])
        self.states = np.array([(0, *s) for _, s in paths])
        totals = np.array([[brute_force(path[: t + 1]) for t in range(STEPS + 1)] for path in self.states])
        gains = np.diff(totals, axis=1)
        gains[:, 0] += totals[:, 0]
        self.gains, self.total = np.float32(gains.T), np.float32(totals[:, -1])
        time = np.broadcast_to(np.arange(STEPS), self.actions.shape)
        observations = np.concatenate([np.eye(STATES)[self.states[:, :-1]], np.eye(STEPS + 1)[time]], -1)
        self.observations = np.float32(observations.swapaxes(0, 1))

    def probability(self, algorithm, params):
        """Of each path, `[M]`, differentiable in the policy's params."""
        moves = WALK.default_params.env.moves
        chances = moves[self.states[:, :-1], self.actions, self.states[:, 1:]].prod(1)
        outputs, _ = algorithm.unroll(params, *algorithm.read(self.observations))
        log_probs = jnp.take_along_axis(jax.nn.log_softmax(outputs), self.actions.T[..., None], -1)[..., 0]
        return chances * jnp.exp(log_probs.sum(0))


PATHS = Paths()


@functools.partial(jax.jit, static_argnums=0)
def _chances(algorithm, params):
    return PATHS.probability(algorithm, params)


def chances(algorithm, params):
    """Of each path, `[M]`."""
    return np.asarray(_chances(algorithm, params))


@functools.partial(jax.jit, static_argnums=0)
def true_gradient(algorithm, params, value):
    """Of `E[value]`, by enumeration."""
    return jax.grad(lambda p: (PATHS.probability(algorithm, p) * value).sum())(params)


@functools.partial(jax.jit, static_argnums=0)
def estimated(algorithm, params, weights):
    """The expectation of the estimator whose weights on all paths are `[T, M]`, by enumeration."""
    chance = jax.lax.stop_gradient(PATHS.probability(algorithm, params))
    features, place = algorithm.read(PATHS.observations)
    scaled = weights * chance[None] * algorithm.config.num_envs
    valid = jnp.ones(weights.shape, bool)
    batch = Batch(features, place, jnp.asarray(PATHS.actions.T), scaled, scaled, valid)
    grads = jax.grad(algorithm.loss, has_aux=True)(params, batch, Hyperparams())[0]
    return jax.tree.map(jnp.negative, grads)


def flat(tree):
    """All leaves in a row: by numpy, outside of what is traced."""
    leaves = jax.tree.leaves(tree)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return jnp.concatenate([leaf.ravel() for leaf in leaves])
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


@functools.cache
def params_of(algorithm):
    """Drawn by numpy, which compiles nothing: as `init` draws them, the policy would be nearly uniform."""
    shapes = jax.eval_shape(algorithm.init, jax.random.key(3), Hyperparams()).params
    random = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, 0.5, leaf.shape), leaf.dtype), shapes)


@functools.partial(jax.jit, static_argnums=0)
def unrolled(algorithm, params, observations):
    return algorithm.unroll(params, *algorithm.read(observations))


@pytest.mark.parametrize("history", ["none", "padded", "visited", "gru"])
@pytest.mark.parametrize("estimator", ["to_go", "return"])
def test_the_theorems_estimators_are_unbiased(history, estimator):
    algorithm = make(history=history, memory=4)
    params = params_of(algorithm)
    expected = flat(true_gradient(algorithm, params, PATHS.total))
    found = flat(estimated(algorithm, params, ESTIMATORS[estimator](PATHS.gains, 1.0)))
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_the_prefix_estimator_is_the_greedy_gradient_and_not_the_theorems():
    algorithm = make(history="none", memory=4)
    params = params_of(algorithm)
    found = {name: flat(estimated(algorithm, params, ESTIMATORS[name](PATHS.gains, 1.0))) for name in ESTIMATORS}
    np.testing.assert_allclose(found["prefix"], found["greedy"], atol=2e-6)
    assert np.abs(found["prefix"] - found["to_go"]).max() > 0.05
    # The discount joins the two: 0 is greedy.
    np.testing.assert_allclose(ESTIMATORS["to_go"](PATHS.gains, 0.0), PATHS.gains)


def test_prefix_has_more_variance_than_greedy():
    prefix, gains = np.asarray(ESTIMATORS["prefix"](PATHS.gains, 1.0)), PATHS.gains
    assert (np.square(prefix).sum(0) >= np.square(gains).sum(0)).all()
    assert np.square(prefix).sum() > 2 * np.square(gains).sum()


def test_an_episode_left_out_of_its_own_baseline_adds_no_bias():
    algorithm = make(history="none", memory=4)
    params = params_of(algorithm)
    weight, chance = np.asarray(ESTIMATORS["to_go"](PATHS.gains, 1.0)), chances(algorithm, params)
    pairs = np.stack(np.broadcast_arrays(weight[:, :, None], weight[:, None, :]), -1)  # [T, M, M, 2]
    of_pair = lambda w: others_mean(w, jnp.ones((STEPS, 2), bool))  # noqa: E731
    baseline = np.asarray(jax.jit(jax.vmap(jax.vmap(of_pair, 1, 1), 1, 1))(pairs))[..., 0]
    np.testing.assert_allclose(baseline, np.broadcast_to(weight[:, None], baseline.shape), rtol=1e-6)
    expected = (baseline * chance[None, None]).sum(-1)  # given the first episode, over the second
    unbiased = flat(estimated(algorithm, params, weight - expected))
    np.testing.assert_allclose(unbiased, flat(true_gradient(algorithm, params, PATHS.total)), atol=2e-6)


def test_the_others_mean_by_hand():
    weight = np.float32([[1.0, 2.0, 6.0], [4.0, 8.0, 99.0], [5.0, 0.0, 0.0]])
    valid = np.array([[True, True, True], [True, True, False], [True, False, False]])
    found = np.asarray(jax.jit(others_mean)(weight, valid))
    np.testing.assert_allclose(found[0], [4.0, 3.5, 1.5])
    np.testing.assert_allclose(found[1, :2], [8.0, 4.0])
    assert found[2, 0] == 0


def with_the_network_of(options):
    """An algorithm with the same policy, and the same value if there is one: what is enumerated depends on no more."""
    learns_value = options.get("baseline") == "value" or options.get("estimator") == "gae"
    return make(history=options.get("history", "none"), memory=4, **({"baseline": "value"} if learns_value else {}))


@pytest.mark.parametrize(
    "options",
    by_default(
        [
            {"baseline": "none"},
            {"baseline": "batch"},
            {"baseline": "value"},
            {"estimator": "return"},
            {"history": "visited"},
            {"history": "padded", "baseline": "value"},
            {"history": "gru", "memory": 4},
            {"estimator": "gae"},
        ],
        {"baseline": "none"},
        {"estimator": "gae"},
        {"history": "gru", "memory": 4},
    ),
    ids=str,
)
def test_what_is_sampled_agrees_with_what_is_enumerated(options):
    """The mean of many sampled policy gradients against the gradient of the objective, in standard errors."""
    algorithm, exact = make(**options, num_envs=64), with_the_network_of(options)
    hyperparams, params = Hyperparams(gae_lambda=1.0, value_coefficient=0.0), params_of(exact)

    def sample(key):
        key, *keys = jax.random.split(key, 3)
        state = algorithm.init(key, hyperparams)._replace(params=params)
        _, episodes, metrics = algorithm.play(state, *keys)
        return flat(algorithm.gradient(state, algorithm.weigh(state, episodes))[0]), metrics["episode/return"]

    many = jax.jit(lambda key: jax.vmap(sample)(jax.random.split(key, 1_000)))
    grads, returns = map(np.asarray, many(jax.random.key(1)))
    expected = -flat(true_gradient(exact, params, PATHS.total))
    error = grads.std(0) / np.sqrt(len(grads))
    surprise = lambda gradient: (np.abs(grads.mean(0) - gradient) / np.maximum(error, 1e-6)).max()  # noqa: E731
    assert surprise(expected) < 5
    greedy = -flat(estimated(exact, params, PATHS.gains))
    assert min(surprise(-expected), surprise(greedy)) > 10  # others do not agree
    objective = (chances(exact, params) * PATHS.total).sum()
    assert abs(returns.mean() - objective) < 5 * returns.std() / np.sqrt(len(returns))


def test_baselines_reduce_the_variance():
    def spread(baseline):
        algorithm = make(baseline=baseline, num_envs=64)

        def sample(state, key):
            _, episodes, _ = algorithm.play(state, *jax.random.split(key))
            return flat(algorithm.gradient(state, algorithm.weigh(state, episodes))[0])

        def samples(key, keys):
            state = algorithm.init(key, Hyperparams())
            return jax.vmap(lambda key: sample(state, key))(jax.random.split(keys, 200))

        return np.asarray(jax.jit(samples)(*jax.random.split(jax.random.key(0)))).var(0).sum()

    assert spread("batch") < 0.3 * spread("none")


@pytest.mark.parametrize("history", ["padded", "visited", "gru", "none"])
def test_step_by_step_and_along_an_episode_a_policy_says_the_same(history):
    algorithm = make(history=history, memory=4)
    params = params_of(algorithm)

    @jax.jit
    def both(params, observations):
        features, place = algorithm.read(observations)
        carry, steps = algorithm.network.initial_carry(20), []
        for t in range(STEPS):
            carry, *now = algorithm.forward(params, carry, features[t], place[t])
            steps.append(now)
        return algorithm.unroll(params, features, place), steps

    (outputs, value), steps = both(params, PATHS.observations[:, :20])
    for t, (now, worth) in enumerate(steps):
        np.testing.assert_allclose(now, outputs[t], atol=1e-6)
        np.testing.assert_allclose(worth, value[t], atol=1e-6)


def test_a_running_sum_is_a_perceptron_of_the_whole_history():
    for history in ("padded", "visited"):
        algorithm = make(history=history, layers=(8,))
        params = params_of(algorithm)
        features, place = map(np.asarray, algorithm.read(PATHS.observations))
        outputs = np.asarray(unrolled(algorithm, params, PATHS.observations)[0])
        layer = params["params"]["actor"]
        weights = np.concatenate([layer["present"]["kernel"], layer["past"].reshape(-1, 8)])
        for t, path in itertools.product(range(STEPS), range(0, 216, 25)):
            past = np.zeros(layer["past"].shape[:2])
            for s in range(t + 1):
                if history == "padded":
                    past[s] = [*features[s, path], 1.0]
                else:
                    past[place[s, path]] = 1.0
            hidden = np.tanh(np.concatenate([features[t, path], past.ravel()]) @ weights + layer["present"]["bias"])
            last = params["params"]["actor_out"]
            np.testing.assert_allclose(hidden @ last["kernel"] + last["bias"], outputs[t, path], atol=1e-5)


def test_only_policies_with_a_past_tell_paths_to_the_same_place_apart():
    """Two paths that differ in where they went, and end at the same place at the same time."""
    same = [i for i in range(216) if PATHS.states[i, 2] == 1]
    left, right = (next(i for i in same if PATHS.states[i, 1] == s) for s in (0, 2))
    for history in ("none", "padded", "visited", "gru"):
        algorithm = make(history=history, memory=4)
        outputs = np.asarray(unrolled(algorithm, params_of(algorithm), PATHS.observations)[0])
        assert bool(np.allclose(outputs[2, left], outputs[2, right])) == (history == "none")


def test_nothing_behind_an_episodes_end_enters_generalised_advantages():
    algorithm, hyperparams = make(estimator="gae"), Hyperparams(discount=0.9, gae_lambda=0.5)
    params, lengths, gains = params_of(algorithm), np.array([3, 1, 2]), PATHS.gains[:, :3]
    time = np.arange(STEPS)[:, None]
    valid, end = time < lengths, time == lengths - 1
    seen = PATHS.observations[np.minimum(time, lengths), np.arange(3)]
    following = np.where(valid[..., None], np.roll(seen, -1, 0), np.float32(np.nan))
    following[-1, 0] = PATHS.observations[0, 5]

    @jax.jit
    def weighed(terminated, truncated):
        state = algorithm.init(jax.random.key(0), hyperparams)._replace(params=params)
        steps = Transition(jnp.asarray(seen), (), jnp.where(valid, gains, 0.0), following, terminated, truncated)
        found, target = algorithm.generalised_advantages(state, steps, jnp.asarray(valid))
        batch = Batch(*algorithm.read(steps.observation), jnp.zeros((STEPS, 3), jnp.int32), found, target, valid)
        return found, flat(jax.grad(algorithm.loss, has_aux=True)(params, batch, hyperparams)[0])

    value = np.asarray(unrolled(algorithm, params, np.stack([*seen, following[-1]]))[1])
    for terminates in (True, False):
        found, gradient = map(np.asarray, weighed(end & terminates, end & (not terminates)))
        for n, length in enumerate(lengths):
            expected = 0.0
            for t in reversed(range(length)):
                bootstrap = 0.0 if terminates and t == length - 1 else 0.9 * value[t + 1, n]
                expected = gains[t, n] + bootstrap - value[t, n] + 0.45 * expected
                np.testing.assert_allclose(found[t, n], expected, rtol=1e-5, atol=1e-6)
        assert np.isfinite(gradient).all()


def test_executed_actions_are_scored_where_that_is_asked_for():
    class Swapping(Walk):
        def step_env(self, key, state, action, params):
            *rest, info = super().step_env(key, state, 1 - action, params)
            return *rest, {**info, "executed_action": 1 - action}

    env = with_reward(Swapping(), WALK.reward)
    for which in ("chosen", "executed"):
        config = Config(**{**vars(SMALL), "log_prob_of": which})
        algorithm = SubPO(env, env.default_params, config, head_for(env.action_space()))

        @jax.jit
        def actions(key, algorithm=algorithm):
            state = algorithm.init(key, Hyperparams())
            _, episodes, _ = algorithm.play(state, *jax.random.split(jax.random.key(1)))
            return episodes.steps.action, algorithm.weigh(state, episodes).action

        chosen, scored = map(np.asarray, actions(jax.random.key(0)))
        assert (scored == (chosen if which == "chosen" else 1 - chosen)).all()


def test_an_environment_that_does_not_say_what_it_executed_is_named():
    algorithm = make(log_prob_of="executed")
    with pytest.raises(ValueError, match="use log_prob_of='chosen'"):
        jax.eval_shape(algorithm.step, jax.eval_shape(algorithm.init, jax.random.key(0), Hyperparams()))


def test_a_policy_that_is_a_table_has_the_gradient_of_its_visits():
    env, params = make_env("subrl/two_rooms", slip=0.2)
    head = head_for(env.action_space(params))
    algorithm = SubPO(env, params, Config(num_envs=120, layers=(16,)), head)
    other = SubPO(env, params, Config(num_envs=90, layers=(16,)), head)  # fewer episodes than cells
    assert algorithm.is_tabular
    assert not other.is_tabular
    key_noise, key_envs = jax.random.split(jax.random.key(1))

    @jax.jit
    def played(key):
        state = algorithm.init(key, Hyperparams(entropy_coefficient=3.0))
        state = state._replace(params=jax.tree.map(lambda x: 3 * x, state.params))
        return state, algorithm.weigh(state, algorithm.play(state, key_noise, key_envs)[1])

    state, batch = played(jax.random.key(0))
    # As if each had ended at a time of its own: what comes behind counts for neither.
    batch = batch._replace(valid=np.arange(39)[:, None] <= np.arange(120)[None] % 39)

    @jax.jit
    def all_of(state, batch):
        outputs = algorithm.unroll(state.params, batch.features, batch.place)[0]
        # The actions played are those of the network: the same noise and the network's outputs choose them.
        agree = (head.sample(outputs, head.noise(key_noise, (39, 120))) == batch.action).mean()
        return algorithm.gradient_of_table(state, batch), algorithm.gradient_of_visits(state, batch), agree

    (table, metrics), (visits, others), agree = all_of(state, batch)
    np.testing.assert_allclose(flat(table), flat(visits), atol=2e-5 * np.abs(flat(visits)).max())
    np.testing.assert_allclose(metrics["policy/entropy"], others["policy/entropy"], rtol=1e-5)
    assert agree > 0.9999


def test_an_agent_vmapped_over_keys_is_that_of_each_key():
    algorithm, keys = make(), jax.random.split(jax.random.key(0), 3)
    agent = Agent(algorithm.init, algorithm.step, algorithm.policy)
    two = lambda agent, key: jax.lax.scan(lambda s, _: agent.step(s), agent.init(key, Hyperparams()), length=2)[1]  # noqa: E731
    together = jax.device_get(jax.jit(lambda keys: two(vmap(agent), keys))(keys))
    alone = jax.jit(lambda key: two(agent, key))(keys[1])
    for name, value in alone.items():
        np.testing.assert_allclose(together[name][1, 1], value[1], rtol=2e-5)


def test_it_finds_the_optimum_of_the_walk():
    """Moves that can be relied on: every seed visits all places within 60 iterations."""
    moves = np.stack([np.eye(STATES), np.eye(STATES)[[1, 2, 0]]], 1).astype(np.float32)
    params = WALK.default_params.replace(env=WalkParams(jnp.asarray(moves)))
    agent = vmap(subpo(WALK, params, Config(num_envs=32, num_steps=STEPS, layers=(16,))))

    @jax.jit
    def trained(key):
        state = agent.init(jax.random.split(key, 16), Hyperparams(learning_rate=0.03))
        return jax.lax.scan(lambda s, _: agent.step(s), state, None, 60)[1]["episode/return"]

    returns = np.asarray(trained(jax.random.key(0)))
    assert returns[0].max() < 0.95 * WEIGHTS.sum()
    assert returns[-1].min() > 0.98 * WEIGHTS.sum()


def test_its_policy_acts_and_its_mode_does_not_depend_on_the_key():
    observation = PATHS.observations[0, 0]
    for history in ("none", "padded", "visited", "gru"):
        algorithm = make(history=history, memory=4)

        @jax.jit
        def acted(params, algorithm=algorithm):
            policy = algorithm.policy(algorithm.init(jax.random.key(0), Hyperparams())._replace(params=params))
            modes = [policy.mode(policy.reset(), observation, jax.random.key(k)) for k in (2, 3)]
            return modes, policy.act(modes[0][0], observation, jax.random.key(4))[1]

        (first, second), action = jax.device_get(acted(params_of(algorithm)))
        jax.tree.map(np.testing.assert_array_equal, first, second)
        assert action in (0, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "togo"}, "to_go"),
        ({"baseline": "batched"}, "batch"),
        ({"history": "pad"}, "padded"),
        ({"num_steps": 5}, "set num_steps=3"),
        ({"layers": (), "history": "padded"}, "none"),
        ({"activation": "tanhh"}, "tanh"),
        ({"log_prob_of": "sampled"}, "chosen"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        subpo(WALK, WALK.default_params, Config(**{**vars(SMALL), **options}))


def test_history_of_places_needs_places():
    env, params = make_env("CartPole-v1")
    with pytest.raises(ValueError, match="history='padded' or history='gru'"):
        subpo(env, params, Config(history="visited"))
    vector = with_reward(env, constant([1.0, 2.0]))
    with pytest.raises(ValueError, match="scalarise"):
        subpo(vector, vector.default_params, Config())


def test_the_loss_has_the_gradients_it_seems_to_have():
    algorithm = make(baseline="value")
    weight = PATHS.gains[:, :6]
    features, place = algorithm.read(jnp.asarray(PATHS.observations[:, :6]))
    batch = Batch(features, place, PATHS.actions.T[:, :6], weight, weight, weight > -1)
    hyperparams = Hyperparams(entropy_coefficient=0.3)
    loss = jax.jit(lambda p: algorithm.loss(p, batch, hyperparams)[0])
    check_grads(loss, (params_of(algorithm),), order=1, modes=["rev"], eps=1e-2, rtol=2e-2)
