"""Global RL: its bounds on all subsets and all paths, and its policies against all there are."""

import collections
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import vmap, with_reward
from jaxreward.agents.subpo.global_rl import Config, GlobalRL, Hyperparams, Part, global_rl
from jaxreward.agents.subpo.parts.best_response import best_response, distances
from jaxreward.agents.subpo.parts.bounds import Visit, submodular_bound, supermodular_bounds, timed, visiting_order
from jaxreward.agents.subpo.parts.planners import exhaustive
from jaxreward.envs.registry import make
from jaxreward.envs.subrl.grid import Grid
from jaxreward.mdp import TabularEnv, two_state
from jaxreward.rewards.sets import coverage, marginal_gains, mixture, pairwise

PLACES, STEPS, ACTIONS = 5, 4, 5
RNG = np.random.default_rng(0)
CELLS = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [0, 4]])
WEIGHTS = RNG.uniform(0.5, 2, 5)
PAIRS = np.triu(RNG.uniform(0.1, 1, (PLACES, PLACES)), 1)
PAIRS = PAIRS + PAIRS.T


def covered(places):
    return sum(WEIGHTS[cell] for cell in {cell for place in places for cell in CELLS[place]})


def together(places):
    return sum(PAIRS[pair] for pair in itertools.combinations(sorted(set(places)), 2))


# Every kind of part: name -> (function, weight, curvature with that weight, the same in plain Python).
PARTS = {
    "area": (coverage(CELLS, WEIGHTS), 1.0, "submodular", covered),
    "synergy": (pairwise(PAIRS), 0.4, "supermodular", together),
    "alike": (pairwise(PAIRS), -0.3, "submodular", together),
    "wear": (coverage(CELLS, WEIGHTS), -0.6, "supermodular", covered),
}
MIXTURES = [("area",), ("synergy",), ("alike",), ("wear",), ("area", "synergy"), tuple(PARTS)]


def mixed(names):
    """The reward of a mixture, its parts, and its value in plain Python."""
    function = mixture(**{name: PARTS[name][:2] for name in names})
    worth = lambda places: sum(PARTS[name][1] * PARTS[name][3](places) for name in names)  # noqa: E731
    return function, {name: Part(PARTS[name][0], PARTS[name][2]) for name in names}, worth


def graph(seed, num_places=PLACES, steps=STEPS):
    """A world whose actions lead anywhere, two of them to the same place."""
    moves = np.random.default_rng(seed).integers(num_places, size=(num_places, ACTIONS))
    moves[:, 4] = moves[:, 3]
    return Grid(1, num_places, steps + 1, observation="index", moves=moves)


def algorithm(names, seed=0, **config):
    function, parts, worth = mixed(names)
    world = graph(seed)
    env = with_reward(world, marginal_gains(function, lambda state: state.cell))
    config = Config(num_steps=STEPS, **config)
    return GlobalRL(env, env.default_params, config, parts), np.asarray(world.moves), worth


def paths(moves, steps=STEPS):
    """All paths from place 0."""
    found = {(0,)}
    for _ in range(steps):
        found = {(*path, int(place)) for path in found for place in moves[path[-1]]}
    return np.array(sorted(found))


def subsets():
    return [tuple(s) for n in range(PLACES + 1) for s in itertools.combinations(range(PLACES), n)]


@pytest.mark.parametrize("names", MIXTURES)
def test_weights_bound_the_function_from_below_on_all_subsets(names):
    agent, _, worth = algorithm(names)
    orders = np.array(list(itertools.permutations(range(PLACES))))[::7]
    params = agent.env_params.reward
    weigh = lambda order, size, second: agent.weights(params, Visit(order, size), second)  # noqa: E731
    weigh = jax.jit(jax.vmap(weigh, (0, None, None)))
    values = np.array([worth(y) for y in subsets()])
    for size, second in itertools.product((1, 3, 5), (False, True)):
        weights = np.asarray(weigh(orders, size, second))
        for order, weight in zip(orders, weights, strict=True):
            x = set(order[:size].tolist())
            sums = [sum(weight[j] for j in set(y) - x) - sum(weight[j] for j in x - set(y)) for y in subsets()]
            assert np.all(worth(x) + np.array(sums) <= values + 1e-5)


def test_two_bounds_of_a_supermodular_function_differ_where_they_should():
    """Two places that are worth 1 together, one of them visited: the second bound sees what the other would add."""
    pair = np.array([[0.0, 1], [1, 0]])
    first, second = supermodular_bounds(pairwise(pair), jnp.asarray(pair), Visit(jnp.array([0, 1]), jnp.int32(1)), 2)
    np.testing.assert_array_equal(first, [0, 0])
    np.testing.assert_array_equal(second, [1, 1])


@pytest.mark.parametrize("second", [False, True])
def test_a_mixture_is_bounded_by_the_one_or_the_other(second):
    agent, _, _ = algorithm(("synergy",))
    visit, params = Visit(jnp.array([3, 0, 4, 1, 2]), jnp.int32(2)), agent.env_params.reward
    bounds = supermodular_bounds(PARTS["synergy"][0], params["functions"]["synergy"], visit, PLACES)
    np.testing.assert_allclose(agent.weights(params, visit, jnp.array(second)), 0.4 * bounds[second], rtol=1e-5)
    assert not np.allclose(*bounds)


def test_gains_along_an_order_are_the_weights_of_a_submodular_function():
    order, function = np.array([3, 0, 4, 1, 2]), coverage(CELLS, WEIGHTS)
    visit, params = Visit(order, jnp.int32(2)), jnp.asarray(WEIGHTS, float)
    expected = [covered(order[: k + 1]) - covered(order[:k]) for k in range(PLACES)]
    np.testing.assert_allclose(submodular_bound(function, params, visit)[order], expected, rtol=1e-5, atol=1e-6)
    env = with_reward(graph(0), marginal_gains(function, lambda state: state.cell))
    agent = GlobalRL(env, env.default_params, Config(num_steps=STEPS), {})  # which finds the function in the reward
    np.testing.assert_allclose(agent.weights(params, visit, jnp.array(False))[order], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("names", [("area",), ("wear",), tuple(PARTS)])
def test_rewards_of_places_and_times_bound_all_paths_and_are_exact_for_the_one_played(names):
    agent, moves, worth = algorithm(names)
    state = agent.init(jax.random.key(0), Hyperparams())
    every = paths(moves)
    values = np.array([worth(path) for path in every])
    played = every[:: max(len(every) // 60, 1)]
    assert any(len(set(path)) < STEPS for path in played)  # revisits
    keys = jax.random.split(jax.random.key(1), len(played))
    bound = jax.jit(jax.vmap(lambda path, key: agent.bound(state, path[None], key)))
    for path, rewards in zip(played, np.asarray(bound(jnp.asarray(played), keys)), strict=True):
        total = lambda p, r=rewards: r[np.arange(STEPS + 1), p].sum(-1)  # noqa: E731
        assert np.all(worth(path) + total(every) - total(path) <= values + 1e-5)


def test_gains_are_paid_once_and_losses_at_every_visit():
    weights = jnp.array([1.0, 2.0, -1.0, -2.0, 3.0])
    rewards = timed(weights, jnp.array([0, 1, 0, 2, 3, 3]), jnp.array([9, 9, 9, 9, 4]))
    expected = np.zeros((6, 5))
    expected[0, 0], expected[1, 1], expected[4, 4] = 1, 2, 3
    expected[:, 2] = -1  # but nothing for place 3, which was visited twice
    np.testing.assert_array_equal(rewards, expected)


def test_places_are_that_of_the_start_and_those_that_follow():
    agent, moves, _ = algorithm(("area",), num_envs=2)
    state = agent.init(jax.random.key(0), with_slip(agent, 0.0))
    path = [0]
    for actions in state.table:
        path.append(moves[path[-1], actions[path[-1]]])
    episodes, _ = jax.jit(agent.play)(state.table, state, jax.random.key(1))
    np.testing.assert_array_equal(agent.places(episodes), [path, path])
    assert len(set(path)) > 1
    policy, key = agent.policy(state), jax.random.key(2)
    time = policy.reset()
    for actions, place, observation in zip(state.table, path, episodes.steps.observation[:, 0], strict=False):
        time, action = policy.act(time, observation, key)
        assert action == actions[place]


def test_order_starts_with_first_visits():
    places = jnp.array([4, 2, 4, 0])
    visits = jax.vmap(lambda key: visiting_order(key, places, PLACES))(jax.random.split(jax.random.key(0), 64))
    np.testing.assert_array_equal(visits.size, 3)
    np.testing.assert_array_equal(visits.order[:, :3], np.tile([4, 2, 0], (64, 1)))
    assert {tuple(rest) for rest in np.asarray(visits.order[:, 3:])} == {(1, 3), (3, 1)}


def test_distances_are_those_of_all_paths():
    moves = np.asarray(graph(3).moves)
    found = distances(jnp.asarray(moves), STEPS)
    for start, end in itertools.product(range(PLACES), repeat=2):
        reached, steps = {start}, 0
        while end not in reached and steps <= STEPS:
            reached, steps = reached | {int(to) for place in reached for to in moves[place]}, steps + 1
        assert found[start, end] == steps


def value_of(table, moves, slip, rewards):
    """Expected rewards from place 0 of a table, or of the best one, in plain numpy."""
    value = rewards[-1]
    for t in reversed(range(len(rewards) - 1)):
        q = (1 - slip) * value[moves] + slip * value[moves].mean(1, keepdims=True)
        value = rewards[t] + (q.max(1) if table is None else q[np.arange(len(q)), table[t]])
    return value


@pytest.mark.parametrize("slip", [0.0, 0.3])
def test_best_response_earns_what_backward_induction_says(slip):
    rng, moves = np.random.default_rng(4), np.asarray(graph(4).moves)
    rewards = rng.normal(size=(STEPS + 1, PLACES)).astype(np.float32)
    table = best_response(jnp.asarray(moves), jnp.float32(slip), jnp.asarray(rewards), jax.random.key(0))
    best = value_of(None, moves, slip, rewards)
    np.testing.assert_allclose(value_of(np.asarray(table), moves, slip, rewards), best, rtol=1e-5)
    if not slip:
        totals = rewards[np.arange(STEPS + 1), paths(moves)].sum(1)
        np.testing.assert_allclose(best[0], totals.max(), rtol=1e-5)


def test_where_all_is_worth_the_same_each_action_is_as_likely():
    moves, keys = jnp.asarray(graph(4).moves), jax.random.split(jax.random.key(0), 500)
    find = jax.vmap(lambda key: best_response(moves, jnp.float32(0.1), jnp.ones((STEPS + 1, PLACES)), key))
    counts = np.bincount(np.ravel(jax.jit(find)(keys)), minlength=ACTIONS)
    total = 500 * STEPS * PLACES
    # Five standard deviations of a share of one in five.
    np.testing.assert_allclose(counts, total / ACTIONS, atol=5 * np.sqrt(total * 0.2 * 0.8))


def run(agent, iterations):
    """A program `(keys [seeds], hyperparams) -> (returns [iterations, seeds], tables before and after)`."""
    agent = vmap(agent)

    def call(keys, hyperparams):
        start = agent.init(keys, hyperparams)
        state, metrics = jax.lax.scan(lambda s, _: agent.step(s), start, length=iterations)
        return metrics["episode/return"], start.table, state.table

    return jax.jit(call)


@functools.cache
def mixed_run():
    agent, moves, worth = algorithm(("area", "synergy"), num_envs=4, candidates=8)
    return agent, moves, worth, run(agent, 8)


def with_slip(agent, slip):
    world = agent.env_params.env.replace(slip=jnp.float32(slip))
    return Hyperparams(env_params=agent.env_params.replace(env=world))


def test_returns_never_fall_and_reach_the_optimum_of_a_small_world():
    agent, moves, worth, program = mixed_run()
    best = max(worth(path) for path in paths(moves))
    returns, _, tables = program(jax.random.split(jax.random.key(0), 16), with_slip(agent, 0.0))
    assert np.all(np.diff(returns, axis=0) >= -1e-5)
    assert np.all(returns <= best + 1e-5)
    assert returns[-1].mean() > returns[0].mean() + 0.1
    np.testing.assert_allclose(returns[-1].max(), best, rtol=1e-5)
    expected = [exact_return(np.asarray(table), moves, 0.0, worth) for table in tables]
    assert np.all(np.array(expected) >= returns[-1] - 1e-5)


def exact_return(table, moves, slip, worth):
    """The expected return from place 0, over everything that may be done instead."""
    chances = {(0,): 1.0}
    for t in range(STEPS):
        following = collections.defaultdict(float)
        for path, chance in chances.items():
            for action, place in enumerate(moves[path[-1]]):
                chosen = action == table[t, path[-1]]
                following[*path, int(place)] += chance * (slip / ACTIONS + (1 - slip) * chosen)
        chances = following
    return sum(chance * worth(path) for path, chance in chances.items() if chance)


def test_where_moves_are_random_expected_returns_rise_too():
    agent, moves, worth, program = mixed_run()
    slip = 0.3
    _, before, after = program(jax.random.split(jax.random.key(1), 16), with_slip(agent, slip))
    gains = [
        exact_return(np.asarray(new), moves, slip, worth) - exact_return(np.asarray(old), moves, slip, worth)
        for old, new in zip(before, after, strict=True)
    ]
    assert np.mean(gains) > 4 * np.std(gains) / np.sqrt(16)


def test_seeds_that_are_vmapped_are_as_they_are_alone():
    agent, _, _, program = mixed_run()
    keys, hyperparams = jax.random.split(jax.random.key(0), 16), with_slip(agent, 0.3)
    returns, *_ = program(keys, hyperparams)
    alone = jax.jit(lambda state: jax.lax.scan(lambda s, _: agent.step(s), state, length=8)[1])
    metrics = alone(agent.init(keys[3], hyperparams))
    np.testing.assert_allclose(metrics["episode/return"], returns[:, 3], rtol=1e-5)
    np.testing.assert_array_equal(metrics["env_steps"], 4 * STEPS)
    np.testing.assert_array_equal(metrics["episode/count"], 4)


LAYERS = 1 + np.arange(9).reshape(3, 3)
# Each place has a cell of its own and one of three that it shares with others.
LAYERED_CELLS = np.stack([np.arange(10), 10 + np.array([0, 1, 2, 0, 0, 1, 1, 2, 0, 1])], 1)


def layered(seed):
    """Each place can be visited at one time only, three at each of three steps: moves and weights."""
    rng = np.random.default_rng(seed)
    after = [LAYERS[0], *np.repeat(LAYERS[1:], 3, axis=0), *np.repeat(LAYERS[-1:], 3, axis=0)]
    moves = np.stack([rng.choice(places, ACTIONS) for places in after])
    return moves, np.concatenate([rng.uniform(0.1, 2, 10), rng.uniform(0, 0.2, 3)])


def test_one_iteration_is_within_the_curvature_of_the_optimum():
    """Weights are at least `(1 - c) F({j})`, so the best path has `(1 - c)` of all, if times are no matter."""
    moves, weights = layered(0)
    reward = marginal_gains(coverage(LAYERED_CELLS, weights), lambda state: state.cell)
    env = with_reward(Grid(1, 10, 4, observation="index", moves=moves), reward)
    program = run(global_rl(env, env.default_params, Config(num_steps=3)), 2)
    improved = []
    for seed in range(5):
        moves, weights = layered(seed)
        world = env.default_params.env.replace(next_cell=jnp.asarray(moves, jnp.int32))
        params = env.default_params.replace(env=world, reward=jnp.asarray(weights, jnp.float32))
        worth = lambda p, w=weights: w[sorted(set(LAYERED_CELLS[list(p)].ravel()))].sum()  # noqa: E731
        best, every = max(worth(path) for path in paths(moves, 3)), set(range(10))
        curvature = 1 - min((worth(every) - worth(every - {p})) / worth([p]) for p in every)
        np.testing.assert_allclose(exhaustive(env, params, jax.random.key(0), 3).value, best, rtol=1e-5)
        returns, *_ = program(jax.random.split(jax.random.key(seed), 16), Hyperparams(env_params=params))
        assert 0 < curvature < 1
        assert np.all(returns[1] >= (1 - curvature) * best)
        improved.append(np.any(returns[0] < (1 - curvature) * best))
    assert np.any(improved)


def test_two_rooms_are_both_entered():
    """40 cells are a room and the corridor, the myopic planner covers 35 on average; 68 are all."""
    env, params = make("subrl/two_rooms")
    agent = global_rl(env, params, Config(candidates=16))
    returns, _, tables = run(agent, 8)(jax.random.split(jax.random.key(0), 4), Hyperparams())
    assert np.all(np.diff(returns, axis=0) >= 0)
    assert np.all(returns[-1] > 45)
    assert np.all(returns[-1] <= 68)
    policy = agent.policy(agent.init(jax.random.key(0), Hyperparams())._replace(table=tables[0]))
    assert replayed(env, params, policy) >= returns[-1, 0]


def replayed(env, params, policy):
    """The return of an episode with a policy."""
    observation, state = env.reset_env(jax.random.key(0), params)

    def step(now, _):
        carry, observation, state = now
        carry, action = policy.mode(carry, observation, jax.random.key(0))
        observation, state, reward, _, _ = env.step_env(jax.random.key(0), state, action, params)
        return (carry, observation, state), reward

    return jax.lax.scan(step, (policy.reset(), observation, state), length=39)[1].sum()


def test_bad_arguments_are_refused():
    env, params = make("subrl/two_rooms")
    with pytest.raises(ValueError, match="has 39 steps, num_steps=40; set num_steps=39"):
        global_rl(env, params, Config(num_steps=40))
    with pytest.raises(ValueError, match="candidates must be at least 1; got 0"):
        global_rl(env, params, Config(candidates=0))
    with pytest.raises(ValueError, match="no curvature 'submodula'; did you mean 'submodular'"):
        global_rl(env, params, parts={"area": Part(coverage(CELLS, WEIGHTS), "submodula")})
    plain = TabularEnv(two_state(leave=[[0, 1], [0, 1]], reward=[0, 1]))
    with pytest.raises(ValueError, match=r"finite world .* has no num_places, place, horizon"):
        global_rl(plain, plain.default_params)
