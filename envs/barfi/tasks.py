"""The tasks of BARFI by name, `barfi/NAME`: a sparse primary reward, and an auxiliary one that may mislead.

Gupta et al., Behavior Alignment via Reward Function Optimization, NeurIPS 2023 (arXiv:2310.19007); numbers and rules
are those of the authors' code. The task's own reward is the primary one; the auxiliary one is in
`info["reward/auxiliary"]`, for an agent or a reward to use, such as `jaxreward.rewards.beside.auxiliary`, their sum.
Its params are in `params.reward["auxiliary"]`; `scale` is relative to the authors'.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.classic_control.cartpole import CartPole
from gymnax.environments.classic_control.cartpole import EnvParams as CartPoleParams
from gymnax.environments.classic_control.cartpole import EnvState as CartPoleState
from gymnax.environments.classic_control.mountain_car import EnvParams as MountainCarParams
from gymnax.environments.classic_control.mountain_car import EnvState as MountainCarState
from gymnax.environments.classic_control.mountain_car import MountainCar
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.environment import WithReward, with_reward
from jaxreward.envs.adapters.brax import BraxEnv
from jaxreward.envs.barfi.box_world import GOAL, BoxWorld, inside
from jaxreward.learning.features import fourier, tile_coding
from jaxreward.names import check_name
from jaxreward.reward import Params, Reward, Transition, as_init, environment_reward, markov
from jaxreward.rewards.beside import beside

BONUS_BOX = ((0.4, 0.4), (0.6, 0.6))
"""Where the misspecified auxiliary reward of the grid world is paid."""


def gridworld(auxiliary: str = "good", scale: float = 1.0, slip: float = 0.1) -> WithReward:
    """A walk through the unit square: -0.1 each step and 100 for the goal, see `BoxWorld`.

    Args:
        auxiliary: Summed over the sub-steps of a step. "good", minus the squared distance to the goal's centre;
            "good_as_shipped", as in the authors' code, which takes `y` to be that of the goal's lower corner, so that
            only `x` counts; "bad", 50 in a box in the middle, as often as one likes, and nothing where the episode
            ends; "none".
        scale: Of the auxiliary reward.
        slip: With which probability the action is replaced by a random one.
    """
    return _task("gridworld", BoxWorld(slip), auxiliary, scale)


def mountain_car(auxiliary: str = "bang", scale: float = 1.0) -> WithReward:
    """MountainCar with a reward of 1 at the goal and 0 before, so that the return says whether it was reached.

    Args:
        auxiliary: "bang", 1 for pushing the way the car rolls and -1 otherwise; "velocity", 10 times the speed; both
            after the step, and nothing where the episode ends. "none".
        scale: Of the auxiliary reward.
    """
    return _task("mountain_car", SparseMountainCar(), auxiliary, scale)


def cartpole(auxiliary: str = "good", scale: float = 1.0) -> WithReward:
    """CartPole with 1 for each of up to 500 steps, and a controller of the pole's angle, which alone reaches them.

    Args:
        auxiliary: "good", 5 for doing what the controller would and -1 otherwise; "bad", minus that; "noisy_bad", as
            "bad" with noise added that is uniform from 0 to 5 where one does what the controller would and from 0 to 1
            otherwise; "noisy_good", minus that, which is not in the authors' code. Nothing where the episode ends.
            "none".
        scale: Of the auxiliary reward.
    """
    world = NoisyCartPole() if auxiliary.startswith("noisy") else CartPole()
    return _task("cartpole", world, auxiliary, scale)


def half_cheetah(auxiliary: str = "control", scale: float = 1.0, **kwargs: Any) -> WithReward:
    """The half cheetah of brax, paid for its forward velocity alone; the authors used MuJoCo's, whose numbers differ.

    Args:
        auxiliary: "control", minus the squared norm of the action; "none".
        scale: Of the auxiliary reward; 1 in the authors' first setting, 4 in that where it misleads.
        **kwargs: What else `BraxEnv` takes.
    """
    return _task("half_cheetah", BraxEnv("halfcheetah", ctrl_cost_weight=0.0, **kwargs), auxiliary, scale)


def _task(name: str, world: Environment, auxiliary: str, scale: float) -> WithReward:
    check_name(f"auxiliary reward of barfi/{name}", auxiliary, AUXILIARIES[name])
    env = with_reward(world, beside(environment_reward(), auxiliary=AUXILIARIES[name][auxiliary](scale)))
    if name in FEATURES:
        env.features = FEATURES[name]
    return env


class SparseMountainCar(MountainCar):
    """gymnax's MountainCar with a reward of 1 at the goal and 2,000 steps to get there."""

    @property
    def default_params(self) -> MountainCarParams:
        return MountainCarParams(max_steps_in_episode=2000)

    def step_env(
        self, key: Key[Array, ""], state: MountainCarState, action: Int[Array, ""], params: MountainCarParams
    ) -> tuple[Array, MountainCarState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        observation, state, _, terminated, info = super().step_env(key, state, action, params)
        return observation, state, terminated.astype(float), terminated, info


class NoisyCartPole(CartPole):
    """gymnax's CartPole, which shows noise in `info["noise"]`, uniform in `[0, 1)`, for rewards: they have no key."""

    def step_env(
        self, key: Key[Array, ""], state: CartPoleState, action: Int[Array, ""], params: CartPoleParams
    ) -> tuple[Array, CartPoleState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        noise_key, key = jax.random.split(key)
        *stepped, info = super().step_env(key, state, action, params)
        return *stepped, {**info, "noise": jax.random.uniform(noise_key)}


def _scaled(fn: Callable[[Params, Transition], Array], scale: float, **numbers: Any) -> Reward:
    """A Markov reward times `scale`. Params: `scale` and each of `numbers`."""
    return markov(lambda params, transition: params["scale"] * fn(params, transition), {"scale": scale, **numbers})


def _while_it_lasts(value: Float[Array, ""], transition: Transition) -> Float[Array, ""]:
    return jnp.where(transition.terminated | transition.truncated, 0.0, value)


def _nothing(params: Params, transition: Transition) -> Float[Array, ""]:
    return jnp.zeros(())


def _closeness(params: Params, transition: Transition, as_shipped: bool = False) -> Float[Array, ""]:
    low, high = params["goal"]
    centre = (low + high) / 2
    x, y = transition.info["substeps"].T
    y = low[1] if as_shipped else y
    return -jnp.where(transition.info["taken"], (x - centre[0]) ** 2 + (y - centre[1]) ** 2, 0.0).sum()


def _bonus(params: Params, transition: Transition) -> Float[Array, ""]:
    earns = transition.info["taken"] & inside(transition.info["substeps"], params["box"])
    return _while_it_lasts(params["bonus"] * earns.sum(), transition)


def _bang(params: Params, transition: Transition) -> Float[Array, ""]:
    velocity, action = transition.next_observation[1], transition.action
    along = ((velocity < 0) & (action == 0)) | ((velocity > 0) & (action == 2))
    return _while_it_lasts(jnp.where(along, 1.0, -1.0), transition)


def _speed(params: Params, transition: Transition) -> Float[Array, ""]:
    return _while_it_lasts(10 * jnp.abs(transition.next_observation[1]), transition)


def _control(params: Params, transition: Transition) -> Float[Array, ""]:
    return -jnp.square(transition.action).sum()


def controller(params: Params, angle: Float[Array, ""], previous: Float[Array, ""]) -> Int[Array, ""]:
    """What a proportional-derivative controller does with the pole at `angle`; it was at `previous`, first at 0."""
    return (params["proportional"] * angle + params["derivative"] * (angle - previous) > 0).astype(jnp.int32)


CONTROLLER = {"proportional": 0.1, "derivative": 0.5}


def _guided(scale: float, agrees: float, differs: float, spread: tuple[float, float] | None = None) -> Reward:
    """What the pole's controller has to say of an action. Its memory is the angle one step before.

    Params: `scale`, `agrees` and `differs`, what is paid for doing what it would and for the other, `spread` of the
    noise in the two cases, and those of `controller`.
    """
    numbers = {"scale": scale, "agrees": agrees, "differs": differs, **CONTROLLER}

    def paid(params: Params, previous: Float[Array, ""], transition: Transition) -> Float[Array, ""]:
        agreed = transition.action == controller(params, transition.observation[2], previous)
        value = jnp.where(agreed, params["agrees"], params["differs"])
        if spread is not None:
            value = value + jnp.where(agreed, *params["spread"]) * transition.info["noise"]
        return _while_it_lasts(params["scale"] * value, transition)

    def step(params: Params, previous: Float[Array, ""], transition: Transition) -> tuple[Array, Float[Array, ""]]:
        return transition.observation[2], paid(params, previous, transition)

    def episode(params: Params, transitions: Transition) -> tuple[Float[Array, " T"], dict[str, Array]]:
        angles = transitions.observation[:, 2]
        previous = jnp.concatenate([jnp.zeros(1), angles[:-1]])
        return jax.vmap(paid, (None, 0, 0))(params, previous, transitions), {}

    init = as_init(numbers if spread is None else {**numbers, "spread": spread})
    return Reward(init, lambda _: jnp.zeros(()), step, episode=episode)


_none = functools.partial(_scaled, _nothing)
AUXILIARIES: dict[str, dict[str, Callable[[float], Reward]]] = {
    "gridworld": {
        "good": functools.partial(_scaled, _closeness, goal=np.array(GOAL)),
        "good_as_shipped": functools.partial(
            _scaled, functools.partial(_closeness, as_shipped=True), goal=np.array(GOAL)
        ),
        "bad": functools.partial(_scaled, _bonus, box=np.array(BONUS_BOX), bonus=50.0),
        "none": _none,
    },
    "mountain_car": {
        "bang": functools.partial(_scaled, _bang),
        "velocity": functools.partial(_scaled, _speed),
        "none": _none,
    },
    "cartpole": {
        "good": functools.partial(_guided, agrees=5.0, differs=-1.0),
        "bad": functools.partial(_guided, agrees=-5.0, differs=1.0),
        "noisy_good": functools.partial(_guided, agrees=5.0, differs=-1.0, spread=(-5.0, -1.0)),
        "noisy_bad": functools.partial(_guided, agrees=-5.0, differs=1.0, spread=(5.0, 1.0)),
        "none": _none,
    },
    "half_cheetah": {"control": functools.partial(_scaled, _control), "none": _none},
}
"""The auxiliary rewards of each task by name, made with a scale."""

TASKS: dict[str, Callable[..., WithReward]] = {
    "gridworld": gridworld,
    "mountain_car": mountain_car,
    "cartpole": cartpole,
    "half_cheetah": half_cheetah,
}

_pole, _car = np.array([2.4, 3.5, 0.2095, 3.5]), np.array([(-1.2, -0.07), (0.5, 0.07)])
FEATURES: dict[str, Callable[[Float[Array, " d"]], Float[Array, " f"]]] = {
    "gridworld": functools.partial(fourier, low=0.0, high=1.0, order=3),
    "mountain_car": functools.partial(tile_coding, low=_car[0], high=_car[1], tiles=4, tilings=5),
    "mountain_car_as_shipped": functools.partial(tile_coding, low=0.0, high=1.0, tiles=4, tilings=5),
    "cartpole": functools.partial(fourier, low=-_pole, high=_pole, order=3),
}
"""The features of observations that the authors learn from, 16, 80, 80 and 256 of them.

The tile coder that their requirements name, PyFixedReps 1.0.0, forgets to rescale what it is given, so that the car's
speed, below 0.07 in tiles 0.25 wide, is hardly seen: `mountain_car_as_shipped`.
"""
