"""A run in an environment that never ends, from its training to its comparison: all of it by rewards a step."""

import re

import numpy as np
import pytest

from jaxreward.cli import main
from jaxreward.results.compare import default_metric
from jaxreward.results.evaluate import evaluate
from jaxreward.results.tables import load

ENV = "average/river_swim?variant=naik"
SMALL = ["--set", "num_envs=4", "num_steps=16", "num_minibatches=1", "num_epochs=1", "layers=(4,)"]
WEIGHED = """
def tripled(transition):
    return 3 * transition.reward
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """PPO with two seeds, four iterations of 64 steps, on three times the river's rewards; and what was said."""
    home = tmp_path_factory.mktemp("never")
    (home / "own.py").write_text(WEIGHED)
    what = ["--env", ENV, "--reward", f"{home}/own.py:tripled", "--folder", str(home / "run")]
    assert main(["train", *what, "--steps", "256", "--seeds", "2", "--log-every", "1", *SMALL]) == 0
    return home / "run"


def test_what_is_logged_is_the_reward_a_step(run):
    frame = load(run)
    assert len(frame) == 8
    assert frame["average_reward"].notna().all()
    np.testing.assert_allclose(frame["average_reward"], 3 * frame["average_env_reward"], rtol=1e-6)
    # Each of 64 steps pays 0, 0.005 or 1, so that no other mean can come out.
    steps = np.asarray(frame["average_env_reward"], float) * 64
    small = steps % 1 / 0.005
    np.testing.assert_allclose(small, np.round(small), atol=1e-2)
    assert (frame["episode/count"] == 0).all()
    assert frame["episode/return"].isna().all()
    assert not frame["failed"].any()


def test_the_report_is_about_it(run):
    page = (run / "report.html").read_text()
    headings = re.findall(r"<h3.*?>(.*?)</h3>", page)
    assert headings == ["Environment&#x27;s reward a step", "Reward a step"]
    assert (run / "curves.png").is_file()


def test_evaluation_takes_so_many_steps(run, capsys):
    assert main(["evaluate", str(run), "--episodes", "3", "--steps", "40", "--stochastic", "--render"]) == 0
    said = capsys.readouterr().out
    assert "3 walks of 40 steps of member 0, seed 0" in said
    assert re.search(r"\n  reward a step +\S+  \[.*\]\n  environment's reward a step +\S+  \[", said)
    assert (run / "episode.gif").is_file()
    found = evaluate(run, episodes=3, steps=40, stochastic=True)
    assert found.endless
    np.testing.assert_array_equal(found.episodes.lengths, 40)
    assert not found.episodes.ended.any()
    np.testing.assert_allclose(found.episodes.returns, 3 * found.episodes.env_returns, rtol=1e-6)


def test_comparisons_are_of_it(run, capsys):
    assert default_metric([str(run)]) == "average_reward"
    assert main(["compare", str(run), str(run)]) == 0
    assert "final average_reward" in capsys.readouterr().out


def test_an_agent_that_needs_episodes_is_refused(capsys):
    assert main(["train", "--env", ENV, "--agent", "reinforce", "--steps", "100"]) == 2
    assert "reinforce learns from whole episodes" in capsys.readouterr().err
