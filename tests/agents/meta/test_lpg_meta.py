"""Learning LPG's objective: its meta-gradient against finite differences, lifetimes, and that agents get better."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxreward.agent import strong, vmap
from jaxreward.agents.meta.lpg_meta import Config, Hyperparams, lpg_meta
from jaxreward.agents.meta.parts.worlds import check_drawn, horizons, mean_horizon, worlds
from jaxreward.environment import with_reward
from jaxreward.envs import make
from jaxreward.rewards import environment_reward, weighted
from jaxreward.run.spec import resolve

NAME = "levels/tiny?observation=index"
BUFFER = 12
SMALL = {
    "num_envs": 8,
    "num_steps": 10,
    "width": 16,
    "num_agents": 8,
    "at_once": 4,
    "lifetimes": (7, 20),
    "lifetime_distribution": "list",
    "meta_learning_rate": 3e-3,
    "curation": "rank",
    "buffer_size": BUFFER,
}
UPDATES = 160


@pytest.fixture(scope="module")
def everyone():
    """Four seeds whose agents live in new levels, and one whose levels come again; some of their states, and the log.

    What is told apart is a hyperparameter, so all are one program.
    """
    experiment = resolve("lpg_meta", NAME, settings=SMALL)
    agent = vmap(experiment.agent, population=True)
    hyperparams = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, 5), experiment.member(0))
    hyperparams = dataclasses.replace(hyperparams, replay=jnp.array([0.0, 0.0, 0.0, 0.0, 0.9]))

    def step(state, _):
        after, metrics = agent.step(state)
        citizens = state.citizens
        return after, ((citizens.step, citizens.total, citizens.world.cells, citizens.place, state.buffer), metrics)

    passes = {"xla_backend_optimization_level": "1"}  # the emitters that `AS_USERS` has take longer than they save
    run = jax.jit(lambda keys, h: jax.lax.scan(step, agent.init(keys, h), length=UPDATES), compiler_options=passes)
    return run(jax.random.split(jax.random.key(0), 5), hyperparams)[1]


@pytest.fixture(scope="module")
def lived(everyone):
    """What the four did."""
    return jax.tree.map(lambda leaf: leaf[:, :4], everyone)


@pytest.fixture(scope="module")
def curated(everyone):
    """What the other did."""
    return jax.tree.map(lambda leaf: leaf[:, 4], everyone)


def test_agents_get_better_as_their_objective_does(lived):
    """Mean reward of policies after their updates, the last quarter against the first, 4 seeds."""
    reward = np.asarray(lived[1]["meta/average_reward"])
    first, last = reward[: UPDATES // 4].mean(0), reward[-UPDATES // 4 :].mean(0)
    assert np.isfinite(reward).all()
    assert (last > first).sum() >= 3
    assert last.mean() > 1.3 * first.mean()


def test_who_has_lived_makes_room_for_another_in_another_world(lived):
    step, total, cells = map(np.asarray, lived[0][:3])
    over = step[1:] < step[:-1]
    assert (step[1:][over] == 0).all()
    assert (step[1:][~over] == step[:-1][~over] + 5).all()
    # A life of 7 updates is over after two iterations of 5, one of 20 after four.
    assert set(step[:-1][over]) == {5, 15}
    assert (total[:-1][over] == np.where(step[:-1][over] == 5, 7, 20)).all()
    moved = (cells[1:] != cells[:-1]).any(-1)
    assert not moved[~over].any()
    assert moved[over].mean() > 0.9
    born = np.asarray(lived[1]["meta/born"])
    np.testing.assert_array_equal(born[:-1], over.sum(-1))


def test_levels_of_regret_come_again(curated):
    """Whoever lives in a level of the buffer is in that level and no other; it is lived in by one."""
    (_, _, cells, place, buffer), metrics = curated
    place, active = np.asarray(place), np.asarray(buffer.active)
    for one in range(UPDATES):
        taken = place[one][place[one] >= 0]
        assert sorted(taken) == np.flatnonzero(active[one]).tolist()
        np.testing.assert_array_equal(cells[one][place[one] >= 0], buffer.world.cells[one][taken])
    assert metrics["curation/levels"][-1] == BUFFER
    assert metrics["curation/replayed"].sum() > 100
    assert (np.diff(metrics["curation/levels"]) >= 0).all()
    assert metrics["curation/regret"][0] == 0  # no life is over yet
    assert np.isfinite(metrics["curation/score"]).all()


def test_without_replay_none_does(lived):
    assert (np.asarray(lived[0][3]) == -1).all()
    assert not np.asarray(lived[0][4].active).any()


def test_steps_are_counted_as_announced(lived):
    assert (
        lived[1]["env_steps"] == Config(**{k: v for k, v in SMALL.items() if "rate" not in k}).steps_per_iteration
    ).all()
    assert int(lived[1]["env_steps"][0, 0]) == 8 * 6 * 8 * 10


def small(env, params, **settings):
    sizes = {"num_envs": 2, "num_steps": 5, "width": 4, "predictions": 3, "num_agents": 2, "num_updates": 3}
    return lpg_meta(env, params, Config(**{**sizes, **settings})).step.__self__


# Clipping is at work, and every term counts.
WEIGHTS = {"policy_entropy": 0.3, "prediction_entropy": 0.2, "score_penalty": 0.4, "prediction_penalty": 0.7}


class Differentiated(NamedTuple):
    """The gradient, what it is of and the log, as a function of flat params and hyperparams; where it was begun."""

    both: Callable
    flat: jax.Array
    step: int


@pytest.fixture(scope="module")
def differentiated():
    """Three updates of one agent, in double precision.

    What the objective reads of an agent has no derivative by definition, so its weights are zero: then nothing that it
    reads depends on the params, and the gradient is a total one.
    """
    with jax.enable_x64(True):
        env, params = make(NAME)
        learner = small(env, params)
        state = jax.jit(learner.init)(jax.random.key(3), weighed())
        weight = state.params["gru"]["input"]["weight"]
        eta = {**state.params, "gru": {**state.params["gru"]}}
        eta["gru"]["input"] = {**eta["gru"]["input"], "weight": weight.at[2:5].set(0.0)}
        citizen = jax.tree.map(lambda leaf: leaf[0], state.citizens)._replace(total=jnp.int32(50))
        flat, unravel = ravel_pytree(eta)
        assert flat.dtype == jnp.float64

        @jax.jit
        def both(flat, hyperparams):
            gradient, after, metrics = learner.meta_gradient(unravel(flat), citizen, jax.random.key(5), hyperparams)
            return ravel_pytree(gradient)[0], metrics["meta/objective"][0], metrics, after.step

        return Differentiated(both, flat, int(citizen.step))


def weighed(**weights):
    return strong(Hyperparams(table_rate=5.0, max_grad_norm=0.05, **{**WEIGHTS, **weights}))


def test_the_meta_gradient_is_that_of_finite_differences(differentiated):
    """Along random directions. Actions don't change as far as params are moved."""
    with jax.enable_x64(True):
        both, flat, step = differentiated
        gradient, _, _, after = both(flat, weighed())
        assert int(after) == step + 3
        for seed in range(3):
            direction = jax.random.normal(jax.random.key(seed), flat.shape)
            up, down = (both(flat + sign * 1e-5 * direction, weighed())[1] for sign in (1, -1))
            expected = (up - down) / 2e-5
            assert abs(float(expected)) > 1e-4
            np.testing.assert_allclose(gradient @ direction, expected, rtol=1e-5)


def test_entropies_are_sought_and_large_scores_and_aims_avoided(differentiated):
    """What a weight of 1 more adds to what is ascended, of scores and aims by what is logged of them."""
    with jax.enable_x64(True):
        both, flat, _ = differentiated
        _, plain, metrics, _ = both(flat, weighed())
        adds = {name: float(both(flat, weighed(**{name: old + 1}))[1] - plain) for name, old in WEIGHTS.items()}
        assert adds["score_penalty"] == pytest.approx(-float(metrics["objective/squared_score"].mean()), rel=1e-9)
        aims = -float(metrics["objective/squared_prediction"].mean())
        assert adds["prediction_penalty"] == pytest.approx(aims, rel=1e-9)
        # Those of what comes of an update, not of what it began with; a step is small.
        assert adds["policy_entropy"] == pytest.approx(float(metrics["policy/entropy"].mean()), abs=0.05)
        assert adds["prediction_entropy"] == pytest.approx(float(metrics["prediction/entropy"].mean()), abs=0.05)
        assert 0 < adds["policy_entropy"] <= np.log(5)


def valued(learner, hyperparams):
    """A newborn, a rollout of it paid by what is seen, and what its value learns of that."""

    @jax.jit
    def lived(key):
        citizen = learner.citizens.born(key, learner.env_params)
        steps = learner.lives.collect(citizen.life, citizen.world, key)[1]
        paid = jnp.where(steps.observation < 30, 2.0, 4.0)
        steps = steps._replace(reward=paid.reshape(*steps.reward.shape, -1)[..., 0])
        return citizen, steps, *learner.citizens.valued(citizen, steps, hyperparams)

    return lived(jax.random.key(0))


def test_a_value_learns_from_rollouts_unless_it_is_frozen():
    """A row goes towards the mean of its errors by `value_rate`, whatever else was seen; rows not seen stay."""
    env, params = make("levels/chain")
    hyperparams = strong(Hyperparams(gae_lambda=0.0, discount=0.0, value_rate=0.25))
    citizen, steps, after, advantage, _ = valued(small(env, params), hyperparams)
    before = citizen.value[:, 0]
    seen = np.unique(steps.observation)
    assert (seen < 30).any()
    expected = before.at[seen].add(0.25 * (np.where(seen < 30, 2.0, 4.0) - before[seen]))
    np.testing.assert_allclose(after.value[:, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(advantage, steps.reward - before[steps.observation], rtol=1e-5)
    citizen, _, after, same, _ = valued(small(env, params, frozen_value_critic=True), hyperparams)
    np.testing.assert_array_equal(after.value, citizen.value)
    np.testing.assert_allclose(same, advantage, rtol=1e-6)
    citizen, _, after, *_ = valued(small(*make("CartPole-v1")), hyperparams)
    assert all((x != y).any() for x, y in zip(*map(jax.tree.leaves, (after.value, citizen.value)), strict=True))


def test_worlds_are_drawn_under_rewards_too():
    env, params = make(NAME)
    rewarded = with_reward(env, weighted(task=(environment_reward(), 7.0)))
    own = rewarded.default_params
    drawn = worlds(rewarded)(jax.random.key(9), own)
    other = env.sample_params(jax.random.key(9))
    assert (drawn.env.cells == other.cells).all()
    jax.tree.map(np.testing.assert_array_equal, drawn.reward, own.reward)
    assert worlds(make("CartPole-v1")[0])(jax.random.key(0), "given") == "given"
    with pytest.raises(ValueError, match="max_steps_in_episode=3 would be lost"):
        check_drawn(env, params.replace(max_steps_in_episode=3), "lpg_meta")
    check_drawn(rewarded, own, "lpg_meta")


def test_lifetimes_are_drawn_as_asked():
    keys = jax.random.split(jax.random.key(0), 400)
    drawn = np.asarray(jax.vmap(horizons("list", (3, 9)))(keys))
    assert set(drawn) == {3, 9}
    assert set(np.asarray(jax.vmap(horizons("list", (4,)))(keys))) == {4}
    between = np.asarray(jax.vmap(horizons("log_uniform", (10, 250)))(keys))
    assert between.min() >= 10
    assert between.max() <= 250
    assert (between < 50).mean() == pytest.approx(0.5, abs=0.13)  # 50 is the geometric mean
    evenly = (np.arange(1_000_000) + 0.5) / 1_000_000  # in place of the numbers that are drawn
    of_all = np.floor(10 * (251 / 10) ** evenly).mean()
    assert mean_horizon("log_uniform", (10, 250)) == pytest.approx(of_all, abs=1e-3)
    assert mean_horizon("log_uniform", (10, 250)) == pytest.approx(between.mean(), abs=4 * between.std() / 20)
    assert mean_horizon("list", (3, 9)) == 6
    with pytest.raises(ValueError, match="did you mean 'list'"):
        horizons("lists", (3,))
    with pytest.raises(ValueError, match="the lesser first"):
        horizons("log_uniform", (9, 3))
    with pytest.raises(ValueError, match="there are none"):
        horizons("list", ())


def test_a_config_that_does_not_fit_is_refused_by_the_factory():
    env, params = make(NAME)
    with pytest.raises(ValueError, match="the lesser first"):
        lpg_meta(env, params, Config(lifetimes=(5,)))
    with pytest.raises(ValueError, match="would be lost"):
        lpg_meta(env, dataclasses.replace(params, count=jnp.int32(1)))
    with pytest.raises(TypeError, match="reads the probability"):
        lpg_meta(*make("Pendulum-v1"))
