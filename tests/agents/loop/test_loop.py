"""LOOP in RiverSwim: what it loses, how often it plans, what it hopes for; each refusal."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agents.loop.loop import Config, Hyperparams, loop, theory
from jaxreward.agents.loop.parts.features import features_of, kernel_features
from jaxreward.agents.loop.ucrl2 import Config as Ucrl2Config
from jaxreward.agents.loop.ucrl2 import Hyperparams as Ucrl2Hyperparams
from jaxreward.agents.loop.ucrl2 import ucrl2
from jaxreward.envs import make
from jaxreward.mdp import TabularEnv, river_swim

SEEDS, SPAN, ITERATIONS = 12, 3.0, 16
GAIN = 0.428622


def river(num_states=6):
    return make(f"average/river_swim?num_states={num_states}")


def run(agent, hyperparams, iterations):
    """Metrics of each iteration, `[iterations, members]`."""
    keys = jax.random.split(jax.random.key(5), len(jax.tree.leaves(hyperparams)[0]))
    state, step = jax.jit(jax.vmap(agent.init))(keys, hyperparams), jax.vmap(agent.step)
    go_on = jax.jit(lambda state: jax.lax.scan(lambda now, _: step(now), state, None, iterations))
    return jax.tree.map(np.asarray, go_on(state)[1])


def members(*each):
    """Hyperparams stacked."""
    return jax.tree.map(lambda *leaves: jnp.asarray(leaves, float), *each)


@pytest.fixture(scope="module")
def ran():
    """In one program: seeds of the defaults, of a span that is too small, and of the theory's numbers."""
    env, params = river()
    by_theory = theory(env, params, 16_000, delta=0.05)
    each = [Hyperparams()] * SEEDS + [Hyperparams(max_span=SPAN)] * 2 + [by_theory] * 6
    metrics = run(loop(env, params, Config(num_steps=1_000, steps_per_check=2)), members(*each), ITERATIONS)
    parts = np.split(np.arange(len(each)), [SEEDS, SEEDS + 2])
    names = ("default", "short", "theory")
    return {name: {key: x[:, part] for key, x in metrics.items()} for name, part in zip(names, parts, strict=True)}


def test_it_loses_less_than_ucrl2_in_every_run(ran):
    """All of 12 runs are below all of 6: by chance that is one order in `binomial(18, 6)`, 18,564."""
    env, params = river()
    peer = ucrl2(env, params, Ucrl2Config(num_steps=1_000, steps_per_check=10))
    lost = run(peer, members(*[Ucrl2Hyperparams()] * 6), ITERATIONS)["gap_regret"][-1]
    assert ran["default"]["gap_regret"][-1].max() < lost.min() / 10
    # What actions lose is not negative, and adds up to the regret but for luck: a martingale whose steps are those of
    # the bias between neighbours, at most 1.5, and what the bias is at the ends.
    assert np.diff(ran["default"]["gap_regret"], axis=0).min() >= -1e-3
    luck = 1.5 * math.sqrt(ITERATIONS * 1_000 / SEEDS)
    difference = (ran["default"]["regret"] - ran["default"]["gap_regret"])[-1].mean()
    assert abs(difference) < 4 * luck + 6.31


def test_it_plans_less_and_less_often(ran):
    """From 4,000 to 16,000 steps a number that grows like the root of the time doubles, the logarithm rises by 1.17."""
    switches = ran["default"]["switches"].mean(1)
    assert switches[15] / switches[3] < 1.5
    assert switches[15] - switches[7] < 12 * 2  # each of 12 pairs doubles its visits once or so, and plans for that
    assert (ran["default"]["discrepancy"] > 0).all()


def test_the_hoped_for_gain_is_above_the_true_one_at_the_beta_of_theory(ran):
    hoped = ran["theory"]["optimistic_gain"]
    np.testing.assert_allclose(ran["theory"]["gain"], GAIN, atol=1e-5)
    assert (hoped > GAIN).all()
    # Data make it more modest.
    assert hoped[-1].mean() < hoped[0].mean()
    # With a small beta it ends close to the truth.
    assert np.abs(ran["default"]["optimistic_gain"][-1] - GAIN).max() < 0.05


def test_biases_are_within_the_span(ran):
    assert ran["short"]["span"].max() <= SPAN * (1 + 1e-4)
    assert ran["default"]["span"][-1].min() > SPAN
    np.testing.assert_allclose(ran["default"]["true_span"], 6.310324, rtol=1e-4)


def test_thresholds_are_ratios_of_beta(ran):
    np.testing.assert_allclose(ran["default"]["threshold"], 3 * 0.5, rtol=1e-6)
    beta = float(theory(*river(), 16_000).beta)
    np.testing.assert_allclose(ran["theory"]["threshold"], 3 * beta, rtol=1e-6)
    assert beta == pytest.approx(6.310324**2 * 12 * math.log(16_000 / 0.05), rel=1e-4)


def test_a_long_river_is_swum_up():
    """25 states, where UCRL2 stays in the first ones and loses the gain: not a fifth of it in any of 6 runs."""
    env, params = river(25)
    config = Config(num_steps=1_000, steps_per_check=5)
    metrics = run(loop(env, params, config), members(*[Hyperparams()] * 6), 6)
    assert metrics["gap_regret"][-1].max() < 0.2 * 6_000 * 0.4285714


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model": "tabula"}, "no model 'tabula'; did you mean 'tabular'"),
        ({"planner": "el"}, "did you mean 'ell'"),
        ({"switching": "counts"}, "did you mean 'count'"),
        ({"features": "rotated"}, "model=tabular has no features, and features=rotated; try model=linear"),
        ({"model": "linear", "features": "rotate"}, "did you mean 'rotated'"),
        ({"model": "likelihood", "starts": 2}, "starts=2 are of functions of value"),
        ({"planner": "box", "starts": 2}, "try starts=1"),
        ({"model": "mixture"}, "needs planner=box"),
        ({"model": "mixture", "planner": "box"}, r"give your own, features=module:function.*\[S, A, S, d\]"),
    ],
)
def test_what_does_not_fit_is_refused(config, said):
    with pytest.raises(ValueError, match=said):
        loop(*river(), Config(**config))


def test_worlds_that_end_are_refused():
    env = TabularEnv(river_swim(3))
    with pytest.raises(ValueError, match="has episodes"):
        loop(env, env.default_params)


def of_pairs(num_states, num_actions):
    return np.ones((num_states, num_actions, 3))


def of_steps(num_states, num_actions):
    return np.ones((num_states, num_actions, num_states, 3))


def unbounded(num_states, num_actions):
    return np.full((num_states, num_actions, 3), np.inf)


def test_features_of_ones_own():
    assert features_of(f"{__file__}:of_pairs", (4, 2)).shape == (4, 2, 3)
    assert features_of(f"{__file__}:of_steps", (4, 2, 4)).shape == (4, 2, 4, 3)
    with pytest.raises(ValueError, match=r"have shape \[4, 2, 3\]; expected \[4, 2, 4, d\]"):
        features_of(f"{__file__}:of_pairs", (4, 2, 4))
    with pytest.raises(ValueError, match="not all finite"):
        features_of(f"{__file__}:unbounded", (4, 2))
    with pytest.raises(ValueError, match="are 2004 here, and at most 2000"):
        features_of("one_hot", (1002, 2))
    rotated = features_of("rotated", (4, 2)).reshape(8, 8)
    np.testing.assert_allclose(rotated @ rotated.T, np.eye(8), atol=1e-12)
    kernel = kernel_features(np.eye(3))(Hyperparams(bandwidth=2.0))
    np.testing.assert_allclose(kernel @ kernel.T, np.where(np.eye(3) > 0, 1, np.exp(-1 / 4)), atol=1e-5)


def test_theory_says_what_it_cannot_be_given():
    env, params = river()
    with pytest.raises(ValueError, match="horizon=12 is over before each of the 12 pairs"):
        theory(env, params, 12)
    with pytest.raises(ValueError, match=r"span=6 is below the span of the optimal bias, 6\.3103"):
        theory(env, params, 1_000, span=6.0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        theory(env, params, 1_000, delta=1.0)
    assert theory(env, params, 1_000).max_span == math.inf
    assert theory(env, params, 1_000, span=7.0).max_span == pytest.approx(7.0)
    assert float(theory(env, params, 1_000, span=7.0, dimension=3, constant=2.0).beta) == pytest.approx(
        2 * 49 * 3 * math.log(1_000 / 0.05)
    )
