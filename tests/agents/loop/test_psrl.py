"""PSRL: the moments of its posterior, and when its episodes end."""

import itertools
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np

from jaxreward.agents.loop.parts.counts import Counts
from jaxreward.agents.loop.parts.optimism import Held
from jaxreward.agents.loop.psrl import Hyperparams, drawn_world, longer_or_doubled

DRAWS = 20_000


def test_worlds_are_drawn_from_the_posterior():
    """Means and variances of 24 numbers, by tests of normal means: a right posterior fails one time in 10,000."""
    following = np.array([[[3.0, 0, 1], [0, 0, 0]], [[0, 50, 20], [9, 0, 0]], [[0, 0, 0], [1, 1, 1]]])
    visits = following.sum(-1)
    reward = visits * np.array([[0.2, 0.9], [0.5, 1.0], [0.3, 0.0]])
    prior = Hyperparams(prior_following=0.5, prior_reward=2.0)

    @jax.jit
    @jax.vmap
    def draw(key):
        counts = Counts(*map(jnp.float32, (following, reward, reward)))
        look_ahead = drawn_world(counts, prior, key)
        nothing = look_ahead(jnp.zeros(3))
        return nothing, jnp.stack([look_ahead(bias) - nothing for bias in jnp.eye(3)], axis=-1)

    rewards, rows = (np.array(each, float) for each in draw(jax.random.split(jax.random.key(0), DRAWS)))
    assert rewards.min() >= 0
    assert rewards.max() <= 1
    np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-5)
    successes, total = 2 + reward, 4 + visits
    share, whole = 0.5 + following, (1.5 + visits)[..., None]
    for drawn, one, both in ((rewards, successes, total), (rows, share, whole)):
        mean = one / both
        variance = mean * (1 - mean) / (both + 1)
        critical = NormalDist().inv_cdf(1 - 1e-4 / (2 * 2 * 24))
        for sample, expected in ((drawn, mean), ((drawn - mean) ** 2, variance)):
            off = sample.mean(0) - expected
            assert (np.abs(off) <= critical * sample.std(0) / DRAWS**0.5 + 1e-6).all()


def test_episodes_of_tsde_are_one_step_longer_or_end_with_a_doubled_count():
    """Every step of a walk, against the rule of the paper in integers."""
    rng, steps = np.random.default_rng(0), 300
    counts, since, length, start, cases, lengths = np.zeros((2, 2)), np.zeros((2, 2)), 0, 0, [], []
    for t in range(steps):
        # It goes on while t <= t_k + T_{k-1} and no count is above twice what it was.
        over = t > start + length or (counts > 2 * since).any() or t == 0
        cases.append((counts.copy(), since.copy(), length, len(lengths), over))
        if over:
            lengths.append(t - start)
            since, length, start = counts.copy(), t - start, t
        counts[rng.choice(2, p=[0.95, 0.05]), 0] += 1

    def due(visits, since, length, switches):
        following = jnp.stack([visits, 0 * visits], axis=-1)  # half of the states is enough
        return longer_or_doubled(Counts(following, visits, visits), Held(None, since, length, switches))

    *arrays, expected = map(np.array, zip(*cases, strict=True))
    ours = jax.jit(jax.vmap(due))(*(jnp.float32(array) for array in arrays))
    np.testing.assert_array_equal(ours, expected)
    doubled = sum(later != before + 1 for before, later in itertools.pairwise(lengths))
    assert 0 < doubled < len(lengths) - 2  # both rules ended some
    assert max(lengths) > 10
