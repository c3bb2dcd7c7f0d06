"""The figures of quality-diversity: how runs are read, what is run, and claims on tables made by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxreward.agents.quality_diversity.novelty_search import Config
from jaxreward.agents.quality_diversity.parts.evaluation import Outcome, make_evaluator
from jaxreward.agents.quality_diversity.parts.exploration import Search
from jaxreward.agents.quality_diversity.parts.genotypes import Genotypes
from jaxreward.envs import make
from jaxreward.experiments.figures.qd import _common as _qd
from jaxreward.experiments.figures.qd import archives as qd_archives
from jaxreward.experiments.figures.qd import arm as qd_arm
from jaxreward.experiments.figures.qd import curling as qd_curling
from jaxreward.experiments.figures.qd import mazes as qd_mazes
from jaxreward.experiments.figures.qd import point2d as qd_point2d
from jaxreward.experiments.figures.qd import signatures as qd_signatures
from jaxreward.experiments.figures.qd._common import COVERAGE, END, run_name
from jaxreward.quality_diversity import Archive
from jaxreward.reproduce.claims import check
from jaxreward.reproduce.figure import draw

SPREAD = (-0.01, -0.005, 0.0, 0.005, 0.01)
TRAINED = (qd_point2d, qd_curling, qd_arm, qd_mazes)


def table(task, method, areas, coverage, budget=500_000, early=None):
    """Five runs, a little apart: their coverage after a tenth of the budget, and everything in the end."""
    rows = []
    for seed, apart in enumerate(SPREAD):
        for iteration, part in enumerate((0.1, 0.5, 1.0), 1):
            best = {f"best/area_{index}": level + apart if part > 0.1 else 0.0 for index, level in enumerate(areas)}
            covered = coverage if early is None or part > 0.1 else early
            row = {"run": run_name(task, method), "seed": seed, "iteration": iteration, "evaluations": part * budget}
            rows.append({**row, COVERAGE: covered + apart, **best})
    return pd.DataFrame(rows)


def tables(task, numbers):
    """Of each method the rewards of areas, and last the coverage."""
    return pd.concat([table(task, name, each[:-1], each[-1]) for name, each in numbers.items()])


def verdicts(figure, frame, scale="paper"):
    return {claim.text: check(claim, frame, scale).verdict for claim in figure.claims}


def test_metrics_are_read_between_rows_and_kept_after_the_last():
    frame = pd.DataFrame(
        {
            "run": run_name("arm", "SERENE"),
            "seed": [1, 0, 0, 1],
            "iteration": [2, 1, 2, 1],
            "evaluations": [2_000, 1_000, 3_000, 1_000],
            COVERAGE: [0.4, 0.1, 0.5, 0.2],
        }
    )
    read = lambda evaluations: _qd.after("arm", "SERENE", COVERAGE, evaluations, frame)  # noqa: E731
    np.testing.assert_allclose(read(2_000), [0.3, 0.4])
    np.testing.assert_allclose(read(1_500), [0.2, 0.3])
    np.testing.assert_allclose(read(END), [0.5, 0.4])
    assert _qd.after("arm", "STAX", COVERAGE, END, frame).shape == (0,)


def test_the_worst_area_is_taken_in_each_run():
    frame = pd.concat([table("curling", "SERENE", (0.9, 0.3), 0.8), table("curling", "STAX", (0.3, 0.9), 0.8)])
    frame.loc[frame["seed"] == 0, ["best/area_0", "best/area_1"]] = [0.1, 0.7]
    np.testing.assert_allclose(_qd.best("curling", "SERENE", "worst", frame), [0.1, 0.295, 0.3, 0.305, 0.31])
    np.testing.assert_allclose(_qd.best("curling", "STAX", "mean", frame), [0.4, 0.595, 0.6, 0.605, 0.61])
    assert math.isnan(_qd.lead_of_best("curling", "SERENE", "NSGA-II", "mean", frame).value)


def test_areas_are_those_that_a_task_has():
    frame = pd.concat([table("curling", "SERENE", (0.9, 0.3), 0.8), table("collect_ball", "SERENE", (3.0,), 0.8)])
    assert _qd.areas(_qd.rows(frame, "collect_ball", "SERENE")) == ["best/area_0"]
    assert _qd.areas(_qd.rows(frame, "curling", "SERENE")) == ["best/area_0", "best/area_1"]


@pytest.mark.parametrize("module", TRAINED)
def test_everybody_has_the_same_budget_and_all_that_is_asked_for_exists(module):
    for scale in ("small", "hour", "paper") if module is not qd_mazes else ("small",):
        size, jobs = module.SIZES[scale], [job for jobs in module.data(scale).values() for job in jobs]
        assert len({job.folder for job in jobs}) == len(jobs) == sum(map(len, size.methods.values()))
        for job in jobs:
            experiment = job.experiment()
            config = experiment.config["agent_config"]
            assert job.steps == size.budget * config["num_steps"]
            assert len(job.seeds) == size.seeds
            assert config.get("budget", size.budget) == size.budget
            # An iteration makes at least the evaluations of its chunk.
            per_iteration = experiment.steps_per_iteration / config["num_steps"]
            assert per_iteration >= config["chunk_size"]
            assert experiment.iterations(job.steps) * per_iteration >= size.budget


def test_networks_and_behaviours_are_the_authors():
    sizes = _qd.Size(1_000, 1, {"curling": ("SERENE",), "collect_ball": ("novelty search", "MAP-Elites")})
    configs = [job.experiment().config["agent_config"] for jobs in _qd.jobs(sizes).values() for job in jobs]
    assert [config["layers"] for config in configs] == [3, 2, 2]
    assert [configs[1][name] for name in ("behaviour", "samples")] == ["samples", 2]
    assert "behaviour" not in configs[2]


def test_claims_of_curling():
    numbers = {"SERENE": (0.97, 0.8, 0.88), "novelty search": (0.9, 0.7, 0.92), "STAX": (0.95, 0.78, 0.85)}
    numbers |= {"NSGA-II": (0.8, 0.2, 0.66), "CMA-ME": (0.98, 0.6, 0.82)}
    assert set(verdicts(qd_curling.figure, tables("curling", numbers)).values()) == {"met"}
    # Those about 500,000 evaluations are not decided with fewer; who is ahead is.
    decided = verdicts(qd_curling.figure, tables("curling", numbers), "small")
    assert {verdict for text, verdict in decided.items() if "ahead" in text} == {"met"}
    assert {verdict for text, verdict in decided.items() if "ahead" not in text} == {"not decidable"}
    low = verdicts(
        qd_curling.figure, tables("curling", numbers | {"SERENE": (0.8, 0.5, 0.7), "NSGA-II": (0.9, 0.7, 0.7)})
    )
    not_met = {text for text, verdict in low.items() if verdict == "not met"}
    assert len(not_met) == 5
    assert all(text.startswith("SERENE") for text in not_met)
    behind = verdicts(qd_curling.figure, tables("curling", numbers | {"STAX": (0.7, 0.5, 0.7)}))
    assert [verdict for text, verdict in behind.items() if "STAX" in text] == ["not met", "not met"]


def test_claims_of_the_arm():
    numbers = {"STAX": (0.99, 0.98, 0.97, 0.78), "STAX, reset": (0.98, 0.97, 0.99, 0.77)}
    numbers |= {"STAX, untrained": (0.02, 0.5, 0.67, 0.42), "SERENE": (0.98, 0.99, 0.97, 0.8)}
    assert set(verdicts(qd_arm.figure, tables("arm", numbers)).values()) == {"met"}
    as_good = verdicts(qd_arm.figure, tables("arm", numbers | {"STAX, untrained": (1.1, 1.1, 1.1, 0.9)}))
    not_met = [text for text, verdict in as_good.items() if verdict == "not met"]
    assert len(not_met) == 5
    assert all("untrained" in text or "not trained" in text for text in not_met)
    one_missed = verdicts(qd_arm.figure, tables("arm", numbers | {"STAX": (0.99, 0.0, 0.97, 0.5)}))
    reaches = [verdict for text, verdict in one_missed.items() if "reaches" in text or "below the paper" in text]
    assert reaches == ["not met", "not met"]


def test_claims_of_point2d_are_of_the_first_ten_thousand_evaluations():
    early = qd_point2d.EARLY
    numbers = {"novelty search": (3.0, 0.938), "SERENE": (6.0, 0.77), "NSGA-II": (3.0, 0.7)}
    made = lambda changed: pd.concat(  # noqa: E731
        [
            table("point2d", name, [best] * 4, 1.0, 10 * early, covered)
            for name, (best, covered) in {**numbers, **changed}.items()
        ]
    )
    assert set(verdicts(qd_point2d.figure, made({}), "small").values()) == {"met"}
    swapped = {"novelty search": (6.0, 0.77), "SERENE": (3.0, 0.938), "NSGA-II": (6.0, 0.9)}
    assert set(verdicts(qd_point2d.figure, made(swapped), "small").values()) == {"not met"}


def test_claims_of_mazes():
    figure, early = qd_mazes.figure, qd_mazes.EARLY
    made = lambda higher: pd.concat(  # noqa: E731
        [
            table(task, name, (best, best), 1.0, 10 * early, 0.7 if higher else 0.5)
            for task in qd_mazes.MAZES
            for name, best in (("SERENE", 0.9), ("novelty search", 0.6 if higher else 1.2))
        ]
    )
    assert set(verdicts(figure, made(True)).values()) == {"met"}
    assert set(verdicts(figure, made(False)).values()) == {"not met"}


def check_drawn(figure, tasks, methods):
    frame = pd.concat([table(task, name, (0.5, 0.6), 0.7) for task in tasks for name in methods])
    axes = draw(figure, frame).axes
    assert {line.get_label() for axis in axes for line in axis.lines} == {f"{name} (n = 5)" for name in methods}
    for axis in axes:
        assert axis.lines[0].get_xdata()[-1] == 500_000
        assert axis.get_ylim()[0] == 0
    assert [axis.get_title() for axis in axes[:3]] == ["coverage", "best reward in area 1", "best reward in area 2"]
    np.testing.assert_allclose([axis.lines[0].get_ydata()[-1] for axis in axes[:3]], [0.7, 0.5, 0.6])
    return axes


def test_all_methods_are_drawn_over_evaluations():
    # Coverage and two areas of the published methods, the others and the ablations.
    assert len(check_drawn(qd_arm.figure, ["arm"], qd_arm.ALL)) == 9


def test_mazes_have_rows_of_their_own():
    axes = check_drawn(qd_mazes.figure, qd_mazes.MAZES, ["SERENE", "novelty search"])
    assert [axis.get_ylabel() for axis in axes[::3]] == ["hard maze", "collect-ball", "ant maze"]


def moments(levels, task="collect_ball"):
    """Each method's coverage early and in the end."""
    times = np.arange(1, qd_signatures.MOMENTS + 1) / qd_signatures.MOMENTS
    rows = [
        {"task": task, "method": name, "seed": seed, "time": time, COVERAGE: apart + (late if time > 0.5 else early)}
        for name, (early, late) in levels.items()
        for seed, apart in enumerate(SPREAD)
        for time in times
    ]
    return pd.DataFrame(rows)


def test_claims_of_signatures():
    last, several = qd_signatures.LAST, (0.45, 0.73)
    levels = dict.fromkeys(qd_signatures.METHODS, several) | {last: (0.36, 0.84)}
    decided = verdicts(qd_signatures.figure, moments(levels))
    about = [verdict for text, verdict in decided.items() if text.startswith("collect-ball")]
    assert about == ["met"] * 7
    turned = dict.fromkeys(levels, (0.3, 0.9)) | {qd_signatures.SIGNATURE: (0.2, 0.6), last: (0.5, 0.3)}
    decided = verdicts(qd_signatures.figure, moments(turned))
    assert [verdict for text, verdict in decided.items() if text.startswith("collect-ball")] == ["not met"] * 7
    (axis,) = draw(qd_signatures.figure, moments(levels)).axes
    assert axis.lines[0].get_ydata()[-1] == pytest.approx(0.84)


def genotypes(genomes, outcome=()):
    return Genotypes(genomes, outcome, (), (), ())


def test_coverage_at_a_moment_counts_the_cells_of_those_that_are_stored():
    # A genome is the action of every step: a point that moves by 0.05 times it. Cells are 0.04 wide.
    env, params = make("qd/point2d")
    watch, config = lambda _, info: info["descriptor"], Config(controller="constant", num_steps=10)
    evaluator = make_evaluator(env, params, config, watch, lambda _: (0, 9))
    genomes = jnp.array([[0.0, 0.0], [0.5, 0.0], [0.5, 0.001], [-0.5, 0.0], [0.0, -0.9]])
    archive = Archive(genotypes(genomes), jnp.asarray(4), jnp.asarray(0))
    search = Search((), (), archive, (), (), jax.random.key(0))
    found = jax.jit(lambda search: qd_signatures.coverage(evaluator, params, search))(search)
    # First at 0, 0.025 and -0.025, in the end at 0, 0.25 and -0.25; the last is not stored.
    np.testing.assert_allclose(found, [2 / 2500, 3 / 2500], rtol=1e-6)


def test_members_are_those_that_are_stored():
    ends = jnp.array([[[0.9, 0.9], [-0.9, 0.1], [0.0, 0.0]], [[0.5, -0.5], [0.0, 0.0], [0.0, 0.0]]])
    reward = jnp.array([[1.0, 2.0, 9.0], [3.0, 9.0, 9.0]])
    outcome = Outcome(reward, jnp.array([[0, 3, 0], [2, 0, 0]]), ends, jnp.ones((2, 3)), ())
    found = qd_archives.ends(genotypes((), outcome), jnp.array([2, 1]))
    expected = [[0, 0.9, 0.9, 0, 1], [0, -0.9, 0.1, 3, 2], [1, 0.5, -0.5, 2, 3]]
    np.testing.assert_allclose(found[["seed", "x", "y", "area", "reward"]], expected, rtol=1e-6)


def archives(areas, earned):
    """Of five seeds members of as many areas, of novelty's of two, and in each archive one that earned nothing."""
    row = {"task": "point2d", "method": "SERENE", "x": 0.5, "y": 0.25}
    rows = [
        {**row, "seed": seed, "archive": archive, "area": area, "reward": (reward * (1 + area) + seed) * (area >= 0)}
        for seed in range(5)
        for archive, reward, number in (("novelty", 2.0, 2), ("reward", earned, areas))
        for area in range(-1, number)
    ]
    return pd.DataFrame(rows)


def test_claims_of_archives():
    def read(frame):
        return [check(claim, frame, "paper").estimate.value for claim in qd_archives.figure.claims[:2]]

    # Of areas that both are in, here two, area by area: first 3 over 2, then 6 over 4, and each seed earns one more.
    share = np.mean([((3 + s) / (2 + s) + (6 + s) / (4 + s)) / 2 - 1 for s in range(5)])
    assert read(archives(4, 3.0)) == pytest.approx([share, 1.0])
    assert read(archives(2, 2.0)) == pytest.approx([0.0, 0.5])
    assert np.isnan(read(archives(0, 3.0))[0])
    decided = list(verdicts(qd_archives.figure, archives(4, 3.0)).values())
    assert decided == ["met", "met", *["not decidable"] * (len(decided) - 2)]
    assert list(verdicts(qd_archives.figure, archives(3, 1.0)).values())[:2] == ["not met", "not met"]


@pytest.mark.parametrize("task", ["point2d", "hard_maze", "curling", "collect_ball"])
def test_positions_are_drawn_where_the_picture_shows_them(task):
    env, params = make(_qd.TASKS[task].env)

    @jax.jit
    def seen():
        _, state = env.reset_env(jax.random.key(0), params)
        _, state, _, _, info = env.step_env(jax.random.key(0), state, jnp.ones(env.num_actions), params)
        return env.image(state, params, 128), info["descriptor"]

    image, descriptor = map(np.asarray, seen())
    left, right, below, above = qd_archives.EXTENTS[task]
    image = qd_archives.oriented(task, image)
    blue = (image[..., 2] > 0.9) & (image[..., :2] < 0.1).all(-1)
    rows, columns = np.nonzero(blue)
    x = left + (columns.mean() + 0.5) / 128 * (right - left)
    y = above + (rows.mean() + 0.5) / 128 * (below - above)
    # The middle of the blue disc, to a pixel.
    np.testing.assert_allclose([x, y], descriptor, atol=abs(right - left) / 128)
