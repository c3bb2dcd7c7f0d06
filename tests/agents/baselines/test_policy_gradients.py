"""Policy gradients against the exact ones of a world of two states and two steps, of which every course is listed."""

from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import vmap
from jaxreward.agents.baselines import a2c, reinforce
from jaxreward.learning.episodes import Episodes
from jaxreward.learning.rollout import Trajectory
from jaxreward.mdp import TabularEnv, finite_policy_value, tabular_mdp
from jaxreward.reward import Transition
from tests.probes import Probe, ProbeParams

DISCOUNT, HORIZON = 0.6, 2
ROWS = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.3, 0.7]]])
REWARD = np.array([[1.0, -2.0], [0.5, 3.0]])
START = np.array([0.7, 0.3])
COURSES = np.array(list(product((0, 1), repeat=4)))  # state, action, state, action
PLACES, TAKEN = COURSES[:, ::2].T, COURSES[:, 1::2].T  # [T, M]


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def chances(policy):
    """How likely each course is, `[M]`."""
    (first, then), (one, two) = PLACES, TAKEN
    return START[first] * policy[first, one] * ROWS[first, one, then] * policy[then, two]


def transitions():
    """The courses as episodes that end with their second step, leaves `[T, M, ...]`."""
    last = np.zeros(TAKEN.shape, bool)
    last[-1] = True
    seen = np.eye(2)[PLACES]
    following = np.concatenate([seen[1:], seen[:1]])  # what follows the end is not looked at
    return Transition(seen, TAKEN, REWARD[PLACES, TAKEN], following, last, np.zeros_like(last))


def of_a2c(env, env_params):
    """What A2C's loss ascends for each course alone, `[M, S, A]`, from which policy; and an update on all of them."""
    algorithm = a2c.a2c(env, env_params, a2c.Config(num_envs=16, num_steps=2, layers=())).step.__self__
    hyperparams = a2c.Hyperparams(
        discount=DISCOUNT, entropy_coefficient=0.0, learning_rate=0.1, max_grad_norm=1e-3, decay=0.75
    )
    state = algorithm.init(jax.random.key(0), hyperparams)
    state = state._replace(
        params=jax.tree.map(lambda leaf: leaf + jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), state.params)
    )
    t = jax.tree.map(jnp.asarray, transitions())
    outputs = algorithm.forward(state.params, (), t.observation)[1]
    trajectory = Trajectory(
        t.observation, t.action, (t.action, outputs), *t[2:3], t.terminated, t.truncated, t.next_observation
    )

    def one(trajectory):
        batch, _ = algorithm.advantages(state, jax.tree.map(lambda leaf: leaf[:, None], trajectory))
        found = jax.grad(algorithm.loss, has_aux=True)(state.params, batch, hyperparams)[0]
        return HORIZON * found["params"]["actor_out"]["kernel"]  # of the mean over steps, summed

    batch, _ = algorithm.advantages(state, trajectory)
    gradient = jax.grad(lambda params: algorithm.loss(params, batch, hyperparams)[0])(state.params)
    after = algorithm.update(state, batch, jax.random.key(0))[0]
    logits = algorithm.forward(state.params, (), jnp.eye(2))[1]
    return logits, -jax.vmap(one, 1)(trajectory), (gradient, jax.tree.map(jnp.subtract, after, state.params))


def of_reinforce(env, env_params, logits, discounted):
    """The same of REINFORCE at the same policy."""
    config = reinforce.Config(num_envs=1, num_steps=HORIZON, features="none", discounted_scores=discounted)
    algorithm = reinforce.reinforce(env, env_params, config).step.__self__
    hyperparams = reinforce.Hyperparams(discount=DISCOUNT, entropy_coefficient=0.0)
    linear = {"params": {"Linear_0": {"kernel": logits, "bias": jnp.zeros(2)}}}

    def one(steps):
        steps = jax.tree.map(lambda leaf: leaf[:, None], steps)
        episode = Episodes(steps, steps.action, jnp.ones((HORIZON, 1), bool))
        found = jax.grad(algorithm.objective)(reinforce.Params(linear, ()), episode, hyperparams).policy
        return HORIZON * found["params"]["Linear_0"]["kernel"]

    return jax.vmap(one, 1)(jax.tree.map(jnp.asarray, transitions()))


@cache
def computed():
    """Everything that is compiled, at once and in double precision."""

    def everything():
        params = env.default_params
        logits, actor_critic, update = of_a2c(env, params)
        plain, discounted = (of_reinforce(env, params, logits, option) for option in (False, True))

        def objective(logits):
            policy = jnp.broadcast_to(jax.nn.softmax(logits), (HORIZON, 2, 2))
            return jnp.asarray(START) @ finite_policy_value(env.mdp, policy, DISCOUNT)[0]

        return logits, actor_critic, plain, discounted, jax.grad(objective)(logits), update

    with jax.enable_x64(True):
        env = TabularEnv(tabular_mdp(ROWS, REWARD, START, dtype=jnp.float64), max_steps_in_episode=HORIZON)
        return jax.tree.map(np.asarray, jax.jit(everything)())


def without_discounted_scores():
    """`sum_t E[grad log pi(a_t | s_t) q_t(s_t, a_t)]`, which is not the gradient of the discounted return."""
    policy = softmax(computed()[0])
    values = [REWARD + DISCOUNT * ROWS @ (policy * REWARD).sum(-1), REWARD]
    places = [START, np.einsum("s,sa,sat->t", START, policy, ROWS)]
    # The gradient of a softmax: pi (q - sum_b pi(b) q(b)).
    return sum(
        d[:, None] * policy * (q - (policy * q).sum(-1, keepdims=True)) for d, q in zip(places, values, strict=True)
    )


def expected(each):
    return np.tensordot(chances(softmax(computed()[0])), each, 1)


def test_the_courses_are_all_there_are():
    assert chances(softmax(computed()[0])).sum() == pytest.approx(1, abs=1e-14)


def test_reinforce_with_discounted_scores_follows_the_gradient_of_the_discounted_return():
    _, _, _, discounted, gradient, _ = computed()
    np.testing.assert_allclose(expected(discounted), gradient, atol=1e-14)


def test_reinforce_without_counts_late_steps_as_much():
    _, _, plain, _, gradient, _ = computed()
    np.testing.assert_allclose(expected(plain), without_discounted_scores(), atol=1e-14)
    assert np.abs(expected(plain) - gradient).max() > 0.01


def test_a2c_follows_the_same_whatever_its_critic_says():
    np.testing.assert_allclose(expected(computed()[1]), without_discounted_scores(), atol=1e-14)


def test_a2c_takes_one_step_of_rmsprop():
    gradient, change = computed()[-1]
    norm = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(gradient)))
    assert norm > 1e-3
    for of, by in zip(jax.tree.leaves(gradient), jax.tree.leaves(change), strict=True):
        of = of * 1e-3 / norm
        np.testing.assert_allclose(by, -0.1 * of / np.sqrt(0.25 * of**2 + 1e-5), rtol=1e-9, atol=1e-12)


PROBES = {
    "match": ProbeParams(match=1.0),
    "truncated": ProbeParams(length=2, terminates=False, cue_steps=0, constant=1.0),
    "terminated": ProbeParams(length=2, terminates=True, cue_steps=0, constant=1.0),
}
SEEDS = 8  # all of them succeed: with 95 % confidence at least 69 % of all seeds would


@cache
def trained():
    """The params of A2C on each probe, leaves `[probe, seed, ...]`, and its network."""
    agent = a2c.a2c(Probe(), ProbeParams(), a2c.Config(num_envs=16, num_steps=4, layers=(8,)))
    batched = vmap(vmap(agent), population=True)
    probes = jax.tree.map(lambda *leaves: jnp.stack(leaves), *PROBES.values())
    hyperparams = a2c.Hyperparams(0.01, 0.8, entropy_coefficient=0.0, anneal_iterations=300.0)
    hyperparams = jax.tree.map(lambda leaf: jnp.full(len(PROBES), leaf), hyperparams).replace(env_params=probes)

    @jax.jit
    def run(keys):
        state = jax.lax.scan(lambda state, _: batched.step(state), batched.init(keys, hyperparams), length=300)[0]
        seen = jnp.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
        forward = lambda params: agent.step.__self__.network.apply(params, (), seen)[1:]  # noqa: E731
        return jax.vmap(jax.vmap(forward))(state.params)

    return jax.tree.map(np.asarray, run(jax.random.split(jax.random.key(0), (len(PROBES), SEEDS))))


def test_a2c_learns_which_action_matches_what_is_seen():
    assert (trained()[0][0, :, :2].argmax(-1) == [0, 1]).all()
    np.testing.assert_allclose(trained()[1][0, :, :2], 1.0, atol=0.1)


def test_a2c_bootstraps_through_truncation_and_not_through_termination():
    """A reward of 1 for ever; or twice, where one value stands for 1 and for `1 + discount`."""
    np.testing.assert_allclose(trained()[1][1, :, 2], 1 / (1 - 0.8), atol=0.1)
    np.testing.assert_allclose(trained()[1][2, :, 2], 1 + 0.8 / 2, atol=0.1)
