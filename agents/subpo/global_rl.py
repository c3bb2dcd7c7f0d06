"""Global RL: rewards of whole trajectories, maximised as a sequence of additive problems.

The problem, and the idea to bound the reward of a trajectory by sums from semigradients, are those of De Santi,
Prajapat and Krause (ICML 2024, arXiv:2407.09905); how it is done here is this file's own. The bounds of sub- and
supermodular functions are those of Iyer, Jegelka and Bilmes (ICML 2013, arXiv:1308.1006).

The world is finite and known, like `jaxreward.envs.subrl.grid.Grid`. One iteration plays the present policy, bounds `F`
from below by sums over the visited places that are exact for what was visited, pays them at one time for each place,
solves these additive problems exactly by backward induction, and keeps the best of the policies found and the present
one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.subpo.parts.best_response import Table, best_response, distances
from jaxreward.agents.subpo.parts.bounds import (
    Visit,
    submodular_bound,
    supermodular_bounds,
    timed,
    visiting_order,
)
from jaxreward.contract.sizes import Sized, size
from jaxreward.contract.wrappers import Wrapped
from jaxreward.environment import WithReward, scalar_environment
from jaxreward.learning.episodes import Episodes, play, start_memories
from jaxreward.names import check_name
from jaxreward.reward import Memory, Params, Transition
from jaxreward.rewards.sets import SetFunction, set_function

Metrics = dict[str, Float[Array, ""]]
Curvature = Literal["submodular", "supermodular"]


@dataclass(frozen=True)
class Config(Sized):
    """What shapes the program.

    Attributes:
        num_envs: Episodes played with the present policy, `N`; 1 where nothing is random.
        num_steps: Their length, `T`: a grid's horizon minus 1.
        candidates: How many policies are made in an iteration, `P`, each from another bound. They are compared by `N`
            more episodes each, which are planning and not counted.
    """

    needs_episodes: ClassVar[bool] = True

    num_envs: int = size(1)
    num_steps: int = size(39)
    candidates: int = size(32)


@struct.dataclass
class Hyperparams:
    """Traced numbers.

    Attributes:
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    env_params: PyTree = None


class Part(NamedTuple):
    """A set function of places within a mixture.

    Attributes:
        function: The set function.
        curvature: "submodular" or "supermodular", that of the function times its weight: a negative one turns it round.
    """

    function: SetFunction
    curvature: Curvature


class State(NamedTuple):
    """Everything a run is made of.

    Attributes:
        table: The present policy.
        distance: How many steps from each place to each other, `T + 1` if more than `T`, `[S, S]`.
        hyperparams: The hyperparams.
        key: The key.
        iteration: How many there were.
    """

    table: Table
    distance: Int[Array, "S S"]
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]


def global_rl(
    env: Environment, env_params: PyTree, config: Config = Config(), parts: dict[str, Part] | None = None
) -> Agent:
    """A Global RL agent.

    In a deterministic world the return never falls. Where moves are random the bounds are still below `J` for all
    policies, but exact for an episode and not for the present policy, and policies are compared by a sample of
    episodes: nothing is promised then.

    The bounds take it that a place counts once. Where repeated visits gain too they are still bounds, of monotone
    functions, but not exact. Set functions with a capacity should have room for all places: further ones are worth
    nothing to the bounds.

    Args:
        env: A world of places, such as `Grid`, with `marginal_gains` of a set function for its reward.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes.
        parts: If the set function is a `mixture`, its parts by name, functions of a state's `cell`. By default it is
            one submodular function.

    Raises:
        ValueError: If the environment is no world of places with a reward of its own, or
            there is no such curvature.
    """
    _check_world(env, env_params)
    _check_config(config, env.env)
    env = scalar_environment(env, env_params)
    for part in (parts or {}).values():
        check_name("curvature", part.curvature, get_args(Curvature))
    algorithm = GlobalRL(env, env_params, config, parts or {})
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


def _check_world(env: Environment, env_params: PyTree) -> None:
    known = [(getattr(env, "env", None), name) for name in ("num_places", "place", "horizon")]
    known += [(getattr(env_params, "env", None), name) for name in ("next_cell", "slip")]
    missing = [name for owner, name in known if not hasattr(owner, name)]
    if isinstance(getattr(env, "env", None), Wrapped):
        missing.append("known steps, which a wrapper changes")
    if missing or not isinstance(env, WithReward):
        raise ValueError(
            "Global RL solves a known, finite world with a reward of its own, such as subrl/two_rooms or "
            f"with_reward(Grid(...), marginal_gains(...)); {env.name} has no {', '.join(missing) or 'reward'}"
        )


def _check_config(config: Config, world: Any) -> None:
    if config.num_steps != world.horizon - 1:
        raise ValueError(
            f"an episode of {world.name} has {world.horizon - 1} steps, num_steps={config.num_steps}; "
            f"set num_steps={world.horizon - 1}"
        )


@dataclass(frozen=True)
class GlobalRL:
    """The steps of the algorithm."""

    env: WithReward
    env_params: PyTree
    config: Config
    parts: dict[str, Part]

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Draws a policy."""
        key, key_table = jax.random.split(key)
        hyperparams = strong(hyperparams)
        world, steps = self.env.env, self.config.num_steps
        shape = (steps, world.num_places)
        table = jax.random.randint(key_table, shape, 0, world.num_actions, jnp.int32)
        distance = distances(self.params_of_env(hyperparams).env.next_cell, steps)
        return strong(State(table, distance, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: play, bound, solve, compare."""
        key, key_play, key_bound, key_solve, key_compare = jax.random.split(state.key, 5)
        episodes, metrics = self.play(state.table, state, key_play)
        places = self.places(episodes)
        bound = jax.vmap(lambda key: self.bound(state, places, key))
        rewards = bound(jax.random.split(key_bound, self.config.candidates))
        grid = self.params_of_env(state.hyperparams).env
        solve = jax.vmap(lambda rewards, key: best_response(grid.next_cell, grid.slip, rewards, key))
        tables = solve(rewards, jax.random.split(key_solve, self.config.candidates))
        tables = jnp.concatenate([tables, state.table[None]])
        values = jax.vmap(lambda table: self.play(table, state, key_compare)[1]["episode/return"])(tables)
        best = jnp.argmax(values)  # the present policy comes last, so that of equals a new one is taken
        steps = jnp.asarray(self.config.num_envs * self.config.num_steps, jnp.int32)
        metrics = {"env_steps": steps, **metrics, "improvement": values[best] - values[-1]}
        return state._replace(table=tables[best], key=key, iteration=state.iteration + 1), metrics

    def policy(self, state: State) -> Policy:
        """The policy found so far; its memory is the time."""

        def act(time: Int[Array, ""], observation: PyTree, key: Key[Array, ""]) -> tuple[Array, Array]:
            return time + 1, state.table[time, self.env.env.place(observation)]

        return Policy(lambda: jnp.zeros((), jnp.int32), act, act)

    def play(self, table: Table, state: State, key: Key[Array, ""]) -> tuple[Episodes, Metrics]:
        """`N` episodes with the policy `table`."""
        size, params = self.config.num_envs, self.params_of_env(state.hyperparams)

        def act(carry: tuple, observation: PyTree, time: Int[Array, ""]) -> tuple[tuple, Array, tuple]:
            return (), table[time, self.env.env.place(observation)], ()

        times, ended = jnp.arange(self.config.num_steps), start_memories(self.env, params, size)
        return play(self.env, params, act, (), times, ended, size, key)[1:]

    def places(self, episodes: Episodes) -> Int[Array, "N T+1"]:
        """The places that episodes visited, in their order."""
        place, steps = self.env.env.place, episodes.steps
        return jnp.concatenate([place(steps.observation[:1]), place(steps.next_observation)]).T

    def bound(self, state: State, places: Int[Array, "N T+1"], key: Key[Array, ""]) -> Float[Array, "T+1 S"]:
        """Rewards of a time and a place, whose sum along any episode is at most `F`, up to a constant.

        They are exact for one of the episodes, drawn at random: the mean of what is exact for each is exact for none,
        and so flat, measured, that policies get worse the more episodes there are.
        """
        key_episode, key_order, key_which, key_leave = jax.random.split(key, 4)
        played = places[jax.random.randint(key_episode, (), 0, places.shape[0])]
        visit = visiting_order(key_order, played, self.env.env.num_places)
        params = self.params_of_env(state.hyperparams).reward
        weights = self.weights(params, visit, jax.random.bernoulli(key_which))
        leave = jax.random.randint(key_leave, (), 0, played.size)
        return timed(weights, played, leave + state.distance[played[leave]])

    def weights(self, params: Params, visit: Visit, second: Bool[Array, ""]) -> Float[Array, " S"]:
        """What the places are worth to the bound; of supermodular parts, the first one or the second."""
        if not self.parts:
            return submodular_bound(self.whole(), params, visit)
        total, most = jnp.zeros(visit.order.size), min(visit.order.size, self.config.num_steps + 1)
        for name, (function, curvature) in self.parts.items():
            own = params["functions"][name]
            if curvature == "submodular":
                weights = submodular_bound(function, own, visit)
            else:
                bounds = supermodular_bounds(function, own, visit, most)
                weights = jnp.where(second, bounds[1], bounds[0])
            total = total + params["weights"][name] * weights
        return total

    def whole(self) -> SetFunction:
        """The set function of places whose marginal gains the reward pays."""
        world, no, none = self.env.env, jnp.zeros((), bool), jnp.zeros(())
        state = jax.eval_shape(world.reset_env, jax.random.key(0), self.env_params.env)[1]

        def add(params: Params, memory: Memory, place: Int[Array, ""]) -> tuple[Memory, Float[Array, ""]]:
            here = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state).replace(cell=place)
            # The first of all places is added twice: as where the episode starts, and as what follows.
            return self.env.reward.step(params, memory, Transition((), (), none, (), no, no, here, here))

        return set_function((), self.env.reward.reset, add)

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params."""
        return self.env_params if hyperparams.env_params is None else hyperparams.env_params
