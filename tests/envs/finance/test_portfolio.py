"""The portfolio against NumPy, its simulated returns against their moments, and files of prices with what is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs import make
from jaxreward.envs.finance.market import simulated

DATES = ["2024-05-30", "2024-05-31", "2024-06-03", "2024-06-04", "2024-06-05", "2024-06-06"]
PRICES = np.array([[10, 5.0], [11, 4.0], [12, 4.5], [9, 6.0], [9.5, 5.5], [10, 7.0]])


def csv(path, rows=None, header="date,ACME,Widgets"):
    rows = [f"{date},{a},{b}" for date, (a, b) in zip(DATES, PRICES, strict=True)] if rows is None else rows
    path.write_text("\n".join([header, *rows]))
    return f"finance/portfolio?prices={path}&window=2&max_steps_in_episode=3"


@pytest.fixture(scope="module")
def episode(tmp_path_factory):
    """Actions `[3, 3]`, and the observations, states, rewards, and more, of a whole episode of given prices."""
    env, params = make(csv(tmp_path_factory.mktemp("prices") / "prices.csv"))
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 3))

    def step(state, action):
        observation, state, reward, terminated, info = env.step_env(jax.random.key(1), state, action, params)
        return state, (observation, state, reward, terminated, env.is_truncated(state, params), info)

    def run(key):
        first, state = env.reset_env(key, params)
        return first, jax.lax.scan(step, state, jnp.asarray(actions, float))[1]

    first, steps = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 2))
    return env, actions, *jax.tree.map(lambda leaf: np.asarray(leaf[1]), (first, steps))


def test_wealth_follows_prices_and_costs(episode):
    env, actions, first, (observations, states, rewards, terminated, truncated, info) = episode
    returns = np.diff(np.log(PRICES), axis=0)
    np.testing.assert_allclose(first, [*100 * returns[:2].ravel(), 1, 0, 0], rtol=1e-5)
    wealth, held = 1.0, np.array([1.0, 0, 0])
    for t in range(3):
        shares = np.exp(5 * actions[t]) / np.exp(5 * actions[t]).sum()
        moved = np.abs(shares - held)[1:].sum()
        value = wealth * (1 - 0.001 * moved) * shares * np.array([1, *PRICES[t + 3] / PRICES[t + 2]])
        np.testing.assert_allclose(rewards[t], np.log(value.sum() / wealth), atol=1e-5)
        np.testing.assert_allclose(info["growth"][t], value.sum() / wealth - 1, atol=1e-5)
        np.testing.assert_allclose(info["turnover"][t], moved, rtol=1e-4)
        wealth, held = value.sum(), value / value.sum()
        np.testing.assert_allclose(
            observations[t], [*100 * returns[t + 1 : t + 3].ravel(), *held], rtol=1e-3, atol=1e-4
        )
    np.testing.assert_allclose(states.wealth[-1], wealth, rtol=1e-5)
    np.testing.assert_allclose(rewards.sum(), np.log(wealth), rtol=1e-4)
    assert truncated.tolist() == [False, False, True]
    assert not terminated.any()
    assert env.observation_space().shape == first.shape


def test_simulated_returns_have_the_moments_they_are_given():
    market = simulated(2, drift=(0.1, -0.2), volatility=(0.5, 2.0), correlation=0.6, persistence=-0.5)

    def run(key):
        first, second = jax.random.split(key)
        state, past = market.start(first, market.params, 1)
        return jnp.concatenate([past, market.step(second, state, market.params)[1][None]])

    x = np.asarray(jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 40_000)))
    deviation = np.array([0.5, 2.0]) / np.sqrt(1 - 0.25)
    error = 4 * deviation / np.sqrt(len(x))  # of a mean, four standard errors
    for t in range(3):
        assert (np.abs(x[:, t].mean(0) - [0.1, -0.2]) < error).all()
        np.testing.assert_allclose(x[:, t].std(0), deviation, rtol=0.02)
        assert np.corrcoef(x[:, t].T)[0, 1] == pytest.approx(0.6, abs=0.02)
    for asset in range(2):
        assert np.corrcoef(x[:, 0, asset], x[:, 1, asset])[0, 1] == pytest.approx(-0.5, abs=0.02)
        assert np.corrcoef(x[:, 0, asset], x[:, 2, asset])[0, 1] == pytest.approx(0.25, abs=0.02)


def test_episodes_begin_anywhere_in_given_prices(tmp_path):
    env, params = make(csv(tmp_path / "prices.csv").replace("episode=3", "episode=2"))
    firsts = jax.jit(jax.vmap(lambda key: env.reset_env(key, params)[0][0]))(jax.random.split(jax.random.key(0), 64))
    expected = 100 * np.diff(np.log(PRICES[:3, 0]))
    assert set(np.round(np.asarray(firsts), 3)) == set(np.round(expected.astype(np.float32), 3))
    longer, (_, state) = params.replace(max_steps_in_episode=9), env.reset_env(jax.random.key(0), params)
    at = [bool(env.is_truncated(state.replace(time=time), longer)) for time in (2, 3)]
    assert at == [False, True]  # there are no prices for a fourth step


ROWS = [f"{date},{a},{b}" for date, (a, b) in zip(DATES, PRICES, strict=True)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*ROWS[:2], "2024-06-03,,4.5", *ROWS[3:]], "line 4: the price of ACME is missing"),
        ([*ROWS[:2], "2024-06-03,12,-1", *ROWS[3:]], r"line 4: the price of Widgets is -1.*expected a number above 0"),
        ([*ROWS[:2], "2024-06-03,12,n.a", *ROWS[3:]], "line 4: the price of Widgets is 'n.a'"),
        ([*ROWS[:2], "2024-06-03,12,inf", *ROWS[3:]], "line 4: the price of Widgets is inf"),
        ([ROWS[1], ROWS[0], *ROWS[2:]], "line 3: 2024-05-30 is not behind 2024-05-31"),
        ([ROWS[0], "2024-06-20,1,1", "2024-06-21,1,1"], "line 3: 2024-06-20 is more than 7 days behind 2024-05-30"),
        ([*ROWS[:2], "soon,1,1"], "line 4: 'soon' is no date"),
        ([f"{k},{row.split(',', 1)[1]}" for k, row in enumerate(ROWS, 1)], "the column 'date' has numbers"),
        (ROWS[:5], "5 prices .* needs 6: set max_steps_in_episode=2 or less"),
        (ROWS[:1], "expected 2 rows and an asset"),
    ],
)
def test_wrong_prices_are_refused(tmp_path, rows, message):
    name = csv(tmp_path / "prices.csv", rows)
    with pytest.raises(ValueError, match=message):
        make(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("prices=nowhere.csv", "no file of prices 'nowhere.csv'"),
        ("window=0", "at least one return is seen; got window=0"),
        ("cost=0.5", "costs lie in"),
        ("drift=(0.1,0.2)", "each asset has a drift and a volatility"),
        ("persistence=1.0", r"persistence in \(-1, 1\)"),
        ("volatilty=(0.1,)", "did you mean 'volatility'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(f"finance/portfolio?{arguments}")


def test_given_prices_are_not_simulated(tmp_path):
    with pytest.raises(ValueError, match="drift: of simulated prices, and prices="):
        make(csv(tmp_path / "prices.csv") + "&drift=(0.1,)")
