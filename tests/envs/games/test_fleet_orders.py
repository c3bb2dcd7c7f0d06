"""Orders that come to a fleet, and what its vehicles see, column by column, beside plain Python in a tiny city."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.games.fleet import Fleet, FleetState, Orders
from jaxreward.envs.games.riding import Vehicle
from tests.shortest_way import KM, SPEED, shortest

ROWS, COLUMNS, PLACES, SEATS, DRAWS = 3, 2, 3, 2, 300
ENV = Fleet(num_vehicles=3, max_orders=PLACES, rows=ROWS, columns=COLUMNS, seats=SEATS)
PARAMS = dataclasses.replace(ENV.default_params, rate=1.7, hotspot=0.8, trip=1.5, speed=SPEED)
BLOCKS = [(x + 0.5, y + 0.5) for y in range(ROWS) for x in range(COLUMNS)]


def drawn(weights, uniform):
    """Which of some weights a uniform number comes to lie in."""
    reached, total = 0.0, sum(weights)
    for k, weight in enumerate(weights):
        reached += weight / total
        if uniform < reached:
            return k
    return len(weights) - 1


def way(one, other):
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def came(noise):
    """How many orders a minute has, and from where to where those of each place would go."""
    masses = [math.exp(-PARAMS.rate) * PARAMS.rate**k / math.factorial(k) for k in range(PLACES)]
    number = drawn([*masses, 1 - sum(masses)], noise[-1])
    trips = []
    for k in range(PLACES):
        origin = BLOCKS[drawn([math.exp(-way(b, (COLUMNS / 2, ROWS / 2)) / PARAMS.hotspot) for b in BLOCKS], noise[k])]
        odds = [math.exp(-way(b, origin) / PARAMS.trip) if b != origin else 0.0 for b in BLOCKS]
        trips.append((origin, BLOCKS[drawn(odds, noise[PLACES + k])]))
    return number, trips


@pytest.fixture(scope="module")
def arrivals():
    """What waited in each of some draws, the noise, and what waits then."""
    draw = np.random.default_rng(0)
    noise = draw.uniform(size=(DRAWS, 2 * PLACES + 1))
    ends = draw.uniform(size=(2, DRAWS, PLACES, 2))
    before = Orders(*ends, draw.uniform(1, 5, (DRAWS, PLACES)), draw.random((DRAWS, PLACES)) < 0.5)
    arrive = jax.jit(jax.vmap(lambda orders, noise: ENV.arrive(orders, noise, PARAMS)))
    return before, noise, jax.device_get(arrive(jax.tree.map(jnp.asarray, before), jnp.asarray(noise)))


def test_orders_come_to_the_first_places_that_are_free_and_leave_others_alone(arrivals):
    before, noise, after = arrivals
    numbers = []
    for k in range(DRAWS):
        left, trips = came(noise[k])
        numbers.append(left)
        for place in range(PLACES):
            expected = before.origins[k, place], before.goals[k, place], before.age[k, place], before.waiting[k, place]
            if not before.waiting[k, place] and left:
                left -= 1
                expected = *map(np.array, trips[place]), 0.0, True
            found = after.origins[k, place], after.goals[k, place], after.age[k, place], after.waiting[k, place]
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-6)
    assert set(numbers) == set(range(PLACES + 1))


def test_nobody_goes_where_they_are_and_more_come_from_the_middle(arrivals):
    """The middle row of blocks is nearest to the city's middle: its share of origins is that of its weight."""
    before, _, after = arrivals
    new = after.waiting & ~before.waiting
    origins, goals = after.origins[new], after.goals[new]
    assert (np.abs(origins - goals).sum(-1) >= 1).all()
    middle = 1 / (1 + 2 * math.exp(-1 / PARAMS.hotspot))
    share = (origins[:, 1] == 1.5).mean()
    assert abs(share - middle) < 4 * math.sqrt(middle * (1 - middle) / len(origins))  # standard errors


def vehicle_sees(vehicles, income, orders, time, k):
    """The rows of one vehicle, by its number."""
    place, taken = vehicles.place[k], vehicles.taken[k]
    on, sides = np.flatnonzero(taken), np.array([COLUMNS, ROWS])
    minutes = dict(zip(on, vehicles.pickup[k] + np.array(shortest(place, vehicles.goals[k, on])[1]), strict=True))
    can = not taken.all() and vehicles.pickup[k] == 0
    own = [*place / sides, 1 - len(on) / SEATS, vehicles.pickup[k] / 40, can]
    own += [time / PARAMS.max_steps_in_episode, income[k] / 10, sum(income) / len(income) / 10]
    for seat in range(SEATS):
        if taken[seat]:
            there = minutes[seat]
            ways = (vehicles.goals[k, seat] - place) / sides
            own += [1, *ways, there / 40, (vehicles.elapsed[k, seat] + there) / 40]
        else:
            own += [0] * 5
    rows = []
    for order in range(PLACES):
        origin, goal = orders.origins[order], orders.goals[order]
        row = [1, way(place, origin) / KM / 40, way(origin, goal) / (COLUMNS + ROWS), orders.age[order] / 40]
        row += [*(origin - place) / sides, *(goal - origin) / sides]
        rows.append([*(row if can and orders.waiting[order] else [0] * 8), *own])
    return rows


def test_vehicles_see_what_plain_python_tells_of_them():
    """Random states: vehicles that are empty, half full, full and on their way, orders that wait and places without."""
    draw = np.random.default_rng(1)
    number = 40
    somewhere = lambda *shape: draw.uniform(0, 1, (number, *shape, 2)) * [COLUMNS, ROWS]  # noqa: E731
    vehicles = Vehicle(
        somewhere(3), draw.choice([0.0, 2.5], (number, 3)), somewhere(3, SEATS), draw.random((number, 3, SEATS)) < 0.5,
        draw.uniform(0, 30, (number, 3, SEATS)),
    )  # fmt: skip
    orders = Orders(
        somewhere(PLACES),
        somewhere(PLACES),
        draw.uniform(0, 5, (number, PLACES)),
        draw.random((number, PLACES)) < 0.6,
    )
    states = FleetState(vehicles, draw.normal(size=(number, 3)) * 9, orders, draw.integers(0, 30, number))
    seen = jax.jit(jax.vmap(lambda state: ENV.observe(state, PARAMS)))(jax.tree.map(jnp.asarray, states))
    assert seen.shape == (number, 3, *ENV.observation_space(PARAMS).shape)
    for k in range(number):
        one = jax.tree.map(lambda leaf, k=k: leaf[k], states)
        expected = [vehicle_sees(one.vehicles, one.income, one.orders, one.time, vehicle) for vehicle in range(3)]
        np.testing.assert_allclose(seen[k], np.array(expected, float), atol=1e-5)
    assert 0 < np.asarray(seen[..., 0]).mean() < 1
