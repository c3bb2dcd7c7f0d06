"""The fleet beside plain Python: who gets which order, how vehicles drive, what is paid, and how orders come and go."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import poisson as reference

from jaxreward.envs.games.assignment import assigned, dealt
from jaxreward.envs.games.dispatchers import nearest_dispatch
from jaxreward.envs.games.fleet import Fleet, FleetState, Orders, inverted, poisson
from jaxreward.envs.games.riding import Vehicle, drive, remaining
from jaxreward.envs.registry import make
from tests.shortest_way import KM, SPEED, shortest

SEATS = 3
LIMIT = 10


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_assignments_are_worth_as_much_as_scipys(shape):
    """The best of all matchings; with as many pairs as can be, or with scipy's columns of zeros for "no order"."""
    draw = np.random.default_rng(0)
    scores, allowed = draw.normal(size=(200, *shape)), draw.random((200, *shape)) < 0.5
    allowed[0], scores[1], allowed[2] = False, -1.0, True
    both = lambda x, may: jnp.stack([assigned(jnp.where(may, x, -1.0)), dealt(x, may)])  # noqa: E731
    found = np.asarray(jax.jit(jax.vmap(both))(jnp.asarray(scores, jnp.float32), jnp.asarray(allowed)))
    for (best, full), score, may in zip(found, scores, allowed, strict=True):
        worth = np.where(may, score, -1e8)
        padded = np.concatenate([worth, np.zeros((shape[0], shape[0]))], 1)
        expected = padded[linear_sum_assignment(padded, maximize=True)].sum()
        np.testing.assert_allclose(total(best, worth), expected, atol=1e-5)
        rows, columns = linear_sum_assignment(np.where(may, score, -1e3), maximize=True)
        made = may[rows, columns]
        assert (full >= 0).sum() == made.sum()
        np.testing.assert_allclose(total(full, worth), score[rows, columns][made].sum(), atol=1e-5)
    assert (found[0] == -1).all()
    assert (found[1, 0] == -1).all()
    assert (found[2, 1] >= 0).sum() == min(shape)


def total(columns, worth):
    """What pairs are worth, once it is sure that no column is in two."""
    rows = np.flatnonzero(columns >= 0)
    assert len(set(columns[rows])) == len(rows)
    return worth[rows, columns[rows]].sum()


@pytest.fixture(scope="module")
def fleet():
    """The programs: minutes that are left, minutes driven, and a step."""
    env = Fleet(num_vehicles=2, max_orders=3, rows=6, columns=5, seats=SEATS)
    driven = lambda vehicle: jax.lax.scan(lambda v, _: (drive(v, SPEED),) * 2, vehicle, None, 80)[1]  # noqa: E731
    programs = {
        "left": jax.jit(jax.vmap(lambda vehicle: remaining(vehicle, SPEED))),
        "drive": jax.jit(jax.vmap(driven)),
        "step": jax.jit(jax.vmap(env.step_env, (0, None, 0, None))),
    }
    return env, programs


def random_vehicles(number):
    draw = np.random.default_rng(1)
    taken = draw.random((number, SEATS)) < 0.6
    cells = lambda *shape: draw.integers(0, 6, (*shape, 2)) + draw.choice([0.0, 0.5], (*shape, 2))  # noqa: E731
    return Vehicle(
        cells(number), draw.choice([0.0, 2.5], number), cells(number, SEATS), taken, np.zeros((number, SEATS))
    )


def test_passengers_are_where_they_go_when_it_was_said_and_by_the_shortest_way(fleet):
    vehicles = random_vehicles(60)
    vehicles.goals[0, 0], vehicles.taken[0, 0], vehicles.pickup[0] = vehicles.place[0], True, 4.0  # not there yet
    left, after = (jax.device_get(fleet[1][name](vehicles)) for name in ("left", "drive"))
    for k in range(60):
        on = np.flatnonzero(vehicles.taken[k])
        far = shortest(vehicles.place[k], vehicles.goals[k, on])[0]
        # Of several shortest ways any will do: which passenger comes first then is free, when the last comes isn't.
        assert (left[k][~vehicles.taken[k]] == 0).all()
        if len(on):
            np.testing.assert_allclose(left[k].max(), vehicles.pickup[k] + far / KM, rtol=1e-5)
        minutes = after.taken[k].sum(0)[on] + 1
        # It gets off in the minute in which it arrives; where that is a whole number, rounding may add another one.
        exact = np.maximum(left[k][on], 1)
        assert ((minutes >= np.ceil(exact - 1e-3)) & (minutes <= np.ceil(exact + 1e-3))).all()
        assert not after.taken[k, -1].any()
        moved = np.abs(np.diff(after.place[k], axis=0)).sum(-1)
        assert (moved <= KM + 1e-5).all()


def start(ages=(0.0, 0.0, 5.0)):
    """Two vehicles, one with a passenger, and three orders that wait."""
    vehicles = Vehicle(
        np.array([[0.5, 0.5], [4.5, 5.5]]), np.zeros(2), np.zeros((2, SEATS, 2)), np.zeros((2, SEATS), bool),
        np.zeros((2, SEATS)),
    )  # fmt: skip
    vehicles.goals[1, 0], vehicles.taken[1, 0], vehicles.elapsed[1, 0] = (0.5, 5.5), True, 20.0
    orders = Orders(
        np.array([[1.5, 0.5], [4.5, 3.5], [3.5, 2.5]]), np.array([[1.5, 4.5], [2.5, 3.5], [3.5, 5.5]]),
        np.array(ages), np.ones(3, bool),
    )  # fmt: skip
    return jax.tree.map(jnp.asarray, FleetState(vehicles, np.zeros(2), orders, np.int32(0)))


def pay(vehicle, order, state):
    """What a vehicle is paid for an order, with plain numbers."""
    vehicles, orders = jax.device_get((state.vehicles, state.orders))
    here, origin, goal = vehicles.place[vehicle], orders.origins[order], orders.goals[order]
    on = vehicles.goals[vehicle][vehicles.taken[vehicle]]
    pickup, alone = np.abs(here - origin).sum() / KM, np.abs(origin - goal).sum() / KM
    elapsed = [*vehicles.elapsed[vehicle][: len(on)], 0.0]
    before = [*(np.abs(here - g).sum() / KM for g in on), pickup + alone]
    after = pickup + np.array(shortest(origin, np.array([*on, goal]))[1])
    delay = (after - before).sum()
    late = (elapsed + after > LIMIT).sum()
    hours = 3 * pickup + 3 * delay + 5 * max(delay - LIMIT, 0)
    return 3 + alone * KM - hours / 60 - 2 * late


def test_every_dispatch_of_a_small_fleet_pays_what_it_should_and_dealing_by_pay_is_the_best(fleet):
    """All 16 choices of 2 vehicles among 3 orders, or none; where both choose the same the nearer one gets it."""
    env, programs = fleet
    params, state = env.default_params.replace(rate=0.0, late_after=LIMIT, w_late=2.0), start()
    ways = list(itertools.product(range(4), repeat=2))
    keys = jax.random.split(jax.random.key(0), len(ways))
    _, after, reward, _, info = jax.device_get(programs["step"](keys, state, jnp.asarray(ways), params))
    pays = np.array([[*(pay(v, o, state) for o in range(3)), 0.0] for v in range(2)])
    away = np.abs(np.asarray(state.vehicles.place)[:, None] - np.asarray(state.orders.origins)[None]).sum(-1)
    for k, way in enumerate(ways):
        if way[0] == way[1] < 3:
            way = (way[0], 3) if away[0, way[0]] < away[1, way[0]] else (3, way[1])
        np.testing.assert_allclose(reward[k], [pays[0, way[0]], pays[1, way[1]]], rtol=1e-4)
        # The third order had waited for 5 minutes, no other comes.
        np.testing.assert_array_equal(after.orders.waiting[k], [0 not in way, 1 not in way, False])
        assert info["lost"][k] == (2 not in way)
        assert (info["accepted"][k] == [o < 3 for o in way]).all()
        assert after.vehicles.taken[k, 0].any() == (way[0] < 3)
    np.testing.assert_allclose(after.income, reward)
    assert pays.min() < 0 < pays.max()
    chosen = np.asarray(jax.jit(assigned)(jnp.asarray(pays[:, :3], jnp.float32)))
    np.testing.assert_allclose(pays[range(2), chosen].sum(), reward.sum(-1).max(), rtol=1e-4)


def test_sending_the_nearest_has_the_least_minutes_until_pickup_in_sum(fleet):
    env, _ = fleet
    state = start()
    act = lambda state, key: nearest_dispatch().act((), env.observe(state, env.default_params), key)[1]  # noqa: E731
    chosen = np.asarray(jax.jit(act)(state, jax.random.key(0)))
    away = np.abs(np.asarray(state.vehicles.place)[:, None] - np.asarray(state.orders.origins)[None]).sum(-1)
    rows, columns = linear_sum_assignment(away)
    np.testing.assert_allclose(away[rows, chosen].sum(), away[rows, columns].sum())
    assert away.argmin(-1).tolist() == [0, 1]
    full = dataclasses.replace(state.vehicles, taken=jnp.array([[True] * 3, [False] * 3]))
    assert np.asarray(jax.jit(act)(state.replace(vehicles=full), jax.random.key(0))).tolist() == [3, 1]


def test_who_is_on_its_way_to_a_passenger_or_full_gets_nothing(fleet):
    env, programs = fleet
    state, params = start(), env.default_params.replace(rate=0.0)
    vehicles = state.vehicles.replace(pickup=jnp.array([1.0, 0.0]), taken=jnp.array([[False] * 3, [True] * 3]))
    choices = jnp.asarray(list(itertools.product(range(4), repeat=2)))
    *_, info = programs["step"](
        jax.random.split(jax.random.key(0), 16), state.replace(vehicles=vehicles), choices, params
    )
    assert not np.asarray(info["accepted"]).any()


def test_orders_come_as_often_and_from_where_they_should():
    """Counts by scipy's Poisson distribution, draws by their logits: exactly, as both are inverted."""
    uniform = np.linspace(0, 1, 200, endpoint=False, dtype=np.float32) + 1e-3
    found = jax.jit(jax.vmap(lambda u: jnp.stack([poisson(u, rate, 6) for rate in (0.0, 0.7, 4.0)])))(uniform)
    expected = np.stack([np.minimum(reference.ppf(uniform, rate), 6) for rate in (0.0, 0.7, 4.0)], -1)
    np.testing.assert_array_equal(found, np.maximum(expected, 0))
    share = np.bincount(np.asarray(inverted(jnp.log(jnp.array([[1.0, 0.0, 2.0, 1.0]])), jnp.asarray(uniform))))
    np.testing.assert_allclose(share / 200, [0.25, 0, 0.5, 0.25], atol=0.006)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("seats=9", "seats=9; expected 1 to 4"),
        ("rows=1&columns=1", "make one block"),
        ("num_vehicles=0", "num_vehicles=0; expected 1 or more"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(more, told):
    with pytest.raises(ValueError, match=told):
        make(f"games/fleet?{more}")
