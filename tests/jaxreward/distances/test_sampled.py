"""Distances of samples against the exact ones of a tabular MDP, and how they come near."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.cli import main
from jaxreward.distances import starc_distance
from jaxreward.distances.compared import _with_interval
from jaxreward.distances.sampled import Place, distance_of, estimated, pair_of, products, resampled
from jaxreward.environment import WithRewardParams, with_reward
from jaxreward.envs import make
from jaxreward.mdp import TabularEnv, TabularState, tabular_mdp
from jaxreward.reward import markov
from jaxreward.rewards import constant

S, A, GAMMA, SAMPLES = 4, 3, 0.5, 3_000
RNG = np.random.default_rng(0)
END = np.arange(S) == S - 1
MDP = tabular_mdp(RNG.dirichlet(np.ones(S), (S, A)), RNG.normal(size=(S, A, S)), terminal=END)
OTHER = np.where(END[:, None, None], 0, np.asarray(MDP.reward) + RNG.normal(size=(S, A, S)))


def rewarded(table):
    """The MDP with a reward that reads a table by what is seen before and after, so for any next state."""
    inside = TabularEnv(MDP)
    seen = lambda t: (jnp.argmax(t.observation), t.action, jnp.argmax(t.next_observation))  # noqa: E731
    env = with_reward(inside, markov(lambda t: jnp.asarray(table)[seen(t)]))
    return env, WithRewardParams(inside.default_params, ())


def exact_epic(first, second):
    """Of the states that episodes go on from, half of the STARC distance, by loops of numpy's means."""
    canonical = []
    for table in (first, second):
        table = np.asarray(table)[:-1, :, :-1]
        mean = table.mean((1, 2))
        each = table + GAMMA * mean[None, None, :] - mean[:, None, None] - GAMMA * mean.mean()
        canonical.append(each / np.linalg.norm(each))
    return np.linalg.norm(canonical[0] - canonical[1]) / 2


@pytest.fixture(scope="module")
def found():
    """Products of samples from each state in turn but the last, which is terminal, by kind `[N, 3]`."""
    pair = pair_of(*rewarded(MDP.reward), *rewarded(OTHER))
    index = jnp.arange(SAMPLES, dtype=jnp.int32) % (S - 1)
    state = TabularState(index=index, time=jnp.zeros_like(index))
    places = Place(jax.nn.one_hot(index, S, dtype=jnp.float32), state)
    run = jax.jit(lambda key, places: estimated(pair, places, GAMMA, 2, key))
    told = run(jax.random.key(0), places)
    return {kind: np.stack(getattr(told, kind), -1).astype(float) for kind in ("val", "dard", "epic")}


@pytest.fixture(scope="module")
def exact():
    with jax.enable_x64(True):
        weighted = {"norm": "weighted_l2", "metric": "weighted_l2"}
        mdp = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), float) if x.dtype != bool else x, MDP)
        mdp = mdp._replace(transition=mdp.transition / mdp.transition.sum(-1, keepdims=True))
        kinds = {"val": {}, "dard": weighted}
        run = jax.jit(lambda mdp, other: [starc_distance(mdp, other, GAMMA, kind=k, **o) for k, o in kinds.items()])
        val, dard = run(mdp, jnp.asarray(OTHER, float))
    return {"val": float(val), "dard": float(dard), "epic": 2 * exact_epic(MDP.reward, OTHER)}


@pytest.mark.parametrize("kind", ["val", "dard", "epic"])
def test_samples_come_to_the_exact_distance(kind, found, exact):
    """Within four standard errors, and ten times as many come nearer: of each part of them the error is larger."""
    rows, true = found[kind], exact[kind]
    error = distance_of(resampled(rows)).std()
    estimate = distance_of(rows.mean(0))
    assert error < 0.05
    assert abs(estimate - true) < 4 * error
    parts = np.array([distance_of(part.mean(0)) for part in rows.reshape(10, -1, 3)])
    assert abs(estimate - true) < 0.6 * np.sqrt(np.nanmean((parts - true) ** 2))
    assert 0.3 < true < 1.7


def test_noise_adds_nothing_to_products():
    """Of canonical rewards 1 and 2 under noise of 3: opposite signs would show as a distance of 2."""
    noise = 3 * RNG.normal(size=(200_000, 2, 2))
    means = np.array([float(each.mean()) for each in products(np.array([1.0, 2.0]) + noise)])
    np.testing.assert_allclose(means, [1, 4, 2], atol=0.15)
    assert distance_of([1.0, 4.0, -2.0]) == 2
    assert distance_of([1.0, 4.0, 2.0]) == 0
    assert np.isnan(distance_of([-0.1, 4.0, 2.0]))


def test_where_some_draws_leave_no_reward_noise_is_named():
    """The first reward's products are 3 and -1: of the second state alone there is none."""
    row = _with_interval(np.array([[3.0, 1.0, 1.0], [-1.0, 1.0, 1.0]]), distance_of, ("VAL", 2.0, "shaping"))
    assert row.value == 0
    assert np.isnan([row.low, row.high]).all()
    assert "noise is larger" in row.about


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "average/river_swim", "--samples", "10"], "leave out --samples"),
        (["--env", "games/gems"], "is a game"),
        (["--env", "CartPole-v1", "--discount", "1"], "discount from 0 to below 1"),
        (["--env", "CartPole-v1", "--samples", "1"], "2 samples and 1 draw at least"),
    ],
)
def test_what_the_command_refuses(arguments, message, capsys):
    assert main(["distance", "environment", "environment", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_what_has_no_distance():
    env, params = make("Pendulum-v1")
    vector = with_reward(env, constant([1.0, 2.0])), WithRewardParams(params, jnp.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="is a vector"):
        pair_of(*vector, env, params)
