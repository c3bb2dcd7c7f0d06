"""Distances between rewards against loops in numpy, linear programmes, and what they must not see."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from jaxreward.distances import (
    CANONICALISATIONS,
    NORMS,
    canonicalise,
    epic_distance,
    erc_distance,
    norm_of,
    npec_distance,
    pearson_distance,
    regret,
    regret_bound,
    spearman_distance,
    starc_distance,
)
from jaxreward.mdp import TabularMDP, policy_value, tabular_mdp

S, A, GAMMA = 4, 3, 0.9
RNG = np.random.default_rng(0)
TRANSITION = RNG.dirichlet(np.ones(S), (S, A))
REWARD, OTHER = RNG.normal(size=(2, S, A, S))
POTENTIAL = RNG.normal(size=S)
KINDS = sorted(CANONICALISATIONS)
SHAPE_ONLY = ("epic", "dard", "val_potential", "minimal_potential")


@pytest.fixture(scope="module", autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def mdp(reward=REWARD):
    return TabularMDP(*map(jnp.asarray, (TRANSITION, reward, np.full(S, 1 / S), np.zeros(S, bool))))


def shape(reward, potential=POTENTIAL):
    return reward + GAMMA * potential[None, None, :] - potential[:, None, None]


def redistribute(reward):
    """The same expected reward of each state and action, paid otherwise."""
    noise = RNG.normal(size=reward.shape)
    return reward + noise - np.sum(TRANSITION * noise, -1, keepdims=True)


canonical = jax.jit(lambda reward: {kind: canonicalise(kind, mdp()._replace(reward=reward), GAMMA) for kind in KINDS})
distances = jax.jit(
    lambda reward, other: {
        (kind, norm, metric): starc_distance(
            mdp()._replace(reward=reward), other, GAMMA, kind=kind, norm=norm or None, metric=metric
        )
        for kind in KINDS
        for norm, metric in (("l2", "l2"), ("l1", "linf"), ("weighted_l2", "weighted_linf"), ("", "l1"))
        if kind != "minimal_potential" or norm
    }
)


def test_val_is_the_advantage_of_the_uniform_policy():
    value = np.linalg.solve(np.eye(S) - GAMMA * TRANSITION.mean(1), np.sum(TRANSITION * REWARD, -1).mean(1))
    q = np.sum(TRANSITION * (REWARD + GAMMA * value), -1)
    np.testing.assert_allclose(canonical(REWARD)["val"], np.repeat((q - value[:, None])[..., None], S, -1), atol=1e-12)
    np.testing.assert_allclose(policy_value(mdp(), jnp.full((S, A), 1 / A), GAMMA), value, atol=1e-12)


def test_epic_and_dard_are_what_their_authors_average():
    m = [np.mean([REWARD[s, a, x] for a in range(A) for x in range(S)]) for s in range(S)]
    e = [np.mean([TRANSITION[s, a] @ REWARD[s, a] for a in range(A)]) for s in range(S)]
    epic, dard = np.empty((2, S, A, S))
    for s, a, t in np.ndindex(S, A, S):
        epic[s, a, t] = REWARD[s, a, t] + GAMMA * m[t] - m[s] - GAMMA * np.mean(m)
        drawn = np.mean([TRANSITION[s, b] @ REWARD[:, b] @ TRANSITION[t, b] for b in range(A)])
        dard[s, a, t] = REWARD[s, a, t] + GAMMA * e[t] - e[s] - GAMMA * drawn
    found = canonical(REWARD)
    np.testing.assert_allclose(found["epic"], epic, atol=1e-12)
    np.testing.assert_allclose(found["dard"], dard, atol=1e-12)


def test_the_smallest_rewards_are_found_by_projection():
    """Shaping and redistribution span a linear space; least squares in its basis is what is left."""
    shaping = [(shape(np.zeros((S, A, S)), unit)).ravel() for unit in np.eye(S)]
    spread = []
    for s, a in np.ndindex(S, A):
        for direction in np.linalg.svd(TRANSITION[s, a][None])[2][1:]:  # orthogonal to the row
            basis = np.zeros((S, A, S))
            basis[s, a] = direction
            spread.append(basis.ravel())
    found = canonical(REWARD)
    for name, basis in (("minimal_potential", shaping), ("minimal", shaping + spread)):
        columns = np.array(basis).T
        rest = REWARD.ravel() - columns @ np.linalg.lstsq(columns, REWARD.ravel())[0]
        np.testing.assert_allclose(found[name].ravel(), rest, atol=1e-10)


@pytest.mark.parametrize("norm", ["l1", "weighted_l1"])
def test_the_least_sum_of_absolute_values_by_shaping(norm):
    weight = (TRANSITION if norm == "weighted_l1" else np.ones_like(TRANSITION)).ravel()
    slope = np.array([shape(np.zeros((S, A, S)), unit).ravel() for unit in np.eye(S)]).T
    rows, ones = REWARD.size, np.eye(REWARD.size)
    bound = linprog(
        np.concatenate([np.zeros(S), weight]),
        np.block([[slope, -ones], [-slope, -ones]]),
        np.concatenate([-REWARD.ravel(), REWARD.ravel()]),
        bounds=[(None, None)] * S + [(0, None)] * rows,
    )
    found = canonicalise("minimal_potential", mdp(), GAMMA, norm=norm)
    assert bound.fun - 1e-9 <= norm_of(norm, found, mdp().transition) <= bound.fun * (1 + 1e-4)  # what it promises


def test_what_no_policy_can_be_told_by_is_no_difference():
    for (kind, norm, _), distance in distances(REWARD, 3.7 * shape(REWARD)).items():
        assert (distance < 1e-10) == (kind != "none" and norm != ""), (kind, norm)
    told = distances(REWARD, 3.7 * redistribute(shape(REWARD)))
    assert all(told[kind, "l2", "l2"] < 1e-10 for kind in ("val", "minimal"))
    assert all(told[kind, "l2", "l2"] > 0.1 for kind in SHAPE_ONLY)


def test_opposite_rewards_are_as_far_as_can_be():
    for (kind, norm, metric), distance in distances(REWARD, -REWARD).items():
        if (norm, metric) == ("l2", "l2"):
            np.testing.assert_allclose(distance, 2, rtol=1e-12, err_msg=kind)


def test_a_reward_that_tells_nothing_is_at_distance_1():
    for reward in (np.zeros((S, A, S)), shape(np.zeros((S, A, S)))):
        found = distances(REWARD, reward)
        assert all(np.isclose(found[kind, "l2", "l2"], 1) for kind in ("val", "minimal", "val_potential"))


def test_distances_are_symmetric_and_obey_the_triangle():
    third = RNG.normal(size=REWARD.shape)
    there, back = distances(REWARD, OTHER), distances(OTHER, REWARD)
    round_about = {key: distances(REWARD, third)[key] + distances(third, OTHER)[key] for key in there}
    for key in there:
        np.testing.assert_allclose(there[key], back[key], rtol=1e-9)
        assert there[key] <= round_about[key] + 1e-12


def test_epic_is_a_correlation():
    a, b = (np.asarray(canonical(reward)["epic"]).ravel() for reward in (REWARD, OTHER))
    expected = np.sqrt((1 - np.corrcoef(a, b)[0, 1]) / 2)
    np.testing.assert_allclose(epic_distance(mdp(), OTHER, GAMMA), expected, rtol=1e-10)


def gridworld():
    """3 by 3; right, down, left, up, stay."""
    transition = np.zeros((9, 5, 9))
    for row, column in np.ndindex(3, 3):
        for action, (down, right) in enumerate([(0, 1), (1, 0), (0, -1), (-1, 0), (0, 0)]):
            to = min(max(row + down, 0), 2) * 3 + min(max(column + right, 0), 2)
            transition[row * 3 + column, action, to] = 1
    return transition


def test_the_gridworld_of_epics_authors():
    """Rewards of `evaluating-rewards`; the distances to "center" are computed apart from this code."""
    discount, place = 0.99, np.arange(9)
    far = -(2 - place // 3) - (2 - place % 3.0)

    def by_state(reward, potential):
        paid = np.broadcast_to(np.asarray(reward, float).reshape(9, 1, 1), (9, 5, 9))
        return paid + discount * potential[None, None, :] - potential[:, None, None]

    goal, nothing = np.eye(9)[8], np.zeros(9)
    same = [by_state(goal + 1, nothing), by_state(10 * goal, nothing), by_state(goal, far), by_state(goal, -far)]
    same.append(by_state(4 * goal - 1, 3 * far))
    sparse = tabular_mdp(gridworld(), by_state(goal, nothing))
    half = jax.jit(lambda other, kind: starc_distance(sparse, other, discount, kind=kind) / 2, static_argnums=1)
    for kind, center in (("epic", 0.75), ("dard", 0.7518), ("val", 0.7695)):
        for reward in same:
            assert half(reward, kind) < 1e-6
        np.testing.assert_allclose(half(by_state(np.eye(9)[4], nothing), kind), center, atol=5e-5)


def test_npec_is_the_least_of_all_scales_and_potentials():
    columns = np.array([REWARD.ravel(), *(shape(np.zeros((S, A, S)), unit).ravel() for unit in np.eye(S))]).T
    for sign in (1, -1):
        other = (OTHER + 0.5 * sign * REWARD).ravel()
        found = np.linalg.lstsq(columns, other)[0]
        used = columns if found[0] > 0 else columns[:, 1:]
        rest = lambda c, other=other: np.linalg.norm(other - c @ np.linalg.lstsq(c, other)[0])  # noqa: E731
        expected = rest(used) / rest(columns[:, 1:])
        np.testing.assert_allclose(npec_distance(mdp(), other.reshape(S, A, S), GAMMA), expected, rtol=1e-9)
    assert npec_distance(mdp(), 3 * shape(REWARD) + 2, GAMMA) < 1e-6
    np.testing.assert_allclose(npec_distance(mdp(), -REWARD, GAMMA), 1)


def test_regret_by_trying_every_policy():
    values = {}
    for choice in itertools.product(range(A), repeat=S):
        followed = np.eye(A)[list(choice)]
        values[choice] = [
            np.mean(
                np.linalg.solve(
                    np.eye(S) - GAMMA * np.einsum("sa,sat->st", followed, TRANSITION),
                    np.sum(followed[..., None] * TRANSITION * reward, (1, 2)),
                )
            )
            for reward in (REWARD, OTHER)
        ]
    mine = np.array(list(values.values()))
    chosen = mine[mine[:, 1].argmax(), 0]
    expected = (mine[:, 0].max() - chosen) / np.ptp(mine[:, 0])
    assert expected > 0.05
    np.testing.assert_allclose(regret(mdp(), OTHER, GAMMA), expected, rtol=1e-9)
    np.testing.assert_allclose(regret(mdp(), -REWARD, GAMMA), 1, rtol=1e-9)
    assert regret(mdp(), 2 * shape(REWARD), GAMMA) < 1e-9
    for nothing in (np.ones((S, A, S)), shape(np.zeros((S, A, S)), 10 * POTENTIAL)):  # all policies are worth the same
        assert regret(mdp(nothing), OTHER, GAMMA) == 0


def test_the_bound_holds_and_is_nothing_where_rewards_agree():
    """Rewards between one and another: the nearer, the less it can cost."""
    steps = jnp.linspace(0, 1, 24)

    def at(step):
        other = mdp().reward + (OTHER - mdp().reward) * step
        return regret(mdp(), other, GAMMA), regret_bound(mdp(), other, GAMMA)

    lost, bound = jax.jit(jax.vmap(at))(steps)
    assert (lost <= bound + 1e-12).all()
    assert lost[-1] > 0.05
    assert bound[0] < 1e-9 < bound[1]


def test_correlations():
    a, b = RNG.normal(size=(2, 30))
    weight = RNG.uniform(size=30)
    np.testing.assert_allclose(pearson_distance(a, b), np.sqrt((1 - np.corrcoef(a, b)[0, 1]) / 2))
    expected = np.cov(a, b, aweights=weight)
    rho = expected[0, 1] / np.sqrt(expected[0, 0] * expected[1, 1])
    np.testing.assert_allclose(pearson_distance(a, b, weight), np.sqrt((1 - rho) / 2))
    assert erc_distance(a, 3 * a + 1) < 1e-7
    np.testing.assert_allclose(erc_distance(a, -a), 1)
    assert spearman_distance(a, np.exp(a)) < 1e-7
    ties = np.array([1.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0])
    np.testing.assert_allclose(spearman_distance(*map(jnp.asarray, ties)), np.sqrt((1 - 0.5) / 2))  # rho of tied ranks


@pytest.mark.parametrize("norm", NORMS)
def test_norms(norm):
    weight = TRANSITION if norm.startswith("weighted") else 1.0
    size = np.abs(REWARD)
    known = {"l1": np.sum(weight * size), "l2": np.sum(weight * size**2) ** 0.5, "linf": np.max(weight * size)}
    np.testing.assert_allclose(norm_of(norm, mdp().reward, mdp().transition), known[norm.removeprefix("weighted_")])


def test_names_that_are_none():
    with pytest.raises(ValueError, match=r"'vall'.*did you mean 'val'"):
        starc_distance(mdp(), OTHER, GAMMA, kind="vall")
    with pytest.raises(ValueError, match="l3"):
        starc_distance(mdp(), OTHER, GAMMA, norm="l3")
    with pytest.raises(ValueError, match="norm to minimise by shaping"):
        canonicalise("minimal_potential", mdp(), GAMMA, norm="linf")
