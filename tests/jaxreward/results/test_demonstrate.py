"""What is recorded of a policy, step by step, and by the command."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import Policy
from jaxreward.cli import main
from jaxreward.envs import make
from jaxreward.envs.games.experts import gems_expert
from jaxreward.learning.demonstrations import Demonstrations, read_demonstrations
from jaxreward.results import demonstrate as module
from jaxreward.results.demonstrate import demonstrate, one_after_the_other, record, recorded
from tests.demonstrated import demonstrated
from tests.probes import Counter, CounterParams

TASK = "CartPole-v1?max_steps_in_episode=8"


def test_steps_are_recorded_as_they_were_and_memories_begin_anew_with_an_episode(monkeypatch):
    """The policy's memory begins at 5 and counts; an action is whether it is odd. Counts are paid as they are left."""
    monkeypatch.setattr(module, "LENGTH", 6)
    parity = lambda memory, observation, key: (memory + 1, memory % 2)  # noqa: E731
    policy = Policy(lambda: jnp.int32(5), parity, parity)
    params = CounterParams(terminal=5.0)
    shown, metrics = jax.jit(lambda key: recorded(Counter(), params, policy, 10, key))(jax.random.key(0))
    shown = jax.tree.map(np.asarray, shown)
    assert shown.reward.shape == (5, 2)
    stream = one_after_the_other(shown)
    np.testing.assert_array_equal(stream.observation[:5], shown.observation[:, 0])
    np.testing.assert_array_equal(stream.reward, stream.observation[:, 0])
    assert stream.truncated.tolist() == [False] * 4 + [not stream.terminated[4]] + [False] * 4 + [
        not stream.terminated[9]
    ]
    memory, ended = 5, 0
    for t in range(10):
        assert stream.action[t] == memory % 2
        following = stream.observation[t, 0] + 1 + stream.action[t]
        assert stream.terminated[t] == (following >= 5)
        done = stream.terminated[t] or stream.truncated[t]
        assert done or stream.observation[t + 1, 0] == following
        memory, ended = 5 if done else memory + 1, ended + stream.terminated[t]
    assert ended == metrics["episode/count"] >= 2


def test_a_run_is_recorded_and_cloned(tmp_path, capsys, monkeypatch):
    """By commands: a policy is recorded, read back, and a policy that was cloned from a file acts."""
    monkeypatch.setattr("jaxreward.cli.train.finish", lambda *_: 0)  # what is drawn of a run
    given, out = demonstrated("CartPole-v1"), str(tmp_path / "shown.npz")
    sizes = ["num_envs=2", "num_steps=8", "num_updates=2", "layers=()", f"demonstrations={given}"]
    train = ["train", "--agent", "behaviour_cloning", "--env", TASK, "--steps", "16", "--folder", str(tmp_path / "run")]
    assert main([*train, "--seeds", "1", "--quiet", "--set", *sizes]) == 0
    assert main(["demonstrate", str(tmp_path / "run"), "--out", out, "--steps", "20"]) == 0
    assert f"20 steps of member 0, seed 0, 2 whole episodes of return 8, are in {out}" in capsys.readouterr().out
    env, params = make(TASK)
    found = read_demonstrations(out, env, params)
    assert isinstance(found, Demonstrations)
    assert np.flatnonzero(found.truncated).tolist() == [7, 15, 19]
    assert not found.terminated.any()
    assert main(["demonstrate", str(tmp_path / "run"), "--out", out]) == 2
    assert "shown.npz exists already" in capsys.readouterr().err


def test_a_scripted_policy_of_a_game_is_recorded(tmp_path):
    """What comes back from the file follows from what is in it: moves of the grid, and who is paid for which gems."""
    env, params = make("games/gems")
    done = record(env, params, gems_expert(slack=4.0), tmp_path / "gems.npz", 400)
    found = read_demonstrations(tmp_path / "gems.npz", env, params)
    assert found.action.shape == found.reward.shape == (400, 2)
    ended = found.terminated | found.truncated
    assert 10 <= ended[:-1].sum() <= done.episodes <= ended.sum()  # the last one may be cut
    position = np.round(found.observation[:, :, 40:] * 14)
    move = np.array([(0, 1), (1, 0), (0, -1), (-1, 0), (0, 0)])[found.action]
    np.testing.assert_array_equal(position[1:][~ended[:-1]], np.clip(position + move, 0, 14)[:-1][~ended[:-1]])
    assert set(np.unique(found.reward)) >= {0, 1, 6}
    assert ((found.reward[:, 0] >= 6) == (found.reward[:, 1] >= 6)).all()


def test_what_cannot_be_recorded_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"none.shown.npz is in no folder"):
        demonstrate(tmp_path, tmp_path / "none" / "shown.npz")
    with pytest.raises(ValueError, match="steps must be positive, not 0"):
        demonstrate(tmp_path, tmp_path / "shown.npz", steps=0)
