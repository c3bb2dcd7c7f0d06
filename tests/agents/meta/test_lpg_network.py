"""LPG's network against flax's GRU cell, and what it can and can't know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxreward.agents.meta.parts.lpg_network import TEMPORAL, backwards, clocks, embedded, inputs, lpg
from jaxreward.learning.objective import Lifetime, Targets, reads_lifetime

T, W, M, H = 7, 3, 4, 5
LIFE = Lifetime(jnp.int32(3), jnp.float32(12))
apply_whole = jax.jit(lpg(M, H).apply)


@pytest.fixture(scope="module")
def params():
    """Params none of which is zero."""
    drawn = lpg(M, H).init(jax.random.key(0))
    leaves, form = jax.tree.flatten(drawn)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.3 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(form, moved)


def batch_of(seed, done_at=()):
    keys = jax.random.split(jax.random.key(seed), 4)
    done = jnp.zeros((T, W), bool).at[jnp.array(done_at, int)].set(True)
    prediction = lambda key: jax.nn.softmax(jax.random.normal(key, (T, W, M)))  # noqa: E731
    return Targets(
        jax.random.normal(keys[0], (T, W)),
        done,
        jnp.zeros_like(done),
        jax.random.uniform(keys[1], (T, W)),
        prediction(keys[2]),
        prediction(keys[3]),
        0.9,
    )


def test_it_is_flaxs_cell_read_backwards_and_emptied_where_an_episode_ends(params):
    batch = batch_of(0, done_at=(2, 5))
    x = inputs(params["embedding"], batch, LIFE, "normalised", True)
    found = backwards(params["gru"], x, batch)
    gru, cell, hidden = params["gru"], nn.GRUCell(H), jnp.zeros((W, H))
    gates = {}
    for i, gate in enumerate("rzn"):
        part = slice(i * H, (i + 1) * H)
        gates[f"i{gate}"] = {"kernel": gru["input"]["weight"][:, part], "bias": gru["input"]["bias"][part]}
        gates[f"h{gate}"] = {"kernel": gru["hidden"]["weight"][:, part]}
    gates["hn"]["bias"] = gru["hidden"]["bias"]
    for t in reversed(range(T)):
        hidden = jnp.where(batch.done[t][:, None], 0.0, hidden)
        hidden, _ = cell.apply({"params": gates}, hidden, x[t])
        np.testing.assert_allclose(found[t], hidden, rtol=1e-5, atol=1e-6)


def test_inputs_are_those_of_the_paper(params):
    """Equation 9 of TA-LPG, with the embedding in place of `y`; behind an end what follows counts for nothing."""
    batch = batch_of(0, done_at=(2,))
    x = np.asarray(inputs(params["embedding"], batch, LIFE, "normalised", True))
    np.testing.assert_array_equal(x[..., 0], batch.reward)
    np.testing.assert_array_equal(x[..., 1], batch.done)
    np.testing.assert_array_equal(x[..., 2], batch.probability)
    np.testing.assert_array_equal(x[..., 3], embedded(params["embedding"], batch.prediction))
    later = embedded(params["embedding"], batch.next_prediction)
    np.testing.assert_array_equal(x[..., 4], jnp.where(batch.done, 0.0, later))
    np.testing.assert_allclose(x[0, 0, 5:], [0.9, 3 / 12, np.log(12)], rtol=1e-6)
    assert (x[..., 5:] == x[:1, :1, 5:]).all()


def changed(before, after):
    """At which steps aims differ."""
    differs = [np.asarray(jnp.abs(x - y)).reshape(T, -1).max(1) > 0 for x, y in zip(before, after, strict=True)]
    assert (differs[0] == differs[1]).all()
    return np.flatnonzero(differs[0]).tolist()


@pytest.mark.parametrize(
    ("done_at", "at", "expected"),
    [((), 3, [0, 1, 2, 3]), ((2,), 4, [3, 4]), ((2,), 2, [0, 1, 2]), ((5,), 6, [6])],
)
def test_a_step_is_told_of_to_those_before_it_in_its_episode_and_to_no_other(params, done_at, at, expected):
    batch = batch_of(0, done_at)
    other = batch._replace(reward=batch.reward.at[at].add(1.0))
    assert changed(apply_whole(params, batch, LIFE), apply_whole(params, other, LIFE)) == expected


def test_what_is_behind_an_end_is_not_read(params):
    """Cut or ended: neither the prediction of what follows nor anything later."""
    for name in ("terminated", "truncated"):
        batch = batch_of(0)._replace(**{name: jnp.zeros((T, W), bool).at[4].set(True)})
        other = batch._replace(next_prediction=batch.next_prediction.at[4].set(batch.prediction[0]))
        assert changed(apply_whole(params, batch, LIFE), apply_whole(params, other, LIFE)) == []


def test_with_all_params_zero_nothing_is_asked_of_the_policy_and_predictions_are_to_be_even(params):
    aims = apply_whole(jax.tree.map(jnp.zeros_like, params), batch_of(0), LIFE)
    np.testing.assert_array_equal(aims.score, 0.0)
    np.testing.assert_allclose(aims.prediction, 1 / M, rtol=1e-6)


def test_what_is_told_of_the_lifetime():
    told = {kind: [float(x) for x in clocks(LIFE, kind)] for kind in TEMPORAL}
    expected = {"none": [], "normalised": [0.25, np.log(12)], "raw": [3, 12], "left": [9], "fraction": [0.25]}
    assert told.keys() == expected.keys()
    for kind, numbers in expected.items():
        assert told[kind] == pytest.approx(numbers)
        assert len(numbers) == TEMPORAL[kind]
        assert reads_lifetime(lpg(M, H, kind), batch_of(0)) == bool(numbers)
    twice = Lifetime(2 * LIFE.step, 2 * LIFE.total)
    assert float(clocks(twice, "normalised")[0]) == told["normalised"][0]
    assert float(clocks(twice, "normalised")[1]) == pytest.approx(told["normalised"][1] + np.log(2))
    assert jnp.isnan(clocks(Lifetime(jnp.int32(3), jnp.inf), "normalised")[0])


def test_many_candidates_are_one_program(params):
    batch = batch_of(0)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, 0 * leaf]), params)
    aims = jax.jit(jax.vmap(lpg(M, H).apply, (0, None, None)))(both, batch, LIFE)
    alone = apply_whole(params, batch, LIFE)
    np.testing.assert_allclose(aims.score[0], alone.score, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(aims.score[1], 0.0)


def test_readings_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="did you mean 'normalised'"):
        lpg(temporal="normalized")
