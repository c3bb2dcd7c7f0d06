"""PPO inside BARFI against fixed points solved in double precision, enumerated processes, and PPO itself."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces
from scipy.optimize import root

from jaxreward import vmap, with_reward
from jaxreward.agents.barfi.barfi_ppo import BarfiPPO, Config, Hyperparams, actor_of, barfi_ppo, on_policy
from jaxreward.agents.barfi.parts.inner import Aligned
from jaxreward.agents.baselines import ppo
from jaxreward.learning.episodes import Episodes
from jaxreward.learning.estimators import discounted_returns
from jaxreward.reward import Transition, environment_reward, markov
from jaxreward.rewards.beside import beside
from tests.probes import ProbeParams, TargetProbe

PAYS = jnp.array([0.3, 1.0, -0.4])


@struct.dataclass
class Params:
    max_steps_in_episode: int = 1


class Arms(environment.Environment):
    """One step, three arms."""

    name, num_actions, default_params = "Arms", 3, Params()

    def reset_env(self, key, params):
        return jnp.ones(1), jnp.zeros((), jnp.int32)

    def step_env(self, key, state, action, params):
        return jnp.ones(1), state + 1, PAYS[action], state >= 0, {}

    def is_truncated(self, state, params):
        return jnp.zeros((), bool)

    def action_space(self, params=None):
        return spaces.Discrete(3)


class Corridor(environment.Environment):
    """Five places, from the middle one: 1 for getting to the right end within eight steps. What follows is NaN."""

    name, num_actions, default_params = "Corridor", 2, Params(8)

    def reset_env(self, key, params):
        state = jnp.array([2, 0], jnp.int32)
        return self.observe(state), state

    def step_env(self, key, state, action, params):
        over = (state[0] == 4) | self.is_truncated(state, params)
        state = jnp.stack([jnp.maximum(state[0] + 2 * action - 1, 0), state[1] + 1])
        paid, seen = (state[0] == 4).astype(float), self.observe(state)
        rotten = lambda x: jnp.where(over, jnp.nan, x)  # noqa: E731
        return rotten(seen), state, rotten(paid), state[0] == 4, {}

    def observe(self, state):
        return jax.nn.one_hot(state[0], 5)

    def is_truncated(self, state, params):
        return state[1] >= params.max_steps_in_episode

    def action_space(self, params=None):
        return spaces.Discrete(2)


def at_the_left_end(transition):
    return 0.5 * transition.next_observation[0]


PAID = with_reward(Arms(), markov(lambda params, t: params["values"][t.action], {"values": np.array([0.5, 0.2, 0.1])}))
MISLED = with_reward(Corridor(), beside(environment_reward(), auxiliary=markov(at_the_left_end)))
SEEDS = 8
SIZES = {"num_envs": 8, "num_steps": 16, "num_minibatches": 2, "layers": (16,)}
EPISODES = {"num_episodes": 32, "curvature_episodes": 32, "episode_steps": 8}
ON_CORRIDOR = Config(**SIZES, **EPISODES, inner_iterations=2, learned="numbers")
ON_ARMS = Config(layers=(), num_episodes=8, curvature_episodes=0, episode_steps=1, learned="environment")


def algorithm_of(env, config) -> BarfiPPO:
    return barfi_ppo(env, env.default_params, config).step.__self__


# Where probabilities are (1/2, 1/4, 1/4) eight episodes can be had in exactly these proportions.
COUNTS = np.array([4, 2, 2])
LOGITS = np.log(COUNTS / 8)
ENTROPY = 1 / np.sqrt(np.average(LOGITS**2, weights=COUNTS) - np.average(LOGITS, weights=COUNTS) ** 2)


def resting(values):
    """The logits where `grad E[r] / std(r) + c grad H` is zero, near `LOGITS`."""

    def gradient(logits):
        chances = np.exp(logits) / np.exp(logits).sum()
        mean = chances @ values
        spread = np.sqrt(chances @ (values - mean) ** 2)
        entropy = -(chances @ np.log(chances))
        up = chances * ((values - mean) / spread + ENTROPY * (-np.log(chances) - entropy))
        return up + logits.sum() - LOGITS.sum()  # logits may be shifted

    found = root(gradient, LOGITS, tol=1e-12)
    assert found.success
    return found.x


def on_arms():
    """PPO resting at `LOGITS`, the values that let it, and the eight episodes."""
    algorithm = algorithm_of(PAID, Config(**{**vars(ON_ARMS), "solver": "gmres", "num_terms": 10}))
    hyperparams = Hyperparams(entropy_coefficient=ENTROPY, damping=0.0)
    state = jax.jit(algorithm.init)(jax.random.key(0), hyperparams)
    policy = {"kernel": jnp.zeros((1, 3)), "bias": jnp.asarray(LOGITS, float)}
    inner = state.inner._replace(params={"params": {**state.inner.params["params"], "actor_out": policy}})
    values = 2 * LOGITS + 1
    aligned = Aligned({"values": jnp.asarray(values, float)}, jnp.zeros(()))
    actions = jnp.repeat(jnp.arange(3), COUNTS)[None]
    yes = jnp.ones((1, 8), bool)
    steps = Transition(jnp.ones((1, 8, 1)), actions, PAYS[actions], jnp.ones((1, 8, 1)), yes, ~yes)
    return algorithm, inner, aligned, Episodes(steps, actions, yes), hyperparams, values


def test_the_implicit_gradient_is_that_of_where_ppo_rests():
    algorithm, inner, aligned, episodes, hyperparams, values = on_arms()
    np.testing.assert_allclose(resting(values), LOGITS, atol=1e-9)
    delta = jax.jit(algorithm.update)(inner, actor_of(inner.params), aligned, episodes)
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(delta)) < 1e-6
    found = jax.jit(algorithm.implicit)(inner, aligned, episodes, hyperparams)

    def earned(values):
        logits = resting(values)
        return np.asarray(PAYS, float) @ np.exp(logits) / np.exp(logits).sum()

    nudges = 1e-4 * np.eye(3)
    expected = np.array([(earned(values + nudge) - earned(values - nudge)) / 2e-4 for nudge in nudges])
    assert np.abs(expected).max() > 0.01
    # Less the mean of the seven others is 8 / 7 of less the mean of all, which is what these proportions stand for.
    np.testing.assert_allclose(found.phi.reward["values"], 8 / 7 * expected, atol=2e-4 * np.abs(expected).max())
    assert found.phi.logit == 0  # no step follows another
    assert found.metrics["implicit/residual"] < 1e-4


def test_ppo_comes_to_rest_where_the_update_is_zero():
    config = ppo.Config(num_envs=4096, num_steps=1, layers=(), num_minibatches=1, num_epochs=2)
    values = 2 * LOGITS + 1
    env_params = PAID.default_params.replace(reward={"values": jnp.asarray(values, float)})
    agent = ppo.ppo(PAID, env_params, config)
    hyperparams = ppo.Hyperparams(learning_rate=0.02, entropy_coefficient=ENTROPY, anneal_iterations=200.0)
    start = jax.jit(agent.init)(jax.random.key(1), hyperparams)
    end = jax.jit(lambda state: jax.lax.scan(lambda s, _: agent.step(s), state, length=200)[0])(start)
    policy = end.params["params"]["actor_out"]
    chances = jax.nn.softmax(policy["kernel"][0] + policy["bias"])
    # The last hundred iterations see 400,000 pulls: a standard error of 0.001 were it their mean alone.
    np.testing.assert_allclose(chances, COUNTS / 8, atol=0.02)


PLACES, STEPS, DISCOUNT = 2, 3, 0.8


def walks():
    """All walks between two places with random moves, rewards that depend on all that happens, and their chances."""
    draw = np.random.default_rng(5)
    moves, pays = draw.dirichlet(np.ones(PLACES), (PLACES, 2)), draw.normal(size=(PLACES, 2))
    pairs = list(itertools.product(itertools.product(range(2), range(PLACES)), repeat=STEPS))
    actions = np.array([[a for a, _ in walk] for walk in pairs]).T
    places = np.array([[0, *(s for _, s in walk)] for walk in pairs]).T
    chances = moves[places[:-1], actions, places[1:]].prod(0)
    return places[:-1], actions, jnp.asarray(pays[places[:-1], actions]), jnp.asarray(chances)


def test_the_derivative_of_the_update_is_that_of_the_enumerated_policy_gradient():
    places, actions, rewards, moves = walks()
    returns = discounted_returns(rewards, jnp.zeros(rewards.shape, bool), DISCOUNT)
    log_probs = lambda theta: jax.nn.log_softmax(theta)[places, actions]  # noqa: E731
    theta = jnp.array([[0.4, -0.3], [-0.2, 0.5]])

    def true(theta):
        chances = moves * jnp.exp(log_probs(theta).sum(0))
        return jnp.einsum("n,tn,tnsa->sa", chances, returns, jax.jacobian(log_probs)(theta))

    def estimated(theta, advantage):
        chances = jax.lax.stop_gradient(moves * jnp.exp(log_probs(theta).sum(0)))
        log_prob = log_probs(theta)
        weight = on_policy(advantage, log_prob - jax.lax.stop_gradient(log_prob), DISCOUNT)
        return jnp.einsum("n,tn,tnsa->sa", chances, weight, jax.jacobian(log_probs)(theta))

    baseline = jnp.array([[0.7], [-1.1], [0.4]])
    np.testing.assert_allclose(jax.jit(estimated)(theta, returns - baseline), jax.jit(true)(theta), atol=1e-6)
    expected, found = jax.jit(jax.jacobian(true))(theta), jax.jit(jax.jacobian(estimated))(theta, returns - baseline)
    assert jnp.abs(expected).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # All of it is needed: that of the score alone is something else.
    held = jax.jacobian(lambda theta: jnp.einsum("n,tn,tnsa->sa", moves, returns, jax.jacobian(log_probs)(theta)))
    assert jnp.abs(jax.jit(held)(theta) - expected).max() > 0.05


def test_the_outer_gradient_is_that_of_the_discounted_primary_return():
    algorithm = algorithm_of(MISLED, Config(**{**vars(ON_CORRIDOR), "layers": ()}))
    state = jax.jit(algorithm.init)(jax.random.key(0), Hyperparams())
    # A quarter to the left, three to the right: 64 episodes of three steps in exactly these proportions.
    actions = np.array(list(itertools.product([0, 1, 1, 1], repeat=STEPS))).T
    kernel = jnp.tile(jnp.log(jnp.array([[0.25, 0.75]])), (5, 1))
    inner_params = {**state.inner.params["params"], "actor_out": {"kernel": kernel, "bias": jnp.zeros(2)}}
    inner = state.inner._replace(params={"params": inner_params})
    places = 2 + np.cumsum(2 * actions - 1, 0)
    before = np.concatenate([np.full((1, 64), 2), places[:-1]])
    rewards = jnp.asarray((places - 2.0) ** 2)  # of any walk, so that no step is ever the last
    seen, no = jax.nn.one_hot(before, 5), jnp.zeros(actions.shape, bool)
    episodes = Episodes(Transition(seen, jnp.asarray(actions), rewards, seen, no, no), jnp.asarray(actions), ~no)
    gradient = jax.jit(algorithm.primary_gradient)(inner, actor_of(inner.params), episodes, DISCOUNT)

    def objective(kernel):
        log_probs = jnp.einsum("tns,sa->tna", seen, kernel)
        log_probs = jnp.take_along_axis(jax.nn.log_softmax(log_probs), jnp.asarray(actions)[..., None], -1)[..., 0]
        chances = jnp.exp(log_probs.sum(0)) / jnp.prod(jnp.where(actions == 1, 3.0, 1.0), 0)
        return (chances * (DISCOUNT ** jnp.arange(3)[:, None] * rewards).sum(0)).sum()

    expected = jax.jit(jax.grad(objective))(kernel)
    assert jnp.abs(expected).max() > 0.1
    np.testing.assert_allclose(gradient["actor_out"]["kernel"], 64 / 63 * expected, atol=1e-5)


FROZEN = {"reward_learning_rate": 0.0, "discount_learning_rate": 0.0}


class Run:
    """80 iterations of 8 seeds in the corridor, compiled once for any hyperparams."""

    def __init__(self):
        self.agent = barfi_ppo(MISLED, MISLED.default_params, ON_CORRIDOR)
        self.step, self.steps = jax.jit(self.agent.step), jax.jit(vmap(self.agent).step)
        self.start = jax.jit(vmap(self.agent).init)
        self.states, self.metrics = self.train()

    def train(self, **options):
        hyperparams = Hyperparams(learning_rate=1e-3).replace(**{"reward_learning_rate": 0.1, **options})
        states = [self.start(jax.random.split(jax.random.key(4), SEEDS), hyperparams)]
        told = []
        for _ in range(80):
            state, metrics = self.steps(states[-1])
            states.append(state)
            told.append(metrics)
        assert self.steps._cache_size() == 1
        return states, told


@pytest.fixture(scope="module")
def run():
    return Run()


def test_a_run_is_a_slice_of_many(run):
    alone = jax.tree.map(lambda x: x[1], run.states[0])
    for _ in range(2):
        alone, told = run.step(alone)
    for name, value in told.items():
        np.testing.assert_allclose(value, run.metrics[1][name][1], rtol=2e-4, atol=2e-5, err_msg=name)
    for one, many in zip(jax.tree.leaves(alone.aligned), jax.tree.leaves(run.states[2].aligned), strict=True):
        np.testing.assert_allclose(one, many[1], rtol=1e-4, atol=1e-5)


def test_metrics_are_of_the_primary_reward(run):
    metrics, episodes = run.metrics[0], ON_CORRIDOR.played
    np.testing.assert_array_equal(metrics["episode/return"], metrics["episode/env_return"])
    # Getting there is worth 1 and nothing else is: the share of episodes that do.
    reached = episodes * metrics["episode/return"]
    np.testing.assert_allclose(reached, jnp.round(reached), atol=1e-4)
    # What is learned from is their sum at first.
    both = metrics["episode/return"] + metrics["episode/auxiliary"]
    np.testing.assert_allclose(metrics["episode/learned_return"], both, atol=1e-5)
    assert (metrics["env_steps"] == 2 * 8 * 16 + 64 * 8).all()
    assert ON_CORRIDOR.steps_per_iteration == 2 * 8 * 16 + 64 * 8
    assert {"loss/policy", "policy/entropy", "implicit/residual", "outer/discount"} <= set(metrics)
    assert all(jnp.isfinite(value).all() for value in metrics.values())


def test_ppo_inside_is_ppo_to_the_bit_where_phi_stays(run):
    """Two of its iterations between steps in `phi`; its reward, its discount and its key are those of its state."""
    state = jax.jit(run.agent.init)(jax.random.key(3), Hyperparams(learning_rate=1e-3, **FROZEN))
    learned = with_reward(MISLED, run.agent.step.__self__.outer.reward)
    plain = ppo.ppo(learned, state.inner.hyperparams.env_params, ppo.Config(**SIZES))
    alone = jax.jit(plain.step)
    now, expected = state, state.inner
    for _ in range(2):
        now = run.step(now)[0]
        expected = alone(alone(expected)[0])[0]
    assert not jnp.array_equal(*(x.params["params"]["actor_out"]["kernel"] for x in (state.inner, expected)))
    for one, other in zip(
        jax.tree.leaves((now.inner, now.aligned)), jax.tree.leaves((expected, state.aligned)), strict=True
    ):
        assert jnp.array_equal(one, other)


def test_a_misleading_hint_is_unlearned(run):
    """The naive sum pays for staying at the left end, where PPO goes to stay."""
    _, frozen = run.train(**FROZEN)  # which is PPO on the naive sum, see above
    learned, fooled = (np.mean([x["episode/env_return"] for x in told[-10:]], 0) for told in (run.metrics, frozen))
    # Eight of eight seeds: were either as likely as the other to be better, 1 in 256.
    assert (learned > fooled).all()
    assert learned.min() > 0.9
    assert fooled.max() < 0.2
    assert (run.states[-1].aligned.reward["bias"][:, 2] < 0.7).all()


def test_a_users_own_reward_is_learned():
    """It pays the first arm most; the second is worth most. Without a step after it, the discount is only penalised."""
    options = {"num_envs": 32, "num_steps": 2, "num_episodes": 32, "curvature_episodes": 32}
    agent = barfi_ppo(PAID, PAID.default_params, Config(**{**vars(ON_ARMS), **options}))
    hyperparams = Hyperparams(learning_rate=0.01, discount_penalty=0.1)

    @jax.jit
    def train(keys):
        start = vmap(agent).init(keys, hyperparams)
        return jax.lax.scan(lambda state, _: vmap(agent).step(state), start, length=100)

    state, metrics = train(jax.random.split(jax.random.key(4), SEEDS))
    # Eight of eight seeds: by chance, of three arms each, once in 6,000 times.
    assert (state.aligned.reward["values"].argmax(1) == 1).all()
    assert (metrics["episode/return"][-10:].mean(0) > 0.9).all()
    assert (metrics["outer/discount"][-1] < metrics["outer/discount"][0]).all()


def test_what_a_recurrent_policy_says_of_episodes_is_what_it_acts_by():
    """Of normalised observations and continuous actions, too."""
    env = with_reward(TargetProbe(), beside(environment_reward(), auxiliary=markov(lambda t: -jnp.abs(t.action[0]))))
    env_params = env.default_params.replace(env=ProbeParams(length=3, cue_steps=3, shows_time=True))
    options = {"memory": 4, "normalise_observations": True, "learned": "state_action"}
    config = Config(**{**vars(ON_CORRIDOR), **options, "num_episodes": 4, "curvature_episodes": 0, "episode_steps": 3})
    algorithm = barfi_ppo(env, env_params, config).step.__self__
    hyperparams = Hyperparams()
    state = jax.jit(algorithm.init)(jax.random.key(0), hyperparams)
    _, shapes = jax.eval_shape(algorithm.step, state)
    assert all(x.shape == () for x in shapes.values())

    @jax.jit
    def play(state):
        episodes = algorithm.play(state.inner, hyperparams, state.ended, jax.random.key(1))[1]
        said = algorithm.distribution(state.inner, actor_of(state.inner.params), episodes).mode()[:, 2]
        return episodes, said, algorithm.primary_gradient(state.inner, actor_of(state.inner.params), episodes, 0.9)

    episodes, said, gradient = play(state)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(gradient))
    assert {"actor", "actor_out", "free_outputs", "cell", "embed"} == set(gradient)
    assert state.aligned.reward["weights"].shape == (3, 2 + 1)
    policy = algorithm.policy(state)
    memory, mode = policy.reset(), jax.jit(policy.mode)
    for observation, expected in zip(episodes.steps.observation[:, 2], said, strict=True):
        memory, action = mode(memory, observation, jax.random.key(0))
        np.testing.assert_allclose(action, 2 * jnp.clip(expected, -1, 1), rtol=1e-5)  # the space is [-2, 2]


@pytest.mark.parametrize(
    ("env", "options", "message"),
    [
        (MISLED, {"solver": "unrolled"}, "no solver of barfi_ppo 'unrolled'"),
        (MISLED, {"solver": "newmann"}, "did you mean 'neumann'"),
        (MISLED, {"learned": "stat"}, "did you mean 'state'"),
        (MISLED, {"episode_steps": 7}, "set episode_steps=8"),
        (MISLED, {"curvature_episodes": 1}, "curvature_episodes=2"),
        (MISLED, {"num_episodes": 1}, "num_episodes must be at least 2; got 1"),
        (MISLED, {"num_minibatches": 7}, "the nearest that does is 8"),
        (Corridor(), {}, "no auxiliary reward"),
        (Corridor(), {"learned": "environment"}, "with_reward"),
    ],
)
def test_what_does_not_fit_is_refused(env, options, message):
    with pytest.raises(ValueError, match=message):
        barfi_ppo(env, env.default_params, Config(**{**vars(ON_CORRIDOR), **options}))
