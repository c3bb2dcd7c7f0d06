"""What objectives say of policies, against sums over all episodes, long sums of numpy and finite differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.mdp import tabular_mdp
from jaxreward.objectives import (
    FORMALISMS,
    inner_multi,
    inner_nonlinear,
    limit_average,
    lottery_function,
    lottery_order,
    machine_rewards,
    markov,
    occupancy_function,
    occupancy_order,
    optimise,
    outer_multi,
    outer_multi_order,
    outer_nonlinear,
    policy_function,
    policy_order,
    preferences,
    reach_probability,
    regularised,
    summaries,
    temporal_logic,
    trajectories,
    trajectory_function,
)
from jaxreward.rewards.automata import reward_machine

DISCOUNT = 0.8
LEXICOGRAPHIC = lambda x, y: (x[0] > y[0]) | ((x[0] == y[0]) & (x[1] >= y[1]))  # noqa: E731


@pytest.fixture(autouse=True, scope="module")
def double():
    """Everything in double precision."""
    with jax.enable_x64(True):
        yield


def layered(seed=0):
    """Two decisions by chance and choice, and an end: five states, of which the last is terminal."""
    rng = np.random.default_rng(seed)
    moves = np.zeros((5, 2, 5))
    moves[0, :, 1:4] = rng.dirichlet(np.ones(3), 2)
    moves[1:4, :, 4] = 0.7
    moves[1, :, 2], moves[2, :, 3], moves[3, :, 4] = 0.3, 0.3, 1
    return tabular_mdp(moves, rng.normal(size=(5, 2, 5)), np.eye(5)[0], np.arange(5) == 4, dtype=jnp.float64)


def endless(seed=0):
    """Two states that lead anywhere, and two groups of two that are never left, one of them periodic."""
    rng = np.random.default_rng(seed)
    moves = np.zeros((6, 2, 6))
    moves[:2] = rng.dirichlet(np.ones(6), (2, 2))
    moves[2:4, :, 2:4] = rng.dirichlet(np.ones(2), (2, 2))
    moves[4, :, 5] = moves[5, :, 4] = 1
    return tabular_mdp(moves, rng.normal(size=(6, 2, 6)), np.eye(6)[0], dtype=jnp.float64)


def random_policies(number, mdp, seed=1):
    return np.random.default_rng(seed).dirichlet(np.ones(mdp.num_actions), (number, mdp.num_states))


LABELS = {"odd": np.arange(5) % 2 == 1, "first": np.broadcast_to(np.arange(2).reshape(1, 2, 1) == 0, (5, 2, 5))}
ODD_THEN_FIRST = reward_machine(("a", "odd", "b", 0.5), ("b", "first", "c", 2.0), ("b", "!first & odd", "a", -1.0))


def by_hand(worth):
    """The mean over all episodes, which are found by walking through them: worth of lists of steps."""
    mdp = layered()
    moves, policies = np.asarray(mdp.transition), random_policies(3, mdp)
    means = np.zeros(len(policies))

    def walk(steps, state, chance):
        if state == 4:
            means[...] += chance * worth(steps)
            return
        for action, following in np.argwhere(moves[state] > 0):
            more = chance * policies[:, state, action] * moves[state, action, following]
            walk([*steps, (state, action, following)], following, more)

    walk([], 0, np.ones(len(policies)))
    return means


def total(reward, steps):
    return sum(DISCOUNT**t * np.asarray(reward)[step] for t, step in enumerate(steps))


def machine_total(steps):
    state, paid = "a", 0.0
    for t, (_, action, following) in enumerate(steps):
        odd, first = following % 2 == 1, action == 0
        if state == "a" and odd:
            state, paid = "b", paid + 0.5 * DISCOUNT**t
        elif state == "b" and first:
            state, paid = "c", paid + 2 * DISCOUNT**t
        elif state == "b" and odd:
            state, paid = "a", paid - DISCOUNT**t
    return paid


def satisfied(steps):
    """Some odd state, and the first action at once or later after it."""
    odd = [t for t, step in enumerate(steps) if step[2] % 2]
    return float(bool(odd) and any(action == 0 for _, action, _ in steps[odd[0] + 1 :]))


def never_odd_before_first(steps):
    odd = [t for t, step in enumerate(steps) if step[2] % 2]
    return float(not odd or any(action == 0 for _, action, _ in steps[: odd[0] + 1]))


SECOND = np.random.default_rng(9).normal(size=(5, 2, 5))


def test_sums_over_all_episodes():
    mdp, listed, labels = layered(), trajectories(layered()), LABELS
    both = jnp.stack([mdp.reward, SECOND])
    policies = jnp.asarray(random_policies(3, mdp))
    reward, second = np.asarray(mdp.reward), np.asarray(SECOND)
    cases = {
        "MR": (markov(DISCOUNT), lambda steps: total(reward, steps)),
        "LTL": (temporal_logic("F (odd & X F first)", labels), satisfied),
        "LTL, safe": (temporal_logic("!odd W first", labels), never_odd_before_first),
        "RM": (machine_rewards(ODD_THEN_FIRST, labels, DISCOUNT), machine_total),
        "INMR": (inner_nonlinear(jnp.square, DISCOUNT, listed), lambda steps: total(reward, steps) ** 2),
        "IMORL": (
            inner_multi(lambda g: jnp.maximum(g[0], g[1]), both, DISCOUNT, listed),
            lambda steps: max(total(reward, steps), total(second, steps)),
        ),
        "RRL": (
            regularised(lambda p: jnp.sum(p**2), 0.3, DISCOUNT),
            None,
        ),
        "FTR": (trajectory_function(listed.valid.sum(-1) ** 2.0, listed), lambda steps: len(steps) ** 2),
    }
    found = jax.jit(lambda policies: {name: summaries(case[0], mdp, policies) for name, case in cases.items()})(
        policies
    )
    for name, (_, worth) in cases.items():
        if worth is not None:
            np.testing.assert_allclose(found[name], by_hand(worth), rtol=1e-12, err_msg=name)
    squares = (np.asarray(policies) ** 2).sum(-1)
    visits = np.array(
        [by_hand(lambda steps, s=s: sum(DISCOUNT**t for t, step in enumerate(steps) if step[0] == s)) for s in range(4)]
    )
    np.testing.assert_allclose(found["RRL"], found["MR"] - 0.3 * (visits.T * squares[:, :4]).sum(1), rtol=1e-12)


def test_functions_of_several_expectations():
    mdp, listed = layered(), trajectories(layered())
    both = jnp.stack([mdp.reward, SECOND])
    policies = jnp.asarray(random_policies(3, mdp))
    first, second = (by_hand(lambda steps, r=r: total(r, steps)) for r in (np.asarray(mdp.reward), SECOND))
    leads = by_hand(lambda steps: float(steps[0][2] == 2))
    weigh = lambda m: jnp.sum(m * SECOND) ** 3  # noqa: E731
    starts_with_2 = listed.following[:, 0] == 2

    @jax.jit
    def found(policies):
        told = [
            outer_nonlinear(jnp.tanh, DISCOUNT),
            outer_multi(lambda g: g[0] * g[1], both, DISCOUNT),
            occupancy_function(weigh, DISCOUNT),
            lottery_function(lambda p: jnp.sum(p * starts_with_2) ** 2, listed),
            policy_function(lambda p: p[3, 0]),
        ]
        orders = [
            outer_multi_order(lambda x, y: jnp.all(x >= y - 1e-12), both, DISCOUNT),
            occupancy_order(lambda x, y: jnp.sum((x - y) * SECOND) >= -1e-12, DISCOUNT),
            lottery_order(lambda x, y: jnp.sum((x - y) * starts_with_2) >= -1e-12, listed),
            policy_order(lambda x, y: x[3, 0] >= y[3, 0]),
        ]
        return [summaries(one, mdp, policies) for one in told], [preferences(one, mdp, policies) for one in orders]

    values, orders = found(policies)
    expected = [np.tanh(first), first * second, second**3, leads**2, np.asarray(policies)[:, 3, 0]]
    for value, other in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-12)
    order_of = lambda x: x[:, None] >= x[None, :]  # noqa: E731
    expected = [order_of(first) & order_of(second), order_of(second), order_of(leads), order_of(expected[-1])]
    np.testing.assert_array_equal(orders, expected)


def test_the_long_run_and_what_is_reached_of_chains_with_several_ends_and_their_gradients():
    mdp = endless()
    target = jnp.arange(6) >= 4
    logits = jnp.asarray(np.random.default_rng(2).normal(size=(6, 2)))
    direction = jnp.asarray(np.random.default_rng(3).normal(size=(6, 2)))
    both = lambda logits: jnp.stack(  # noqa: E731
        [limit_average().summary(mdp, jax.nn.softmax(logits)), reach_probability(mdp, jax.nn.softmax(logits), target)]
    )
    values, slopes = jax.jit(lambda x: jax.jvp(both, (x,), (direction,)))(logits)
    backward = jax.jit(jax.jacrev(both))(logits)

    def exact(logits):
        policy = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        chain = np.einsum("sa,sat->st", policy, np.asarray(mdp.transition))
        reward = np.einsum("sa,sat,sat->s", policy, np.asarray(mdp.transition), np.asarray(mdp.reward))
        often = np.linalg.matrix_power((chain + np.eye(6)) / 2, 2**14)[0]
        return np.array([often @ reward, often[4:].sum()])

    x, d = np.asarray(logits), np.asarray(direction)
    np.testing.assert_allclose(values, exact(x), rtol=1e-11)
    numeric = (exact(x + 1e-5 * d) - exact(x - 1e-5 * d)) / 2e-5
    np.testing.assert_allclose(slopes, numeric, rtol=1e-7)
    np.testing.assert_allclose((np.asarray(backward) * d).sum((1, 2)), numeric, rtol=1e-7)


def test_reaching_is_sure_however_slow_and_never_where_no_way_leads():
    moves = np.zeros((2, 2, 2))
    moves[0, 0, 0] = moves[0, 1, 1] = moves[1, :, 1] = 1
    mdp = tabular_mdp(moves, np.zeros(2), np.eye(2)[0], dtype=jnp.float64)
    go = jnp.asarray([0.0, 1e-9, 0.5, 1.0])
    policies = jnp.stack([jnp.stack([1 - go, go], -1)] * 2, 1)
    goal = {"goal": np.array([False, True])}
    both = temporal_logic("F goal", goal), temporal_logic("G !goal", goal)
    reached, stayed = jax.jit(lambda policies: [summaries(each, mdp, policies) for each in both])(policies)
    np.testing.assert_allclose(reached, [0, 1, 1, 1], rtol=1e-14)
    np.testing.assert_allclose(stayed, [1, 0, 0, 0], atol=1e-14)


def entropy_cost(p):
    return jnp.sum(p * jnp.log(p))


def test_climbing_an_objective_comes_to_its_best():
    """Of one decision between three ways, known in closed form."""
    moves = np.zeros((2, 3, 2))
    moves[:, :, 1] = 1
    worth = np.array([1.0, 0.5, -0.2])
    mdp = tabular_mdp(moves, np.stack([worth, worth]), np.eye(2)[0], [False, True], dtype=jnp.float64)
    climb = partial(optimise, mdp=mdp, key=jax.random.key(0), starts=2, steps=400)
    soft = climb(regularised(entropy_cost, 0.5, 0.9))
    np.testing.assert_allclose(soft.policy[0], np.exp(2 * worth) / np.exp(2 * worth).sum(), rtol=1e-4)
    np.testing.assert_allclose(soft.value, 0.5 * np.log(np.exp(2 * worth).sum()), rtol=1e-8)
    aimed = climb(outer_nonlinear(lambda g: -((g - 0.3) ** 2), 0.9))
    np.testing.assert_allclose(aimed.policy[0] @ worth, 0.3, atol=1e-3)
    assert soft.gradient < 1e-4


def test_climbing_the_long_run_comes_to_the_best_rate():
    moves = np.zeros((2, 2, 2))
    moves[0, 0, 0] = moves[0, 1, 1] = moves[1, 0, 1] = moves[1, 1, 0] = 1
    mdp = tabular_mdp(moves, np.array([[0.1, -0.5], [0.4, 1.0]]), np.eye(2)[0], dtype=jnp.float64)
    best = optimise(limit_average(), mdp, key=jax.random.key(1), starts=1, steps=300)
    np.testing.assert_allclose(best.value, 0.4, atol=5e-3)  # go over and stay, for 0.4; back and forth gives 0.25


@pytest.mark.parametrize(
    ("objective", "mdp", "message"),
    [
        (
            markov(1.0),
            endless,
            "from state 0 a policy may go on for ever, and the equations of its value are singular",
        ),
        (markov(1.5), layered, r"a discount lies in \[0, 1\]; got 1.5"),
        (policy_order(LEXICOGRAPHIC), layered, "PO orders policies without a number"),
        (temporal_logic("F odd & F even", {"odd": np.ones(5, bool)}), layered, "no proposition 'even'"),
        (temporal_logic("F odd", {"odd": np.ones(4, bool)}), layered, r"'odd' is bool\[4\]; expected booleans"),
    ],
)
def test_what_is_not_defined_is_refused(objective, mdp, message):
    with pytest.raises(ValueError, match=message):
        optimise(objective, mdp(), key=jax.random.key(0))


def test_episodes_without_end_are_not_listed():
    with pytest.raises(ValueError, match=r"may come back to state \d, so there is no end"):
        trajectories(endless())
    assert len(FORMALISMS) == 17
