"""The figures of submodular learning: their scores and claims on tables made by hand, and what they train."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.stats

from jaxreward import with_reward
from jaxreward.agents.subpo.parts.planners import replay
from jaxreward.envs import make
from jaxreward.envs.subrl.grid import RIGHT, STAY
from jaxreward.experiments.figures.subpo import grids as subpo_grids
from jaxreward.experiments.figures.subpo import rooms as subpo_rooms
from jaxreward.experiments.figures.subpo._common import final_scores, lead, level, scored, subpo
from jaxreward.reproduce.claims import check
from jaxreward.reproduce.figure import draw

M, NM, MOD = subpo(), subpo(history="padded"), subpo(share=1.0)
ITERATIONS = 10


def table(scores, env="subrl/steiner", slips=(0.0, 0.1)):
    """Metrics of runs: by method returns `[instances, seeds]` at the end, nothing before."""
    rows = []
    for run, (method, returns) in enumerate(scores):
        for slip in slips:
            for (instance, seed), value in np.ndenumerate(np.asarray(returns, float)):
                member = instance + 100 * slips.index(slip)
                run_of = {"run": f"{env}{run}", "member": member, "seed": seed, "env": env, **method.found}
                run_of |= {"env.instance": float(instance), "env.env.slip": slip, "failed": False, "episode/count": 1}
                rows += [
                    {**run_of, "iteration": t, "env_steps": 100 * t, "episode/env_return": value * (t == ITERATIONS)}
                    for t in range(1, ITERATIONS + 1)
                ]
    return pd.DataFrame(rows)


def verdicts(figure, frame):
    return {claim.text: check(claim, frame, "small").verdict for claim in figure.claims}


def test_a_score_is_the_share_of_the_best_that_is_known():
    frame = table([(M, [[4.0], [12.0]]), (NM, [[8.0], [5.0]])])
    scores = scored(frame, lambda env, instance: {0: 16.0, 1: 10.0}[instance])
    last = scores[(scores["iteration"] == ITERATIONS) & (scores["env.env.slip"] == 0)]
    # The plan of the first instance is the best known, on the second a run does better than that.
    assert last["score"].tolist() == [4 / 16, 12 / 12, 8 / 16, 5 / 12]


def test_methods_are_compared_instance_by_instance():
    # Instances differ by much more than methods do, and seeds of an instance count as one.
    easy_and_hard = np.array([[10.0, 14.0], [50.0, 54.0], [90.0, 94.0]])
    frame = table([(M, easy_and_hard), (NM, easy_and_hard + np.array([[1], [2], [3]]))], slips=(0.0,))
    frame = scored(frame, lambda *_: 100.0)
    np.testing.assert_allclose(final_scores(frame, M), [0.12, 0.52, 0.92])
    estimate = lead(frame, NM, M)
    expected = scipy.stats.ttest_1samp([0.01, 0.02, 0.03], 0).confidence_interval()
    assert estimate == pytest.approx((0.02, *expected, 3))
    assert level(frame, M).value == pytest.approx(0.52)


def test_seeds_are_compared_where_there_is_one_instance():
    frame = table([(M, [[10.0, 20.0, 30.0]]), (MOD, [[9.0, 18.0, 27.0]])], slips=(0.0,))
    estimate = lead(scored(frame, lambda *_: 100.0), M, MOD)
    assert estimate == pytest.approx((0.02, *scipy.stats.ttest_1samp([0.01, 0.02, 0.03], 0).confidence_interval(), 3))


def test_who_has_no_runs_or_failed_decides_nothing():
    frame = table([(M, [[10.0, 20.0]])], slips=(0.0,))
    frame.loc[frame["seed"] == 1, "episode/env_return"] = np.nan
    frame = scored(frame, lambda *_: 100.0)
    assert np.isnan(level(frame, M).value)
    assert np.isnan(lead(frame, M, NM).value)


def test_rooms_are_left_or_not():
    cells = {
        "SubPO-M": [[36, 37, 38, 37, 37]],
        "SubPO-NM": [[44, 46, 48, 46, 46]],
        "ModPO": [[16, 16, 17, 16, 16]],
        "all gains so far": [[22] * 5],
    }
    by_method = [(subpo_rooms.METHODS[name], returns) for name, returns in cells.items()]
    assert set(verdicts(subpo_rooms.figure, table(by_method, subpo_rooms.TASK)).values()) == {"met"}
    cells |= {"SubPO-M": cells["SubPO-NM"], "SubPO-NM": cells["SubPO-M"]}
    swapped = verdicts(
        subpo_rooms.figure,
        table([(subpo_rooms.METHODS[name], returns) for name, returns in cells.items()], subpo_rooms.TASK),
    )
    not_met = [text for text, verdict in swapped.items() if verdict == "not met"]
    assert not_met == [
        "SubPO-NM covers more than a room and the corridor",
        "SubPO-M stays in one room: it covers less than that",
        "SubPO-NM covers more than SubPO-M",
        "SubPO-NM covers more than SubPO-M, with random moves",
    ]


@pytest.fixture
def grids(monkeypatch):
    """A table in which all the grids' claims hold by a little."""
    monkeypatch.setattr(subpo_grids, "best_plan", lambda name, instance: 100.0)

    def made(nm):
        shape = lambda name: (5, 1) if subpo_grids.TASKS[name].instances > 1 else (1, 5)  # noqa: E731
        value = lambda name, level: np.full(shape(name), level) + np.arange(5).reshape(shape(name)) / 10  # noqa: E731
        levels = ((M, lambda _: 70.0), (NM, nm), (MOD, lambda _: 65.0))
        frames = [table([(m, value(name, of(name))) for m, of in levels], name) for name in subpo_grids.TASKS]
        return pd.concat(frames, ignore_index=True)

    return made


def test_histories_help_to_collect_and_are_about_equal_elsewhere(grids):
    decided = verdicts(subpo_grids.figure, grids(lambda name: 74.0))
    assert len(decided) == 16
    assert set(decided.values()) == {"met"}
    # More than 0.05 apart is not about equal, in either direction.
    for apart, wrong in ((76.0, 0), (64.0, 1)):
        decided = verdicts(subpo_grids.figure, grids(lambda name, level=apart: level))
        equal = [verdict for text, verdict in decided.items() if "about equal" in text]
        assert equal == ["not met"] * 4
        collected = [verdict for text, verdict in decided.items() if "SubPO-NM above SubPO-M" in text]
        assert collected == [["met", "not met"][wrong]] * 2


def test_the_grids_are_drawn(grids):
    drawn = draw(subpo_grids.figure, grids(lambda name: 74.0))
    assert len(drawn.axes) == 10
    assert all(len(axis.lines) == 3 for axis in drawn.axes)
    assert drawn.axes[0].lines[0].get_xdata()[-1] == ITERATIONS
    assert drawn.axes[0].lines[1].get_ydata()[-1] == pytest.approx(0.742)


def test_a_method_on_a_task_is_a_program():
    sizes = {scale: subpo_grids.data(scale) for scale in subpo_grids.SIZES}
    numbers = {scale: [len(jobs) for jobs in parts.values()] for scale, parts in sizes.items()}
    assert numbers == {"smoke": [1, 1], "small": [5] * 4, "hour": [5] * 4, "paper": [5] * 4}
    for jobs in sizes["paper"].values():
        assert len({job.folder for job in jobs}) == 5
        for job in jobs:
            assert len(job.members) * len(job.seeds) == 20 * 2  # instances times slips
            assert job.steps == 500 * 39 * 150


def test_every_method_of_the_building_is_found_by_what_it_was_trained_with():
    parts = subpo_rooms.data("paper")
    assert list(parts) == list(subpo_rooms.METHODS)
    jobs = [job for (job,) in parts.values()]
    rows = []
    for job in jobs:
        experiment = job.experiment()
        config = {name: value for name, value in experiment.config["agent_config"].items()}
        named = {name: experiment.config[name] for name in ("agent", "env", "reward")}
        rows += [{**named, **config, **job.setup.settings, **member} for member in experiment.population]
    frame = pd.DataFrame(rows)
    found = {name: method.rows(frame).index.tolist() for name, method in subpo_rooms.METHODS.items()}
    assert all(len(of_method) == 2 for of_method in found.values())  # without and with slips
    assert sorted(index for of_method in found.values() for index in of_method) == list(range(len(frame)))


def test_visits_are_worth_less_each_time():
    env = with_reward(make(subpo_rooms.TASK)[0], subpo_rooms.visits())
    plan, _ = replay(env, env.default_params, jax.random.key(0), jnp.array([STAY, STAY, RIGHT]))
    np.testing.assert_allclose(plan.rewards, [1, 2**-0.5, 1], rtol=1e-6)


def test_the_building_is_drawn_beside_those_who_do_not_learn():
    methods = list(subpo_rooms.METHODS.values())
    drawn = draw(subpo_rooms.figure, table([(method, [[30.0, 34.0]]) for method in methods], subpo_rooms.TASK))
    paper, others = drawn.axes[:2]
    levels = {line.get_label().removesuffix(" (n = 2)"): line.get_ydata()[-1] for line in [*paper.lines, *others.lines]}
    assert {*subpo_rooms.METHODS, "random", "one-step planner", "beam search"} <= set(levels)
    assert levels["SubPO-M"] == pytest.approx(32 / 68)
    assert levels["beam search"] == 1
    assert 8 / 68 < levels["random"] < levels["one-step planner"] < 1
