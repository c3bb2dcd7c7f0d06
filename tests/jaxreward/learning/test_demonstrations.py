"""Files of demonstrations: what is read, and what is refused before anything compiles."""

import numpy as np
import pytest
from gymnax.environments.classic_control.cartpole import CartPole
from gymnax.environments.classic_control.pendulum import Pendulum

from jaxreward.envs import make
from jaxreward.learning.demonstrations import Demonstrations, read_demonstrations, transitions_of

CARTPOLE = {"observation": np.arange(12.0).reshape(3, 4), "action": np.array([0, 1, 1])}
PENDULUM = {"observation": np.ones((2, 3)), "action": np.array([[-2.0], [1.5]])}


@pytest.fixture
def read(tmp_path):
    def reading(env=None, /, **arrays):
        np.savez(tmp_path / "shown.npz", **arrays)
        env = env or CartPole()
        return read_demonstrations(tmp_path / "shown.npz", env, env.default_params)

    return reading


def test_what_is_read_has_the_types_of_the_environment(read):
    found = read(**CARTPOLE, terminated=np.array([0, 0, 1]), truncated=np.zeros(3, bool), reward=np.ones(3), more=1)
    np.testing.assert_array_equal(found.observation, CARTPOLE["observation"])
    assert found.observation.dtype == np.float32
    assert found.action.tolist() == [0, 1, 1]
    assert found.action.dtype == np.int32
    assert found.terminated.tolist() == [False, False, True]
    assert found.reward.tolist() == [1, 1, 1]
    assert read(**CARTPOLE).terminated is None
    np.testing.assert_array_equal(read(Pendulum(), **PENDULUM).action, np.float32(PENDULUM["action"]))


def test_rounding_may_take_an_action_to_a_bound_and_not_beyond(read):
    found = read(Pendulum(), **{**PENDULUM, "action": np.array([[-2.0001], [2.0001]])})
    np.testing.assert_array_equal(found.action, [[-2], [2]])


@pytest.mark.parametrize(("changed", "message"), [
    ({"action": np.array([0, 1])}, "different numbers of steps: observation 3, action 2"),
    ({"reward": np.ones(4)}, "observation 3, action 3, reward 4"),
    ({"observation": np.ones((3, 5))}, r"each observation has shape \(5,\); those of CartPole-v1 have \(4,\)"),
    ({"observation": np.ones(3)}, r"each observation has shape \(\); those of CartPole-v1 have \(4,\)"),
    ({"observation": np.ones((0, 4)), "action": np.ones(0)}, r"has no steps: observation has shape \(0, 4\)"),
    ({"observation": np.full((3, 4), "a")}, "observation is of type <U1; expected numbers"),
    ({"observation": np.array([[1.0, 1, 1, 1], [1, 1, np.nan, 1], [1, 1, 1, 1]])}, r"observation\[1, 2\] is nan"),
    ({"action": np.array([0, 2, 1])}, r"action\[1\] is 2; those of CartPole-v1 are whole numbers from 0 to 1"),
    ({"action": np.array([0, -1, 1])}, r"action\[1\] is -1"),
    ({"action": np.array([0, 0.5, 1])}, r"action\[1\] is 0.5"),
    ({"action": np.array([[0], [0], [1]])}, r"each action has shape \(1,\); those of CartPole-v1 have \(\)"),
    ({"reward": np.array([1.0, np.inf, 0.0])}, r"reward\[1\] is inf"),
    ({"terminated": np.zeros((3, 1), bool)}, r"terminated has shape \(3, 1\); expected one number a step"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(read, changed, message):
    with pytest.raises(ValueError, match=message):
        read(**{**CARTPOLE, **changed})


def test_actions_beyond_a_bound_are_refused(read):
    with pytest.raises(ValueError, match=r"action\[1, 0\] is 2.1; those of Pendulum-v1 are from -2 to 2"):
        read(Pendulum(), **{**PENDULUM, "action": np.array([[0.0], [2.1]])})


GAME = {
    "observation": np.arange(124.0).reshape(1, 2, 62).repeat(3, 0),
    "action": np.array([[0, 4], [1, 2], [3, 3]]),
    "reward": np.array([[1.0, 0.0], [6.0, 6.0], [0.0, 1.0]]),
}


def test_of_a_game_what_all_saw_did_and_were_paid_is_read(read):
    env, _ = make("games/mini_gems")
    found = read(env, **GAME, terminated=np.zeros(3, bool), env="games/mini_gems")
    for name in GAME:
        np.testing.assert_array_equal(getattr(found, name), GAME[name])
    assert found.action.dtype == np.int32
    assert read(env, **{**GAME, "reward": np.arange(3.0)}).reward.tolist() == [0, 1, 2]  # one that all were paid


@pytest.mark.parametrize(("changed", "message"), [
    ({"env": "games/gems"}, r"has demonstrations of games/gems, not of games/mini_gems; .* without its array 'env'"),
    ({"observation": np.ones((3, 3, 62))},
     r"each observation has shape \(3, 62\); those of games/mini_gems, a game of 2 agents, have \(2, 62\)"),
    ({"observation": np.ones((3, 62))}, r"each observation has shape \(62,\)"),
    ({"action": np.zeros(3, int)}, r"each action has shape \(\); .* a game of 2 agents, have \(2,\)"),
    ({"action": np.zeros((3, 4), int)}, r"each action has shape \(4,\)"),
    ({"action": np.array([[0, 4], [1, 5], [3, 3]])}, r"action\[1, 1\] is 5; those of .* whole numbers from 0 to 4"),
    ({"reward": np.ones((3, 3))}, r"reward has shape \(3, 3\); .* \(3,\), or one for each of 2 agents, \(3, 2\)"),
    ({"reward": np.array([[0, 0], [0, np.nan], [0, 0]])}, r"reward\[1, 1\] is nan"),
    ({"terminated": np.zeros((3, 2), bool)}, r"terminated has shape \(3, 2\); expected one number a step, \(3,\)$"),
])  # fmt: skip
def test_what_does_not_fit_a_game_is_refused(read, changed, message):
    with pytest.raises(ValueError, match=message):
        read(make("games/mini_gems")[0], **{**GAME, **changed})


def test_rewards_of_several_are_refused_where_one_acts(read):
    with pytest.raises(ValueError, match=r"reward has shape \(3, 2\); expected one number a step, \(3,\)$"):
        read(**CARTPOLE, reward=np.ones((3, 2)))


def test_files_that_are_none_are_refused(read, tmp_path):
    env = CartPole()
    with pytest.raises(ValueError, match=r"no file of demonstrations '.*none.npz'.*jaxreward demonstrate RUN"):
        read_demonstrations(tmp_path / "none.npz", env, env.default_params)
    with pytest.raises(ValueError, match="has no array 'action'; it has observation, other"):
        read(observation=CARTPOLE["observation"], other=1)
    np.savez(tmp_path / "pickled.npz", observation=np.array([{}], object), action=np.zeros(1))
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "text.npz").write_text("no")
    (tmp_path / "nothing.npz").write_text("")
    for name in ("pickled.npz", "text.npz", "nothing.npz", "one.npy"):
        with pytest.raises(ValueError, match="is no file of arrays"):
            read_demonstrations(tmp_path / name, env, env.default_params)


def test_transitions_have_what_followed_them():
    """Episodes of 3 steps, of 2 that were cut, of 1 and 2, the last of which the recording cuts."""
    seen, ends = np.arange(8.0)[:, None], np.zeros((2, 8), bool)
    ends[0, [2, 5]], ends[1, 4] = True, True
    found = transitions_of(Demonstrations(seen, np.arange(8), *ends))
    assert found.action.tolist() == [0, 1, 2, 3, 5, 6]
    assert found.observation.ravel().tolist() == [0, 1, 2, 3, 5, 6]
    assert found.terminated.tolist() == [False, False, True, False, True, False]
    goes_on = ~found.terminated
    np.testing.assert_array_equal(found.next_observation[goes_on], found.observation[goes_on] + 1)
    assert transitions_of(Demonstrations(seen, np.arange(8), ends[0])).action.tolist() == list(range(7))
    assert transitions_of(Demonstrations(seen, np.arange(8), None, ends[1])).action.tolist() == [0, 1, 2, 3, 5, 6]
