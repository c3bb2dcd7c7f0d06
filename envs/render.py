"""An episode to look at: an animated GIF, or brax's three-dimensional viewer as an HTML page for simulated robots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, PyTree, UInt8
from PIL import Image

from jaxreward.contract.wrappers import Wrapped, WrappedState
from jaxreward.envs.adapters.foreign import lenient
from jaxreward.envs.adapters.physics import PhysicsEnv
from jaxreward.envs.parts.captions import captioned, captions
from jaxreward.envs.parts.drawing import CLASSIC_CONTROL, grid, traces
from jaxreward.envs.subrl.car import Car
from jaxreward.envs.subrl.car_drawing import laps
from jaxreward.envs.subrl.coverage_ant import ArenaAnt
from jaxreward.envs.subrl.coverage_ant_drawing import arenas
from jaxreward.envs.subrl.grid_drawing import walks
from jaxreward.envs.subrl.task import Task
from jaxreward.learning.walker import Facts

_FROM_ABOVE: dict[type[Environment], Callable[[Any, PyTree], Iterator[Image.Image]]] = {
    Car: lambda env, states: laps(env.track, states.motion),
    ArenaAnt: lambda _, states: arenas(np.asarray(states.sim.obs[:, :2])),
}
"""Environments whose pictures show where the agent has been: `(env, states [T, ...]) -> a picture a step`."""

_SIZE, _MOST, _AT_ONCE = 256, 200, 16
"""Of environments' own pictures: their side, how many of an episode are shown, and how many are drawn at a time."""

_FRAME_MS = {"control": 40, "grid": 120}
"""How long a picture is shown; less than 20 ms is slowed down by browsers."""

_GEOMETRY = ("ngeom", "geom_bodyid", "geom_type", "geom_pos", "geom_quat", "geom_size", "geom_dataid")


def render(
    env: Environment,
    states: PyTree,
    observations: PyTree,
    path_stem: str | Path,
    params: PyTree = None,
    facts: Facts | None = None,
) -> Path:
    """Draws an episode in the way that suits the environment.

    Simulated robots (brax, MuJoCo Playground) become an HTML page, everything else a GIF; so do the ants of the arena
    and of the maze, as their bodies are not the point (`save_html` shows them).

    Args:
        env: The environment; wrappers such as `WithReward` are taken off.
        states: Its states, leaves `[T, ...]`.
        observations: What it showed in them, leaves `[T, ...]`.
        path_stem: Where to write, without the ending. Missing folders are made.
        params: The environment's params, which say of a `Task` with several instances which one to draw, and what is in
            an environment's own picture; its default ones if `None`.
        facts: What was done and earned at each of these steps but the last, which a GIF tells below its pictures.

    Returns:
        The path of the file that was written.

    Raises:
        ValueError: If there is no step, or states and observations differ in their number.
    """
    env, states, params = _unwrap(env, states, params)
    if type(env) not in _FROM_ABOVE and not hasattr(env, "image") and _mujoco_model(env) is not None:
        return save_html(env, states, f"{path_stem}.html")
    return save_gif(env, states, observations, f"{path_stem}.gif", params, facts)


def save_gif(
    env: Environment,
    states: PyTree,
    observations: PyTree,
    path: str | Path,
    params: PyTree = None,
    facts: Facts | None = None,
) -> Path:
    """Writes an animation with a picture a step.

    An environment that has a picture of its own, `image(state, params, size)` (`qd/...`), is drawn by it; of an episode
    longer than 200 states as many are shown, evenly spread, the first and the last among them. Classic control, grids,
    the car on its track and the ant in its arena are drawn from their states; observations of the shape `[rows,
    columns]` or `[rows, columns, channels]` (MinAtar) are drawn as grids; any other observation as traces over time.

    Args:
        env: The environment.
        states: Its states, leaves `[T, ...]`.
        observations: What it showed in them, leaves `[T, ...]`.
        path: Where to write.
        params: See `render`.
        facts: See `render`.

    Returns:
        `path`.

    Raises:
        ValueError: If there is no step, or states and observations differ in their number.
    """
    env, states, params = _unwrap(env, states, params)
    _check_lengths(states, observations)
    told = captions(len(jax.tree.leaves(states)[0]), facts)
    pictures = [captioned(picture, told[step]) for step, picture in _numbered(env, states, observations, params)]
    duration = _FRAME_MS["grid" if isinstance(env, Task) or _is_grid(env, observations) else "control"]
    path = _with_folder(path)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=duration, loop=0)
    return path


def picture(env: Environment, state: PyTree, observation: PyTree, params: PyTree = None) -> Image.Image:
    """A picture of one state, as `save_gif` draws it.

    Args:
        env: The environment.
        state: Its state.
        observation: What it shows there.
        params: See `render`.
    """
    one = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree)  # noqa: E731
    env, states, params = _unwrap(env, one(state), params)
    return next(iter(_numbered(env, states, one(observation), params)))[1].convert("RGB")


def save_html(env: Environment, states: PyTree, path: str | Path) -> Path:
    """Writes brax's viewer with an episode of a simulated robot.

    The file holds the system and its motion; the viewer's script is loaded from the web when the page is opened.

    Args:
        env: A brax or MuJoCo Playground environment, possibly wrapped.
        states: Its states, leaves `[T, ...]`.
        path: Where to write.

    Returns:
        `path`.

    Raises:
        ValueError: If the environment is not a simulated robot.
    """
    env, states, _ = _unwrap(env, states)
    model = _mujoco_model(env)
    if model is None:
        raise ValueError(f"{env.name} has no bodies to show in three dimensions; use `save_gif`")
    with lenient():
        from brax.io import html

        page = html.render(_scene(env, model), _motion(states.sim), height="100vh", colab=False)
    path = _with_folder(path)
    path.write_text(page)
    return path


def _unwrap(env: Environment, states: PyTree, params: PyTree = None) -> tuple[Any, PyTree, PyTree]:
    """Takes wrappers off, but a task's own objective, which is drawn."""
    while hasattr(env, "env") and not isinstance(env, Task):
        states = _inside(states) if isinstance(env, Wrapped) else getattr(states, "env", states)
        env, params = env.env, params if isinstance(env, Wrapped) else getattr(params, "env", params)
    return env, states, params


def _inside(states: PyTree) -> PyTree:
    """The states of the environment in a wrapper, where gymnax's wrappers have them."""
    while isinstance(states, WrappedState) or hasattr(states, "env_state"):
        states = states.state if isinstance(states, WrappedState) else states.env_state
    return states


def _check_lengths(states: PyTree, observations: PyTree) -> None:
    lengths = {len(leaf) for leaf in jax.tree.leaves((states, observations))}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(
            f"expected as many states as observations, at least one; got leaves of lengths {sorted(lengths)}"
        )


def _numbered(
    env: Environment, states: PyTree, observations: PyTree, params: PyTree
) -> Iterator[tuple[int, Image.Image]]:
    """The pictures, and of which step each is."""
    if hasattr(env, "image"):
        return _own(env, states, params)
    return enumerate(_pictures(env, states, observations, params))


def _own(env: Any, states: PyTree, params: PyTree) -> Iterator[tuple[int, Image.Image]]:
    """The environment's own pictures, of a long episode not all of them."""
    params = env.default_params if params is None else params
    length = len(jax.tree.leaves(states)[0])
    steps = np.linspace(0, length - 1, min(length, _MOST)).round().astype(int)
    shown = jax.tree.map(lambda leaf: jnp.asarray(leaf)[steps], states)

    def draw(state: PyTree) -> UInt8[Array, "H W 3"]:
        return (255 * env.image(state, params, _SIZE)).round().astype(jnp.uint8)

    pictures = jax.jit(lambda states: jax.lax.map(draw, states, batch_size=_AT_ONCE))(shown)
    return zip(steps.tolist(), map(Image.fromarray, np.asarray(pictures)), strict=True)


def _pictures(env: Environment, states: PyTree, observations: PyTree, params: PyTree) -> Iterator[Image.Image]:
    if isinstance(env, Task):
        return walks(env, states, params)
    if type(env) in _FROM_ABOVE:
        return _FROM_ABOVE[type(env)](env, states)
    if env.name in CLASSIC_CONTROL:
        return map(CLASSIC_CONTROL[env.name], _steps(jax.device_get(states)))
    if _is_grid(env, observations):
        return map(grid, np.asarray(observations))
    leaves = [np.asarray(leaf, float) for leaf in jax.tree.leaves(observations)]
    return traces(np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1))


def _is_grid(env: Environment, observations: PyTree) -> bool:
    return env.name not in CLASSIC_CONTROL and np.ndim(jax.tree.leaves(observations)[0]) in (3, 4)


def _steps(stacked: PyTree) -> list[PyTree]:
    """Leaves `[T, ...]` as a list of `T` trees."""
    length = len(jax.tree.leaves(stacked)[0])
    return [jax.tree.map(lambda leaf, t=t: leaf[t], stacked) for t in range(length)]


def _with_folder(path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _mujoco_model(env: Environment) -> Any:
    """The MuJoCo model behind a simulated environment, or `None` where there is none."""
    if not isinstance(env, PhysicsEnv):
        return None
    simulator = env.simulator
    return getattr(simulator, "mj_model", None) or getattr(getattr(simulator, "sys", None), "mj_model", None)


def _scene(env: PhysicsEnv, model: Any) -> SimpleNamespace:
    """What brax's viewer reads of a system: its bodies' names and geometry, and the seconds between two states."""
    seconds = float(env.simulator.dt) * env.action_repeat
    names = [model.body(index).name for index in range(1, model.nbody)]
    geometry = {field: getattr(model, field) for field in _GEOMETRY}
    return SimpleNamespace(opt=SimpleNamespace(timestep=seconds), link_names=names, mj_model=model, **geometry)


def _motion(sim: PyTree) -> list[SimpleNamespace]:
    """The bodies' positions `[body, 3]` and orientations `[body, 4]` at each step, the world's own left out."""
    if hasattr(sim, "data"):
        positions, orientations = sim.data.xpos[:, 1:], sim.data.xquat[:, 1:]
    else:
        positions, orientations = sim.pipeline_state.x.pos, sim.pipeline_state.x.rot
    poses = zip(np.asarray(positions), np.asarray(orientations), strict=True)
    return [SimpleNamespace(x=SimpleNamespace(pos=position, rot=orientation)) for position, orientation in poses]
