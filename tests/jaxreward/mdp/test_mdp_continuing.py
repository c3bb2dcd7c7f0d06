"""Published gains, spans and diameters of named MDPs by NumPy and linear programs; the solvers on those that trap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from jaxreward.mdp import (
    access_control,
    average_policy_iteration,
    expected_reward,
    hard_two_state,
    jump_river_swim,
    random_mdp,
    relative_value_iteration,
    river_swim_loop,
    river_swim_variant,
    six_arms,
    two_choice,
    uniform_policy,
)
from jaxreward.mdp.access_control import ORDERS, PRIORITIES
from jaxreward.mdp.rivers import RIVERS

MDPS = {
    "osband": lambda: river_swim_variant(),
    "osband-12": lambda: river_swim_variant(num_states=12),
    "osband-25": lambda: river_swim_variant(num_states=25),
    "strehl_littman": lambda: river_swim_variant("strehl_littman"),
    "statrl": lambda: river_swim_variant("statrl"),
    "statrl-25": lambda: river_swim_variant("statrl", 25, 0.99),
    "naik": lambda: river_swim_variant("naik"),
    "jump": jump_river_swim,
    "loop": river_swim_loop,
    "six_arms": six_arms,
    "two_choice": two_choice,
    "random": lambda: random_mdp(3),
    **{f"access-{order}": lambda order=order: access_control(order) for order in ORDERS},
}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def arrays(mdp):
    return np.asarray(mdp.transition), np.asarray(mdp.reward)


def solved(mdp):
    """Gain and bias by value iteration on the chain that stays put half of the time."""
    transition, reward = arrays(mdp)
    paid, bias = (transition * reward).sum(-1), np.zeros(len(transition))
    for _ in range(20_000):
        better = (paid + transition @ bias).max(-1)
        if np.ptp(better - bias) < 1e-12:
            break
        bias = (bias + better) / 2
        bias -= bias[0]
    return np.mean(better - bias), bias


def best_by_linear_program(mdp):
    """The largest mean reward of a stationary way to spend the time."""
    transition, reward = arrays(mdp)
    size, actions = transition.shape[:2]
    flow = (np.eye(size)[:, None, :] - transition).reshape(-1, size).T
    equations = np.vstack([flow, np.ones(size * actions)])
    paid = (transition * reward).sum(-1).ravel()
    found = linprog(-paid, A_eq=equations, b_eq=np.eye(size + 1)[-1], bounds=(0, None), method="highs")
    assert found.success
    return -found.fun


def longest_shortest_way(mdp):
    transition, _ = arrays(mdp)
    steps = np.zeros((len(transition),) * 2)  # [target, state]
    for _ in range(20_000):
        following = 1 + np.einsum("sat,gt->gsa", transition, steps, optimize=True).min(-1)
        np.fill_diagonal(following, 0)
        if np.abs(following - steps).max() < 1e-9:
            break
        steps = following
    return steps.max()


@pytest.mark.parametrize(
    ("name", "gain", "span", "diameter"),
    [
        ("osband", 0.4286224338, 6.310324, 14.7223),
        ("osband-12", 0.4285714290, 14.880952, 34.72),
        ("osband-25", 0.4285714286, 33.452381, 78.06),
        ("strehl_littman", 0.2229357798, 5.018349, 22.5103),
        ("statrl", 0.8750033379, 12.142914, 13.8776),
        ("naik", 0.4153846154, 6.615385, 15.9259),
        ("six_arms", 1.0, 101.0, 101.0),
        ("access-csuite", 2.7476419506, 25.4998, 50.8366),
        ("access-naik", 2.7432, None, 50.8366),
        ("two_choice", 0.4, 3.2, 8.0),
        ("random", 0.476164, 0.822, None),
    ],
)
def test_published_gains_spans_and_diameters(name, gain, span, diameter):
    """All digits that are given; two choices by hand: 2 every 5 steps, and 4 steps back to 0, 4 to the other end."""
    mdp = MDPS[name]()
    found, bias = solved(mdp)
    assert round(found, _digits(gain)) == gain
    assert span is None or round(float(np.ptp(bias)), _digits(span)) == span
    assert diameter is None or round(float(longest_shortest_way(mdp)), _digits(diameter)) == diameter


def _digits(number):
    return len(str(number).partition(".")[2])


@pytest.mark.parametrize("name", MDPS)
def test_rows_are_distributions_and_a_linear_program_finds_the_same_gain(name):
    mdp = MDPS[name]()
    transition, _ = arrays(mdp)
    np.testing.assert_allclose(transition.sum(-1), 1, atol=1e-14)
    assert transition.min() >= 0
    assert not mdp.terminal.any()
    np.testing.assert_allclose(mdp.start.sum(), 1, atol=1e-15)
    np.testing.assert_allclose(solved(mdp)[0], best_by_linear_program(mdp), rtol=1e-8)


def test_biases_of_the_first_river():
    expected = [0, 0.714371, 2.041059, 3.455222, 4.881880, 6.310324]
    np.testing.assert_allclose(solved(river_swim_variant())[1], expected, atol=5e-7)


@pytest.mark.parametrize(
    ("name", "ratios", "gain"),
    [
        ("osband", [0.3 / 0.525, *[0.175 / 0.525] * 3, 0.175 / 0.7], 0.002778),
        ("strehl_littman", [0.15 / 0.55] * 4 + [0.15 / 0.85], 0.000537),
    ],
)
def test_what_acting_at_random_gets(name, ratios, gain):
    """So much time in a state as in the one to its left times what goes up over what comes down."""
    shares = np.cumprod([1, *ratios]) / np.sum(np.cumprod([1, *ratios]))
    mdp = MDPS[name]()
    chain = np.einsum("sa,sat->st", np.asarray(uniform_policy(mdp)), np.asarray(mdp.transition))
    np.testing.assert_allclose(shares @ chain, shares, atol=1e-15)
    # The published numbers have six digits, one of them cut and not rounded.
    assert abs(shares @ np.asarray(expected_reward(mdp)).mean(1) - gain) < 1e-6


def test_rows_of_the_jumping_river():
    """Those of its authors' table, `e` for each state that is not meant."""
    e = 0.01 / 6
    mdp = jump_river_swim()
    np.testing.assert_allclose(mdp.transition[0, 0], [1 - 5 * e, e, e, e, e, e], atol=1e-15)
    np.testing.assert_allclose(mdp.transition[3, 0], [e, e, 1 - 5 * e, e, e, e], atol=1e-15)
    np.testing.assert_allclose(mdp.transition[0, 1], [0.7 + e, 0.3 - 5 * e, e, e, e, e], atol=1e-15)
    np.testing.assert_allclose(mdp.transition[2, 1], [e, 0.1 + e, 0.6 + e, 0.3 - 5 * e, e, e], atol=1e-15)
    np.testing.assert_allclose(mdp.transition[5, 1], [e, e, e, e, 0.7 + e, 0.3 - 5 * e], atol=1e-15)
    np.testing.assert_allclose(expected_reward(mdp), [[0.2, 0], *[[0, 0]] * 4, [0, 1]], atol=1e-15)


def step_by_step(order, busy, kind, accept, random):
    """One step as its order has it, with a coin for each busy server."""
    free = 10 - busy
    frees = lambda: (random.random(busy) < 0.06).sum()  # noqa: E731
    if order == "naik":
        busy -= frees()
        taken = accept and busy < 10
        return busy + taken, taken * PRIORITIES[kind]
    taken = accept and free > 0
    if order == "csuite":
        busy += taken
        return busy - frees(), taken * PRIORITIES[kind]
    return busy - frees() + taken, taken * PRIORITIES[kind]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("busy", "accept"), [(4, 1), (10, 1), (10, 0)])
def test_access_control_against_steps_with_coins(order, busy, accept):
    random = np.random.default_rng(0)
    steps = [step_by_step(order, busy, 3, accept, random) for _ in range(20_000)]
    landed, paid = (np.asarray(each, float) for each in zip(*steps, strict=True))
    mdp = access_control(order)
    row = np.asarray(mdp.transition[busy * 4 + 3, accept]).reshape(11, 4)
    np.testing.assert_allclose(row, np.tile(row.sum(1, keepdims=True) / 4, 4), atol=1e-15)  # the next is of any kind
    shares = np.bincount(landed.astype(int), minlength=11) / len(landed)
    np.testing.assert_array_less(np.abs(shares - row.sum(1)), 5 * np.sqrt(row.sum(1) / len(landed)) + 1e-12)
    error = 5 * paid.std() / np.sqrt(len(paid)) + 1e-12
    assert abs(paid.mean() - expected_reward(mdp)[busy * 4 + 3, accept]) < error


def test_the_hard_instance_has_the_gains_of_its_formula():
    mdp = hard_two_state()
    delta = np.sqrt(2 * np.log(2) / 5) / 45 * 8 / np.sqrt(5 * 1000)
    best, worst = ((0.2 + d) / (0.4 + d) for d in (delta, -delta))
    assert mdp.num_actions == 128
    assert round(float(delta), 5) == 0.00132
    np.testing.assert_allclose(solved(mdp)[0], best, atol=1e-12)
    np.testing.assert_allclose(solved(mdp._replace(reward=-mdp.reward))[0], -worst, atol=1e-12)
    assert (round(float(best), 5), round(float(worst), 5)) == (0.50165, 0.49834)
    assert int(jnp.argmax(mdp.transition[0, :, 1])) == 127


@pytest.mark.parametrize("name", RIVERS)
def test_rivers_start_where_they_are_said_to(name):
    start = np.flatnonzero(river_swim_variant(name).start)
    assert start.tolist() == ([1, 2] if name == "strehl_littman" else [0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: river_swim_variant("osbant"), "did you mean 'osband'"),
        (lambda: river_swim_variant(num_states=2), "whole number from 3"),
        (lambda: jump_river_swim(jump=0.4), "from 0 to 0.3"),
        (lambda: access_control("csuit"), "did you mean 'csuite'"),
        (lambda: access_control(num_servers=0), "expected at least 1"),
        (lambda: hard_two_state(dimension=1), "from 2 to 13"),
        (lambda: hard_two_state(horizon=1e-3), "longer horizon"),
    ],
)
def test_what_is_no_such_mdp_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("solve", [relative_value_iteration, average_policy_iteration])
def test_solvers_where_simpler_ones_fail(solve, dtype):
    """A long river, multichain policies, periodic ones: unichain solvers may be wrong here, undamped ones go on."""
    solve = jax.jit(solve)
    traps = [
        (river_swim_variant(num_states=25, dtype=dtype), 0.4285714286, {state: 1 for state in range(25)}),
        (six_arms(dtype), 1.0, {0: 5, 6: 5}),
        (two_choice(dtype), 0.4, {0: 1}),
    ]
    for mdp, gain, actions in traps:
        solution = solve(mdp)
        largest = float(jnp.max(jnp.abs(solution.bias)))
        # A sweep is repeated until it moves by 8 times the resolution of the largest bias, and is half of a step.
        tolerance = 16 * float(jnp.finfo(dtype).eps) * largest
        assert solution.gain.dtype == dtype
        np.testing.assert_allclose(solution.gain, gain, rtol=0, atol=tolerance + 1e-10)
        assert float(solution.residual) <= 2 * tolerance
        assert {state: int(jnp.argmax(solution.policy[state])) for state in actions} == actions
