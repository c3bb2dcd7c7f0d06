"""Our side of the benchmark of novelty search, SERENE and STAX: that it does what the authors' does, and its parts."""

import jax
import numpy as np
import pytest
from contenders import told

from jaxreward.agents.quality_diversity.parts.learned_space import FITTING
from jaxreward.agents.registry import get_agent
from jaxreward.envs import registry
from jaxreward.experiments.benchmarks import stax
from jaxreward.experiments.benchmarks.ours import run_stax
from jaxreward.experiments.benchmarks.parts.searches import SEARCHES, TASKS, WORLDS, Options
from jaxreward.experiments.benchmarks.peers import contender

BOUNDS = SEARCHES["ns"].bounds


@pytest.mark.parametrize("name", TASKS)
def test_both_search_with_the_same_numbers(name, tmp_path):
    options = Options(tmp_path, evaluations=1500)
    fields, asked = stax.spec(name, options), stax.authors_spec(name, options, 0)
    chosen = get_agent(fields["agent"])
    config = chosen.Config(**fields["config"])
    assert config.budget == asked["evaluations"] == 1500
    assert fields["iterations"] * config.chunk_size >= config.budget
    # Their `parameters.py`, and what is changed of it.
    assert (config.chunk_size, config.population_size, config.children, config.archived) == (1000, 100, 2, 5)
    assert (config.neighbours, config.genome_low, config.genome_high) == (15, -5.0, 5.0)
    assert chosen.Hyperparams().mutation == 0.05
    if not name.startswith("ns"):
        assert (config.members, config.emitter_children, config.parallel_emitters) == (6, 2, 1)


def test_stax_has_the_same_pictures_and_trainings(tmp_path):
    options = Options(tmp_path, tmp_path / "stax")
    asked, config = stax.authors_spec("stax_arm", options, 0), stax.spec("stax_arm", options)["config"]
    config = get_agent("stax").Config(**config)
    assert asked["params"] == {"pop_size": 100, "samples_per_traj": config.frames, "max_training_epochs": 100}
    assert (config.epochs, config.images, config.image_size, config.code) == (101, 128, 64, 10)
    assert (config.selection, config.encoder, FITTING.learning_rate) == ("novelty_and_surprise", "trained", 1e-3)
    assert asked["checkout"] == str(tmp_path.resolve() / "stax")
    assert asked["assets"] == str(tmp_path.resolve() / "environments" / "assets")


@pytest.mark.parametrize(("name", "steps"), [("arm", 101), ("pictured_arm", 100)])
def test_the_arm_is_theirs(name, steps):
    env, params = registry.make("qd/arm", **WORLDS[name].options)
    assert env.require_stop
    assert params.max_steps_in_episode == steps


PICTURES = {"frames": 2, "image_size": 16, "images": 16, "epochs": 2}


def small(tmp_path, name="ns_point2d", **changes):
    fields = stax.spec(name, Options(tmp_path, evaluations=30), iterations=2)
    config = {"budget": 30, "chunk_size": 12, "population_size": 6, "neighbours": 3}
    config |= PICTURES if SEARCHES[TASKS[name][0]].learns else {}
    return told({**fields, "config": config, "options": {"max_steps_in_episode": 3}, **changes})


def test_a_search_says_what_it_found(tmp_path):
    train, finish = run_stax.build(small(tmp_path))
    found = finish(jax.jit(jax.vmap(train))(jax.random.split(jax.random.PRNGKey(0), 2)))["found"]
    # The first population and as many children as 2 iterations of 12 have; within 0.15 of the middle nothing pays.
    assert found["evaluations"].tolist() == [30, 30]
    assert found["best"].tolist() == [0.0, 0.0]
    assert ((found["coverage"] > 0) & (found["coverage"] <= 9 * 9 / 2500)).all()
    assert contender.summarise({"found": found})["found"]["evaluations"] == [30.0, 30.0]


@pytest.mark.parametrize(
    ("name", "part"),
    [*(("ns_point2d", part) for part in BOUNDS), *(("stax_arm", part) for part in ("novelty", "pictures", "encoding"))],
)
def test_bounds_are_of_the_whole_budget(name, part, tmp_path):
    train, finish = run_stax.build(small(tmp_path, name, part=part))
    totals = jax.jit(jax.vmap(train))(jax.random.split(jax.random.PRNGKey(0), 2))
    assert np.isfinite(totals).all()
    assert totals[0] != totals[1]
    assert finish(totals)["found"]["evaluations"].tolist() == [36, 36]


def test_stax_says_how_often_it_updated_its_network(tmp_path):
    train, finish = run_stax.build(small(tmp_path, "stax_arm", iterations=1))
    found = finish(jax.tree.map(lambda each: each[None], jax.jit(train)(jax.random.PRNGKey(0))))["found"]
    assert found["updates"].tolist() == [6]


def test_trainings_are_of_as_many_pictures(tmp_path):
    train, finish = run_stax.build(small(tmp_path, "stax_arm", part="training"))
    found = finish(jax.jit(jax.vmap(train))(jax.random.split(jax.random.PRNGKey(0), 2)))["found"]
    # Two pictures of each of 6, their 12 children and 5 stored; of 46, 9 are held back: 3 minibatches, 2 epochs.
    assert found["updates"].tolist() == [6, 6]


@pytest.mark.parametrize(("iterations", "trainings"), [(1, 1), (2, 1), (3, 2), (10, 4)])
def test_trainings_are_due_ever_less_often(iterations, trainings):
    config = get_agent("stax").Config()
    numbers = run_stax.trained_on(config, iterations)
    assert len(numbers) == trainings
    # A population of 100, 200 children, and 5 stored of each of 5 generations.
    assert numbers[0] == 5 * (100 + 200 + 25)
