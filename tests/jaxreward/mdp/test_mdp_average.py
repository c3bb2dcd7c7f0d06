"""Average-reward solvers against class analysis, enumeration, closed forms and the vanishing discount."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.mdp import (
    average_policy_iteration,
    corridor,
    cycle,
    deterministic_policies,
    diameter,
    discounted_occupancy,
    expected_reward,
    gain_and_bias,
    garnet,
    induced_chain,
    is_communicating,
    limiting_matrix,
    policy_value,
    relative_value_iteration,
    river_swim,
    span,
    stationary_occupancy,
    tabular_mdp,
    two_state,
    unichain_gain_and_bias,
    uniform_policy,
)

STATES, ACTIONS = 4, 2

# One program each, where they would be many small ones.
gain_and_bias, unichain_gain_and_bias = jax.jit(gain_and_bias), jax.jit(unichain_gain_and_bias)
is_communicating, stationary_occupancy, discounted_occupancy, expected_reward, limiting_matrix = map(
    jax.jit, (is_communicating, stationary_occupancy, discounted_occupancy, expected_reward, limiting_matrix)
)
value_iteration = partial(jax.jit, static_argnames="max_iterations")(relative_value_iteration)
make_garnet = partial(jax.jit, static_argnums=(1, 2, 3))(garnet)
evaluate_all = jax.jit(jax.vmap(gain_and_bias, in_axes=(None, 0)))
chain_of_each = jax.jit(jax.vmap(induced_chain, in_axes=(None, 0)))
iterate_policies = jax.jit(jax.vmap(average_policy_iteration))
discounted_values = jax.jit(jax.vmap(policy_value, in_axes=(None, 0, None)))
iterate_values = jax.jit(jax.vmap(relative_value_iteration))
STAY_OR_MOVE = [[0.0, 1.0], [0.0, 1.0]]
in_both_precisions = pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32], ids=["f64", "f32"])


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def garnets(branching, count=12, dtype=jnp.float64):
    keys = jax.random.split(jax.random.key(branching), count)
    batch = jax.vmap(lambda key: make_garnet(key, STATES, ACTIONS, branching))(keys)
    numbers = {name: np.asarray(getattr(batch, name), dtype) for name in ("transition", "reward", "start")}
    return batch._replace(**numbers)


def member(batch, i):
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[i]), batch)


def limit_by_classes(transition):
    """The limiting matrix from recurrent classes, their stationary distributions and absorption probabilities."""
    size = len(transition)
    reach = np.linalg.matrix_power(np.eye(size) + (transition > 0), size) > 0
    recurrent = np.array([all(reach[t, s] for t in np.flatnonzero(reach[s])) for s in range(size)])
    limit = np.zeros((size, size))
    for first in np.flatnonzero(recurrent):
        members = np.flatnonzero(reach[first])
        if first != members[0]:
            continue
        inside = transition[np.ix_(members, members)]
        equations = np.vstack([inside.T - np.eye(len(members)), np.ones(len(members))])
        stationary = np.linalg.lstsq(equations, np.eye(len(members) + 1)[-1], rcond=None)[0]
        away = transition[~recurrent][:, ~recurrent]
        into = transition[~recurrent][:, members].sum(-1)
        absorbed = np.zeros(size)
        absorbed[members] = 1
        absorbed[~recurrent] = np.linalg.solve(np.eye(len(away)) - away, into)
        limit[:, members] += absorbed[:, None] * stationary
    return limit


@pytest.mark.parametrize("branching", [1, 2, 4])
def test_gain_and_bias_of_every_policy_of_every_structure(branching):
    batch = garnets(branching)
    policies = deterministic_policies(member(batch, 0))
    for i in range(len(batch.start)):
        mdp = member(batch, i)
        chains, solutions = chain_of_each(mdp, policies), evaluate_all(mdp, policies)
        for transition, reward, gain, bias in zip(*map(np.asarray, (*chains, *solutions)), strict=True):
            limit = limit_by_classes(transition)
            np.testing.assert_allclose(gain, limit @ reward, atol=1e-12)
            np.testing.assert_allclose(limit @ bias, np.zeros(STATES), atol=1e-10)
            np.testing.assert_allclose(gain + bias, reward + transition @ bias, atol=1e-10)


@pytest.mark.parametrize("branching", [1, 2, 4])
@in_both_precisions
def test_policy_iteration_finds_the_highest_gain_from_every_state(branching, dtype):
    batch = garnets(branching, dtype=dtype)
    solution = iterate_policies(batch)
    assert solution.gain.dtype == dtype
    slack = 16 * STATES * jnp.finfo(dtype).eps
    for i in range(len(solution.gain)):
        mdp = member(batch, i)
        best = best_gain(mdp)
        # Improvements below the slack are left; they add up for as long as a detour takes.
        tolerance = 10 * slack * max(1, np.max(np.abs(solution.bias[i])), np.max(np.abs(mdp.reward)))
        np.testing.assert_allclose(solution.gain[i], best, rtol=0, atol=tolerance)
        assert solution.residual[i] <= tolerance


def best_gain(mdp):
    """The highest gain from each state over all deterministic policies, by class analysis in double precision."""
    transitions, rewards = chain_of_each(mdp, deterministic_policies(mdp))
    gains = [limit_by_classes(p) @ r for p, r in zip(*map(np.float64, (transitions, rewards)), strict=True)]
    return np.max(gains, axis=0)


@in_both_precisions
def test_relative_value_iteration_on_communicating_mdps(dtype):
    batch = garnets(2, dtype=dtype)
    solution = iterate_values(batch)
    communicating = np.asarray(jax.vmap(is_communicating)(batch))
    assert communicating.sum() >= 3
    for i in np.flatnonzero(communicating):
        mdp = member(batch, i)
        tolerance = 100 * jnp.finfo(dtype).eps * max(1, np.max(np.abs(solution.bias[i])))
        assert solution.residual[i] <= tolerance
        np.testing.assert_allclose(solution.gain[i], best_gain(mdp), rtol=0, atol=tolerance)
        np.testing.assert_allclose(gain_and_bias(mdp, solution.policy[i])[0], best_gain(mdp), rtol=0, atol=tolerance)
        assert_optimality_equation(mdp, solution.gain[i], solution.bias[i], tolerance)


def assert_optimality_equation(mdp, gain, bias, tolerance):
    look_ahead = np.asarray(expected_reward(mdp), float) + np.asarray(mdp.transition, float) @ np.asarray(bias, float)
    np.testing.assert_allclose(gain + bias, look_ahead.max(-1), rtol=0, atol=tolerance)


def test_relative_value_iteration_says_when_the_gain_depends_on_the_start():
    apart = two_state([[0.0], [0.0]], [0.0, 1.0])
    solution = value_iteration(apart, max_iterations=50)
    assert solution.residual == 1
    assert solution.gain.tolist() == [0.5, 0.5]  # the middle of the interval
    assert jax.jit(average_policy_iteration)(apart).gain.tolist() == [0, 1]


@in_both_precisions
def test_what_is_earned_for_ever_goes_before_what_is_paid_once(dtype):
    """From 0 for nothing to 1, which pays 1 a step for ever, or for 100 to 2, which pays nothing."""
    transition = np.array([[[0, 1, 0], [0, 0, 1]], [[0, 1, 0]] * 2, [[0, 0, 1]] * 2], float)
    mdp = tabular_mdp(transition, [[0.0, 100.0], [1.0, 1.0], [0.0, 0.0]], dtype=dtype)
    solution = jax.jit(average_policy_iteration)(mdp)
    assert solution.gain.tolist() == [1, 1, 0]
    assert solution.bias.tolist() == [-1, 0, 0]
    assert solution.policy[0].tolist() == [1, 0]
    assert solution.residual == 0


@in_both_precisions
@pytest.mark.parametrize("solve", [average_policy_iteration, relative_value_iteration])
def test_multichain_policies_inside_a_communicating_mdp(solve, dtype):
    # Staying in both states earns most at first and is multichain: no gain solves its unichain equations.
    mdp = two_state(STAY_OR_MOVE, [[1.0, 0.0], [2.0, 0.0]], dtype)
    solution, exact = jax.jit(solve)(mdp), 16 * jnp.finfo(dtype).eps
    np.testing.assert_allclose(solution.gain, [2.0, 2.0], rtol=exact)
    np.testing.assert_allclose(solution.bias - solution.bias[0], [0.0, 2.0], atol=exact)
    assert np.argmax(solution.policy, -1).tolist() == [1, 0]
    unichain, _ = unichain_gain_and_bias(mdp, jnp.array([[1.0, 0.0], [1.0, 0.0]]))
    assert not np.isfinite(unichain)


@in_both_precisions
@pytest.mark.parametrize("solve", [average_policy_iteration, relative_value_iteration])
def test_periodic_cycle(solve, dtype):
    solution, exact = jax.jit(solve)(cycle(7, dtype)), 64 * jnp.finfo(dtype).eps
    np.testing.assert_allclose(solution.gain, np.full(7, 1 / 7), rtol=exact)
    np.testing.assert_allclose(span(solution.bias), 6 / 7, rtol=exact)
    assert np.argmax(solution.policy, -1).tolist() == [1] * 7
    assert solution.residual < exact


def test_without_damping_a_periodic_chain_never_settles():
    moving = two_state([[1.0], [1.0]], [0.0, 1.0])
    assert value_iteration(moving, damping=0.0, max_iterations=1_000).residual == 1
    assert value_iteration(moving, damping=0.1).residual < 1e-13


def test_gain_and_bias_of_the_two_state_chain():
    p, q, r0, r1 = 0.3, 0.2, 1.0, -2.0
    mdp = two_state([[p], [q]], [r0, r1])
    gain, bias = gain_and_bias(mdp, uniform_policy(mdp))
    np.testing.assert_allclose(gain, [(q * r0 + p * r1) / (p + q)] * 2, rtol=1e-13)
    # The difference of the states decays by 1 - p - q a step, and the stationary mean of the bias is zero.
    np.testing.assert_allclose(bias, [p * (r0 - r1) / (p + q) ** 2, -q * (r0 - r1) / (p + q) ** 2], rtol=1e-12)


@pytest.mark.parametrize(("dtype", "leak"), [(jnp.float64, 1e-13), (jnp.float32, 1e-6)], ids=["f64", "f32"])
def test_slow_leaks_between_classes_are_resolved(dtype, leak):
    # From 0, which is left slowly, to 1 or three times as likely to 2, which are never left.
    rows = [[1 - 4 * leak, leak, 3 * leak], [0, 1, 0], [0, 0, 1]]
    limit = limiting_matrix(jnp.array(rows, dtype))
    np.testing.assert_allclose(limit[0], [0, 0.25, 0.75], rtol=16 * jnp.finfo(dtype).eps, atol=0)
    assert limit[1:].tolist() == [[0, 1, 0], [0, 0, 1]]
    slow = limiting_matrix(jnp.array([[1 - leak, leak], [3 * leak, 1 - 3 * leak]], dtype))
    # The leaks themselves are kept to the last digit, though their complements to one are not.
    np.testing.assert_allclose(slow, [[0.75, 0.25]] * 2, rtol=64 * jnp.finfo(dtype).eps)


def test_vanishing_discount_gives_gain_then_bias():
    # V = gain / (1 - discount) + bias + O(1 - discount) for every policy, multichain and periodic ones included.
    for branching in (1, 2, 4):
        mdp = member(garnets(branching), 0)
        policies = deterministic_policies(mdp)
        gain, bias = evaluate_all(mdp, policies)

        def remainder(rest, m=mdp, g=gain, h=bias, p=policies):
            value = discounted_values(m, p, 1 - rest)
            return np.max(np.abs(value - g / rest - h))

        far, near = remainder(1e-4), remainder(5e-5)
        assert far < 1e-4 * 1e3
        np.testing.assert_allclose(near, far / 2, rtol=0.05, atol=1e-7)


def birth_death(size, up, down, first_up, last_down):
    rise = np.array([first_up] + [up] * (size - 2))
    fall = np.array([down] * (size - 2) + [last_down])
    return rise, fall


@pytest.mark.parametrize(
    ("size", "numbers", "published", "dtype"),
    [
        (6, (0.35, 0.05, 0.6, 0.4), 0.4286224338, jnp.float64),
        (25, (0.35, 0.05, 0.6, 0.4), 0.4285714286, jnp.float64),
        (6, (0.3, 0.1, 0.3, 0.7), 0.2229357798, jnp.float64),
        # To drift back is worse than to swim by a factor of 7 a state: 5e8 of them together, 3e32 of them.
        (10, (0.35, 0.05, 0.6, 0.4), 0.4285714498, jnp.float32),
        (40, (0.35, 0.05, 0.6, 0.4), 0.4285714286, jnp.float32),
    ],
)
def test_river_swim_has_the_gain_span_and_diameter_of_its_birth_death_chain(size, numbers, published, dtype):
    names = ("up", "down", "first_up", "last_down")
    mdp = river_swim(size, **dict(zip(names, numbers, strict=True)), small=0.0005, dtype=dtype)
    rise, fall = birth_death(size, *numbers)
    weight = np.cumprod(np.concatenate([[1.0], rise / fall]))  # detailed balance
    gain = weight[-1] / weight.sum()
    steps, crossing = [], 0.0
    for i in range(size - 1):  # up from i: one step, and the way back up from i - 1 if it went down
        crossing = (1 + (fall[i - 1] * crossing if i else 0)) / rise[i]
        steps.append(crossing)
    # The equations are solved to the last digits of the bias, the diameter to some more.
    error = 16 * jnp.finfo(dtype).eps * gain * sum(steps)
    for solve in (average_policy_iteration, relative_value_iteration):
        solution = jax.jit(solve)(mdp)
        assert solution.gain.dtype == dtype
        assert solution.residual <= error
        np.testing.assert_allclose(solution.gain, np.full(size, gain), rtol=0, atol=error)
        # Each step without reward costs the gain, so the bias rises by the gain times the crossing time.
        np.testing.assert_allclose(np.diff(solution.bias), gain * np.array(steps), rtol=0, atol=10 * error)
        assert np.argmax(solution.policy, -1).tolist() == [1] * size
    np.testing.assert_allclose(gain, published, atol=1e-10)
    np.testing.assert_allclose(jax.jit(diameter)(mdp), sum(steps), rtol=10 * error)
    assert bool(is_communicating(mdp))


@pytest.mark.parametrize("solve", [average_policy_iteration, relative_value_iteration])
def test_what_is_not_finite_is_a_failure_and_stays_by_itself(solve):
    whole = cycle(3)
    broken = whole._replace(reward=whole.reward.at[1, 0].set(jnp.nan))
    large = whole._replace(reward=whole.reward * 1e308 * 10)
    solution = jax.jit(jax.vmap(solve))(jax.tree.map(lambda *leaves: jnp.stack(leaves), whole, broken, large))
    np.testing.assert_allclose(solution.gain[0], np.full(3, 1 / 3), rtol=1e-12)
    assert solution.residual[0] < 1e-12
    assert solution.residual[1:].tolist() == [np.inf, np.inf]


def test_unichain_solve_agrees_and_is_differentiable():
    mdp = member(garnets(4), 1)
    logits = jax.random.normal(jax.random.key(0), (STATES, ACTIONS))
    policy = jax.nn.softmax(logits)
    gain, bias = gain_and_bias(mdp, policy)
    scalar, relative = unichain_gain_and_bias(mdp, policy)
    np.testing.assert_allclose(gain, np.full(STATES, scalar), rtol=1e-12)
    np.testing.assert_allclose(bias - bias[0], relative, rtol=1e-10, atol=1e-12)

    occupancy = stationary_occupancy(mdp, policy)
    by_reward = jax.grad(lambda reward: unichain_gain_and_bias(mdp._replace(reward=reward), policy)[0])(mdp.reward)
    np.testing.assert_allclose(by_reward, occupancy[..., None] * mdp.transition, rtol=1e-10)
    # The policy gradient theorem: occupancy times the advantage.
    look_ahead = expected_reward(mdp) + mdp.transition @ bias
    advantage = look_ahead - jnp.sum(policy * look_ahead, -1, keepdims=True)
    by_logits = jax.grad(lambda x: unichain_gain_and_bias(mdp, jax.nn.softmax(x))[0])(logits)
    np.testing.assert_allclose(by_logits, occupancy * advantage, rtol=1e-9, atol=1e-13)


def test_stationary_occupancy_stays_and_pays_the_gain():
    for branching in (1, 2, 4):
        mdp = member(garnets(branching), 2)
        policy = deterministic_policies(mdp)[5]
        occupancy = stationary_occupancy(mdp, policy)
        np.testing.assert_allclose(occupancy.sum(), 1, rtol=1e-12)
        np.testing.assert_allclose(occupancy.sum(-1), jnp.einsum("sa,sat->t", occupancy, mdp.transition), atol=1e-13)
        gain, _ = gain_and_bias(mdp, policy)
        np.testing.assert_allclose(jnp.sum(occupancy * expected_reward(mdp)), mdp.start @ gain, rtol=1e-11)
        discounted = (1 - 1e-6) * 1e-6 * discounted_occupancy(mdp, policy, 1 - 1e-6)
        np.testing.assert_allclose(discounted, occupancy, atol=1e-4)


def test_structure_of_mdps():
    assert bool(is_communicating(cycle(5)))
    assert not bool(is_communicating(corridor(5)))
    assert not bool(is_communicating(two_state([[1.0], [0.0]], [0, 0])))
    np.testing.assert_allclose(jax.jit(diameter)(cycle(5)), 4, rtol=1e-13)
    np.testing.assert_allclose(jax.jit(diameter)(two_state([[0.25], [0.5]], [0, 0])), 4, rtol=1e-13)
    assert jax.jit(diameter)(corridor(5)) == np.inf


def test_the_diameter_takes_the_shortest_ways():
    # From 0 directly to 2 with probability 1/10, or in two sure steps through 1.
    rows = [[[0.9, 0, 0.1], [0, 1, 0]], [[0, 0, 1], [0, 0, 1]], [[1, 0, 0], [1, 0, 0]]]
    np.testing.assert_allclose(jax.jit(diameter)(tabular_mdp(np.array(rows), np.zeros(3))), 2, rtol=1e-13)
