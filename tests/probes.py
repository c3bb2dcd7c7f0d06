"""Environments so small that everything about them is known: what to do, what it is worth, what happens next.

`Probe` is one environment and each probe a setting of its params, so that one compiled program trains an agent on all.
A cue of -1 or 1 is drawn at the start, an episode has a fixed length, and the reward is a sum of a constant, the cue,
the action and whether the action matches the cue.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment


@struct.dataclass
class ProbeState:
    cue: jax.Array
    time: jax.Array


@struct.dataclass
class ProbeParams:
    """What an episode shows, what it pays, and how it ends."""

    length: int = 1
    terminates: bool = True  # otherwise it is truncated, and would have gone on
    pays_last: bool = False  # nothing but the last step pays
    cue_steps: int = 1  # for how many steps the cue is shown
    shows_time: bool = False
    constant: float = 0.0
    cue: float = 0.0
    action: float = 0.0
    match: float = 0.0


class Probe(Environment):
    """Observes `[cue, time]`, as far as they are shown; two actions, whose signs are -1 and 1."""

    @property
    def default_params(self) -> ProbeParams:
        return ProbeParams()

    def reset_env(self, key, params):
        state = ProbeState(jax.random.rademacher(key, (), float), jnp.zeros((), jnp.int32))
        return self.observation(state, params), state

    def step_env(self, key, state, action, params):
        after = state.replace(time=state.time + 1)
        last = after.time >= params.length
        sign = self.sign(action)
        reward = params.constant + params.cue * state.cue + params.action * sign + params.match * state.cue * sign
        reward = jnp.where(last | ~jnp.asarray(params.pays_last), reward, 0.0)
        return self.observation(after, params), after, reward, last & params.terminates, {}

    def sign(self, action):
        return 2.0 * action - 1.0

    def observation(self, state, params):
        return jnp.stack(
            [state.cue * (state.time < params.cue_steps), state.time * jnp.asarray(params.shows_time, float)]
        )

    def is_truncated(self, state, params):
        return (state.time >= params.length) & ~jnp.asarray(params.terminates)

    def action_space(self, params=None):
        return spaces.Discrete(2)

    def observation_space(self, params=None):
        return spaces.Box(-1.0, jnp.inf, (2,))


class TargetProbe(Probe):
    """One continuous action in [-2, 2], which should be half of the cue: it costs the squared distance."""

    def step_env(self, key, state, action, params):
        after = state.replace(time=state.time + 1)
        reward = params.constant - jnp.square(action[0] - state.cue / 2)
        return self.observation(after, params), after, reward, after.time >= params.length, {}

    def action_space(self, params=None):
        return spaces.Box(-2.0, 2.0, (1,))


@struct.dataclass
class RegulatorState:
    place: jax.Array
    time: jax.Array


class Regulator(Environment):
    """A linear system with quadratic costs, of which everything is known: `x' = x + a`, and pays `1 - x^2 - a^2`.

    One action in [-1, 1.5], of which the best are near 0. Episodes start in [-1, 1], and are cut after four steps.
    """

    @property
    def default_params(self):
        return ()

    def reset_env(self, key, params):
        place = jax.random.uniform(key, (), minval=-1.0, maxval=1.0)
        return place[None], RegulatorState(place, jnp.zeros((), jnp.int32))

    def step_env(self, key, state, action, params):
        after = RegulatorState(state.place + action[0], state.time + 1)
        cost = jnp.square(state.place) + jnp.square(action[0])
        return after.place[None], after, 1 - cost, jnp.zeros((), bool), {}

    def is_truncated(self, state, params):
        return state.time >= 4

    def action_space(self, params=None):
        return spaces.Box(-1.0, 1.5, (1,))

    def observation_space(self, params=None):
        return spaces.Box(-jnp.inf, jnp.inf, (1,))

    @staticmethod
    def solved(discount):
        """`(P, K)` of the discounted Riccati equation: the best is `a = -K x`, worth `1 / (1 - discount) - P x^2`."""
        weight = 0.0
        for _ in range(200):
            gain = discount * weight / (1 + discount * weight)
            weight = 1 + gain**2 + discount * weight * (1 - gain) ** 2
        return weight, gain


@struct.dataclass
class CounterState:
    count: jax.Array
    start: jax.Array


@struct.dataclass
class CounterParams:
    step: float = 1.0
    terminal: float = 5.0  # terminates at a count of this or more
    limit: float = 1e9  # is truncated at a count of this or more


class Counter(Environment):
    """Counts up from a random whole number in [0, 3) by `step`, plus one if the action is 1; pays the count it leaves.

    Everything after the reset is deterministic, and whole numbers, so sums are exact.
    """

    @property
    def default_params(self) -> CounterParams:
        return CounterParams()

    def reset_env(self, key, params):
        count = jax.random.randint(key, (), 0, 3).astype(float)
        return count[None], CounterState(count, count)

    def step_env(self, key, state, action, params):
        after = state.replace(count=state.count + params.step + action)
        return after.count[None], after, state.count, after.count >= params.terminal, {"left": state.count}

    def is_truncated(self, state, params):
        return state.count >= params.limit

    def action_space(self, params=None):
        return spaces.Discrete(2)

    def observation_space(self, params=None):
        return spaces.Box(0.0, jnp.inf, (1,))


class ExpensiveCounter(Counter):
    """A `Counter` that asks for its first start state again instead of a new one."""

    expensive_reset = True


class Randomness(Environment):
    """Random rewards and random ends of both kinds, for bookkeeping; the action means nothing."""

    @property
    def default_params(self) -> CounterParams:
        return CounterParams()

    def reset_env(self, key, params):
        return jax.random.normal(key, (1,)), jnp.zeros((), bool)

    def step_env(self, key, state, action, params):
        key_reward, key_terminated, key_truncated, key_observation = jax.random.split(key, 4)
        truncated = jax.random.bernoulli(key_truncated, 0.1)
        terminated = jax.random.bernoulli(key_terminated, 0.1)
        reward = jax.random.randint(key_reward, (), -8, 9).astype(float)
        return jax.random.normal(key_observation, (1,)), truncated, reward, terminated, {}

    def is_truncated(self, state, params):
        return state

    def action_space(self, params=None):
        return spaces.Discrete(2)

    def observation_space(self, params=None):
        return spaces.Box(-jnp.inf, jnp.inf, (1,))
