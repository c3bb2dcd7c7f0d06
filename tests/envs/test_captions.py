"""What stands below an episode's pictures: numbers computed by hand, and where the bars are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxreward.agent import Policy
from jaxreward.environment import WithRewardParams, with_reward
from jaxreward.envs.parts.captions import ROW, WIDEST_NAME, captioned, captions
from jaxreward.envs.registry import make
from jaxreward.learning.walker import ENVIRONMENTS, Facts, Walker
from jaxreward.reward import markov
from jaxreward.rewards import weighted

REWARD = np.array([1.0, -3.0])
FACTS = Facts(
    np.array([0, 1]), REWARD, {"gain": np.array([2.0, 1.0]), "cost": np.array([-1.0, -4.0]), ENVIRONMENTS: REWARD}
)


def test_a_caption_has_what_was_done_and_earned_and_a_bar_for_each_part():
    first, second, last = captions(3, FACTS)
    assert first.lines == ["step 0  action 0", "reward 1  return 1"]
    assert second.lines == ["step 1  action 1", "reward -3  return -2"]
    assert first.bars == [("cost", -1.0, -0.25), ("gain", 2.0, 0.5)]  # of the largest, 4; the environment's is the same
    assert second.bars == [("cost", -4.0, -1.0), ("gain", 1.0, 0.25)]
    assert (last.lines, last.bars[0]) == (["step 2, the last", "return -2"], ("cost", None, 0.0))
    other = captions(3, FACTS._replace(reward=REWARD + 1))
    assert [name for name, *_ in other[0].bars] == ["cost", "gain", ENVIRONMENTS]
    assert [caption.lines for caption in captions(2, None)] == [["step 0"], ["step 1"]]


def test_long_actions_are_left_out_and_numbers_that_are_none_have_no_bar():
    facts = Facts(np.zeros((1, 5)), np.zeros(1), {"broken": np.array([np.nan])})
    (caption, _) = captions(2, facts)
    assert caption.lines[0] == "step 0"
    captioned(Image.new("RGB", (10, 10)), caption)
    assert captions(2, Facts(np.array([[0.123456, -1.0]]), np.zeros(1), {}))[0].lines[0] == "step 0  action 0.123 -1"


def test_gains_are_on_the_right_and_losses_on_the_left():
    plain = Image.new("RGB", (400, 20), "white")
    drawn = np.asarray(captioned(plain, captions(3, FACTS)[1]), int)
    top = 20 + 2 + 2 * ROW
    left, right = WIDEST_NAME, 400 - 60
    middle = (left + right) // 2
    blue = drawn[..., 2] - drawn[..., 0] > 100
    orange = drawn[..., 0] - drawn[..., 2] > 100
    cost, gain = (slice(top + row * ROW, top + (row + 1) * ROW) for row in (0, 1))
    assert blue[gain, middle + 2 : right].any()
    assert not (blue[gain, :middle].any())
    assert not (orange[gain].any())
    assert orange[cost, left + 2 : middle].any()
    assert not (orange[cost, middle + 2 :].any())
    assert not (blue[cost].any())
    assert orange[cost].any(0).sum() == pytest.approx((right - left) / 2, abs=3)
    assert blue[gain].any(0).sum() == pytest.approx((right - left) / 8, abs=3)


def test_a_walk_tells_what_it_earned_by_which_part():
    env, params = make("CartPole-v1", max_steps_in_episode=4)
    reward = weighted(one=markov(lambda step: jnp.ones(())), tilt=(markov(lambda step: step.next_observation[2]), -2.0))
    both = WithRewardParams(params, reward.init(jax.random.key(0)))
    policy = Policy(lambda: (), *[lambda carry, seen, key: (carry, jnp.int32(seen[2] > 0))] * 2)
    walker = Walker(with_reward(env, reward), both, policy)
    key = jax.random.key(3)
    _, seen, facts = walker.seen(key, 4)
    assert (len(seen), len(facts.reward)) == (5, 4)
    np.testing.assert_array_equal(facts.action, seen[:-1, 2] > 0)
    np.testing.assert_allclose(facts.parts["tilt"], -2 * seen[1:, 2], rtol=1e-6)
    np.testing.assert_allclose(facts.reward, facts.parts["one"] + facts.parts["tilt"], rtol=1e-6)
    np.testing.assert_array_equal(facts.parts[ENVIRONMENTS], 1.0)
    np.testing.assert_allclose(walker.run(key[None]).returns[0], facts.reward.sum(), rtol=1e-6)
