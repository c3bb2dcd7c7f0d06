"""The figures of the car and the ant: what is trained, what is measured, and what is drawn of hand-made numbers."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxreward.environment import with_reward
from jaxreward.envs import make
from jaxreward.envs.subrl.car import CarState, Motion
from jaxreward.experiments.figures.subpo import ant as subpo_ant
from jaxreward.experiments.figures.subpo import car as subpo_car
from jaxreward.experiments.figures.subpo._continuous import METHODS, SHARE
from jaxreward.learning.episodes import play, start_memories
from jaxreward.reproduce.claims import SCALES, check
from jaxreward.reproduce.figure import draw
from jaxreward.reward import Components, Transition


def transition(reward, ends=False, progress=0.0, modular=5.0):
    """A step of which only the reward, the end and the info count."""
    info = {"progress": jnp.asarray(progress), "reward/modular": jnp.asarray(modular)}
    nothing = jnp.zeros(())
    return Transition(nothing, nothing, jnp.asarray(reward), nothing, jnp.asarray(ends), jnp.zeros((), bool), info=info)


def metrics(final, metric, noises=(None,)):
    """A table of runs that stay at their final values: by method, of each seed, with and without noise."""
    rows = []
    for noise in noises:
        for member, (name, values) in enumerate(final.items()):
            for seed, value in enumerate(values):
                for iteration in (1, 2):
                    noisy = {} if noise is None else {"env.noise": noise}
                    ids = {"run": "r", "member": member + 10 * bool(noise), "seed": seed, "iteration": iteration}
                    more = {"env_steps": 100 * iteration, "failed": False, "episode/count": 8.0, metric: value}
                    rows.append({**ids, **more, **METHODS[name].settings, **noisy})
    return pd.DataFrame(rows)


def test_subpo_and_modpo_differ_in_the_reward_and_ppo_learns_from_marginal_gains():
    for scale, seeds in zip(SCALES, (2, 5, 8, 20), strict=True):
        (actor_critic,), (modular,), *others = subpo_car.data(scale).values()
        assert len(others) == (scale != "smoke")
        assert [(m[SHARE], m["env.noise"]) for m in actor_critic.members] == [(0, 0), (0, 0.1)]
        assert [(m[SHARE], m["env.noise"]) for m in modular.members] == [(1, 0), (1, 0.1)]
        assert modular == replace(actor_critic, members=modular.members)
        assert actor_critic.setup.agent == "subpo"
        for (ppo,) in others:
            assert [(m[SHARE], m["env.noise"]) for m in ppo.members] == [(0, 0), (0, 0.1)]
            assert ppo.setup.agent == "ppo"
            assert ppo.experiment().steps_per_iteration == 32 * 64
        assert actor_critic.seeds == tuple(range(seeds))
        assert actor_critic.setup.settings["num_envs"] * actor_critic.setup.settings["num_steps"] == 8 * 700
    assert actor_critic.steps == 10_001 * 8 * 700
    assert actor_critic.setup.settings["history"] == "gru"


def test_the_ant_learns_with_the_papers_numbers_at_its_scale():
    scales = [subpo_ant.data(scale) for scale in SCALES]
    assert [len(parts) for parts in scales] == [2, 3, 3, 3]
    ((job,), (modular,), _) = scales[-1].values()
    assert job.steps == 20_001 * 15 * 400
    assert job.setup.settings["num_envs"] * job.setup.settings["num_steps"] == 15 * 400
    assert [member[SHARE] for each in (job, modular) for member in each.members] == [0, 1]
    assert len(job.seeds) == 20


@pytest.mark.parametrize(("share", "paid"), [(0.0, 0.3), (1.0, 5.0), (0.5, 2.65)])
def test_cells_are_logged_whatever_is_paid(share, paid):
    reward = subpo_ant.coverage_paid()
    params = reward.init(jax.random.key(0))
    params["reward"]["share"] = jnp.asarray(share)
    memory, value = reward.step(params, reward.reset(params), transition(0.3))
    assert value == pytest.approx(paid)
    shown = [node for node in memory if isinstance(node, Components)]
    assert shown[0].values["cells"] == pytest.approx(3)


def test_the_lap_counts_where_an_episode_ends():
    assert subpo_car.lap(transition(0.1, ends=False, progress=0.4)) == 0
    assert subpo_car.lap(transition(0.1, ends=True, progress=0.4)) == pytest.approx(0.4)


def test_the_logged_lap_is_how_far_the_car_got():
    world, env_params = make("subrl/car", max_steps_in_episode=20)
    env = with_reward(world, subpo_car.progress_paid())
    params = env.default_params.replace(env=env_params)

    @jax.jit
    def straight(key):
        act = lambda carry, observation, noise: (carry, noise, ())  # noqa: E731
        full = jnp.broadcast_to(jnp.array([1.0, 0.0]), (20, 3, 2))  # throttle, and no steering
        return play(env, params, act, (), full, start_memories(env, params, 3), 3, key)

    _, episodes, logged = straight(jax.random.key(0))
    state: CarState = episodes.steps.next_state.env
    assert isinstance(state.motion, Motion)
    last = np.asarray(episodes.valid).sum(0) - 1
    reached = np.asarray(state.motion.s)[last, np.arange(3)]
    assert (reached > 0.2).all()
    np.testing.assert_allclose(logged["episode/lap"], reached.mean() / env_params.finish, rtol=1e-5)


def test_claims_of_the_car_are_read_off_the_runs_without_noise():
    final = {"SubPO": [0.95, 0.97, 0.96] * 2, "ModPO": [0.2, 0.1, 0.3] * 2, "PPO on marginal gains": [1.0, 0.9] * 3}
    noisy = {"SubPO": [0.3] * 6, "ModPO": [0.5] * 6, "PPO on marginal gains": [0.5] * 6}
    frame = pd.concat([metrics(final, subpo_car.LAP, [0.0]), metrics(noisy, subpo_car.LAP, [0.1])], ignore_index=True)
    checked = [check(claim, frame, "small") for claim in subpo_car.figure.claims]
    np.testing.assert_allclose([claim.estimate.value for claim in checked], [0.96, 0.2, 0.76, -0.2], atol=1e-6)
    assert [claim.verdict for claim in checked] == ["met", "met", "met", "not met"]
    assert {check(claim, frame, "smoke").verdict for claim in subpo_car.figure.claims} == {"not decidable"}


def test_claims_of_the_ant():
    frame = metrics({"SubPO": [500.0, 550.0, 600.0, 500.0, 600.0], "ModPO": [100.0] * 5}, subpo_ant.CELLS)
    checked = [check(claim, frame, "paper") for claim in subpo_ant.figure.claims]
    assert [claim.estimate.value for claim in checked] == [450.0, 100.0]
    assert [claim.verdict for claim in checked] == ["met", "met"]


def test_the_plots_have_a_line_for_each_method_that_was_trained():
    final = {name: [0.1, 0.2] for name in METHODS}
    car = draw(subpo_car.figure, metrics(final, subpo_car.LAP, subpo_car.NOISES))
    labels = [f"{name} (n = 2)" for name in METHODS]
    assert [[each.get_label() for each in axis.lines] for axis in car.axes] == [labels] * 2
    ant = draw(subpo_ant.figure, metrics({name: final[name] for name in ("SubPO", "ModPO")}, subpo_ant.CELLS))
    assert [each.get_label() for each in ant.axes[0].lines] == ["SubPO (n = 2)", "ModPO (n = 2)", "3 % of the arena"]
    np.testing.assert_allclose(ant.axes[0].lines[0].get_ydata(), 0.15)
