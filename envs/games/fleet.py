"""Order dispatch: a fleet of vehicles that choose among passengers who wait, and take them where they go.

A city of the kind that GRPO and OSPO were made for (arXiv:2507.15351), without its data: its demand is drawn, its
streets are a grid. What an order pays, how vehicles share rides and how long orders wait follow the authors' code.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.environment import select
from jaxreward.envs.games.fleet_view import features, picture
from jaxreward.envs.games.riding import Scalar, Vehicle, accept, apart, drive

MOST_SEATS = 4
"""Of a vehicle: all orders of its passengers are tried, 24 for 4."""


@struct.dataclass
class Orders:
    """`M` places for orders that wait.

    Attributes:
        origins: Where passengers wait, in km.
        goals: Where they go.
        age: Minutes that they wait.
        waiting: Whether there is one.
    """

    origins: Float[Array, "M 2"]
    goals: Float[Array, "M 2"]
    age: Float[Array, " M"]
    waiting: Bool[Array, " M"]


@struct.dataclass
class FleetState:
    """Vehicles, leaves `[n, ...]`, what each has earned, the orders that wait, and the time in minutes."""

    vehicles: Vehicle
    income: Float[Array, " n"]
    orders: Orders
    time: Int[Array, ""]


@struct.dataclass
class FleetParams:
    """Numbers of the game, which may be vmapped over.

    Attributes:
        rate: How many orders come in a minute, in the mean of a Poisson distribution.
        speed: Of a vehicle, in km/h.
        patience: Minutes that an order waits before it is gone.
        hotspot: How orders thin out with the way from the city's middle, by a factor of e each so many km.
        trip: How goals thin out with the way from where a passenger waits.
        late_after: Minutes from being accepted to being there after which a passenger is late.
        w_accept: Paid for each order that a vehicle accepts.
        w_distance: Paid for each km of the passenger's way.
        w_pickup: Taken for each hour until it is on board.
        w_late: Taken for each passenger on board who will be late.
        w_delay: Taken for each hour that passengers lose by sharing the vehicle.
        w_excess: Taken for each hour of these beyond `late_after`.
        max_steps_in_episode: The time limit, which truncates.
    """

    rate: Scalar = 1.0
    speed: Scalar = 18.0
    patience: Scalar = 5.0
    hotspot: Scalar = 2.0
    trip: Scalar = 3.0
    late_after: Scalar = 40.0
    w_accept: Scalar = 3.0
    w_distance: Scalar = 1.0
    w_pickup: Scalar = 3.0
    w_late: Scalar = 1.0
    w_delay: Scalar = 3.0
    w_excess: Scalar = 5.0
    max_steps_in_episode: Int[Array, ""] | int = 30


class Fleet(Environment):
    """Vehicles of `seats` seats in a city of `rows` by `columns` blocks of 1 km, minute by minute.

    **A vehicle acts** by the number of a place where an order waits, or `max_orders` for none. Of several that choose
    the same order the nearest gets it, of equally near ones the first. A vehicle gets none while it is on its way to a
    passenger, or full. It drives to its passenger, for as long as the way takes, and on to all goals by the shortest
    order, along one axis and then the other. Vehicles without passengers stand.

    **Orders** come in the middles of blocks, more of them around the city's, and go elsewhere, rather to somewhere
    near. Those for which none of the `max_orders` places is free are lost, as are those that wait for too long.

    **A vehicle is paid** when it accepts, for what can be told of it then; `info` has what these parts weigh:
    `accepted`, `distance`, `pickup`, `late`, `delay` and `excess`, `[n]` each. Nothing terminates an episode.

    **A vehicle sees** a row for each place, `[M, F]`, see `fleet_view.features`.
    """

    def __init__(
        self, *, num_vehicles: int = 8, max_orders: int = 8, rows: int = 6, columns: int = 4, seats: int = 3
    ) -> None:
        """A city, its fleet and how many orders can wait.

        Raises:
            ValueError: A size makes no sense.
        """
        super().__init__()
        sizes = {"num_vehicles": num_vehicles, "max_orders": max_orders, "rows": rows, "columns": columns}
        for name, number in sizes.items():
            if number < 1:
                raise ValueError(f"{name}={number}; expected 1 or more")
        if rows * columns < 2:
            raise ValueError(f"rows={rows} and columns={columns} make one block; passengers need 2 at least to travel")
        if not 1 <= seats <= MOST_SEATS:
            raise ValueError(f"seats={seats}; expected 1 to {MOST_SEATS}")
        self.num_agents, self.max_orders, self.seats = num_vehicles, max_orders, seats
        self.size = columns, rows
        self.blocks = np.array([(x + 0.5, y + 0.5) for y in range(rows) for x in range(columns)], np.float32)

    @property
    def name(self) -> str:
        return "games/fleet"

    @property
    def default_params(self) -> FleetParams:
        return FleetParams()

    def reset_env(self, key: Key[Array, ""], params: FleetParams) -> tuple[Float[Array, "n M F"], FleetState]:
        number, seats = self.num_agents, self.seats
        noise = jax.random.uniform(key, (number + 2 * self.max_orders + 1,))
        blocks = jnp.asarray(self.blocks, float)
        vehicles = Vehicle(
            blocks[inverted(jnp.zeros((1, len(blocks))), noise[:number])],
            jnp.zeros(number),
            jnp.zeros((number, seats, 2)),
            jnp.zeros((number, seats), bool),
            jnp.zeros((number, seats)),
        )
        places = jnp.zeros((self.max_orders, 2))
        none = Orders(places, places, jnp.zeros(self.max_orders), jnp.zeros(self.max_orders, bool))
        orders = self.arrive(none, noise[number:], params)
        state = FleetState(vehicles, jnp.zeros(number), orders, jnp.zeros((), jnp.int32))
        return self.observe(state, params), state

    def step_env(
        self, key: Key[Array, ""], state: FleetState, action: Int[Array, " n"], params: FleetParams
    ) -> tuple[Float[Array, "n M F"], FleetState, Float[Array, " n"], Bool[Array, ""], dict[str, Array]]:
        orders = state.orders
        chosen = granted(state, action)
        vehicles, events = self.accepted(state.vehicles, orders, chosen, params)
        parts = earned(events, params)
        reward = sum(parts.values(), jnp.zeros(self.num_agents))
        given = (chosen[:, None] == jnp.arange(self.max_orders)[None]).any(0)
        age = orders.age + 1
        waiting = orders.waiting & ~given & (age <= params.patience)
        lost = orders.waiting & ~given & ~waiting
        noise = jax.random.uniform(key, (2 * self.max_orders + 1,))
        after = FleetState(
            jax.vmap(drive, (0, None))(vehicles, params.speed),
            state.income + reward,
            self.arrive(dataclasses.replace(orders, age=age, waiting=waiting), noise, params),
            state.time + 1,
        )
        info = {**events, "lost": lost.sum(), **{f"reward/{name}": part for name, part in parts.items()}}
        return self.observe(after, params), after, reward, jnp.zeros((), bool), info

    def accepted(
        self, vehicles: Vehicle, orders: Orders, chosen: Int[Array, " n"], params: FleetParams
    ) -> tuple[Vehicle, dict[str, Float[Array, " n"]]]:
        """The vehicles with the orders that they got, and what rewards weigh of it, 0 for those that got none."""

        def one(vehicle: Vehicle, order: Int[Array, ""]) -> tuple[Vehicle, dict[str, Array]]:
            way = orders.origins[order], orders.goals[order]
            after, told = accept(vehicle, *way, params.speed, params.late_after)
            excess = jnp.maximum(told["delay"] - params.late_after, 0)
            told = {"accepted": jnp.ones(()), **told, "excess": excess}
            nothing = jax.tree.map(jnp.zeros_like, told)
            return select(order >= 0, (after, told), (vehicle, nothing))

        return jax.vmap(one)(vehicles, chosen)

    def arrive(self, orders: Orders, noise: Float[Array, " 2M+1"], params: FleetParams) -> Orders:
        """The orders, with those that come in a minute in the first places that are free; `noise` is uniform."""
        number, blocks = self.max_orders, jnp.asarray(self.blocks, float)
        middle = jnp.asarray(self.size, float) / 2
        origin = inverted(-apart(blocks, middle[None])[None] / params.hotspot, noise[:number])
        ways = apart(blocks[origin][:, None], blocks[None])
        goal = inverted(jnp.where(ways > 0, -ways / params.trip, -jnp.inf), noise[number : 2 * number])
        free = ~orders.waiting
        new = free & (jnp.cumsum(free) <= poisson(noise[-1], params.rate, number))
        return Orders(
            jnp.where(new[:, None], blocks[origin], orders.origins),
            jnp.where(new[:, None], blocks[goal], orders.goals),
            jnp.where(new, 0.0, orders.age),
            orders.waiting | new,
        )

    def observe(self, state: FleetState, params: FleetParams) -> Float[Array, "n M F"]:
        """What each vehicle sees."""
        share = state.time / params.max_steps_in_episode
        return features(state.vehicles, state.income, state.orders, able(state), share, params.speed, self.size)

    def image(self, state: FleetState, params: FleetParams, size: int = 256) -> Float[Array, "size size 3"]:
        """The city from above: vehicles, lines to where their passengers go, and orders that wait."""
        return picture(state.vehicles, state.orders, self.size, size)

    @property
    def num_actions(self) -> int:
        return self.max_orders + 1

    def action_space(self, params: FleetParams | None = None) -> spaces.Discrete:
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: FleetParams | None = None) -> spaces.Box:
        """Of one vehicle: nothing bounds what one may earn."""
        return spaces.Box(-jnp.inf, jnp.inf, (self.max_orders, 16 + 5 * self.seats))


def able(state: FleetState) -> Bool[Array, "n M"]:
    """Which vehicle can take which order: those that have a free seat and nobody to pick up, those that wait."""
    free = ~state.vehicles.taken.all(-1) & (state.vehicles.pickup <= 0)
    return free[:, None] & state.orders.waiting[None]


def granted(state: FleetState, action: Int[Array, " n"]) -> Int[Array, " n"]:
    """The order that each vehicle gets of those that were chosen, or -1."""
    vehicles, orders = state.vehicles, state.orders
    asked = able(state) & (action[:, None] == jnp.arange(len(orders.waiting))[None])
    way = jnp.where(asked, apart(vehicles.place[:, None], orders.origins[None]), jnp.inf)
    first = jnp.arange(len(action))[:, None] == jnp.argmin(way, 0)[None]
    return jnp.where((asked & first).any(-1), action, -1).astype(jnp.int32)


def earned(events: dict[str, Float[Array, " n"]], params: FleetParams) -> dict[str, Float[Array, " n"]]:
    """What each part of a step pays each vehicle; weights by the hour are of what is told in minutes."""
    return {
        "accept": params.w_accept * events["accepted"],
        "distance": params.w_distance * events["distance"],
        "pickup": -params.w_pickup * events["pickup"] / 60,
        "late": -params.w_late * events["late"],
        "delay": -params.w_delay * events["delay"] / 60,
        "excess": -params.w_excess * events["excess"] / 60,
    }


def inverted(logits: Float[Array, "_ K"], uniform: Float[Array, " B"]) -> Int[Array, " B"]:
    """Draws of a softmax over `K`, or of one for each, by inverting its distribution function."""
    reached = jnp.cumsum(jax.nn.softmax(logits), -1)[:, :-1]
    return (uniform[:, None] >= reached).sum(-1)


def poisson(uniform: Float[Array, ""], rate: Scalar, most: int) -> Int[Array, ""]:
    """A Poisson number made of a uniform one by inverting its distribution function; `most` where it is more."""
    count = jnp.arange(most)
    log_mass = jax.scipy.special.xlogy(count, rate) - rate - jax.scipy.special.gammaln(count + 1.0)
    return (uniform >= jnp.cumsum(jnp.exp(log_mass))).sum()
