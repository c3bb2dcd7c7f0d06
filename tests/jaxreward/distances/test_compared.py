"""All distances of two rewards of an environment, by name."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.cli import main
from jaxreward.distances import epic_distance, npec_distance, regret, starc_distance
from jaxreward.distances.canonical import CANONICALISATIONS, SOLVED, canonicalise
from jaxreward.distances.compared import compared, tables
from jaxreward.environment import WithRewardParams, with_reward
from jaxreward.envs import make
from jaxreward.rewards import markov

SWIM = "average/river_swim"
FILE = """
import jax.numpy as jnp
def doubled(t): return 2 * t.reward
def opposite(t): return -t.reward
def remembers(t): return t.state.time * 1.0
"""


def test_they_are_those_of_each_function():
    env, params = make(SWIM)
    other = with_reward(env, markov(lambda t: t.reward + 0.1 * t.action))
    mdp, reward = tables(env, params, other, WithRewardParams(params, ()))
    found = {row.name: row for row in compared(mdp, reward, 0.9)}
    back = mdp._replace(reward=reward)
    expected = {
        "STARC (VAL)": starc_distance(mdp, reward, 0.9),
        "EPIC": epic_distance(mdp, reward, 0.9),
        "NPEC, the other way": npec_distance(back, mdp.reward, 0.9),
        "regret, the other way": regret(back, mdp.reward, 0.9),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].value, value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert 0 < found["STARC (VAL)"].value < 2
    assert found["its bound"].value >= found["regret"].value
    with pytest.raises(ValueError, match="discount from 0 to below 1, not 1"):
        compared(mdp, reward, 1.0)
    for kind, one in itertools.product(SOLVED, (1, np.float32(1), jnp.float32(1))):
        with pytest.raises(ValueError, match="discount from 0 to below 1, not 1"):
            canonicalise(kind, mdp, one)
    for kind in CANONICALISATIONS.keys() - set(SOLVED):
        assert np.isfinite(canonicalise(kind, mdp, 1.0)).all()
        with pytest.raises(ValueError, match=r"discount from 0 to 1, not 1\.5"):
            canonicalise(kind, mdp, 1.5)


def test_near_a_discount_of_1_differences_are_not_rounded_away():
    env, params = make(SWIM)
    mdp, _ = tables(env, params, env, params)
    found = {row.name: row.value for row in compared(mdp, -mdp.reward, 0.9999)}
    assert found["regret"] == pytest.approx(1, abs=1e-9)
    assert found["STARC (VAL)"] == pytest.approx(2, abs=1e-9)
    assert compared(mdp, 2 * mdp.reward, 0.9999)[0].value == pytest.approx(0, abs=1e-9)


def test_the_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    told = {}
    for name in ("doubled", "opposite"):
        assert main(["distance", "environment", f"mine.py:{name}", "--env", SWIM]) == 0
        lines = capsys.readouterr().out.splitlines()
        told[name] = {line[2:27].strip(): float(line[27:].split()[0]) for line in lines[1:]}
    assert told["doubled"]["STARC (VAL)"] < 1e-3 < 1.99 < told["opposite"]["STARC (VAL)"]
    assert told["opposite"]["regret"] > 0.99
    assert told["doubled"]["regret"] < 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["environment", "goall", "--env", SWIM], "goall"),
        (["environment", "mine.py:remembers", "--env", SWIM], "reads the clock"),
        (["environment", "environment"], "which environment?"),
    ],
)
def test_what_has_no_distance(arguments, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    assert main(["distance", *arguments]) == 2
    assert message in capsys.readouterr().err
