"""Every estimator against its definition, summed directly in double precision numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.learning import estimators

STEPS, BATCH = 9, (4, 3)
DISCOUNT, LAMBDA = 0.9, 0.7

gae, lambda_returns, vtrace, discounted_returns = map(
    jax.jit, (estimators.gae, estimators.lambda_returns, estimators.vtrace, estimators.discounted_returns)
)
n_step_returns = jax.jit(estimators.n_step_returns, static_argnames="n")


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def trajectory(seed, batch=BATCH, done_rate=0.3, chained=False):
    """Random `reward, value, next_value, terminated, truncated`; chained values are those of one value function."""
    rng = np.random.default_rng(seed)
    shape = (STEPS, *batch)
    reward, value, next_value = rng.normal(size=(3, *shape))
    terminated, truncated = rng.random((2, *shape)) < done_rate / 2
    if chained:
        done = terminated | truncated
        next_value[:-1] = np.where(done[:-1], next_value[:-1], value[1:])
    return reward, value, next_value, terminated, truncated


def each(definition, *columns):
    """`definition` of every trajectory `[T]` of a batch `[T, ...]`."""
    flat = [np.reshape(column, (STEPS, -1)) for column in columns]
    rows = [definition(*(column[:, i] for column in flat)) for i in range(flat[0].shape[1])]
    return np.stack(rows, axis=-1).reshape(np.shape(columns[0]))


def steps_left(terminated, truncated, t):
    """How many steps from `t`, itself included, to the end of its episode or of the trajectory."""
    ends = np.flatnonzero((terminated | truncated)[t:])
    return ends[0] + 1 if len(ends) else STEPS - t


def n_step(t, n, reward, next_value, terminated, truncated, discount):
    m = min(n, steps_left(terminated, truncated, t))
    total = sum(discount**k * reward[t + k] for k in range(m))
    return total + discount**m * (0.0 if terminated[t + m - 1] else next_value[t + m - 1])


def gae_definition(reward, value, next_value, terminated, truncated, discount, gae_lambda):
    delta = reward + discount * np.where(terminated, 0.0, next_value) - value
    left = [steps_left(terminated, truncated, t) for t in range(STEPS)]
    return np.array([sum((discount * gae_lambda) ** k * delta[t + k] for k in range(left[t])) for t in range(STEPS)])


def lambda_definition(reward, next_value, terminated, truncated, discount, mix):
    def one(t):
        m = steps_left(terminated, truncated, t)
        n_steps = [n_step(t, n, reward, next_value, terminated, truncated, discount) for n in range(1, m + 1)]
        shorter = (1 - mix) * sum(mix ** (n - 1) * n_steps[n - 1] for n in range(1, m))
        return shorter + mix ** (m - 1) * n_steps[m - 1]

    return np.array([one(t) for t in range(STEPS)])


def vtrace_definition(reward, value, next_value, terminated, truncated, ratio, discount, mix, rho_bar, c_bar):
    bootstrap = np.where(terminated, 0.0, next_value)
    rho, c = np.minimum(rho_bar, ratio), mix * np.minimum(c_bar, ratio)
    delta = rho * (reward + discount * bootstrap - value)
    left = [steps_left(terminated, truncated, t) for t in range(STEPS)]
    corrections = [
        sum(discount**k * np.prod(c[t : t + k]) * delta[t + k] for k in range(left[t])) for t in range(STEPS)
    ]
    target = value + np.array(corrections)
    following = np.array([bootstrap[t] if left[t] == 1 else target[t + 1] for t in range(STEPS)])
    return target, rho * (reward + discount * following - value)


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("discount", [0.0, DISCOUNT, 1.0])
@pytest.mark.parametrize("mix", [0.0, LAMBDA, 1.0])
def test_gae_and_lambda_returns_are_as_defined(seed, discount, mix):
    reward, value, next_value, terminated, truncated = trajectory(seed)
    expected = each(lambda *x: gae_definition(*x, discount, mix), reward, value, next_value, terminated, truncated)
    assert_close(gae(reward, value, next_value, terminated, truncated, discount, mix), expected)
    expected = each(lambda *x: lambda_definition(*x, discount, mix), reward, next_value, terminated, truncated)
    assert_close(lambda_returns(reward, next_value, terminated, truncated, discount, mix), expected)


@pytest.mark.parametrize("n", [1, 2, 3, STEPS, STEPS + 4])
def test_n_step_returns_are_as_defined(n):
    reward, _, *rest = trajectory(0)
    columns = (reward, *rest)
    definition = lambda *x: np.array([n_step(t, n, *x, DISCOUNT) for t in range(STEPS)])  # noqa: E731
    assert_close(n_step_returns(*columns, DISCOUNT, n), each(definition, *columns))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("mix", "rho_bar", "c_bar"), [(1.0, 1.0, 1.0), (LAMBDA, 2.0, 0.5), (0.5, np.inf, np.inf)])
def test_vtrace_is_as_defined(seed, mix, rho_bar, c_bar):
    columns = (*trajectory(seed), np.random.default_rng(seed).lognormal(size=(STEPS, *BATCH)))
    both = lambda *x: vtrace_definition(*x, DISCOUNT, mix, rho_bar, c_bar)  # noqa: E731
    result = vtrace(*columns, DISCOUNT, mix, rho_bar, c_bar)
    assert_close(result.target_t, each(lambda *x: both(*x)[0], *columns))
    assert_close(result.advantage_t, each(lambda *x: both(*x)[1], *columns))


def test_discounted_returns_are_as_defined():
    reward, _, _, terminated, truncated = trajectory(0)
    nothing = np.zeros_like(reward)
    definition = lambda *x: np.array([n_step(t, STEPS, *x, DISCOUNT) for t in range(STEPS)])  # noqa: E731
    expected = each(definition, reward, nothing, terminated, truncated)
    assert_close(discounted_returns(reward, terminated | truncated, DISCOUNT), expected)


def test_gae_with_lambda_zero_is_the_temporal_difference_error():
    reward, value, next_value, terminated, truncated = trajectory(1)
    error = reward + DISCOUNT * np.where(terminated, 0.0, next_value) - value
    assert_close(gae(reward, value, next_value, terminated, truncated, DISCOUNT, 0.0), error)


def test_gae_with_lambda_one_is_the_return_minus_the_value():
    reward, value, next_value, terminated, truncated = columns = trajectory(1, chained=True)
    returns = lambda_returns(reward, next_value, terminated, truncated, DISCOUNT, 1.0)
    assert_close(gae(*columns, DISCOUNT, 1.0), returns - value)
    ends = terminated | truncated
    ends[-1] = True  # where nothing is bootstrapped these are Monte Carlo returns
    monte_carlo = discounted_returns(reward, ends, DISCOUNT)
    none = np.zeros_like(truncated)
    assert_close(gae(reward, value, next_value, ends, none, DISCOUNT, 1.0), monte_carlo - value)


@pytest.mark.parametrize("mix", [0.0, LAMBDA, 1.0])
def test_lambda_returns_are_gae_plus_value_and_vtrace_on_policy(mix):
    reward, value, next_value, terminated, truncated = columns = trajectory(2, chained=True)
    returns = lambda_returns(reward, next_value, terminated, truncated, DISCOUNT, mix)
    assert_close(gae(*columns, DISCOUNT, mix) + value, returns)
    on_policy = vtrace(*columns, np.ones_like(reward), DISCOUNT, mix, np.inf, np.inf)
    assert_close(on_policy.target_t, returns)


def test_lambda_returns_lie_between_one_step_and_all_steps():
    reward, _, next_value, terminated, truncated = trajectory(3)
    rest = (reward, next_value, terminated, truncated, DISCOUNT)
    assert_close(lambda_returns(*rest, 0.0), n_step_returns(*rest, 1))
    assert_close(lambda_returns(*rest, 1.0), n_step_returns(*rest, STEPS))


def test_what_lies_behind_a_terminated_episode_is_not_looked_at():
    reward, value, next_value, terminated, truncated = trajectory(4)
    hidden = np.where(terminated, np.nan, next_value)
    for bootstraps in (next_value, hidden):
        columns = (reward, value, bootstraps, terminated, truncated)
        assert np.isfinite(gae(*columns, DISCOUNT, LAMBDA)).all()
        assert np.isfinite(vtrace(*columns, np.ones_like(reward), DISCOUNT).advantage_t).all()


ESTIMATORS = {
    "gae": lambda r, v, n, d, u, g: estimators.gae(r, v, n, d, u, g, LAMBDA),
    "lambda_returns": lambda r, v, n, d, u, g: estimators.lambda_returns(r, n, d, u, g, LAMBDA),
    "n_step_returns": lambda r, v, n, d, u, g: estimators.n_step_returns(r, n, d, u, g, 3),
    "vtrace": lambda r, v, n, d, u, g: estimators.vtrace(r, v, n, d, u, jnp.exp(v), g, LAMBDA),
    "discounted_returns": lambda r, v, n, d, u, g: estimators.discounted_returns(r, d | u, g),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_batch_axes_vmap_and_jit_agree_over_discounts(name):
    estimator, columns = ESTIMATORS[name], trajectory(5)
    discounts = jnp.array([0.5, 0.99])
    batched = jax.jit(jax.vmap(estimator, in_axes=(None,) * 5 + (0,)))(*columns, discounts)
    inner = jax.vmap(jax.vmap(estimator, (1,) * 5 + (None,), 1), (1,) * 5 + (None,), 1)
    for i, discount in enumerate(discounts):
        for x, y, z in zip(*map(jax.tree.leaves, (batched, estimator(*columns, discount), inner(*columns, discount)))):
            assert x.shape == (2, STEPS, *BATCH)
            assert_close(x[i], y)
            assert_close(z, y)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_gradients_are_those_of_finite_differences(name):
    reward, value, *rest = trajectory(6, batch=())
    rest = [jnp.asarray(column) for column in rest]

    def total(reward, value, discount):
        leaves = jax.tree.leaves(ESTIMATORS[name](reward, value, *rest, discount))
        return sum((jnp.arange(1.0, STEPS + 1) * leaf).sum() for leaf in leaves)

    args = (jnp.asarray(reward), jnp.asarray(value) - 3.0, jnp.float64(DISCOUNT))  # ratios below their bound
    jax.test_util.check_grads(total, args, order=1, modes=["rev"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_single_precision_stays_single(name):
    columns = [jnp.asarray(c, jnp.float32) if c.dtype == float else c for c in trajectory(0)]
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(ESTIMATORS[name](*columns, 0.9)))


def test_shapes_that_differ_and_no_steps_are_refused():
    reward, value, next_value, terminated, truncated = trajectory(0)
    with pytest.raises(AssertionError):
        gae(reward, value[1:], next_value, terminated, truncated, DISCOUNT, LAMBDA)
    with pytest.raises(ValueError, match="1 or more steps; got n=0"):
        n_step_returns(reward, next_value, terminated, truncated, DISCOUNT, 0)
