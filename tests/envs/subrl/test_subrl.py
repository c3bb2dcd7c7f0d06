"""The tasks of submodular RL against maps, counts and recipes, and their returns against sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import with_reward
from jaxreward.agents.baselines.ppo import Config, Hyperparams, ppo
from jaxreward.envs import list_envs, make
from jaxreward.envs.subrl.densities import (
    GP_NOISE,
    GP_VARIANCE,
    gp_density,
    item_kinds,
    matern52,
    nests_density,
    positions,
    random_points,
)
from jaxreward.envs.subrl.grid import DOWN, LEFT, RIGHT, STAY, UP
from jaxreward.envs.subrl.tasks import ITEM_COUNTS, ITEMS_REQUIRED, TASKS
from jaxreward.learning.rollout import reset_batch, rollout
from jaxreward.reward import Transition
from jaxreward.rewards.registry import get_reward
from jaxreward.rewards.sets import modular
from jaxreward.run.spec import resolve

GRIDS = ("gp_coverage", "gorilla", "bimodal", "uniform", "two_rooms", "steiner", "design")
ROOMS = [
    "....######....",
    "....######....",
    "......S.......",
    "..............",
    "....######....",
    "....######....",
    "....######....",
]
FREE = {14 * r + c for r, line in enumerate(ROOMS) for c, letter in enumerate(line) if letter != "#"}


def walk(env, params, actions):
    """The cells of a walk and its rewards."""

    def step(state, action):
        _, state, reward, terminated, info = env.step_env(jax.random.key(0), state, action, params)
        return state, (state.env.cell, reward, terminated, info)

    start = env.reset_env(jax.random.key(0), params)[1]
    cells, rewards, terminated, info = jax.jit(lambda a: jax.lax.scan(step, start, a)[1])(jnp.asarray(actions))
    return [int(start.env.cell), *cells.tolist()], rewards, terminated, info


def random_actions(env, seed):
    return np.random.default_rng(seed).integers(0, 5, env.env.horizon - 1)


def test_the_rooms_are_those_of_the_map():
    env, params = make("subrl/two_rooms")
    assert len(FREE) == 68
    assert "".join(ROOMS)[env.env.start] == "S"
    moves = np.asarray(params.env.next_cell)
    steps = {STAY: 0, RIGHT: 1, DOWN: 14, LEFT: -1, UP: -14}
    for cell in FREE:
        row, column = divmod(cell, 14)
        inside = {RIGHT: column < 13, DOWN: row < 6, LEFT: column > 0, UP: row > 0, STAY: True}
        for action, add in steps.items():
            free = inside[action] and cell + add in FREE
            assert moves[cell, action] == (cell + add if free else cell), (cell, action)
    reached, border = {34}, {34}
    while border:
        border = {int(c) for s in border for c in moves[s]} - reached
        reached |= border
    assert reached == FREE


def test_in_the_rooms_discs_never_reach_through_walls():
    env, params = make("subrl/two_rooms")
    alone = jax.vmap(lambda cell: covered_alone(env, params, cell))(jnp.arange(98))
    for cell in FREE:
        # The code's rule leaves out one more corner, below and right of (0, 3), which is a wall as it is.
        assert alone[cell] == len(disc_in_rooms(cell)), divmod(cell, 14)


def covered_alone(env, params, cell):
    state = env.reset_env(jax.random.key(0), params)[1].env.replace(cell=cell)
    function_params = params.reward
    return single(env)(function_params, state)


def single(env):
    """F of one place, through the first step of an episode that stays there."""

    def value(reward_params, state):
        zero = jnp.zeros(())
        stay = Transition(zero, zero, zero, zero, zero > 1, zero > 1, state, state)
        return env.reward.step(reward_params, env.reward.reset(reward_params), stay)[1]

    return value


@pytest.mark.parametrize("name", ["gp_coverage", "bimodal", "gorilla", "uniform"])
def test_returns_of_coverage_are_the_weights_of_what_was_covered(name):
    env, params = make(f"subrl/{name}")
    params = params.replace(instance=jnp.asarray(env.num_instances - 1))
    cells, rewards, terminated, _ = walk(env, params, random_actions(env, 0))
    weights = np.asarray(env.objectives)[-1]
    grid = lambda cell: divmod(cell, 30)  # noqa: E731
    covered = {(r + i, c + j) for r, c in map(grid, cells) for i in (0, 1) for j in (0, 1) if r + i < 30 and c + j < 30}
    assert len(cells) == env.env.horizon
    np.testing.assert_allclose(rewards.sum(), sum(weights[30 * r + c] for r, c in covered), rtol=1e-5)
    assert terminated.tolist() == [False] * (len(cells) - 2) + [True]


def test_returns_in_the_rooms_by_hand():
    env, params = make("subrl/two_rooms")
    # Start covers (2, 6), (2, 7), (3, 6), (3, 7). Right adds (2, 8), (3, 8). Down adds none: below is a wall.
    cells, rewards, _, _ = walk(env, params, [RIGHT, DOWN, UP, LEFT] + [STAY] * 35)
    assert cells[:5] == [34, 35, 49, 35, 34]
    assert rewards[:5].tolist() == [6.0, 0.0, 0.0, 0.0, 0.0]


def test_items_count_once_each_and_up_to_what_is_required():
    env, params = make("subrl/steiner")
    kinds = np.asarray(env.objectives["kinds"])
    for instance in range(3):
        chosen = params.replace(instance=jnp.asarray(instance))
        cells, rewards, _, _ = walk(env, chosen, random_actions(env, instance))
        found = np.bincount([kinds[instance][c] for c in set(cells) if kinds[instance][c] >= 0], minlength=6)
        assert rewards.sum() == np.minimum(found, ITEMS_REQUIRED).sum()
    assert sum(ITEMS_REQUIRED) == 21
    for layout in kinds:
        assert np.bincount(layout + 1).tolist() == [105 - sum(ITEM_COUNTS), *ITEM_COUNTS]
    assert len({layout.tobytes() for layout in kinds}) == env.num_instances == 10


def test_design_is_the_information_about_a_process_of_which_five_points_are_known():
    env, params = make("subrl/design")
    instance = 2
    cells, rewards, _, _ = walk(env, params.replace(instance=jnp.asarray(instance)), random_actions(env, 1))
    known = np.asarray(env.objectives["kernel"]["points"], np.float64)[instance]
    seen = positions(30, 30)[cells]
    gain = np.linalg.solve(matern52(known, known) + 1e-3 * np.eye(5), matern52(known, seen))
    covariance = matern52(seen, seen) - matern52(seen, known) @ gain
    expected = 0.5 * np.linalg.slogdet(np.eye(len(cells)) + covariance / 1e-6)[1]
    # In float32, a nearly known place is known to a few hundredths of a nat, see `information_gain`.
    np.testing.assert_allclose(rewards.sum(), expected, rtol=5e-3)
    offset, with_offset = make("subrl/design", offset=True)
    _, shifted, _, _ = walk(offset, with_offset.replace(instance=jnp.asarray(instance)), random_actions(env, 1))
    per_measurement = 9.965784 + 0.5 * np.log(1e-6)
    np.testing.assert_allclose(shifted.sum() - rewards.sum(), len(cells) * per_measurement, rtol=1e-3)


def test_the_two_corners_of_the_bimodal_density():
    weights = np.asarray(make("subrl/bimodal")[0].objectives).reshape(30, 30)
    np.testing.assert_allclose(weights[[0, 29], [0, 29]], 0.7310586, rtol=1e-6)
    np.testing.assert_allclose(weights[[0, 29], [29, 0]], 0.2689414, rtol=1e-6)
    np.testing.assert_allclose(weights.sum(), 450, rtol=1e-5)


def test_densities_are_samples_of_their_process():
    """Of many samples: the variance far from any data, and the correlation of neighbours."""
    samples = np.stack([gp_density(6, 6, seed) for seed in range(400)]) - 3
    far = samples[np.abs(samples).max(1) < 3]  # those that had to be moved further are few
    assert len(far) > 390
    np.testing.assert_allclose(far.var(), GP_VARIANCE, rtol=0.25)
    assert np.corrcoef(far[:, 0], far[:, 1])[0, 1] > 0.95
    kernel = matern52(positions(6, 6), positions(6, 6))
    np.testing.assert_allclose(kernel[0, 1] / GP_VARIANCE, (1 + 0.2236068 + 0.05 / 3) * np.exp(-0.2236068), rtol=1e-6)


def test_densities_are_samples_given_a_zero_nearby():
    """How far samples lie from 3, in the metric of the process given what is known, is chi-squared."""
    cells, squared = positions(6, 6), []
    for seed in range(1000):
        point = random_points(np.random.default_rng([seed, 0]), 1)
        if point.max() < 2.5:  # elsewhere the zero says nothing about the cells, which are at 1 to 1.5
            both = np.concatenate([cells, point])
            noise = np.diag([0.0] * len(cells) + [GP_NOISE])
            precision = np.linalg.inv(matern52(both, both) + noise)[: len(cells), : len(cells)]
            sample = gp_density(6, 6, seed) - 3
            squared.append(sample @ precision @ sample)
    assert len(squared) > 40
    expected, error = len(cells), np.sqrt(2 * len(cells) / len(squared))
    assert abs(np.mean(squared) - expected) < 5 * error


def test_instances_are_the_same_every_time_and_all_different():
    np.testing.assert_array_equal(gp_density(6, 6, 3), gp_density(6, 6, 3))
    assert not np.allclose(gp_density(6, 6, 3), gp_density(6, 6, 4))
    assert (gp_density(6, 6, 3) > 0).all()
    nests = nests_density(30, 30)
    assert nests.max() == 1
    assert nests.min() >= 0
    assert item_kinds(10, (2, 3), 0).tolist() != item_kinds(10, (2, 3), 1).tolist()


@pytest.mark.parametrize("name", [name for name in GRIDS if name != "design"])  # there a stay is worth something
def test_what_a_modular_learner_sees_is_the_sum_over_single_places(name):
    env, params = make(f"subrl/{name}")
    wrapped = with_reward(env, modular())
    cells, rewards, _, info = walk_wrapped(wrapped, params, random_actions(env, 2)[:12])
    value = jax.jit(jax.vmap(single(env), (None, 0)))
    states = jax.vmap(lambda cell: env.reset_env(jax.random.key(0), params)[1].env.replace(cell=cell))(jnp.array(cells))
    np.testing.assert_allclose(rewards.sum(), value(params.reward, states).sum(), rtol=1e-5)
    assert info["env_reward"].sum() < rewards.sum()


def walk_wrapped(env, params, actions):
    params = env.default_params.replace(env=params)

    def step(state, action):
        _, state, reward, terminated, info = env.step_env(jax.random.key(0), state, action, params)
        return state, (state.env.env.cell, reward, terminated, info)

    start = env.reset_env(jax.random.key(0), params)[1]
    cells, rewards, terminated, info = jax.lax.scan(step, start, jnp.asarray(actions))[1]
    return [int(start.env.env.cell), *cells.tolist()], rewards, terminated, info


def test_instances_and_slips_are_members_of_one_program():
    members = [{"env.instance": 3, "env.env.slip": 0.0}, {"env.instance": 4, "env.env.slip": 0.5}]
    experiment = resolve("subpo", "subrl/gp_coverage", "modular", {"num_envs": 4}, members)
    for index, member in enumerate(members):
        params = experiment.member_env_params(index)
        assert params.env.instance == member["env.instance"]
        assert params.env.env.slip == member["env.env.slip"]
        expected = np.asarray(make("subrl/gp_coverage")[0].objectives)[member["env.instance"]]
        np.testing.assert_array_equal(params.env.reward, expected)


def test_any_agent_takes_them():
    env, params = make("subrl/two_rooms", slip=0.1)
    agent = ppo(env, params, Config(num_envs=4, num_steps=40, num_minibatches=2, num_epochs=1, layers=(8,)))
    _, metrics = jax.jit(agent.step)(agent.init(jax.random.key(0), Hyperparams()))
    assert metrics["episode/count"] == 4
    assert 4 < metrics["episode/return"] == metrics["episode/env_return"] <= 68
    assert metrics["episode/modular"] > metrics["episode/return"]


def test_what_returns_can_not_exceed_and_where_they_reach_it():
    env, params = make("subrl/uniform")
    # Along row 1 to column 28, down to row 28 and back to column 0: two new cells at each of 79 steps, four before.
    _, rewards, _, _ = walk(env, params, [RIGHT] * 24 + [DOWN] * 27 + [LEFT] * 28)
    assert rewards.sum() == env.best == 4 + 2 * 79
    assert make("subrl/two_rooms")[0].best == len(FREE)
    assert make("subrl/two_rooms", horizon=10)[0].best == 4 + 2 * 9
    assert make("subrl/steiner")[0].best.tolist() == [sum(ITEMS_REQUIRED)] * 10
    assert make("subrl/design")[0].best is None
    env, _ = make("subrl/gp_coverage", horizon=3)
    heaviest = [sum(sorted(weights)[-8:]) for weights in np.asarray(env.objectives, np.float64)]
    np.testing.assert_allclose(env.best, heaviest, rtol=1e-5)
    assert with_reward(env, modular()).best is env.best


def test_each_episode_of_a_rollout_starts_from_nothing(key):
    env, params = make("subrl/two_rooms", horizon=6)
    actions = np.random.default_rng(3).integers(0, 5, (10, 3)).astype(np.int32)
    act = lambda carry, observation, action: (carry, action, ())  # noqa: E731
    play = jax.jit(lambda batch, key: rollout(env, params, act, (), batch, jnp.asarray(actions), key))
    _, _, steps, metrics = play(reset_batch(env, params, 3, key), key)
    places = np.asarray(env.place(steps.next_observation))
    assert np.flatnonzero(steps.terminated.all(1)).tolist() == [4, 9]
    assert steps.done.sum() == 6
    assert not steps.truncated.any()
    returns = []
    for episode in (slice(0, 5), slice(5, 10)):
        for walker in range(3):
            visited = {34, *places[episode, walker].tolist()}
            returns.append(len({c for cell in visited for c in disc_in_rooms(cell)}))
            assert steps.reward[episode, walker].sum() == returns[-1]
    np.testing.assert_allclose(metrics["episode/return"], np.mean(returns), rtol=1e-6)


def disc_in_rooms(cell):
    row, column = divmod(cell, 14)
    right = column < 13 and cell + 1 in FREE
    down = row < 6 and cell + 14 in FREE
    corner = row < 6 and column < 13 and cell + 15 in FREE and (right or down)
    return {cell + add for add, has in ((0, True), (1, right), (14, down), (15, corner)) if has}


@pytest.mark.parametrize("reward", ["environment", "modular"])
def test_instances_are_settings_of_any_agent(reward):
    one = resolve("ppo", "subrl/gp_coverage", reward, {"env.instance": 3, "env.env.slip": 0.25})
    params = one.env_params.env if reward == "modular" else one.env_params
    assert params.instance == 3
    assert params.instance.dtype == jnp.int32
    assert params.env.slip == 0.25
    swept = resolve("ppo", "subrl/gp_coverage", reward, {"env.instance": [0, 9]})
    tasks = [p.env if reward == "modular" else p for p in map(swept.member_env_params, range(2))]
    assert [int(task.instance) for task in tasks] == [0, 9]
    with pytest.raises(ValueError, match="did you mean 'instance'"):
        resolve("ppo", "subrl/gp_coverage", reward, {"env.instanse": 3})


def test_they_are_listed_and_misspelt_names_answered():
    assert {f"subrl/{name}" for name in TASKS} <= set(list_envs())
    with pytest.raises(ValueError, match="subrl/gorilla"):
        make("subrl/gorila")
    with pytest.raises(ValueError, match="probability"):
        make("subrl/bimodal", slip=1.5)
    assert get_reward("modular").init(jax.random.key(0)) == {"share": 1.0}


def test_ones_own_density_is_read_and_checked(tmp_path):
    density = np.random.default_rng(0).uniform(size=(30, 30))
    np.savetxt(tmp_path / "mine.csv", density, delimiter=",")
    np.save(tmp_path / "mine.npy", density)
    for ending in ("csv", "npy"):
        env, _ = make("subrl/gorilla", density=str(tmp_path / f"mine.{ending}"))
        np.testing.assert_allclose(np.asarray(env.objectives)[0], density.ravel(), rtol=1e-6)
    np.save(tmp_path / "small.npy", density[:3])
    with pytest.raises(ValueError, match="30 x 30"):
        make("subrl/gorilla", density=str(tmp_path / "small.npy"))
    with pytest.raises(ValueError, match="csv"):
        make("subrl/gorilla", density="mine.cvs")
