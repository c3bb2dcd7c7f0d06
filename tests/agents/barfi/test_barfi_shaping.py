"""What shaping by a potential does to policy gradients and to actor-critic, by enumeration of every episode."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import with_reward
from jaxreward.agents.baselines.parts.learner import Learner, Network, returns_to_go
from jaxreward.agents.baselines.reinforce import Config, Hyperparams, Params, Reinforce
from jaxreward.learning.episodes import Episodes
from jaxreward.learning.networks import head_for
from jaxreward.mdp import TabularEnv, finite_occupancy, finite_policy_value, tabular_mdp
from jaxreward.reward import Transition
from jaxreward.rewards import environment_reward, shaped
from jaxreward.rewards.auxiliary_potential import auxiliary_potential
from jaxreward.rewards.beside import auxiliary, beside

STATES, ACTIONS, STEPS = 2, 2, 4
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


RNG = np.random.default_rng(0)
MOVES = RNG.dirichlet(np.ones(STATES), (STATES, ACTIONS))
REWARDS = RNG.normal(size=(STATES, ACTIONS, STATES)) + 2.0
START = np.array([0.3, 0.7])
TABLES = {
    "here": np.broadcast_to(RNG.normal(size=(STATES, 1, 1)), REWARDS.shape),
    "there": np.broadcast_to(RNG.normal(size=(1, 1, STATES)), REWARDS.shape),
    "action": np.broadcast_to(RNG.normal(size=(STATES, ACTIONS, 1)), REWARDS.shape),
    "all": RNG.normal(size=REWARDS.shape),
}
"""Auxiliary rewards `[S, A, S]` by what they depend on."""


def all_episodes():
    """States `[T + 1, M]` and actions `[T, M]` of every episode there may be."""
    steps = itertools.product(range(ACTIONS), range(STATES))
    paths = itertools.product(range(STATES), itertools.product(list(steps), repeat=STEPS))
    places, actions = zip(*[((s, *(n for _, n in path)), [a for a, _ in path]) for s, path in paths], strict=True)
    return np.array(places).T, np.array(actions).T


PLACES, DONE = all_episodes()
TAKEN = (PLACES[:-1], DONE, PLACES[1:])
CHANCES = START[PLACES[0]] * MOVES[TAKEN].prod(0)


def process():
    return tabular_mdp(MOVES, REWARDS, START)


def flat(tree, axes=0):
    return jnp.concatenate([leaf.reshape(*leaf.shape[:axes], -1) for leaf in jax.tree.leaves(tree)], -1)


class Enumerated:
    """REINFORCE as it is, on all episodes; its policy is linear in the state one-hot, or in state and time together."""

    def __init__(self, clock):
        self.size = STATES * (STEPS if clock else 1)
        env = TabularEnv(process(), max_steps_in_episode=STEPS)
        features = functools.partial(jax.nn.one_hot, num_classes=self.size)
        self.learner = Learner(env, features, head_for(env.action_space()), Network(ACTIONS), 1, STEPS)
        self.algorithm = Reinforce(self.learner, env.default_params, Config(), Network(1))
        self.observation = PLACES[:-1] + clock * STATES * np.arange(STEPS)[:, None]
        self.each = jax.jit(self._each)

    def steps(self, said, end="terminated"):
        """What happens, leaves `[T, M]`; the auxiliary reward is `said`, and the last step ends as `end` says."""
        last = np.broadcast_to(np.arange(STEPS)[:, None] == STEPS - 1, DONE.shape)
        ends = {"terminated": np.zeros_like(last), "truncated": np.zeros_like(last), end: last}
        info = {"reward/auxiliary": said}
        return jax.tree.map(
            jnp.asarray, Transition(self.observation, DONE, REWARDS[TAKEN], PLACES[1:], **ends, info=info)
        )

    def params(self, scale=1.0):
        """Of a policy that is not uniform, unless its scale is zero."""
        params = self.learner.network.init(KEY, jnp.zeros(self.size))
        keys = iter(jax.random.split(KEY, 10))
        return jax.tree.map(lambda x: scale * jax.random.normal(next(keys), x.shape), params)

    def probabilities(self, params):
        """Of actions, at each step in each state, `[T, S, A]`."""
        found = self.learner.distribution(params, jnp.eye(self.size)).probs
        return jnp.broadcast_to(found.reshape(-1, STATES, ACTIONS), (STEPS, STATES, ACTIONS))

    def chances(self, params):
        """Of each episode, `[M]`, differentiable in the policy's params."""
        taken = (np.arange(STEPS)[:, None], PLACES[:-1], DONE)
        return CHANCES * self.probabilities(params)[taken].prod(0)

    def _each(self, params, steps, discount):
        """The update that each episode alone asks for, `[M, ...]`, summed over its steps."""
        hyperparams = Hyperparams(discount=discount, entropy_coefficient=0.0)

        def one(steps):
            steps = jax.tree.map(lambda x: x[:, None], steps)
            episode = Episodes(steps, steps.action, jnp.ones((STEPS, 1), bool))
            found = jax.grad(self.algorithm.objective)(Params(params, ()), episode, hyperparams).policy
            return jax.tree.map(lambda x: STEPS * x, found)

        return jax.vmap(one, 1)(steps)

    def expected(self, params, steps, discount):
        """The expected update."""
        return self.chances(params) @ flat(self.each(params, steps, discount), 1)

    def variance(self, params, steps, discount, part=lambda tree: tree):
        """The trace of the update's covariance."""
        chances, each = self.chances(params), flat(part(self.each(params, steps, discount)), 1)
        return chances @ jnp.square(each).sum(1) - jnp.square(chances @ each).sum()


enumerated = functools.cache(Enumerated)


def paid(reward, steps, params=None):
    """The same steps with what a reward makes of them."""
    params = reward.init(KEY) if params is None else params
    return steps._replace(reward=jax.vmap(reward.episode, (None, 1), 1)(params, steps)[0])


def test_without_a_discount_reinforce_follows_the_gradient_of_the_return():
    every = enumerated(False)
    params, steps = every.params(), every.steps(TABLES["all"][TAKEN])
    assert every.chances(params).sum() == pytest.approx(1.0)
    gradient = jax.grad(lambda p: every.chances(p) @ steps.reward.sum(0))(params)
    np.testing.assert_allclose(every.expected(params, steps, 1.0), flat(gradient), atol=1e-13)


def change(reward, said, discount, end="terminated", clock=False):
    """By how much a reward changes the expected update, and the returns to go."""
    every = enumerated(clock)
    params, steps = every.params(), every.steps(said, end)
    other = paid(reward, steps)
    expected = every.expected(params, steps, discount)
    assert jnp.abs(expected).max() > 0.01
    return every.expected(params, other, discount) - expected, returns_to_go(other.reward - steps.reward, discount)


@pytest.mark.parametrize("clock", [False, True])
@pytest.mark.parametrize("discount", [0.8, 1.0])
@pytest.mark.parametrize(
    ("depends_on", "end", "options"),
    [
        *[(name, "terminated", {}) for name in TABLES],
        ("all", "truncated", {"truncated": "zero"}),
        ("here", "terminated", {"of": "action"}),
        ("here", "truncated", {"of": "action"}),
    ],
)
def test_a_potential_that_is_known_before_the_action_leaves_the_expected_update(
    depends_on, end, options, discount, clock
):
    reward = auxiliary_potential(3.0, discount, **options)
    of_update, of_returns = change(reward, TABLES[depends_on][TAKEN], discount, end, clock)
    assert jnp.abs(of_returns).max() > 1
    np.testing.assert_allclose(of_update, 0.0, atol=1e-13)


@pytest.mark.parametrize(
    ("reward", "depends_on", "end"),
    [
        (auxiliary(3.0), "here", "terminated"),
        (auxiliary(3.0), "action", "terminated"),
        (auxiliary_potential(3.0, 0.8, of="action"), "action", "terminated"),
        (auxiliary_potential(3.0, 0.8, of="action"), "there", "terminated"),
        (auxiliary_potential(3.0, 0.8), "all", "truncated"),  # kept at the time limit, where nothing is bootstrapped
        (auxiliary_potential(3.0, 0.9), "all", "terminated"),  # of another discount
    ],
)
def test_what_is_no_such_potential_changes_the_expected_update(reward, depends_on, end):
    assert jnp.abs(change(reward, TABLES[depends_on][TAKEN], 0.8, end)[0]).max() > 0.05


def test_look_ahead_advice_is_unlearned_as_if_it_were_a_reward_that_ends_the_episode():
    """Its bias is minus the gradient of what the next action alone is said to be worth, in the states visited."""
    every = enumerated(False)
    params = every.params()
    visits = finite_occupancy(process(), every.probabilities(params)).sum((0, 2))
    advice = (MOVES * TABLES["all"]).sum(-1)
    greedy = lambda p: (visits[:, None] * every.probabilities(p)[0] * advice).sum()  # noqa: E731
    found, _ = change(auxiliary_potential(3.0, 0.8, of="action"), TABLES["all"][TAKEN], 0.8)
    np.testing.assert_allclose(found, -3.0 * flat(jax.grad(greedy)(params)), atol=1e-13)


@pytest.mark.parametrize("depends_on", ["there", "all"])
def test_the_variance_is_a_parabola_in_the_scale_of_the_potential(depends_on):
    discount, every = 0.9, enumerated(False)
    params, steps = every.params(), every.steps(TABLES[depends_on][TAKEN])
    reward = auxiliary_potential(discount=discount)

    @jax.jit
    def at(scale):
        return every.variance(params, paid(reward, steps, {**reward.init(KEY), "scale": scale}), discount)

    # Of each episode: sum_t score_t G_t, and sum_t score_t potential_t, which is its own return at a discount of zero.
    before = jnp.concatenate([jnp.zeros((1, DONE.shape[1])), steps.info["reward/auxiliary"][:-1]])
    chances, task = every.chances(params), flat(every.each(params, steps, discount), 1)
    shaping = flat(every.each(params, steps._replace(reward=before), 0.0), 1)
    linear, square = chances @ (task * shaping).sum(1), chances @ jnp.square(shaping).sum(1)
    scales = jnp.linspace(-4.0, 4.0, 9)
    of_none = every.variance(params, steps, discount)
    found = jnp.array([at(scale) for scale in scales])
    np.testing.assert_allclose(found, of_none - 2 * linear * scales + square * scales**2, rtol=1e-12)
    best = linear / square
    assert abs(best) > 0.05
    assert jax.grad(at)(best) == pytest.approx(0.0, abs=1e-11)
    assert at(best) < of_none < at(-best) < at(-2 * best)


def test_a_potential_near_the_value_saves_variance_and_its_opposite_costs_it():
    """In closed form for a uniform policy with a table: all scores have the squared norm 1/2, and steps don't mix.

    So the trace of the covariance, without the bias's share, is `1/2 sum_t E (G_t - c V_t)^2` but for a constant.
    """
    discount, every = 0.9, enumerated(True)
    params = every.params(scale=0.0)
    policy = every.probabilities(params)
    value = finite_policy_value(process(), policy, discount)
    visits = finite_occupancy(process(), policy).sum(-1)
    squares = (visits * jnp.square(value))[1:].sum()  # the first potential is zero
    arrived = jnp.concatenate([value[1:], jnp.zeros((1, STATES))])  # where step t leads, at t + 1
    steps = every.steps(arrived[np.arange(STEPS)[:, None], PLACES[1:]])
    reward = auxiliary_potential(discount=discount)

    @jax.jit
    def at(scale):
        shaped_steps = paid(reward, steps, {**reward.init(KEY), "scale": scale})
        return every.variance(params, shaped_steps, discount, lambda tree: tree["params"]["Linear_0"]["kernel"])

    scales = np.array([-2.0, -1.0, -0.5, 0.5, 1.0, 1.5, 3.0])
    found = np.array([at(scale) - at(0.0) for scale in scales])
    np.testing.assert_allclose(found, 0.5 * (scales**2 - 2 * scales) * squares, rtol=1e-12)
    assert at(1.0) < at(0.0) < at(-1.0)


WALKED, LIMIT, DISCOUNT = 5, 6, 0.9
VALUES = np.array([0.0, -2.0, 3.0, 1.5, 7.0])
"""Potentials of the places of a walk that starts at 0 and ends at 4, where there is none."""
NOTHING = np.zeros(WALKED)


def arrival(transition):
    return jnp.asarray(VALUES)[transition.next_observation]


def arrival_and_action(transition):
    return arrival(transition) + transition.action


@functools.cache
def walk(said=arrival):
    """From 0 to 4 and never back to 0, cut after some steps; the auxiliary reward is `said(transition)`."""
    rng = np.random.default_rng(1)
    moves = rng.dirichlet(np.full(WALKED, 0.5), (WALKED, ACTIONS))
    moves[..., 0] = 0
    moves[..., 4] *= 0.5
    moves /= moves.sum(-1, keepdims=True)
    start, end = np.eye(WALKED)[[0, 4]]
    mdp = tabular_mdp(moves, rng.normal(size=moves.shape), start, end)
    env = TabularEnv(mdp, max_steps_in_episode=LIMIT, one_hot=False)
    return with_reward(env, beside(environment_reward(), auxiliary=said))


def actor_critic(env, value, steps=400):
    """One-step actor-critic with tables: TD errors, what was done, and values and preferences at each step."""
    params = env.default_params

    def step(now, key):
        value, preferences, here, state = now
        key_action, key_step = jax.random.split(key)
        action = jax.random.categorical(key_action, preferences[here])
        after, state, reward, terminated, truncated, info = env.step(key_step, state, action, params)
        there = info["final_observation"]
        error = reward + DISCOUNT * jnp.where(terminated, 0.0, value[there]) - value[here]
        score = jax.nn.one_hot(action, ACTIONS) - jax.nn.softmax(preferences[here])
        value, preferences = value.at[here].add(0.3 * error), preferences.at[here].add(0.5 * error * score)
        return (value, preferences, after, state), (error, action, truncated & ~terminated, value, preferences)

    start = (jnp.asarray(value), jnp.zeros((WALKED, ACTIONS)), *env.reset_env(KEY, params))
    return jax.lax.scan(step, start, jax.random.split(KEY, steps))[1]


def agent(env, value, iterations=100):
    """The same of the agent with one weight for each place, and its params; the value's start as given."""
    features = functools.partial(jax.nn.one_hot, num_classes=WALKED)
    learner = Learner(env, features, head_for(env.action_space()), Network(ACTIONS), 3, LIMIT)
    algorithm = Reinforce(learner, env.default_params, Config(weight="td_error"), Network(1))

    def step(state, _):
        env_params, key = algorithm.params_of_env(state.hyperparams), jax.random.split(state.key)[1]
        _, episodes, _ = learner.play(state.params.policy, env_params, state.ended, key)
        observed = learner.read(episodes.steps.observation, 2)
        errors = algorithm.td_errors(state.params.value, observed, episodes, state.hyperparams.discount)
        cut = episodes.valid & episodes.steps.truncated & ~episodes.steps.terminated
        worth = state.params.value["params"]["Linear_0"]["kernel"][:, 0]
        told = (jnp.where(episodes.valid, errors, 0.0), episodes.extras, cut, worth, flat(state.params.policy))
        return algorithm.step(state)[0], told

    hyperparams = Hyperparams(learning_rate=0.02, value_learning_rate=0.05, discount=DISCOUNT)
    state = algorithm.init(KEY, hyperparams)
    layer = {"kernel": jnp.asarray(value)[:, None], "bias": jnp.zeros(1)}
    state = state._replace(params=state.params._replace(value={"params": {"Linear_0": layer}}))
    return jax.lax.scan(step, state, None, iterations)[1]


LEARNERS = {"tables": actor_critic, "the agent": agent}


@functools.cache
def unshaped(name):
    """What a learner makes of the walk without shaping, from the potential as its values and from none, `[2, ...]`."""
    env = walk()  # made outside of what is traced
    return jax.jit(jax.vmap(lambda value: LEARNERS[name](env, value)))(jnp.stack([VALUES, NOTHING]))


def learned(name, env):
    """And with it, from none."""
    return jax.jit(lambda value: LEARNERS[name](env, value))(jnp.asarray(NOTHING))


@pytest.mark.parametrize(
    ("name", "reward"),
    [
        ("tables", shaped(environment_reward(), lambda s: jnp.asarray(VALUES)[s], discount=DISCOUNT)),
        ("tables", auxiliary_potential(discount=DISCOUNT)),
        ("the agent", auxiliary_potential()),  # of the agent's discount
    ],
)
def test_actor_critic_learns_from_a_potential_what_it_learns_from_values_that_start_there(name, reward):
    """Wiewiora 2003, for TD(0) and the policy too: the same errors and actions at each step, values apart by it."""
    *same, value, policy = learned(name, with_reward(walk(), reward))
    *expected, other, others_policy = (x[0] for x in unshaped(name))
    for found, given in zip(same, expected, strict=True):
        np.testing.assert_allclose(found, given, atol=1e-10)
    np.testing.assert_allclose(value + VALUES[None], other, atol=1e-10)
    np.testing.assert_allclose(policy, others_policy, atol=1e-10)
    assert same[2].sum() > 10  # episodes that were cut, where the potential is kept
    assert min(jnp.abs(x[-1] - x[0]).max() for x in (value, policy)) > 0.5
    assert jnp.abs(same[0] - unshaped(name)[0][1]).max() > 0.1  # and not what it learns from values of zero


@pytest.mark.parametrize(("said", "truncated"), [(arrival, "zero"), (arrival_and_action, "keep")])
def test_actor_critic_learns_something_else_from_anything_else(said, truncated):
    errors, *_ = learned("tables", with_reward(walk(said), auxiliary_potential(discount=DISCOUNT, truncated=truncated)))
    assert jnp.abs(errors - unshaped("tables")[0][0]).max() > 0.1
