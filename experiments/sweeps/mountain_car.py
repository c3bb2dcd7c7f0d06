"""A reward of one's own: a car that is paid for the energy it gains, on top of what every step costs."""

import jax
import jax.numpy as jnp

from jaxreward import Transition
from jaxreward.rewards import environment_reward, markov, weighted


def energy(observation: jax.Array) -> jax.Array:
    """Height and speed as energy, in units of the engine's force times distance."""
    position, velocity = observation
    return 2.5 * jnp.sin(3 * position) / 3 + velocity**2 / 0.002


def gain(transition: Transition) -> jax.Array:
    """What the last step added to it."""
    return energy(transition.next_observation) - energy(transition.observation)


reward = weighted(time=environment_reward(), gain=(markov(gain), 1.0))
