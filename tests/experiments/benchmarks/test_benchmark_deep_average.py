"""The benchmark of the reward rate with networks: that everyone does the same work, and what is told of it."""

import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agents.registry import get_agent
from jaxreward.envs.registry import make
from jaxreward.experiments.benchmarks.deep_average import ALGORITHMS, ENV, Options, check, entries, rates
from jaxreward.experiments.benchmarks.ours import run_rates
from jaxreward.experiments.benchmarks.peers import run_ajax

SAME = {
    "actor_learning_rate": "learning_rate", "critic_learning_rate": "learning_rate", "batch_size": "batch_size",
    "alpha_learning_rate": "temperature_learning_rate", "alpha_init": "temperature", "buffer_size": "capacity",
    "learning_starts": "warm_up", "tau": "target_step", "tau_theta": "rate_step", "n_steps": "num_steps",
    "target_entropy_per_dim": "entropy_per_dimension", "n_epochs": "num_epochs", "num_minibatches": "num_minibatches",
    "gae_lambda": "gae_lambda", "clip_range": "clip", "ent_coef": "entropy_coefficient", "vf_coef": "value_coefficient",
    "alpha": "rate_step", "nu": "value_bias",
}  # fmt: skip
"""Theirs by ours."""


def as_told(row, **changes):
    """What a contender makes of what it is told."""
    return json.loads(json.dumps({**row.spec, **changes}), object_hook=lambda fields: SimpleNamespace(**fields))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_everyone_does_the_same_work(name):
    rows = {row.name: row for row in entries(name, 16, 5_120)}
    assert {who: row.is_peer for who, row in rows.items()} == {"ours": False, "ajax-rl": True, "ajax-rl seq": True}
    algorithm = ALGORITHMS[name]
    for row in rows.values():
        assert row.amount == row.spec["iterations"] * algorithm.steps * 16 == 5_120 * 16
        assert Path(row.spec["program"]).is_file()
    theirs, ours = algorithm.arguments, {**algorithm.config, **algorithm.hyperparams}
    known = {their: our for their, our in SAME.items() if their in theirs}
    assert {their: theirs[their] for their in known} == {their: ours[our] for their, our in known.items()}
    assert set(theirs) - set(known) <= {"actor_architecture", "critic_architecture", "max_grad_norm", "fixed_alpha"}
    assert theirs["max_grad_norm"] == ours.get("max_grad_norm")
    assert set(algorithm.config) <= set(get_agent(name).config_defaults())
    assert set(algorithm.hyperparams) <= set(get_agent(name).hyperparam_defaults())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_ours_is_a_program(name):
    train, finish = run_rates.build(as_told(entries(name, 1, 5_120)[0]))
    assert finish(jax.eval_shape(train, jax.random.PRNGKey(0)))["found"]["reward_rate"].shape == ()


def test_both_pendulums_are_one_and_late_rewards_are_kept():
    ours, params = make(ENV)
    theirs = run_ajax.RecordedPendulum(late=3)
    actions = jnp.linspace(-2, 2, 5)[:, None]

    @jax.jit
    def both(key):
        step = lambda env, params: lambda state, action: env.step_env(key, state, action, params)[1:3]  # noqa: E731
        mine = jax.lax.scan(step(ours, params), ours.reset_env(key, params)[1], actions)
        its = theirs.default_params
        return mine, jax.lax.scan(step(theirs, its), theirs.reset_env(key, its)[1], actions)

    (_, mine), (last, other) = jax.tree.map(np.asarray, both(jax.random.key(0)))
    np.testing.assert_array_equal(mine, other)
    np.testing.assert_allclose(last.earned, mine[3:].sum(), rtol=1e-6)
    assert mine[3:].sum() < -1e-3
    assert ours.never_ends
    assert theirs.default_params.max_steps_in_episode > 10**9


def test_rates_are_over_seeds_and_rounds():
    rows = entries("apo", 2, 5_120)
    rows[0].runs = [{"found": {"reward_rate": [-1.0, -3.0]}}, {"found": {"reward_rate": [-1.0, -3.0]}}]
    rows[1].runs = [{"found": {"reward_rate": [-4.0]}}]
    assert rates(rows) == "reward a step: ours -2.00 ± 0.58 (4), ajax-rl -4.00 (1)"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"agents": ("rvi_sec",)}, "no agent 'rvi_sec'; did you mean 'rvi_sac'"),
        ({"steps": 6_000}, "--steps 6000 is no multiple of ten iterations, 5120; try --steps 5120"),
        ({"rounds": 0}, "give 1 or more --rounds"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        check(Options(**options))
