"""The running mean of rewards."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxreward.learning.centring import averaged, no_average


def test_the_mean_weighs_what_it_saw_by_its_age_and_the_start_not_at_all():
    values = jnp.array([3.0, -1.0, 4.0, 1.0, -5.0])
    rates = jnp.array([0.1, 0.5, 1.0])
    follow = lambda rate: jax.lax.scan(lambda a, v: (averaged(a, v, rate),) * 2, no_average(), values)[1].value  # noqa: E731
    means = jax.jit(jax.vmap(follow))(rates)
    for rate, row in zip(np.asarray(rates), means, strict=True):
        for t in range(1, 6):
            weights = (1 - rate) ** np.arange(t)[::-1]
            np.testing.assert_allclose(row[t - 1], np.average(values[:t], weights=weights), rtol=1e-6)
