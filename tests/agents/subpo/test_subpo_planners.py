"""Planners against enumeration in plain Python, with sets of places that are Python sets."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment

from jaxreward import with_reward
from jaxreward.agents.subpo.parts import planners
from jaxreward.agents.subpo.parts.planners import beam_search, exhaustive, greedy, replay
from jaxreward.envs.registry import make
from jaxreward.envs.subrl.tasks import two_room_passages
from jaxreward.rewards.sets import coverage, from_function, marginal_gains, set_function

PLACES, ACTIONS, STEPS = 6, 3, 5
CELLS = 20
TERMINAL = 5


@struct.dataclass
class State:
    place: Any
    time: Any


class Moves(Environment):
    """Action `a` leads from place `s` to `moves[s, a]`; episodes start in place 0 and end in terminal ones."""

    name = "Moves"

    def __init__(self, moves, terminal=()):
        self.moves, self.terminal = jnp.asarray(moves, jnp.int32), np.isin(np.arange(len(moves)), terminal)

    @property
    def default_params(self):
        return ()

    def reset_env(self, key, params):
        return jnp.zeros(()), State(jnp.int32(0), jnp.int32(0))

    def step_env(self, key, state, action, params):
        state = State(self.moves[state.place, action], state.time + 1)
        return jnp.zeros(()), state, jnp.zeros(()), jnp.asarray(self.terminal)[state.place], {}

    def is_truncated(self, state, params):
        return jnp.zeros((), bool)

    def action_space(self, params=None):
        return spaces.Discrete(self.moves.shape[1])


class Slippery(Moves):
    """Half of the time another action is done than was chosen, whichever."""

    def step_env(self, key, state, action, params):
        slips, other = jax.random.uniform(key, (2,))
        action = jnp.where(slips < 0.5, (other * self.moves.shape[1]).astype(jnp.int32), action)
        return super().step_env(key, state, action, params)


def visiting(function, moves, terminal=()):
    """That environment, where episodes earn what `function` says of the places they visit."""
    return with_reward(Moves(moves, terminal), marginal_gains(function, lambda state: state.place))


def random_instance(seed, terminal=()):
    """Random moves between places each of which covers three of eight cells."""
    rng = np.random.default_rng(seed)
    moves = rng.integers(PLACES, size=(PLACES, ACTIONS))
    moves[0][moves[0] == TERMINAL] = 1
    cells = rng.integers(8, size=(PLACES, 3))
    weights = rng.uniform(0.5, 2, size=8)
    covered = lambda places: sum(weights[c] for c in {c for p in places for c in cells[p]})  # noqa: E731
    return visiting(coverage(cells, weights), moves, terminal), moves, covered


def triples(visited):
    """Supermodular: a point for each triple of different places."""
    n = len(visited)
    return n * (n - 1) * (n - 2) / 6


def of_triples():
    def count(params, items, mask):
        visited = jnp.zeros(PLACES).at[jnp.where(mask, items, PLACES)].set(1.0, mode="drop").sum()
        return visited * (visited - 1) * (visited - 2) / 6

    return from_function(count, STEPS + 1, jnp.zeros((), jnp.int32))


def visited_by(moves, actions, terminal=()):
    path = [0]
    for action in actions:
        path.append(path[-1] if path[-1] in terminal else moves[path[-1], action])
    return path


def optimum(moves, worth, terminal=()):
    sequences = itertools.product(range(ACTIONS), repeat=STEPS)
    return max(worth(frozenset(visited_by(moves, actions, terminal))) for actions in sequences)


@pytest.mark.parametrize(("seed", "terminal"), [(0, ()), (1, ()), (2, (TERMINAL,)), (3, (TERMINAL,))])
def test_exhaustive_finds_the_optimum_and_says_how(seed, terminal, monkeypatch):
    monkeypatch.setattr(planners, "_CHUNK", 50)  # 243 sequences, in chunks of which the last one is not full
    env, moves, worth = random_instance(seed, terminal)
    plan = exhaustive(env, env.default_params, jax.random.key(0), STEPS)
    np.testing.assert_allclose(plan.value, optimum(moves, worth, terminal), rtol=1e-6)
    path = visited_by(moves, np.asarray(plan.actions), terminal)
    totals = np.array([worth(path[: t + 2]) for t in range(STEPS)])
    np.testing.assert_allclose(np.cumsum(plan.rewards), totals, rtol=1e-5)


def distinct_ends(moves, num_steps):
    """How many pairs of a place and a set of visited places can be reached in so many steps."""
    ends = {(0, frozenset([0]))}
    for _ in range(num_steps):
        ends = {(int(p), seen | {int(p)}) for place, seen in ends for p in moves[place]}
    return len(ends)


@pytest.mark.parametrize("seed", [0, 4])
def test_a_beam_as_wide_as_there_are_distinct_ends_is_exact(seed):
    _, moves, _ = random_instance(seed)
    env = visiting(of_places(), moves)
    width = max(distinct_ends(moves, t) for t in range(1, STEPS + 1))
    assert width < 60  # so that 243 partial plans would not fit without removing duplicates
    key = jax.random.key(1)
    plan = beam_search(env, env.default_params, key, STEPS, width)
    np.testing.assert_allclose(plan.value, optimum(moves, of_python), rtol=1e-6)
    np.testing.assert_allclose(replay(env, env.default_params, key, plan.actions)[0].rewards, plan.rewards, rtol=1e-6)


def test_plans_that_led_to_the_same_do_not_crowd_a_beam():
    # Three actions lead to place 1, worth 1, from where nothing follows; one to place 2 and from there to 3, worth 10.
    moves = np.array([[1, 1, 1, 2], [1, 1, 1, 1], [3, 3, 3, 3], [3, 3, 3, 3]])
    env = visiting(coverage(np.arange(4)[:, None], np.array([0.0, 1, 0, 10])), moves)
    assert beam_search(env, env.default_params, jax.random.key(0), 2, 2).value == 10


WORTH = np.random.default_rng(9).normal(size=2**PLACES).astype(np.float32) * (np.arange(2**PLACES) > 0)


def of_python(visited):
    return WORTH[sum(2**p for p in visited)]


def of_places():
    """Any numbers whatever for the sets of places: neither monotone nor of one curvature."""

    def add(worth, visited, place):
        after = visited | (1 << place)
        return after, worth[after] - worth[visited]

    return set_function(WORTH, lambda _: jnp.zeros((), jnp.int32), add)


def test_all_exact_planners_agree_where_more_is_worth_more_together():
    _, moves, _ = random_instance(5)
    env = visiting(of_triples(), moves)
    best, key = optimum(moves, triples), jax.random.key(2)
    assert best >= 1
    for plan in (
        exhaustive(env, env.default_params, key, STEPS),
        beam_search(env, env.default_params, key, STEPS, ACTIONS**STEPS),
        greedy(env, env.default_params, key, STEPS, STEPS),
    ):
        np.testing.assert_allclose(plan.value, best, rtol=1e-5)


def follow(moves, place, actions):
    passed = []
    for action in actions:
        place = moves[place, action]
        passed.append(place)
    return passed


@pytest.mark.parametrize(("seed", "depth"), [(6, 1), (7, 2), (8, 3)])
def test_greedy_takes_the_first_action_of_a_best_sequence(seed, depth):
    env, moves, worth = random_instance(seed)
    plan = greedy(env, env.default_params, jax.random.key(3), STEPS, depth)
    path = [0]
    for t, action in enumerate(np.asarray(plan.actions)):
        ahead = itertools.product(range(ACTIONS), repeat=min(depth, STEPS - t))
        values = {actions: worth(path + follow(moves, path[-1], actions)) for actions in ahead}
        best = {actions[0] for actions, value in values.items() if value > max(values.values()) - 1e-6}
        assert action in best
        path.append(moves[path[-1], action])
    np.testing.assert_allclose(plan.value, worth(path), rtol=1e-5)


def test_looking_further_ahead_pays_where_the_best_first_step_leads_nowhere():
    # Place 1 is worth 2 and a dead end; place 2 is worth 1 and leads to place 3, worth 5.
    env = visiting(
        coverage(np.arange(4)[:, None], np.array([0.0, 2, 1, 5])), np.array([[1, 2], [1, 1], [3, 3], [3, 3]])
    )
    for num_steps, depth, rewards in [(2, 1, [2, 0]), (2, 2, [1, 5]), (1, 2, [2])]:  # the last: no further than the end
        plan = greedy(env, env.default_params, jax.random.key(0), num_steps, depth)
        np.testing.assert_array_equal(plan.rewards, rewards)


def test_ties_are_broken_at_random_between_first_actions():
    # Action 0 leads on to one place, actions 1 and 2 to another, all of them worth the same.
    moves = np.array([[1, 2, 2], [3, 4, 3], [5, 5, 5], [3, 3, 3], [4, 4, 4], [5, 5, 5]])
    env = visiting(coverage(np.arange(PLACES)[:, None], np.ones(PLACES)), moves)
    keys = jax.random.split(jax.random.key(4), 3_000)
    for depth in (1, 2):
        first = jax.vmap(lambda key, d=depth: greedy(env, env.default_params, key, 2, d).actions[0])(keys)
        counts = np.bincount(first, minlength=3)
        assert np.abs(counts - 1_000).max() < 5 * np.sqrt(3_000 * 2 / 9)
    ends = jax.vmap(lambda key: beam_search(env, env.default_params, key, 1, 1).actions[0])(keys)
    assert np.abs(np.isin(ends, [1, 2]).mean() - 0.5) < 5 * np.sqrt(0.25 / 3_000)  # two places are left, each one beam


def instances(env, seed, count):
    weights = np.random.default_rng(seed).exponential(size=(count, *env.default_params.reward.shape))
    return dataclasses.replace(env.default_params, reward=jnp.asarray(weights, jnp.float32))


def over_instances(plan, params, *args):
    in_axes = dataclasses.replace(jax.tree.map(lambda _: None, params), reward=0)
    return jax.vmap(lambda p: plan(p, *args).value, (in_axes,))(params)


def test_greedy_bound_where_any_place_can_follow_any_other():
    """Monotone, submodular, any three of eight places: at least 1 - 1/e of the optimum (Nemhauser et al. 1978)."""
    cells = np.random.default_rng(0).integers(CELLS, size=(9, 6))
    cells[0] = CELLS  # the start covers nothing
    env = visiting(coverage(cells, np.ones(CELLS)), np.tile(np.arange(1, 9), (9, 1)))
    params = instances(env, 1, 20)
    got = over_instances(lambda p: greedy(env, p, jax.random.key(0), 3), params)
    covers = [sorted({c for p in chosen for c in cells[p]}) for chosen in itertools.combinations(range(1, 9), 3)]
    best = np.max([np.asarray(params.reward)[:, cover].sum(1) for cover in covers], axis=0)
    assert np.all(got <= best * (1 + 1e-6))
    assert np.all(got >= (1 - np.exp(-1)) * best)
    assert np.any(got < best * (1 - 1e-6))


def test_greedy_bound_where_each_step_has_places_of_its_own():
    """One of three places at each step, whatever came before: at least half of the optimum (Fisher et al. 1978)."""
    layers = 1 + np.arange(12).reshape(4, 3)
    moves = np.concatenate([layers[:1], *[np.tile(layer, (3, 1)) for layer in layers[1:]], np.tile(layers[-1], (3, 1))])
    cells = np.concatenate([[[8, 8, 8]], np.random.default_rng(1).integers(8, size=(12, 3))])
    env = visiting(coverage(cells, np.ones(8)), moves)
    params = instances(env, 2, 20)
    got = over_instances(lambda p: greedy(env, p, jax.random.key(0), 4), params)
    best = over_instances(lambda p: exhaustive(env, p, jax.random.key(0), 4), params)
    covers = [list({c for p in path for c in cells[p]}) for path in itertools.product(*layers)]
    by_hand = np.max([np.asarray(params.reward)[:, cover].sum(1) for cover in covers], axis=0)
    np.testing.assert_allclose(best, by_hand, rtol=1e-5)
    assert np.all(got >= 0.5 * best)
    assert np.any(got < best * (1 - 1e-6))


def test_where_moves_are_random_plans_are_for_the_future_of_their_key():
    reward = marginal_gains(coverage(np.arange(4)[:, None], np.array([1.0, 1.2, 1.7, 1.4])), lambda state: state.place)
    env = with_reward(Slippery(np.random.default_rng(3).integers(4, size=(4, 2))), reward)
    keys = jax.random.split(jax.random.key(5), 8)
    every = jnp.asarray(list(itertools.product(range(2), repeat=3)))
    play = lambda key, actions: replay(env, env.default_params, key, actions)[0].value  # noqa: E731
    values = jax.vmap(lambda key: jax.vmap(lambda actions: play(key, actions))(every))(keys)
    best = jax.vmap(lambda key: exhaustive(env, env.default_params, key, 3).value)(keys)
    np.testing.assert_allclose(best, values.max(1), rtol=1e-6)
    plan = jax.vmap(lambda key: beam_search(env, env.default_params, key, 3, 2))(keys)
    np.testing.assert_allclose(plan.value, jax.vmap(play)(keys, plan.actions), rtol=1e-6)
    assert np.all(plan.value <= best + 1e-6)


def test_jit_and_vmap_over_keys_change_nothing():
    env, *_ = random_instance(0)
    keys = jax.random.split(jax.random.key(6), 3)
    for plan in (
        lambda key: greedy(env, env.default_params, key, 3, 2),
        lambda key: beam_search(env, env.default_params, key, 3, 4),
    ):
        batch = jax.jit(jax.vmap(plan))(keys)
        for k in range(3):
            one = plan(keys[k])
            np.testing.assert_array_equal(batch.actions[k], one.actions)
            np.testing.assert_allclose(batch.rewards[k], one.rewards, rtol=1e-6)


def test_moves_and_ties_share_no_key():
    env, *_ = random_instance(0)
    _, *keys = planners._start(env, env.default_params, jax.random.key(0), 5)
    assert len(np.unique(jax.random.key_data(jnp.concatenate(keys)), axis=0)) == 10


class Cut(Moves):
    """The same, cut after two steps."""

    def is_truncated(self, state, params):
        return state.time >= 2


def test_nothing_is_earned_once_an_episode_was_cut():
    # From 0 to 1 and 2, each worth 1, and to 3, worth 10.
    function = coverage(np.arange(4)[:, None], np.array([0.0, 1, 1, 10]))
    env = with_reward(Cut([[1], [2], [3], [3]]), marginal_gains(function, lambda state: state.place))
    plan, states = replay(env, env.default_params, jax.random.key(0), jnp.zeros(4, jnp.int32))
    np.testing.assert_array_equal(plan.rewards, [1, 1, 0, 0])
    np.testing.assert_array_equal(states.env.place, [0, 1, 2, 2, 2])


def test_replay_returns_all_states():
    env, moves, _ = random_instance(1)
    actions = jnp.array([0, 2, 1, 1], jnp.int32)
    plan, states = replay(env, env.default_params, jax.random.key(7), actions)
    np.testing.assert_array_equal(states.env.place, visited_by(moves, np.asarray(actions)))
    np.testing.assert_array_equal(states.env.time, np.arange(5))
    np.testing.assert_array_equal(plan.actions, actions)


def test_hashes_tell_states_apart_by_each_of_their_leaves():
    keys = jax.random.split(jax.random.key(8), 4)
    states = {
        "flag": jnp.array([False, True, True, True]),
        "small": jnp.array([1, 1, 2, 2], jnp.int8),
        "half": jnp.array([[0.25, 1], [0.25, 1], [0.25, 1], [0.5, 1]], jnp.float16),
        "key": keys[jnp.array([0, 0, 0, 0])],
        "words": jnp.zeros((4, 2, 3), jnp.uint32),
    }
    low, high = planners._hash(states, 0), planners._hash(states, 1)
    assert len(set(np.asarray(low))) == len(set(np.asarray(high))) == 4
    assert not np.any(low == high)
    for name, other in (("key", keys), ("words", jnp.zeros((4, 2, 3), jnp.uint32).at[:, 1, 2].set(1 << 31))):
        changed = np.asarray(planners._hash(states | {name: other}, 0) != low)
        np.testing.assert_array_equal(changed, [name != "key", True, True, True])
    same = jax.tree.map(lambda x: x[jnp.array([2, 2, 2, 2])], states)
    assert len(set(np.asarray(planners._hash(same, 0)))) == 1


class Continuous(Moves):
    def action_space(self, params=None):
        return spaces.Box(-1.0, 1.0, (2,))


def test_bad_arguments_are_refused():
    env, *_ = random_instance(0)
    params, key = env.default_params, jax.random.key(0)
    with pytest.raises(ValueError, match=r"num_steps=16 with 3 actions means 43046721 .* num_steps=15 is the most"):
        exhaustive(env, params, key, 16)
    with pytest.raises(ValueError, match=r"depth=20 with 3 actions .* depth=15"):
        greedy(env, params, key, 3, 20)
    with pytest.raises(ValueError, match="width must be at least 1; got 0"):
        beam_search(env, params, key, 3, 0)
    with pytest.raises(ValueError, match="num_steps must be at least 1; got 0"):
        greedy(env, params, key, 0)
    continuous = Continuous(env.env.moves)
    with pytest.raises(ValueError, match="need a Discrete action space; got Box"):
        greedy(continuous, continuous.default_params, key, 3)


def python_two_rooms():
    """By cell, the cells around it it leads to, and those it covers."""
    right, down, diagonal = two_room_passages()
    left, up = np.roll(right, 1, 1), np.roll(down, 1, 0)
    right[:, -1] = down[-1] = left[:, 0] = up[0] = diagonal[-1] = diagonal[:, -1] = False
    leads, covers = {}, {}
    for r, c in np.ndindex(7, 14):
        ways = [(1, 0, 0), (right[r, c], 0, 1), (down[r, c], 1, 0), (left[r, c], 0, -1), (up[r, c], -1, 0)]
        leads[r, c] = [(r + i, c + j) if free else (r, c) for free, i, j in ways]
        reached = [(1, 0, 0), (right[r, c], 0, 1), (down[r, c], 1, 0), (diagonal[r, c], 1, 1)]
        covers[r, c] = {(r + i, c + j) for free, i, j in reached if free}
    return leads, covers


def python_greedy(rng, leads, covers, cell=(2, 6), num_steps=39):
    covered = set(covers[cell])
    for _ in range(num_steps):
        gains = [len(covers[to] - covered) for to in leads[cell]]
        cell = leads[cell][rng.choice(np.flatnonzero(np.array(gains) == max(gains)))]
        covered |= covers[cell]
    return len(covered)


def test_both_rooms_can_be_covered_where_greedy_stays_in_one():
    env, params = make("subrl/two_rooms")
    assert beam_search(env, params, jax.random.key(0), 39, 200).value == 68
    values = jax.vmap(lambda key: greedy(env, params, key, 39).value)(jax.random.split(jax.random.key(1), 400))
    rng, rooms = np.random.default_rng(0), python_two_rooms()
    expected = np.array([python_greedy(rng, *rooms) for _ in range(400)])
    error = np.sqrt((values.var() + expected.var()) / 400)
    assert abs(values.mean() - expected.mean()) < 4 * error
    assert values.max() < 68
