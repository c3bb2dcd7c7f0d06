"""What cannot be right in a world is refused before anything is trained."""

import numpy as np
import pytest

from jaxreward.run.spec import resolve

SWIM = "average/river_swim"
SPAN = 6.310324
"""Of the optimal bias in RiverSwim with 6 states, as in its exact solution."""


@pytest.mark.parametrize("agent", ["loop", "fopo"])
def test_a_bound_on_the_span_below_the_true_one(agent):
    with pytest.raises(ValueError, match=r"max_span=6\.3 is below the span of the optimal bias, 6\.31"):
        resolve(agent, SWIM, settings={"max_span": [np.inf, 7.0, 6.3]})
    resolve(agent, SWIM, settings={"max_span": [np.inf, SPAN]})
    resolve(agent, SWIM, settings={"max_span": 0.1, "check_span": False})


def test_the_bound_is_about_each_members_own_reward(tmp_path, monkeypatch):
    """Rewards are scaled to be between 0 and 1, so a multiple of a reward needs the same bound."""
    (tmp_path / "rewards.py").write_text(
        "from jaxreward.rewards import environment_reward, weighted\n"
        "reward = weighted(own=(environment_reward(), 1.0), far=(environment_reward(), 0.0))\n"
    )
    monkeypatch.chdir(tmp_path)
    settings = {"max_span": SPAN, "reward.weights.own": [1.0, 5.0, 0.2]}
    resolve("loop", SWIM, "rewards.py:reward", settings)  # scaled to [0, 1], all three are one reward
    with pytest.raises(ValueError, match="max_span=6 is below"):
        resolve("loop", SWIM, "rewards.py:reward", {**settings, "max_span": 6.0})


def test_fewer_steps_than_there_is_to_try():
    experiment = resolve("ucrl2", SWIM, settings={"num_steps": 4})
    with pytest.raises(ValueError, match=r"steps=9 are too few, as each of the 12 pairs .* give at least 13"):
        experiment.iterations(9)
    assert experiment.iterations(13) == 4
