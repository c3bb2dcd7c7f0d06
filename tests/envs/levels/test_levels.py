"""Levels against their rules, and their best returns against enumeration."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs import list_envs, make
from jaxreward.envs.levels import TASKS
from jaxreward.envs.levels.distributions import HANDMADE, MODES, log_uniform_integer, sample_level
from jaxreward.envs.levels.grid_world import CLOCK, DOWN, LEFT, RIGHT, STAY, UP, GridWorld, Level, LevelState
from jaxreward.envs.levels.mazes import sample_maze
from jaxreward.envs.levels.optimal import optimal_return
from jaxreward.learning.rollout import reset_batch, rollout
from tests.by_default import by_default

WALL = 4
"""The middle of 3 x 3 cells."""


BEST = jax.jit(optimal_return, static_argnums=0)


def level(cells=(8, 2), start=0, size=3, side=3, steps=6, wall=WALL, **numbers):
    """Objects on given cells of a small level with one wall."""
    n = len(cells)
    walls = jnp.zeros(side**2, bool).at[wall].set(True)
    number = {"reward": jnp.ones(n), "termination": jnp.zeros(n), "respawn": jnp.zeros(n), **numbers}
    return Level(
        size=jnp.int32(size),
        walls=walls,
        start=jnp.int32(start),
        cells=jnp.array(cells, jnp.int32),
        count=jnp.int32(n),
        kind=jnp.arange(n, dtype=jnp.int32),
        max_steps_in_episode=jnp.int32(steps),
        **{name: jnp.asarray(value, float) for name, value in number.items()},
    )


class Compiled(GridWorld):
    """One program a call, not one for each operation."""

    moved = jax.jit(GridWorld.moved, static_argnums=0)
    step_env = jax.jit(GridWorld.step_env, static_argnums=0)
    reset_env = jax.jit(GridWorld.reset_env, static_argnums=0)


def world(of, **options):
    return Compiled(lambda key: of, **options)


def state_of(of, position, exists=None):
    exists = jnp.ones(len(of.cells), bool) if exists is None else jnp.array(exists)
    return LevelState(jnp.int32(position), of.cells, exists, jnp.array(False), jnp.int32(0))


@pytest.mark.parametrize(
    ("position", "action", "leads"),
    [
        (0, UP, 0),
        (0, LEFT, 0),
        (0, RIGHT, 1),
        (0, DOWN, 3),
        (0, STAY, 0),
        (1, DOWN, 1),  # into the wall
        (3, RIGHT, 3),
        (5, RIGHT, 5),  # the end of a row is no way to the next
        (6, LEFT, 6),
        (8, DOWN, 8),
        (8, UP, 5),
        (8, LEFT, 7),
    ],
)
def test_moves_by_hand(position, action, leads):
    of = level()
    assert world(of).moved(jnp.int32(position), jnp.int32(action), of) == leads


def test_a_smaller_level_has_a_border_within_the_largest():
    of = level(size=2, side=3, wall=8)
    assert [int(world(of).moved(jnp.int32(1), jnp.int32(a), of)) for a in (RIGHT, DOWN)] == [1, 4]
    assert [int(world(of).moved(jnp.int32(4), jnp.int32(a), of)) for a in (RIGHT, DOWN)] == [4, 4]


def test_what_is_collected_pays_is_gone_and_can_not_return_in_the_same_step():
    of = level(cells=(1, 8), reward=(0.5, 7.0), respawn=(1.0, 1.0))
    env = world(of)
    _, state, reward, terminated, info = env.step_env(jax.random.key(0), state_of(of, 0), RIGHT, of)
    assert (float(reward), bool(terminated), state.exists.tolist()) == (0.5, False, [False, True])
    assert info["collected"].tolist() == [True, False]
    _, state, reward, *_ = env.step_env(jax.random.key(1), state, STAY, of)
    assert (float(reward), state.exists.tolist()) == (0.0, [True, True])
    _, state, reward, *_ = env.step_env(jax.random.key(2), state, STAY, of)
    assert (float(reward), state.exists.tolist()) == (0.5, [False, True])


def test_objects_that_the_level_does_not_have_never_appear():
    of = level(respawn=(1.0, 1.0)).replace(count=jnp.int32(1))
    env = world(of)
    state = env.reset_env(jax.random.key(0), of)[1]
    assert state.exists.tolist() == [True, False]
    assert env.step_env(jax.random.key(0), state, STAY, of)[1].exists.tolist() == [True, False]


def test_chances_of_ending_and_of_returning():
    """Over 4000 keys; a binomial share is within 5 standard deviations of its chance."""
    of = level(cells=(1, 1), termination=(0.2, 0.1), respawn=(0.3, 0.0))
    env = world(of)
    keys = jax.random.split(jax.random.key(0), 4000)
    ended = jax.vmap(lambda key: env.step_env(key, state_of(of, 0), RIGHT, of)[3])(keys)
    back = jax.vmap(lambda key: env.step_env(key, state_of(of, 0, [False, False]), DOWN, of)[1].exists)(keys)
    assert ended.mean() == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / 4000) ** 0.5)
    assert back[:, 0].mean() == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / 4000) ** 0.5)
    assert not back[:, 1].any()


def test_the_time_limit_truncates_and_chance_terminates():
    of = level(steps=2, termination=(1.0, 1.0), cells=(8, 1))
    env = world(of)
    state = state_of(of, 0)
    for time in (1, 2):
        _, state, _, terminated, _ = env.step_env(jax.random.key(0), state, STAY, of)
        assert not terminated
        assert bool(env.is_truncated(state, of)) == (time == 2)
    assert env.step_env(jax.random.key(0), state_of(of, 0), RIGHT, of)[3]


def test_observations_are_one_state_in_several_forms():
    of = level()
    state = state_of(of, 5, [False, True]).replace(time=jnp.int32(3))
    see = {form: world(of, observation=form).observe(None, state, None, of) for form in ("one_hot", "index", "number")}
    assert int(see["number"]) == 5 + 9 * 2
    assert see["index"].tolist() == [23, 3]
    expected = np.zeros(9 * 4 + 1, np.float32)
    expected[23], expected[-1] = 1, 3 * CLOCK
    np.testing.assert_array_equal(see["one_hot"], expected)
    planes = world(of, observation="planes").observe(None, state, None, of)
    shown = planes[:-1].reshape(3, 9)
    assert [np.flatnonzero(plane).tolist() for plane in shown] == [[5], [], [2]]


def test_every_state_has_a_number_of_its_own():
    of = level()
    env = world(of)
    numbers = {
        int(env.number(state_of(of, position, exists)))
        for position in range(9)
        for exists in itertools.product((False, True), repeat=2)
    }
    assert numbers == set(range(env.num_states))


def test_placed_objects_are_on_free_cells_each_as_often():
    """Of 9 cells one is a wall, one the agent's and one taken: of the other six two, and each pair as often."""
    of = level(cells=(0, 0, 7))
    env = world(of, observation="planes", random_objects=True)
    kept, appear = jnp.array([False, False, True]), jnp.array([True, True, False])
    place = lambda noise: env.placed(noise, jnp.int32(0), of.cells, kept, appear, of)  # noqa: E731
    cells = np.asarray(jax.vmap(place)(jax.random.uniform(jax.random.key(0), (30_000, 3))))
    assert (cells[:, 2] == 7).all()
    pairs, counts = np.unique(cells[:, :2], axis=0, return_counts=True)
    allowed = [1, 2, 3, 5, 6, 8]
    assert {tuple(pair) for pair in pairs.tolist()} == set(itertools.permutations(allowed, 2))
    np.testing.assert_allclose(counts / 30_000, 1 / 30, atol=5 * (1 / 30 / 30_000) ** 0.5)


def test_an_object_without_a_cell_is_nowhere():
    of = level(cells=(0, 0), wall=slice(1, None))
    env = world(of, observation="planes", random_objects=True)
    observation, state = env.reset_env(jax.random.key(0), of)
    assert state.cells.tolist() == [9, 9]
    assert observation.sum() == 1


def episode_returns(env, of, actions, draws):
    """What one fixed sequence of actions earns, for each way chance can go; only for chances of 0 and 1."""

    def step(now, action):
        state, over = now
        _, following, reward, terminated, _ = env.step_env(draws, state, action, of)
        return (following, over | terminated | env.is_truncated(following, of)), jnp.where(over, 0.0, reward)

    start = env.reset_env(draws, of)[1], jnp.array(False)
    return jax.lax.scan(step, start, actions)[1].sum()


@pytest.mark.parametrize(
    "numbers",
    [
        {"reward": (1.0, 0.6)},
        {"reward": (1.0, 0.3), "termination": (1.0, 0.0)},
        {"reward": (0.4, -1.0), "respawn": (1.0, 1.0)},
        {"reward": (-1.0, 0.25), "respawn": (0.0, 1.0), "termination": (0.0, 1.0)},
    ],
)
def test_the_best_return_is_that_of_the_best_of_all_action_sequences(numbers):
    """Nothing is left to chance here, so a sequence of actions is as good as a policy: all 5^6 are tried."""
    of = level(cells=(2, 8), **numbers)
    env = world(of)
    sequences = jnp.array(list(itertools.product(range(5), repeat=6)), jnp.int32)
    tried = jax.jit(jax.vmap(lambda actions: episode_returns(env, of, actions, jax.random.key(0))))(sequences)
    assert BEST(env, of) == pytest.approx(float(tried.max()), abs=1e-6)


def test_the_best_return_under_chance_is_that_of_a_recursion_over_outcomes():
    """A tree of all that can happen, with numbers between 0 and 1, three objects of which one is not there."""
    of = level(
        cells=(1, 3, 0), reward=(1.0, -0.4, 9.0), termination=(0.3, 0.6, 0.0), respawn=(0.25, 0.5, 1.0), steps=4
    ).replace(count=jnp.int32(2))
    env = world(of)
    leads = [[int(env.moved(jnp.int32(s), jnp.int32(a), of)) for a in range(5)] for s in range(9)]
    reward, ends, returns = (np.asarray(x, float) for x in (of.reward, of.termination, of.respawn))

    @functools.cache
    def value(position, exists, left):
        if left == 0:
            return 0.0
        return max(arrive(leads[position][action], exists, left) for action in range(5))

    def arrive(position, exists, left):
        here = [exists[i] and int(of.cells[i]) == position for i in range(2)]
        paid = sum(reward[i] for i in range(2) if here[i])
        ending = min(sum(ends[i] for i in range(2) if here[i]), 1.0)
        later = 0.0
        for after in itertools.product((False, True), repeat=2):
            chance = 1.0
            for i in range(2):
                there = 0.0 if here[i] else (1.0 if exists[i] else returns[i])
                chance *= there if after[i] else 1 - there
            later += chance * value(position, after, left - 1) if chance else 0.0
        return paid + (1 - ending) * later

    expected = value(0, (True, True), 4)
    assert float(BEST(env, of)) == pytest.approx(expected, abs=1e-6)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), of)
    batch = batch.replace(max_steps_in_episode=jnp.array([4, 1], jnp.int32))
    both = jax.vmap(lambda of: BEST(env, of))(batch)
    np.testing.assert_allclose(both, [expected, value(0, (True, True), 1)], atol=1e-6)


def test_no_policy_earns_more_than_the_best():
    """Walking at random in `levels/dense`, for so short a time that all of it is listed soon."""
    env, params = make("levels/dense")
    params = params.replace(max_steps_in_episode=20)
    best = BEST(env, params)
    act = lambda carry, observation, action: (carry, action, ())  # noqa: E731

    @jax.jit
    def walk(key):
        keys = jax.random.split(key, 3)
        noise = jax.random.randint(keys[0], (100, 64), 0, 5)
        return rollout(env, params, act, (), reset_batch(env, params, 64, keys[1]), noise, keys[2])[3]

    metrics = walk(jax.random.key(0))
    assert metrics["episode/return"] < best
    assert best > 0


def test_objects_that_move_have_no_listed_states():
    env, params = make("levels/rand_small")
    with pytest.raises(ValueError, match="can't be listed"):
        optimal_return(env, params)


def test_few_levels_are_those_of_the_first_seeds():
    env, params = make("levels/sparse?number=3&seed=7")
    one = lambda seed: sample_level(jax.random.key(seed), "sparse")  # noqa: E731
    both = jax.jit(lambda keys: (jax.vmap(env.sample_params)(keys), jax.vmap(one)(jnp.array([0, 1, 2, 7]))))
    drawn, seeds = both(jax.random.split(jax.random.key(0), 60))
    which = (np.asarray(drawn.cells)[:, None] == np.asarray(seeds.cells)[:3]).all(-1)
    assert (which.sum(1) == 1).all()
    assert which.any(0).all()
    np.testing.assert_array_equal(params.cells, seeds.cells[3])
    with pytest.raises(ValueError, match="number=-1; expected that of the levels"):
        make("levels/sparse?number=-1")


@pytest.mark.parametrize("mode", by_default([*MODES, *HANDMADE], "tiny", "small", "mazes", "rand_sparse"))
def test_drawn_levels_are_within_their_ranges(mode):
    levels = jax.jit(jax.vmap(lambda key: sample_level(key, mode)))(jax.random.split(jax.random.key(0), 100))
    side = round(levels.walls.shape[1] ** 0.5)
    numbers = np.arange(side**2)
    for one in range(100):
        of = jax.tree.map(lambda leaf, one=one: np.asarray(leaf[one]), levels)
        inside = (numbers // side < of.size) & (numbers % side < of.size)
        assert inside[of.start]
        assert not of.walls[of.start]
        placed = [cell for cell in of.cells if cell < side**2]
        assert inside[placed].all()
        assert not of.walls[placed].any()
        assert len({of.start.item(), *placed}) == 1 + len(placed)
        assert len(placed) == len(of.cells) or mode == "tiny"
    assert ((levels.termination >= 0) & (levels.termination <= 1)).all()
    if mode in MODES:
        of = MODES[mode]
        for drawn, (low, high) in (
            (levels.size, of.sizes),
            (levels.count, of.objects),
            (levels.max_steps_in_episode, of.steps),
        ):
            assert drawn.min() >= low
            assert drawn.max() <= high
            assert high - low < 3 or len(np.unique(drawn)) > 2
        assert (levels.reward[:, 0] >= 0).all()
        assert ((levels.reward[:, 1:] < 0).any()) == (not of.maze)


def test_log_uniform_integers_have_a_uniform_logarithm():
    """A decade is as likely as the next, to 5 standard deviations; both ends occur."""
    drawn = np.asarray(
        jax.vmap(lambda key: log_uniform_integer(key, 10, 999))(jax.random.split(jax.random.key(0), 9000))
    )
    assert (drawn < 100).mean() == pytest.approx(0.5, abs=5 * 0.5 / 9000**0.5)
    assert drawn.min() == 10
    assert drawn.max() <= 999


def test_mazes_are_connected_and_differ():
    walls = np.asarray(jax.vmap(lambda key: sample_maze(key, 13))(jax.random.split(jax.random.key(0), 8)))
    assert len(np.unique(walls, axis=0)) == 8
    for maze in ~walls.reshape(-1, 13, 13):
        reached, new = set(), {(0, 0)}
        while new:
            reached |= new
            beside = {(r + dr, c + dc) for r, c in new for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0))}
            new = {(r, c) for r, c in beside if 0 <= r < 13 and 0 <= c < 13 and maze[r, c]} - reached
        assert len(reached) == maze.sum()
        assert maze.sum() >= 49 + 48  # rooms, and the doors of a tree
    tree = sample_maze(jax.random.key(0), 13, openings=0.0)
    assert (~tree).sum() == 49 + 48
    with pytest.raises(ValueError, match="odd"):
        sample_maze(jax.random.key(0), 12)


def test_chains_pay_for_the_first_action_at_the_end():
    env, params = make("levels/chain")
    assert 5 <= params.length <= 30
    for right, action, paid in ((0, 0, 1.0), (0, 1, -1.0), (1, 1, 1.0), (1, 0, -1.0)):
        state = env.reset_env(jax.random.key(0), params)[1].replace(right=jnp.int32(right))
        assert env.observe(None, state, None, params) == right
        rewards, seen = [], []
        for time in range(int(params.length)):
            chosen = action if time == 0 else time % 2
            observation, state, reward, terminated, _ = env.step_env(jax.random.key(0), state, chosen, params)
            rewards.append(float(reward))
            seen.append(int(observation))
        assert terminated
        assert (sum(rewards[:-1]), rewards[-1]) == (0.0, paid)
        first = 2 + (paid > 0) * 30
        assert seen == list(range(first, first + int(params.length)))


def test_chains_with_noise_and_distraction():
    env, params = make("levels/chain_noisy")
    state = env.reset_env(jax.random.key(0), params)[1]
    rewards = jax.vmap(lambda key: env.step_env(key, state, 0, params)[2])(jax.random.split(jax.random.key(0), 100))
    assert set(np.unique(rewards)) == {-1.0, 1.0}
    env, params = make("levels/chain_distracting")
    keys = jax.random.split(jax.random.key(0), 200)
    seen, states = jax.vmap(env.reset_env, (0, None))(keys, params)
    np.testing.assert_array_equal(seen[:, 1], states.right)
    assert (seen[:, 0] == 1).all()
    assert 0.4 < seen[:, 2:].mean() < 0.6
    assert make("levels/chain_long")[0].num_states == 102
    with pytest.raises(ValueError, match="shortest=3"):
        make("levels/chain", shortest=3, longest=2)


@pytest.mark.parametrize("name", by_default(TASKS, "tiny", "dense", "rand_small", "mazes", "chain_distracting"))
def test_every_task_is_listed_and_steps_within_its_space(name):
    env, params = make(f"levels/{name}")
    assert f"levels/{name}" in list_envs()
    act = lambda carry, observation, action: (carry, action, ())  # noqa: E731

    @jax.jit
    def walk(key):
        keys = jax.random.split(key, 3)
        noise = jax.random.randint(keys[0], (40, 4), 0, env.num_actions)
        return rollout(env, params, act, (), reset_batch(env, params, 4, keys[1]), noise, keys[2])[2]

    steps = walk(jax.random.key(0))
    space = env.observation_space(params)
    assert steps.observation.dtype == space.dtype
    assert steps.observation.shape[2:] == space.shape
    high = getattr(space, "high", getattr(space, "n", 1) - 1)
    assert (steps.observation >= 0).all()
    assert (steps.observation <= high).all()
    other = jax.eval_shape(env.sample_params, jax.random.key(5))
    assert jax.tree.structure(other) == jax.tree.structure(params)
    assert jax.tree.map(jnp.shape, other) == jax.tree.map(jnp.shape, params)


def test_levels_are_vmapped_and_seeded():
    env, params = make("levels/medium?seed=3")
    draw = jax.jit(env.sample_params)  # the program by which it was drawn
    assert jax.tree.all(jax.tree.map(lambda x, y: (x == y).all(), params, draw(jax.random.key(3))))
    levels = jax.jit(jax.vmap(env.sample_params))(jax.random.split(jax.random.key(0), 4))
    states = jax.jit(jax.vmap(env.reset_env, (None, 0)))(jax.random.key(0), levels)[1]
    np.testing.assert_array_equal(states.position, levels.start)


@pytest.mark.parametrize("name", ["dense", "mazes", "rand_small"])
def test_pictures_show_walls_objects_and_the_agent(name):
    env, params = make(f"levels/{name}")
    state = env.reset_env(jax.random.key(0), params)[1]
    size = 8 * env.side
    image = np.asarray(jax.jit(env.image, static_argnums=2)(state, params, size))
    assert image.shape == (size, size, 3)
    assert (image >= 0).all()
    assert (image <= 1).all()
    middles = image[4::8, 4::8].reshape(-1, 3)
    kind = np.where(np.ptp(middles, axis=1) < 0.1, -1, middles.argmax(1))
    assert kind[state.position] == 2  # blue
    for cell, reward in zip(state.cells.tolist(), params.reward.tolist(), strict=True):
        assert kind[cell] == (1 if reward >= 0 else 0)
    np.testing.assert_array_equal(middles.max(1) < 0.5, ~np.asarray(env.free(params)))


def test_observations_that_hide_objects_are_refused():
    with pytest.raises(ValueError, match="does not show where objects are"):
        make("levels/rand_small", observation="index")
    with pytest.raises(ValueError, match="did you mean 'one_hot'"):
        make("levels/dense", observation="onehot")
    with pytest.raises(ValueError, match="did you mean 'medium'"):
        sample_level(jax.random.key(0), "mediun")
