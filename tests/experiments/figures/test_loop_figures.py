"""The figures of average-reward RL: their claims on made-up runs that meet them, and on runs that do not."""

import numpy as np
import pandas as pd
import pytest

from jaxreward.experiments.figures.loop import _common as common
from jaxreward.experiments.figures.loop import deep, ensemble, optimism, regret, sensitivity
from jaxreward.reproduce.claims import check
from jaxreward.reproduce.figure import get_figure

STEPS = np.arange(1, 41) * 500
SEEDS = 6


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The most that can be lost, without solving anything."""
    monkeypatch.setattr(common, "most_lost", lambda task, steps: 0.5 * steps)


def runs(agent, task, lost, **more):
    """Rows of six seeds that differ by a thousandth."""
    rows = []
    for seed in range(SEEDS):
        values = {name: np.asarray(value) * (1 + 0.001 * seed) for name, value in {"gap_regret": lost, **more}.items()}
        rows.append(pd.DataFrame({"env_steps": STEPS, "iteration": np.arange(1, 41), "seed": seed, **values}))
    look = {"steps_per_check": 20}  # as UCRL3 does
    return pd.concat(rows).assign(**look, agent=agent, env=task, run=f"{agent}-{task}", member=0, failed=False)


def ell(task, lost, **more):
    return runs("loop", task, lost, **more).assign(**{"planner": "ell"})


def verdicts(name, frame):
    return {claim.text: check(claim, frame, "small").verdict for claim in get_figure(name).claims}


def of_growth(power):
    """A table in which LOOP loses, and switches, like a power of the time, and its peers all they can."""
    parts = []
    for task in common.TASKS:
        parts.append(ell(task, STEPS**power, switches=10 * STEPS**power))
        parts += [runs(peer, task, 0.5 * STEPS) for peer in ("ucrl2", "ucrl2b", "ucrl3", "psrl")]
    return pd.concat(parts)


def test_claims_of_regret_are_met_by_a_learner_and_not_by_one_that_never_learns():
    good, bad = of_growth(0.2), of_growth(0.9)
    assert set(verdicts("loop/regret", good).values()) == {"met"}
    assert regret.slope(common.SWIM, good).value == pytest.approx(0.2)
    assert regret.more_switches(common.SWIM, good).value == pytest.approx(4**0.2)
    judged = verdicts("loop/regret", bad)
    grows = [verdict for text, verdict in judged.items() if "slope" in text or "switches" in text]
    assert grows == ["not met"] * 5
    peers = bad.assign(gap_regret=np.where(bad["agent"] == "loop", bad["gap_regret"], 0.0))
    judged = verdicts("loop/regret", peers)
    assert {verdict for text, verdict in judged.items() if "loses" in text} == {"not met"}


def test_a_lead_is_a_difference_of_shares():
    frame = pd.concat([ell(common.SWIM, 0.1 * STEPS), runs("ucrl2", common.SWIM, 0.3 * STEPS)])
    # Of 20,000 steps and at most 10,000: 6,000 less 2,000, and 1.0025 times that in the mean over seeds.
    assert common.lead(common.SWIM, "LOOP (ell)", "UCRL2", frame).value == pytest.approx(0.4 * 1.0025)
    assert np.isnan(common.lead(common.SWIM, "LOOP (ell)", "PSRL", frame).value)
    assert np.isnan(common.lead(common.LONG, "LOOP (ell)", "UCRL2", frame).value)


def test_the_setting_that_loses_least_in_both_rivers_is_kept():
    parts = []
    for value, short, long in ((0.03, 0.1, 0.4), (0.1, 0.2, 0.2), (0.3, 0.3, 0.25), (1.0, 0.05, 0.5)):
        for task, share in ((common.SWIM, short), (common.LONG, long)):
            parts.append(ell(task, share * STEPS).assign(regularisation=value, run=f"{value}"))
    frame = pd.concat(parts)
    assert regret.chosen(frame, "LOOP (ell)") == {"planner": "ell", "regularisation": 0.1}


def test_tuning_has_as_many_settings_for_all_and_seeds_of_its_own():
    assert {len(method.choices()) for method in common.METHODS.values()} == {4}
    size = regret.Size(400, 3, 2, methods=("UCRL2",))
    jobs = regret.tuning("UCRL2", size)
    assert [job.setup.env for job in jobs] == list(common.TUNED_IN)
    assert {job.seeds for job in jobs} == {(1_000, 1_001)}
    assert all(len(job.members) == 4 for job in jobs)


def test_a_task_in_which_luck_is_more_than_what_can_be_lost_is_refused(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"1000 steps of average/hard_two_state lose at most"):
        common.most_lost("average/hard_two_state", 1_000)
    # J* = 0.4286224, and the worst that can be done pays nothing.
    assert common.most_lost(common.SWIM, 1_000) == pytest.approx(428.6224, rel=1e-5)


def test_claims_of_sensitivity_compare_with_the_default():
    parts = [ell(common.SWIM, 0.01 * STEPS, switches=STEPS)]
    for name, values in sensitivity.SWEPT.items():
        for value in values:
            bad = (name, value) in (("max_span", 0.5 * sensitivity.SPAN), ("regularisation", 3.0))
            if value != sensitivity.default(name):
                changed = {name: value, "run": f"{name}{value}"}
                share, switches = 0.1 if bad else 0.01, STEPS / value if name == "ratio" else STEPS
                parts.append(ell(common.SWIM, share * STEPS, switches=switches).assign(**changed))
    frame = pd.concat(parts)
    assert set(verdicts("loop/sensitivity", frame).values()) == {"met"}
    assert sensitivity.worse("regularisation", 3.0, frame).value == pytest.approx(0.18 * 1.0025)
    # The other way round, the default is the worst of all but those that should be worse than it.
    turned = frame.assign(gap_regret=0.11 * np.tile(STEPS, len(frame) // len(STEPS)) - frame["gap_regret"])
    other = verdicts("loop/sensitivity", turned)
    assert {verdict for text, verdict in other.items() if ": worse" in text} == {"not met"}


def hopeful(beta, planner, hoped, switches):
    frame = runs("loop", common.SWIM, STEPS, optimistic_gain=hoped, switches=switches)
    return frame.assign(gain=0.4, beta=beta, **{"planner": planner}, run=f"{beta}{planner}")


def test_claims_of_optimism():
    slow, fast = np.log(STEPS), np.sqrt(STEPS)
    near = 0.4 + 0.5 / np.sqrt(STEPS)
    good = [hopeful(4_000.0, "ell", 0.41 + near, slow), *(hopeful(0.5, name, near, slow) for name in ("ell", "box"))]
    assert set(verdicts("loop/optimism", pd.concat(good)).values()) == {"met"}
    bad = [hopeful(4_000.0, "ell", 0.39, slow), *(hopeful(0.5, name, near + 0.1, fast) for name in ("ell", "box"))]
    assert set(verdicts("loop/optimism", pd.concat(bad)).values()) == {"not met"}
    assert optimism.growth("box", pd.concat(bad)).value == pytest.approx(2.0)


@pytest.mark.parametrize("made", [deep, ensemble])
def test_claims_of_reward_rates_are_of_the_last_fifth_of_each_method_in_its_task(made):
    """LOOP earns 0.8 a step in the end and the others 0.3, who were ahead before; and the other way about."""

    def earned(late):
        parts = []
        for task in made.RACE.tasks:
            for name, settings in made.METHODS.items():
                rate = late if name in ("LOOP", "APO") else 0.3
                rates = np.where(0.8 * STEPS[-1] < STEPS, rate, 1 - rate)
                rows = runs(settings["agent"], task, 0 * STEPS, average_reward=rates)
                parts.append(rows.assign(beta=settings.get("beta", np.nan)))
        return pd.concat(parts)

    name = "loop/" + made.__name__.rpartition(".")[-1]
    ahead, behind = verdicts(name, earned(0.8)), verdicts(name, earned(0.1))
    assert {verdict for text, verdict in ahead.items() if "above APO" not in text} == {"met"}
    assert set(behind.values()) <= {"not met", "not decidable"}
    assert {verdict for text, verdict in behind.items() if "APO" not in text} == {"not met"}
