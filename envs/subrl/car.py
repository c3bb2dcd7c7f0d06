"""A miniature race car (scale 1:43) on a track: how far it gets is what an episode is worth.

The car-racing task of submodular reinforcement learning (Prajapat et al. 2024, arXiv:2307.13372). The car is a bicycle
model with tyre forces and, where it is too slow for these, without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.envs.subrl.track import Track, generated_track, read_track
from jaxreward.learning.lazy import when

Scalar = Float[Array, ""]
Parameter = Float[Array, ""] | float
Step = TypeVar("Step", bound=PyTree)


class Motion(NamedTuple):
    """Where the car is along the track, and how it moves.

    Attributes:
        s: Distance along the centre line, in m.
        d: Distance to the left of the centre line, in m.
        mu: Heading against that of the centre line, in radians, left is positive.
        vx: Velocity forwards, in m/s.
        vy: Velocity to the left, in m/s.
        r: Yaw rate, in radians/s, left is positive.
    """

    s: Scalar
    d: Scalar
    mu: Scalar
    vx: Scalar
    vy: Scalar
    r: Scalar


class Rolling(NamedTuple):
    """The motion of a car whose wheels don't slip: `v` is the speed, in m/s, the rest is as in `Motion`."""

    s: Scalar
    d: Scalar
    mu: Scalar
    v: Scalar


class Action(NamedTuple):
    """What the car executes: throttle in [-1, 1] and the steering angle in radians, left is positive."""

    throttle: Scalar
    steering: Scalar


@struct.dataclass
class CarState(environment.EnvState):
    """State of an episode.

    Attributes:
        time: Steps since its start, int32.
        motion: Of the car.
    """

    motion: Motion


@struct.dataclass(kw_only=True)
class CarParams(environment.EnvParams):
    """Params of the car and its task, all traced.

    Attributes:
        max_steps_in_episode: Time limit in steps of `dt`; reaching it truncates.
        track: Where it drives.
        finish: Distance from the start at which the car has arrived, in m.
        noise: Standard deviation of what is added to an action before it is executed, in the units of the action.
        offset: How far from the centre line the car starts, to a side that is drawn, in m.
        dt: Seconds of a step.
        cm1: Force of the motor at rest and full throttle, in N.
        cm2: How much of that force is lost with speed, in N s/m.
        cr0: Rolling resistance, in N.
        cr2: Drag, in N s^2/m^2.
        br: Stiffness factor of the rear tyres (Pacejka's `B`).
        cr: Shape factor of the rear tyres (`C`).
        dr: Largest lateral force of the rear tyres, in N (`D`).
        bf: Stiffness factor of the front tyres.
        cf: Shape factor of the front tyres.
        df: Largest lateral force of the front tyres, in N.
        mass: In kg.
        inertia: About the vertical axis, in kg m^2.
        lf: Distance of the front axle from the centre of mass, in m.
        lr: Distance of the rear axle from the centre of mass, in m.
    """

    max_steps_in_episode: int = 700
    track: Track
    finish: Parameter
    noise: Parameter = 0.0
    offset: Parameter = 0.1
    dt: Parameter = 0.03
    cm1: Parameter = 0.287
    cm2: Parameter = 0.054527
    cr0: Parameter = 0.051891
    cr2: Parameter = 0.000348
    br: Parameter = 3.3852 / 1.2
    cr: Parameter = 1.2691
    dr: Parameter = 0.1737 * 1.2
    bf: Parameter = 2.579
    cf: Parameter = 1.2
    df: Parameter = 0.192 * 1.05
    mass: Parameter = 0.041
    inertia: Parameter = 27.8e-6
    lf: Parameter = 0.029
    lr: Parameter = 0.033


class Car(environment.Environment[CarState, CarParams]):
    """The car's task: get on along the track, and to the finish.

    * Actions are throttle and steering angle (radians), `[2]`, clipped to [-1, 1].
    * Observations are `s, d, mu, vx, vy`, see `Motion`, `[5]` in their own units: the yaw rate stays hidden.
    * The reward of a step is the progress it makes in metres, minus 0.01, minus 1 off the track, plus 1 at the finish.
      An episode's progress is what its states are worth together: the distance that the last one reached.
      `info["reward/modular"]` has that of each state alone: the distance from the start in place of the progress.
    * `info["progress"]` is the distance from the start as a share of that to the finish.
    * Leaving the track or reaching the finish terminates, the time limit truncates.

    The side of the start is drawn for each episode (the authors draw one side for a whole batch).
    """

    def __init__(self, track: Track | None = None) -> None:
        """Makes the environment.

        Args:
            track: Where the car drives in `default_params`, for one lap; `generated_track()` if none is given.
        """
        super().__init__()
        self.track = generated_track() if track is None else track

    @property
    def default_params(self) -> CarParams:
        """The authors' car, on the track the environment was made with."""
        return CarParams(track=self.track, finish=self.track.length)

    @property
    def name(self) -> str:
        """What `make` calls it."""
        return "subrl/car"

    @property
    def num_actions(self) -> int:
        """Throttle and steering."""
        return 2

    def action_space(self, params: CarParams | None = None) -> spaces.Box:
        """Throttle and steering, `[2]` in [-1, 1]."""
        return spaces.Box(-1.0, 1.0, (2,))

    def observation_space(self, params: CarParams | None = None) -> spaces.Box:
        """`s, d, mu, vx, vy`, unbounded."""
        return spaces.Box(-jnp.inf, jnp.inf, (5,))

    def reset_env(self, key: Key[Array, ""], params: CarParams) -> tuple[Float[Array, " 5"], CarState]:
        """The car at rest on the start line, to the left or to the right of the centre line."""
        side = jax.random.rademacher(key, dtype=float)
        rest = jnp.zeros(())
        state = CarState(jnp.zeros((), jnp.int32), Motion(rest, side * params.offset, rest, rest, rest, rest))
        return _observe(state.motion), state

    def step_env(
        self, key: Key[Array, ""], state: CarState, action: Float[Array, " 2"], params: CarParams
    ) -> tuple[Float[Array, " 5"], CarState, Scalar, Bool[Array, ""], dict[str, Array]]:
        """Observation, state, reward, terminated and info after `action`."""
        executed = jnp.clip(_disturbed(key, action, params.noise), -1, 1)
        motion = drive(state.motion, Action(*executed), params)
        off, finished = is_off_track(motion, params), motion.s >= params.finish
        apart_from_progress = finished.astype(float) - off.astype(float) - 0.01
        info = {
            "progress": motion.s / params.finish,
            "reward/modular": motion.s + apart_from_progress,
        }
        reward = motion.s - state.motion.s + apart_from_progress
        return _observe(motion), CarState(state.time + 1, motion), reward, off | finished, info

    def is_terminated(self, state: CarState, params: CarParams) -> Bool[Array, ""]:
        """Whether the car is off the track or at the finish."""
        return is_off_track(state.motion, params) | (state.motion.s >= params.finish)


def car(track: Track | str | None = None, seed: int = 0) -> Car:
    """The car on a track.

    Args:
        track: A track, or a file or folder for `read_track`; a generated one if none is given.
        seed: Of the generated track.

    Raises:
        ValueError: If the file does not describe a track.
    """
    if track is None:
        return Car(generated_track(seed))
    return Car(track if isinstance(track, Track) else read_track(track))


def is_off_track(motion: Motion, params: CarParams) -> Bool[Array, ""]:
    """Whether the centre of mass is at or beyond a border."""
    place = params.track.at(motion.s)
    return (motion.d >= place.upper) | (motion.d <= place.lower)


def drive(motion: Motion, action: Action, params: CarParams) -> Motion:
    """The motion after a step of `dt` seconds.

    Both models take a step with the same action. Their results are mixed by the speed at its start, from only the
    kinematic one up to 0.3 m/s to only the dynamic one from 0.5 m/s on.
    """
    slipping = runge_kutta(lambda x: dynamic(x, action, params), motion, params.dt)
    start = Rolling(motion.s, motion.d, motion.mu, jnp.hypot(motion.vx, motion.vy))
    rolling = _with_velocities(runge_kutta(lambda x: kinematic(x, action, params), start, params.dt), action, params)
    share = jnp.clip((motion.vx - 0.3) / 0.2, 0, 1)

    def mix(slips: Scalar, rolls: Scalar) -> Scalar:
        return jnp.where(share > 0, share * slips + (1 - share) * rolls, rolls)  # slip is 0 / 0 backwards at 1e-5 m/s

    return jax.tree.map(mix, slipping, rolling)


def _disturbed(key: Key[Array, ""], action: Float[Array, " 2"], noise: Parameter) -> Float[Array, " 2"]:
    def disturb(action: Float[Array, " 2"], key: Key[Array, ""]) -> Float[Array, " 2"]:
        return action + noise * jax.random.normal(key, (2,))

    return when(
        jnp.asarray(noise) != 0, disturb, jnp.asarray(action, float), key
    )  # normal numbers cost a third of a step


def dynamic(motion: Motion, action: Action, params: CarParams) -> Motion:
    """Time derivatives of the bicycle model with tyre forces, along the centre line (curvilinear coordinates)."""
    _, _, mu, vx, vy, r = motion
    throttle, steering = action
    p = params
    forwards = p.cm1 * throttle - p.cm2 * vx * throttle - p.cr2 * vx**2 - p.cr0
    front_slip = steering - jnp.atan((p.lf * r + vy) / (vx + 1e-5))
    rear_slip = jnp.atan((p.lr * r - vy) / (vx + 1e-5))
    front = p.df * jnp.sin(p.cf * jnp.atan(p.bf * front_slip))
    rear = p.dr * jnp.sin(p.cr * jnp.atan(p.br * rear_slip))
    progress = (vx * jnp.cos(mu) - vy * jnp.sin(mu)) / _stretch(motion, p)
    return Motion(
        s=progress,
        d=vx * jnp.sin(mu) + vy * jnp.cos(mu),
        mu=r - p.track.at(motion.s).curvature * progress,
        vx=(forwards - front * jnp.sin(steering)) / p.mass + vy * r,
        vy=(rear + front * jnp.cos(steering)) / p.mass - vx * r,
        r=(front * p.lf * jnp.cos(steering) - rear * p.lr) / p.inertia,
    )


def kinematic(rolling: Rolling, action: Action, params: CarParams) -> Rolling:
    """Time derivatives of the bicycle model whose wheels don't slip.

    Up to 0.1 m/s the throttle is at least what balances the resistance, so that braking does not drive backwards.
    """
    _, _, mu, v = rolling
    p = params
    resistance = p.cr0 + p.cr2 * v**2
    balance = resistance / (p.cm1 - p.cm2 * v)
    throttle = jnp.where(v <= 0.1, jnp.maximum(action.throttle, balance), action.throttle)
    beta = _drift(action, p)
    progress = v * jnp.cos(beta + mu) / _stretch(rolling, p)
    return Rolling(
        s=progress,
        d=v * jnp.sin(beta + mu),
        mu=v * jnp.sin(beta) / p.lr - p.track.at(rolling.s).curvature * progress,
        v=((p.cm1 - p.cm2 * v) * throttle - resistance) / p.mass,
    )


def runge_kutta(derivative: Callable[[Step], Step], x: Step, dt: Parameter) -> Step:
    """`x` after `dt` seconds, by one step of the classical fourth-order method."""

    def ahead(slope: Step, seconds: Parameter) -> Step:
        return jax.tree.map(lambda x, dx: x + seconds * dx, x, slope)

    k1 = derivative(x)
    k2 = derivative(ahead(k1, dt / 2))
    k3 = derivative(ahead(k2, dt / 2))
    k4 = derivative(ahead(k3, dt))
    return jax.tree.map(lambda x, a, b, c, d: x + dt * (a + 2 * b + 2 * c + d) / 6, x, k1, k2, k3, k4)


def _with_velocities(rolling: Rolling, action: Action, params: CarParams) -> Motion:
    beta = _drift(action, params)
    vx, vy = rolling.v * jnp.cos(beta), rolling.v * jnp.sin(beta)
    return Motion(*rolling[:3], vx, vy, vx * jnp.tan(action.steering) / (params.lf + params.lr))


def _drift(action: Action, params: CarParams) -> Scalar:
    """Angle between the car's axis and the direction in which its centre of mass moves, without slip."""
    return jnp.atan(params.lr * jnp.tan(action.steering) / (params.lf + params.lr))


def _stretch(motion: Motion | Rolling, params: CarParams) -> Scalar:
    """Metres that the car drives for a metre of the centre line.

    They go to zero at the centre of curvature, where distances along the centre line have no meaning; what is less than
    0.05 counts as that, so that progress stays finite.
    """
    return jnp.maximum(1 - params.track.at(motion.s).curvature * motion.d, 0.05)


def _observe(motion: Motion) -> Float[Array, " 5"]:
    return jnp.stack(motion[:5])
