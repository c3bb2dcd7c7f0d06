"""The collectors of gems do as well as was measured of theirs, at three lengths of patience."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxreward.envs import make
from jaxreward.envs.games.experts import gems_expert
from jaxreward.learning.walker import Walker

EPISODES = 1024
MEASURED = {0.0: (24.6, 27.4), 2.0: (19.4, 24.1), 4.0: (14.9, 23.1)}
"""Return of an agent and length, by slack, of another program with these rules; 4 is about as the paper's players."""


def test_gems_are_collected_as_well_as_by_others():
    env, params = make("games/gems")
    keys = jax.random.split(jax.random.key(0), EPISODES)
    run = lambda slack: Walker(env, params, gems_expert(slack)).run(keys)  # noqa: E731
    found = jax.device_get(jax.jit(jax.vmap(run))(jnp.asarray(list(MEASURED))))
    for number, expected in enumerate(MEASURED.values()):
        for values, mean in zip((found.returns[number], found.lengths[number]), expected, strict=True):
            # Within four standard errors of the difference, theirs taken for as large as ours.
            assert abs(values.mean() - mean) < 4 * np.sqrt(2) * values.std() / np.sqrt(EPISODES)
    np.testing.assert_allclose(found.by_agent.mean(-1)[..., 0], found.returns, rtol=1e-5)
    ended_by_gems = found.lengths < 45
    assert ended_by_gems.mean() > 0.9
