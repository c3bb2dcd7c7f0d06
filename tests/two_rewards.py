"""Two rewards at once, of which one is much larger: what is given by name to agents that take a vector."""

import jax.numpy as jnp

from jaxreward.rewards import stack

both = stack(lambda t: 10.0 * t.reward, lambda t: -0.1 * jnp.square(t.action).sum())
