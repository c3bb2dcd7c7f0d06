"""The figures of LPG's objectives: who follows what, shares by hand, and claims on data that meets them or does not."""

from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxreward.agent import Agent
from jaxreward.agents.meta.lpg import one_step
from jaxreward.agents.meta.parts.lpg_network import lpg
from jaxreward.agents.meta.parts.objectives import actor_critic
from jaxreward.experiments.figures.meta import _common as common
from jaxreward.experiments.figures.meta import conditioning, curation, horizon, lifetime, tasks
from jaxreward.learning.objective import Lifetime
from jaxreward.reproduce.claims import check

SIZE = common.SIZES["small"]
RUNS = range(6)


def lives(name, share, told=lambda horizon, part: 1.0):
    """Rows of a method whose runs differ by a thousandth, of which all is told as `told` says."""
    places = pd.MultiIndex.from_product(
        [SIZE.horizons, RUNS, range(common.PARTS)], names=["horizon", "seed", "part"]
    ).to_frame(index=False)
    value = [told(*place) for place in zip(places["horizon"], places["part"], strict=True)]
    noise = 0.001 * places["seed"]
    told_of = dict.fromkeys(common.TOLD, np.asarray(value) * (1 + noise))
    return places.assign(method=name, share=share + noise, longest=SIZE.lifetimes[1], **told_of)


def verdicts(module, *methods):
    frame = pd.concat(methods, ignore_index=True)
    return [check(claim, frame, "small").verdict for claim in module.figure.claims]


def test_claims_of_horizons_and_of_conditioning_are_orderings_of_shares():
    more, less = 0.9, 0.5
    assert verdicts(horizon, lives(common.LPG_ES, less), lives(common.TA_LPG_ES, more)) == ["met"] * 2
    assert verdicts(horizon, lives(common.LPG_ES, more), lives(common.TA_LPG_ES, less)) == ["not met"] * 2
    others = [lives(name, less) for name in common.METHODS if name != common.TA_LPG_ES]
    assert verdicts(conditioning, *others, lives(common.TA_LPG_ES, more)) == ["met"] * 4
    gains = [lives(name, less) for name in common.METHODS if name != common.TA_LPG_META]
    assert verdicts(conditioning, *gains, lives(common.TA_LPG_META, more)) == ["not met"] * 4


def test_claims_of_curation():
    """All are met, the one of many levels is not, none is, and none can be decided."""
    others = [name for name in curation.methods("small") if not name.startswith(curation.REGRET)]
    best = [lives(name, 0.8) for name in curation.methods("small") if name not in others]
    levels = {name: 0.4 - 0.2 * name.endswith("1 level") for name in others}
    assert verdicts(curation, *best, *(lives(*pair) for pair in levels.items())) == ["met"] * 6
    assert verdicts(curation, *best, *(lives(name, 0.9 - x) for name, x in levels.items()))[4] == "not met"
    assert verdicts(curation, *best, *(lives(name, 1.0) for name in others)) == ["not met"] * 6
    assert verdicts(curation, lives(curation.UNIFORM, 0.4)) == ["not decidable"] * 6


def trained(objective, last):
    """Runs of five seeds in Breakout whose last tenth is such a return, and all before nothing."""
    steps = np.arange(1, 21) * 100
    rows = [
        pd.DataFrame({"env_steps": steps, "seed": seed, tasks.RETURN: np.where(steps >= 1800, last + 0.01 * seed, 0.0)})
        for seed in range(5)
    ]
    return pd.concat(rows).assign(agent="ppo", env="Breakout-MinAtar", objective=objective)


def test_claims_of_tasks_compare_the_ends_of_training():
    of_breakout = [claim for claim in tasks.figure.claims if "breakout" in claim.text]
    judged = lambda *returns: [  # noqa: E731
        check(claim, pd.concat(list(map(trained, tasks.NAMES, returns))), "small").verdict for claim in of_breakout
    ]
    assert judged(1.0, 2.0, 3.0, 4.0) == ["met"] * 3
    assert judged(4.0, 3.0, 2.0, 1.0) == ["not met"] * 3
    assert judged(1.0, 2.0) == ["met", "not decidable", "not decidable"]
    assert tasks.lead(
        tasks.BREAKOUT, "dpo", "ppo", pd.concat([trained("dpo", 2.0), trained("ppo", 0.5)])
    ).value == pytest.approx(1.5)


def test_each_task_has_the_presets_numbers_whatever_the_objective():
    jobs = tasks.data("small")
    assert [job.setup.settings["objective"] for job in jobs] == list(tasks.NAMES)
    assert len({job.folder for job in jobs}) == 4
    assert {job.steps for job in jobs} == {1_000_000}
    assert {job.setup.settings["learning_rate"] for job in jobs} == {0.005}


def test_lifetimes_that_were_met_are_told_from_longer_ones():
    frame = pd.concat([lives(common.LPG_ES, 0.5), lives(common.TA_LPG_ES, 0.5)])
    longer = (frame["method"] == common.TA_LPG_ES) & (frame["horizon"] > SIZE.lifetimes[1])
    frame["share"] += 0.25 * longer
    assert horizon.lead(False, frame).value == pytest.approx(0)
    assert horizon.lead(True, frame).value == pytest.approx(0.25)
    assert conditioning.met(frame) == (4, 8, 16)


def test_a_schedule_that_stretches_is_told_from_one_of_the_clock():
    """By the part of a life, `exp(-part)`; or by the updates made, `exp(-part N / 16)`, as who is not told can only."""
    stretched, of_clock = lambda N, part: np.exp(-part), lambda N, part: np.exp(-part * N / 16)
    met = verdicts(lifetime, lives(common.TA_LPG_ES, 0, stretched), lives(common.LPG_ES, 0, of_clock))
    assert met == ["met"] * 6
    turned = verdicts(lifetime, lives(common.TA_LPG_ES, 0, of_clock), lives(common.LPG_ES, 0, stretched))
    assert turned == ["met"] * 3 + ["not met"] * 3
    rising = verdicts(lifetime, lives(common.TA_LPG_ES, 0, lambda N, part: np.exp(part)), lives(common.LPG_ES, 0))
    assert rising[:3] == ["not met"] * 3
    frame = pd.concat([lives(common.TA_LPG_ES, 0, stretched), lives(common.LPG_ES, 0, of_clock)])
    assert lifetime.falls("score", frame).value == pytest.approx(3)
    # Lives of 4 and of 64 updates differ by 3.75 in the exponent for each part: 5.625 in the mean.
    assert lifetime.apart("update", common.LPG_ES, frame) == pytest.approx(5.625)


def test_shares_are_of_the_way_from_newborns_to_the_actor_critic(monkeypatch):
    rows = [(common.BY_HAND, 0, 1.0), (common.BY_HAND, 4, 5.0), (common.LPG_ES, 0, 9.0), (common.LPG_ES, 4, 4.0)]
    frame = pd.DataFrame(rows, columns=["method", "horizon", "earned"]).assign(seed=0, part=0)
    monkeypatch.setattr(common, "followed", lambda size, methods: frame)
    shares = common.scored(SIZE, {common.LPG_ES: common.METHODS[common.LPG_ES]}).set_index("method")["share"]
    assert shares.to_dict() == {common.BY_HAND: 1.0, common.LPG_ES: 0.75}


def test_objectives_in_one_program_are_themselves():
    each = [lpg(8, 2), actor_critic()]
    params = [one.init(jax.random.key(number)) for number, one in enumerate(each)]
    given = one_step(8), Lifetime(jnp.asarray(1), jnp.asarray(4))

    @jax.jit
    def both(number):
        return common.one_of(each).apply((number, params), *given), each[0].apply(params[0], *given)

    learned, itself = both(0)
    jax.tree.map(np.testing.assert_array_equal, learned, itself)
    # Of one step there is one advantage, of which its mean is taken away: what is left is the entropy's -0.01 log 1.
    by_hand, _ = both(1)
    np.testing.assert_allclose(by_hand.score, 0.0, atol=1e-6)
    assert np.abs(learned.score).max() > 1e-3


class Counted(NamedTuple):
    """The state of a learner whose params count its iterations."""

    params: jax.Array


def test_learners_have_as_many_steps_whatever_an_iteration_takes(monkeypatch):
    counting = Agent(
        lambda key, hyperparams: Counted(jnp.zeros(())),
        lambda state: (Counted(state.params + 1), {}),
        lambda state: None,
    )
    made = SimpleNamespace(agent=counting, member=lambda index: (), steps_per_iteration=300)
    monkeypatch.setattr(common, "resolve", lambda *_, **__: made)
    monkeypatch.setattr(common, "vmap", lambda agent: agent)
    assert common.learned(SIZE._replace(steps=1_000), common.METHODS[common.LPG_ES]) == 3
    common.learned.cache_clear()
