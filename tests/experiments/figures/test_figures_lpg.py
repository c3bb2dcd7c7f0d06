"""The figures of LPG's objectives: who follows what, shares by hand, and claims on data that meets them or does not."""

from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxreward.agent import Agent
from jaxreward.agents.meta.parts.worlds import mean_horizon
from jaxreward.experiments.figures.meta import _common as common
from jaxreward.experiments.figures.meta import _lives, conditioning, curation, horizon, lifetime, tasks
from jaxreward.reproduce.claims import check

SIZE = common.SIZES["small"]
RUNS = range(6)


def lives(name, share, told=lambda horizon, part: 1.0):
    """Rows of a method whose runs differ by a thousandth, of which all is told as `told` says."""
    places = pd.MultiIndex.from_product(
        [(0, *SIZE.horizons), RUNS, range(_lives.PARTS)], names=["horizon", "seed", "part"]
    ).to_frame(index=False)
    value = [told(*place) for place in zip(places["horizon"], places["part"], strict=True)]
    noise = 0.001 * places["seed"]
    told_of = dict.fromkeys(_lives.TOLD, np.asarray(value) * (1 + noise))
    earned = (share + noise).where(places["horizon"] > 0, 0.0)
    return places.assign(method=name, earned=earned, longest=SIZE.lifetimes[1], **told_of)


def by_hand():
    """Rows of the actor-critic, which earns 1 where newborns earn nothing, in every run."""
    frame = lives(common.BY_HAND, 1.0)
    return frame.assign(earned=np.sign(frame["horizon"]))


def verdicts(module, *methods):
    frame = pd.concat([by_hand(), *methods], ignore_index=True)
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
    parts = tasks.data("small")
    assert list(parts) == list(tasks.NAMES.values())
    jobs = [job for part in parts.values() for job in part]
    assert [job.setup.settings["objective"] for job in jobs] == list(tasks.NAMES)
    assert {job.steps for job in jobs} == {1_000_000}
    assert {job.setup.settings["learning_rate"] for job in jobs} == {0.005}


def test_lifetimes_that_were_met_are_told_from_longer_ones():
    frame = pd.concat([by_hand(), lives(common.LPG_ES, 0.5), lives(common.TA_LPG_ES, 0.5)])
    longer = (frame["method"] == common.TA_LPG_ES) & (frame["horizon"] > SIZE.lifetimes[1])
    frame["earned"] += 0.25 * longer
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


def test_shares_are_of_the_way_from_newborns_to_the_actor_critic():
    rows = [(common.BY_HAND, 0, 1.0), (common.BY_HAND, 4, 5.0), (common.LPG_ES, 4, 4.0)]
    frame = pd.DataFrame(rows, columns=["method", "horizon", "earned"]).assign(seed=0, part=0)
    shares = common.scored(frame).set_index("method")["share"]
    assert shares.to_dict() == {common.BY_HAND: 1.0, common.LPG_ES: 0.75}
    np.testing.assert_allclose(common.shares(frame, common.LPG_ES, (4,)), [0.75])
    alone = common.scored(frame[frame["method"] == common.LPG_ES])
    assert alone["share"].isna().all()


@pytest.mark.parametrize("module", [horizon, lifetime, conditioning, curation])
def test_each_part_is_drawn_by_itself_and_claims_say_what_they_take(module):
    parts = module.data("small")
    for name in parts:
        module.plot(by_hand() if name == common.BY_HAND else lives(name, 0.5))
    for claim in module.figure.claims:
        shared = module is not lifetime
        assert (common.BY_HAND in claim.parts(list(parts))) == shared
    assert len(module.figure.claims[0].parts(list(parts))) == (3 if module is not lifetime else 1)


def test_what_is_to_be_run_is_counted():
    """A learner's steps for each run, and each level's lives; an actor-critic learns nothing and has newborns too."""
    learning, following = common.works(SIZE, common.METHODS[common.LPG_META])
    # 64 agents of 6 times 8 x 10 steps: an iteration's.
    each = 64 * 6 * 8 * 10
    assert (learning.steps, learning.seeds, learning.iterations) == (SIZE.steps // each * each, 6, SIZE.steps // each)
    assert (following.steps, following.seeds) == (sum(SIZE.horizons) * 80, 6 * 128)
    (only,) = common.works(SIZE, common.KNOWN[common.BY_HAND])
    assert only.steps == following.steps
    assert common.lives_of(SIZE, "").horizons == (0, *SIZE.horizons)


class Counted(NamedTuple):
    """The state of a learner whose params count its iterations."""

    params: jax.Array


def test_learners_have_as_many_steps_whatever_an_iteration_takes_in_the_mean(monkeypatch):
    counting = Agent(
        lambda key, hyperparams: Counted(jnp.zeros(())),
        lambda state: (Counted(state.params + 1), {}),
        lambda state: None,
    )
    size, steps = SIZE._replace(steps=1_000_000), {}
    for name in (common.LPG_ES, common.LPG_META):
        made = common.learner(size, common.METHODS[name])
        counted = SimpleNamespace(**made._replace(agent=counting)._asdict(), member=lambda index: ())
        monkeypatch.setattr(common, "resolve", lambda *_, made=counted, **__: made)
        monkeypatch.setattr(common, "vmap", lambda agent: agent)
        steps[name] = float(common.learned(size, common.METHODS[name])) * common.steps_of(made)
        common.learned.cache_clear()
        monkeypatch.undo()
    # Of lives of 4 to 16 updates, of which there are more short ones: not of the longest.
    lives = 64 * 8 * (10 * mean_horizon("log_uniform", SIZE.lifetimes) + 10)
    assert steps == pytest.approx(dict.fromkeys(steps, size.steps), abs=lives)
    assert common.steps_of(common.learner(SIZE, common.METHODS[common.LPG_ES])) == pytest.approx(lives)
