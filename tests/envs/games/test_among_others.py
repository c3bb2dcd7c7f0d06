"""The world of one agent among others: it acts, the others do as they do, and what follows is the game's."""

import jax
import numpy as np
import pytest

from jaxreward.envs import make
from jaxreward.envs.games.among_others import JOINT, AmongOthers
from jaxreward.envs.games.experts import gems_expert
from jaxreward.learning.episodes import transition_of


@pytest.mark.parametrize("agent", [0, 1])
def test_a_step_is_the_game_s_in_which_others_do_as_they_do(agent):
    game, params = make("games/gems")
    others = gems_expert()
    one = AmongOthers(game, agent, others)
    key_reset, key_step = jax.random.split(jax.random.key(agent))
    seen, state = one.reset_env(key_reset, params)
    np.testing.assert_array_equal(seen, game.reset_env(key_reset, params)[0][agent])

    @jax.jit
    def step(key, seen, state):
        key_others, key_game = jax.random.split(key)
        joint = others.act((), state.seen, key_others)[1].at[agent].set(3)
        return (
            transition_of(one)(key, seen, state, 3, params),
            game.step_env(key_game, state.state, joint, params),
            joint,
        )

    for key in jax.random.split(key_step, 30):
        happened, expected, joint = step(key, seen, state)
        np.testing.assert_array_equal(happened.info[JOINT].action, joint)
        np.testing.assert_array_equal(happened.next_observation, expected[0][agent])
        jax.tree.map(np.testing.assert_array_equal, happened.next_state.state, expected[1])
        np.testing.assert_array_equal(happened.info[JOINT].reward, expected[2])
        assert happened.reward == expected[2][agent]
        assert happened.truncated == game.is_truncated(expected[1], params)
        seen, state = happened.next_observation, happened.next_state


def test_there_must_be_such_an_agent():
    game, _ = make("games/gems")
    with pytest.raises(ValueError, match="agent=2 of games/gems: its agents are 0 to 1"):
        AmongOthers(game, 2, gems_expert())
