"""Two cooks, one step from many states beside the rules in Python, and what the rules say by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.games.experts import overcooked_expert
from jaxreward.envs.games.overcooked import Overcooked, OvercookedParams, OvercookedState
from jaxreward.learning.walker import Walker

ENV = Overcooked()
PARAMS = OvercookedParams(
    w_put=(1.0, 10.0), w_plate=(2.0, 20.0), w_soup=(3.0, 30.0), w_deliver=(4.0, 40.0), cook_time=5
)
WAYS = [(0, -1), (0, 1), (1, 0), (-1, 0)]
ROOM = ["##P##", "O...O", "#...#", "#D#S#"]
CELLS = [(x, y) for y in (1, 2) for x in (1, 2, 3)]
NOTHING, ONION, PLATE, SOUP = range(4)
UP, DOWN, RIGHT, LEFT, STAY, INTERACT = range(6)
MANY = 4096

step = jax.jit(jax.vmap(lambda state, action: ENV.step_env(jax.random.key(0), state, action, PARAMS)))


def states(cells, facing, held, onions, left, time=0):
    """States, of lists or arrays `[N, ...]`."""
    arrays = [jnp.asarray(each, jnp.int32) for each in (cells, facing, held, onions, left)]
    return OvercookedState(*arrays, jnp.broadcast_to(jnp.int32(time), arrays[3].shape))


def by_the_rules(cells, facing, held, onions, left, actions):
    """The state and the events of one step, cook after cook, in places of the room."""
    places, held, facing = [CELLS[cell] for cell in cells], list(held), list(facing)
    in_front = [tuple(np.add(places[k], WAYS[facing[k]])) for k in range(2)]
    wanted = list(places)
    for k in range(2):
        if actions[k] < STAY:
            facing[k] = actions[k]
            x, y = np.add(places[k], WAYS[actions[k]])
            wanted[k] = (x, y) if ROOM[y][x] == "." else places[k]
    stuck = wanted[0] == wanted[1] or (wanted[0] == places[1] and wanted[1] == places[0])
    events = {name: [0, 0] for name in ("put", "plate", "soup", "deliver")}
    for k in range(2):
        if actions[k] != INTERACT:
            continue
        thing = ROOM[in_front[k][1]][in_front[k][0]]
        if thing == "O" and held[k] == NOTHING:
            held[k] = ONION
        elif thing == "D" and held[k] == NOTHING:
            events["plate"][k] = int(onions > 0 and PLATE not in held)
            held[k] = PLATE
        elif thing == "P" and held[k] == ONION and onions < 3:
            held[k], onions, events["put"][k] = NOTHING, onions + 1, 1
            left = 5 if onions == 3 else left
        elif thing == "P" and held[k] == PLATE and onions == 3 and left == 0:
            held[k], onions, events["soup"][k] = SOUP, 0, 1
        elif thing == "S" and held[k] == SOUP:
            held[k], events["deliver"][k] = NOTHING, 1
    cells = [CELLS.index(place) for place in (places if stuck else wanted)]
    return cells, facing, held, onions, max(left - 1, 0), events


def test_a_step_from_any_state_beside_the_rules():
    """From random states with random actions; often things are faced, the pot is ready and cooks interact."""
    draw = np.random.default_rng(0)
    cells = np.array([draw.permutation(6)[:2] for _ in range(MANY)])
    facing, held = draw.integers(0, 4, (MANY, 2)), draw.integers(0, 4, (MANY, 2))
    things = np.array([LEFT, UP, RIGHT, DOWN, UP, DOWN])
    facing = np.where(draw.random((MANY, 2)) < 0.7, things[cells], facing)
    onions = np.where(draw.random(MANY) < 0.4, 3, draw.integers(0, 4, MANY))
    left = np.where((onions == 3) & (draw.random(MANY) < 0.6), draw.integers(0, 5, MANY), 0)
    actions = np.where(draw.random((MANY, 2)) < 0.5, INTERACT, draw.integers(0, 6, (MANY, 2)))
    shown, after, reward, terminated, info = jax.device_get(
        step(states(cells, facing, held, onions, left, 399), jnp.asarray(actions))
    )
    total = dict.fromkeys(("put", "plate", "soup", "deliver"), 0)
    for t in range(MANY):
        now = by_the_rules(cells[t], facing[t], held[t], onions[t], left[t], actions[t])
        found = [after.cells[t].tolist(), after.facing[t].tolist(), after.held[t].tolist()]
        assert (*found, after.onions[t], after.left[t]) == now[:5]
        events = now[5]
        assert {name: info[name][t].astype(int).tolist() for name in events} == events
        served = sum(events["deliver"])
        pays = [events["put"][k] + 2 * events["plate"][k] + 3 * events["soup"][k] + 4 * served for k in range(2)]
        np.testing.assert_array_equal(reward[t], np.multiply(pays, [1, 10]))
        total = {name: total[name] + sum(events[name]) for name in events}
    assert min(total.values()) > 20
    assert not terminated.any()
    assert (after.time == 400).all()
    space = ENV.observation_space(PARAMS)
    assert (shown >= np.asarray(space.low)).all()
    assert (shown <= np.asarray(space.high)).all()
    check_seen(shown, after)


def check_seen(shown, after):
    """Each cook sees itself first; both see the same pot and the same room."""
    one_hot = np.eye(4)[:, 1:]
    for t in range(0, MANY, 37):
        full = after.onions[t] == 3
        pot = [after.onions[t], 5 - after.left[t] if full else 0, full and after.left[t] > 0]
        for cook in range(2):
            order = [cook, 1 - cook]
            places = np.array(CELLS)[after.cells[t][order]].ravel()
            hands, looks = one_hot[after.held[t][order]].ravel(), np.array(WAYS)[after.facing[t][order]].ravel()
            room = [0, 1, 4, 1, 1, 3, 3, 3, 2, 0]
            np.testing.assert_array_equal(shown[t, cook], np.concatenate([places, hands, room, pot, looks]))


CASES = {
    # name: cells, facing, held, onions, left, actions -> cells, held, onions, left
    "both to one cell": ([0, 2], [0, 0], [0, 0], 0, 0, [RIGHT, LEFT], [0, 2], [0, 0], 0, 0),
    "into one who stays": ([0, 1], [0, 0], [0, 0], 0, 0, [RIGHT, STAY], [0, 1], [0, 0], 0, 0),
    "into one who walks against a counter": ([0, 1], [0, 0], [0, 0], 0, 0, [RIGHT, UP], [0, 1], [0, 0], 0, 0),
    "changing places": ([0, 1], [0, 0], [0, 0], 0, 0, [RIGHT, LEFT], [0, 1], [0, 0], 0, 0),
    "after one who leaves": ([0, 1], [0, 0], [0, 0], 0, 0, [RIGHT, RIGHT], [1, 2], [0, 0], 0, 0),
    "both with the third onion": ([1, 1], [0, 0], [1, 1], 2, 0, [INTERACT, INTERACT], [1, 1], [0, 1], 3, 4),
    "both for the soup": ([1, 1], [0, 0], [2, 2], 3, 0, [INTERACT, INTERACT], [1, 1], [3, 2], 0, 0),
    "one takes the soup, the other fills in": ([1, 1], [0, 0], [2, 1], 3, 0, [5, 5], [1, 1], [3, 0], 1, 0),
    "an onion before the soup is out": ([1, 1], [0, 0], [1, 2], 3, 0, [5, 5], [1, 1], [1, 3], 0, 0),
    "a soup not ready": ([1, 5], [0, 0], [2, 0], 3, 1, [INTERACT, STAY], [1, 5], [2, 0], 3, 0),
    "a full hand takes nothing": ([0, 3], [3, 1], [2, 1], 0, 0, [INTERACT, INTERACT], [0, 3], [2, 1], 0, 0),
    "an empty plate is not served": ([5, 0], [1, 0], [2, 0], 0, 0, [INTERACT, STAY], [5, 0], [2, 0], 0, 0),
}


def test_rules_by_hand():
    """Two cooks never stand on one cell; where they do here, what one does first is what is looked at."""
    before = [list(column) for column in zip(*(case[:6] for case in CASES.values()), strict=True)]
    padded = [np.resize(np.array(column), (MANY, *np.shape(column)[1:])) for column in before]
    after = jax.device_get(step(states(*padded[:5]), jnp.asarray(padded[5], jnp.int32))[1])
    for number, (name, case) in enumerate(CASES.items()):
        found = (after.cells[number].tolist(), after.held[number].tolist(), after.onions[number], after.left[number])
        assert found == case[6:], name


def test_the_soup_is_ready_when_it_has_cooked_for_its_time():
    """The step with the third onion is the first of five; in the sixth it can be taken. The time limit cuts."""
    one = jax.jit(lambda state, action: ENV.step_env(jax.random.key(0), state, action, PARAMS)[1:])
    state = jax.tree.map(lambda leaf: leaf[0], states([[1, 5]], [[0, 0]], [[1, 0]], [2], [0], 390))
    state, *_ = one(state, jnp.array([INTERACT, STAY]))
    left = []
    for _ in range(5):
        state = state.replace(held=jnp.array([PLATE, NOTHING]))
        left.append(int(state.left))
        state, reward, _, info = one(state, jnp.array([INTERACT, STAY]))
    assert left == [4, 3, 2, 1, 0]
    assert info["soup"].tolist() == [True, False]
    assert reward.tolist() == [3, 0]
    assert not ENV.is_truncated(state, PARAMS.replace(max_steps_in_episode=397))
    assert ENV.is_truncated(state, PARAMS.replace(max_steps_in_episode=396))


def test_a_start_and_the_scripted_pair():
    """Cooks start in the corners looking anywhere; the pair cooks as much as can be expected of it."""
    facing = jax.jit(jax.vmap(lambda key: ENV.reset_env(key, PARAMS)[1]))(jax.random.split(jax.random.key(0), 256))
    assert (facing.cells == np.array([[0, 2]])).all()
    assert set(zip(*np.asarray(facing.facing).T.tolist(), strict=True)) == {(a, b) for a in range(4) for b in range(4)}
    only_soup = OvercookedParams(w_put=(0.0, 0.0), w_plate=(0.0, 0.0), w_soup=(0.0, 0.0))
    found = Walker(ENV, only_soup, overcooked_expert()).run(jax.random.split(jax.random.key(1), 64))
    assert (found.lengths == 400).all()
    assert not (np.asarray(found.returns) % 20).any()
    # 176 over 200 episodes; nobody delivers more than a soup in 30 steps: 3 onions, 20 steps of cooking, and away.
    assert 160 < found.returns.mean() < 260
    np.testing.assert_array_equal(found.by_agent[:, 0, 0], found.returns)


def test_planes_are_those_of_jaxmarl():
    """By its docstring; `experiments/benchmarks/games.py` compares them with JaxMARL's own, number by number."""
    env, draw, many = Overcooked(observation="planes"), np.random.default_rng(2), 32
    cells = np.array([draw.permutation(6)[:2] for _ in range(many)])
    facing, held, onions = (draw.integers(0, 4, shape) for shape in ((many, 2), (many, 2), many))
    left, time = np.where(onions == 3, draw.integers(0, 3, many), 0), np.where(np.arange(many) % 2, 361, 360)
    given = states(cells, facing, held, onions, left).replace(time=jnp.asarray(time))
    shown = np.asarray(jax.jit(jax.vmap(lambda state: env.observe(state, OvercookedParams())))(given))
    assert shown.shape == (many, 2, *env.observation_space().shape)
    things = {10: "P", 11: "#", 12: "O", 14: "D", 15: "S"}
    for t in range(many):
        for cook in range(2):
            expected = np.zeros((4, 5, 26))
            for plane, thing in things.items():
                expected[..., plane] = [[cell == thing for cell in row] for row in ROOM]
            full = onions[t] == 3
            expected[0, 2, [16, 18, 20, 21]] = [0 if full else onions[t], 3 * full, left[t], full and left[t] == 0]
            for k, who in enumerate([cook, 1 - cook]):
                x, y = CELLS[cells[t, who]]
                expected[y, x, [k, 2 + 4 * k + facing[t, who]]] = 1
                for plane, amount in {ONION: {23: 1}, PLATE: {22: 1}, SOUP: {18: 3, 21: 1}}.get(
                    held[t, who], {}
                ).items():
                    expected[y, x, plane] = amount
            expected[..., 25] = time[t] > 360
            np.testing.assert_array_equal(shown[t, cook], expected)
    with pytest.raises(ValueError, match="did you mean 'planes'"):
        Overcooked(observation="plane")


def test_states_have_numbers_and_lead_to_each_other():
    """All of them, there and back; and from some the step by the rules, as every step is."""
    assert ENV.num_states == 221_184 == 36 * 4**4 * 24
    everything = jax.jit(lambda: (ENV.states, jax.vmap(ENV.number)(ENV.states)))
    listed, numbers = jax.device_get(everything())
    np.testing.assert_array_equal(numbers, np.arange(ENV.num_states))
    assert (listed.onions <= 3).all()
    assert ((listed.left > 0) <= (listed.onions == 3)).all()
    draw = np.random.default_rng(3)
    some, actions = draw.integers(0, ENV.num_states, MANY), draw.integers(0, 6, (MANY, 2))
    before = jax.tree.map(lambda leaf: jnp.asarray(leaf[some]), listed)
    after = step(before, jnp.asarray(actions, jnp.int32))[1]
    following = np.asarray(jax.jit(jax.vmap(ENV.number))(after))
    for t in range(0, MANY, 16):
        parts = [np.asarray(leaf)[t] for leaf in (before.cells, before.facing, before.held, before.onions, before.left)]
        cells, facing, held, onions, left, _ = by_the_rules(*parts, actions[t])
        pot = 23 - left if onions == 3 else onions
        places = (*cells, *facing, *held, pot)
        assert following[t] == np.ravel_multi_index(places, (6, 6, 4, 4, 4, 4, 24))


def test_the_limits_of_what_is_seen_follow_the_cooking_time():
    assert ENV.observation_space(PARAMS).high[21] == 5
    assert ENV.observation_space().high[21] == 20


@pytest.mark.parametrize("size", [40])
def test_its_picture(size):
    image = jax.jit(lambda state: ENV.image(state, PARAMS, size))
    one = lambda **parts: jax.tree.map(lambda leaf: leaf[0], states(**{**BASE, **parts}))  # noqa: E731
    empty, onions = (np.asarray(image(one(onions=[number]))) for number in (0, 2))
    assert empty.shape == (size, size, 3)
    assert ((empty >= 0) & (empty <= 1)).all()
    changed = np.abs(onions - empty).max(-1) > 0.01
    assert changed[:13, 16:24].any()  # the pot's cell, a fifth of the width, below a margin of a tenth
    assert not changed[13:].any()


BASE = {"cells": [[0, 2]], "facing": [[0, 0]], "held": [[0, 0]], "onions": [0], "left": [0]}
