"""Return redistribution against enumeration, closed forms and a loop, and that it learns what comes late."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import vmap
from jaxreward.agents.redistribution.parts.losses import (
    decomposition_loss,
    deviation,
    guidance_loss,
    guidance_of,
    least_squares,
    prefix_loss,
    subset,
)
from jaxreward.agents.redistribution.parts.models import Fitted, Prefix, Rollout
from jaxreward.agents.redistribution.parts.store import Episodes, drawn, empty_store, gathered
from jaxreward.agents.redistribution.redistribution import Config, Hyperparams, model_of, reader, redistribution
from jaxreward.environment import with_reward
from jaxreward.learning.networks import head_for
from jaxreward.learning.normaliser import Moments
from jaxreward.rewards import environment_reward, sparsify
from jaxreward.run.spec import resolve
from tests.probes import Probe

RNG = np.random.default_rng(0)


def made(lengths, inputs, totals):
    """Episodes of these lengths, what is read behind their ends zero."""
    there = np.arange(inputs.shape[1]) < np.asarray(lengths)[:, None]
    inputs = np.where(there[..., None], inputs, 0.0)
    return Episodes(jnp.asarray(inputs, float), jnp.asarray(lengths, jnp.int32), jnp.asarray(totals, float))


def test_the_correction_makes_the_loss_of_some_steps_that_of_all():
    predicted, total = RNG.normal(size=9), 2.0
    subsets = np.array(list(itertools.combinations(range(9), 4)))

    @jax.jit
    def losses(drawn, all_steps):
        of = lambda x, corrected: decomposition_loss(x, jnp.ones_like(x, bool), total, 9, corrected)  # noqa: E731
        return of(drawn, True), of(drawn, False), of(all_steps, True), of(all_steps, False)

    corrected, plain, *whole = losses(jnp.asarray(predicted[subsets], float), jnp.asarray(predicted, float))
    exact = (total / 9 - predicted.mean()) ** 2
    np.testing.assert_allclose(whole, exact, rtol=1e-5)
    np.testing.assert_allclose(np.mean(corrected), exact, rtol=1e-4)
    too_much = (1 - 4 / 9) * predicted.var(ddof=1) / 4
    np.testing.assert_allclose(np.mean(plain) - exact, too_much, rtol=1e-4)


def test_steps_are_drawn_without_replacement_from_those_there_are():
    lengths = jnp.array([0, 2, 3, 6])
    valid = jnp.arange(6)[None] < lengths[:, None]
    draw = jax.jit(jax.vmap(lambda key: subset(key, valid, 3)))
    steps, chosen = map(np.asarray, draw(jax.random.split(jax.random.key(0), 600)))
    np.testing.assert_array_equal(chosen.sum(-1), np.broadcast_to(np.minimum(lengths, 3), (600, 4)))
    for row, length in enumerate(lengths):
        of_row = [steps[k, row][chosen[k, row]] for k in range(600)]
        assert all(len(set(each)) == len(each) and (each < length).all() for each in of_row)
    often = np.bincount(steps[:, 3].ravel(), minlength=6)
    assert (np.abs(often - 300) < 5 * np.sqrt(150)).all()


@pytest.fixture(scope="module")
def linear():
    """Episodes of different lengths whose steps pay `w . phi`, and `w`."""
    lengths, weights = RNG.integers(1, 8, 60), np.array([1.5, -2.0, 0.25])
    inputs = RNG.normal(size=(60, 8, 3)) * np.array([1.0, 10.0, 0.1])
    there = np.arange(8) < lengths[:, None]
    return made(lengths, inputs, np.where(there, inputs @ weights, 0.0).sum(1)), weights


def test_least_squares_recover_what_steps_pay_from_returns_alone(linear):
    episodes, weights = linear
    solve = jax.jit(least_squares)
    np.testing.assert_allclose(solve(episodes, 1e-7), weights, rtol=2e-3)
    sums = np.asarray(episodes.inputs, np.float64).sum(1)
    ridge = 0.1 * np.diag((sums**2).sum(0))
    exact = np.linalg.solve(sums.T @ sums + ridge, sums.T @ np.asarray(episodes.total, np.float64))
    np.testing.assert_allclose(solve(episodes, 0.1), exact, rtol=1e-4)


def test_what_can_not_be_told_is_no_nan():
    """No episode and no ridge; one that went on beyond what is kept; returns that rounding tells apart."""
    none, long = made([0, 0], np.zeros((2, 4, 3)), [0, 0]), made([9], np.ones((1, 4, 1)), [3.0])
    alike = made(np.ones(100, int), np.ones((100, 1, 1)), np.full(100, 0.1))
    predicted = jnp.arange(4.0)[None]
    solved, lost, spread = jax.jit(
        lambda: (least_squares(none, 0.0), prefix_loss(predicted, long, 1.0, 0.0), deviation(alike))
    )()
    np.testing.assert_array_equal(solved, 0)
    assert lost[0] == 0  # its last step that is kept says 3
    assert spread == 1


def test_guidance_is_least_wrong_at_the_mean_of_episodes_with_such_a_step():
    kinds, totals = RNG.integers(0, 3, (5, 4)), np.array([1.0, 5.0, 2.0, 9.0, 3.0])
    lengths = np.array([4, 2, 3, 4, 1])
    episodes = made(lengths, np.eye(3)[kinds], totals)
    guidance = (totals - 1) / 8
    weight = (np.arange(4) < lengths[:, None]) / lengths[:, None]
    mean = np.array(
        [(weight * (kinds == k) * guidance[:, None]).sum() / (weight * (kinds == k)).sum() for k in range(3)]
    )

    def loss(values):
        of_all = guidance_of(episodes.total, episodes)
        return guidance_loss(episodes.inputs @ values, episodes.valid, of_all).mean(), of_all

    slope = jax.jit(jax.vmap(jax.grad(loss, has_aux=True)))
    at_mean, off = slope(jnp.stack([mean, mean + 0.1]))[0]
    np.testing.assert_allclose(at_mean, 0, atol=1e-6)
    assert (off > 1e-3).all()
    np.testing.assert_allclose(slope(jnp.asarray(mean, float)[None])[1][0], guidance, atol=1e-6)
    same = guidance_of(jnp.ones(5), episodes._replace(total=jnp.ones(5)))
    np.testing.assert_array_equal(same, 0)


def test_a_prefix_loss_weighs_what_is_said_before_the_end():
    episodes = made([3, 1, 0], np.zeros((3, 3, 1)), [4.0, -2.0, 0.0])
    predicted = jnp.array([[1.0, 3.0, 6.0], [0.0, 9.0, 9.0], [9.0, 9.0, 9.0]])
    loss = jax.jit(prefix_loss)(predicted, episodes, 2.0, 0.5)
    np.testing.assert_allclose(loss, [(4 + 0.5 * (9 + 1 + 4) / 3) / 4, (4 + 0.5 * 4) / 4, 0], rtol=1e-6)


STEPS, NUM_ENVS, CAPACITY, LONGEST = 7, 3, 4, 10


def rollouts(number):
    """Rollouts whose steps read their own number, and pay at random."""
    for k in range(number):
        done = RNG.random((STEPS, NUM_ENVS)) < 0.3
        done[3] |= k == 1  # all at once
        inputs = np.arange(STEPS * NUM_ENVS).reshape(STEPS, NUM_ENVS, 1) + 1000.0 * k
        yield Rollout(
            *map(jnp.asarray, (inputs.astype(np.float32), RNG.normal(size=done.shape).astype(np.float32), done))
        )


def test_episodes_are_gathered_across_rollouts():
    store, gather = empty_store(NUM_ENVS, CAPACITY, LONGEST, 1), jax.jit(gathered)
    running, ended = [[] for _ in range(NUM_ENVS)], []
    for rollout in rollouts(4):
        store = gather(store, *rollout)
        for t, env in itertools.product(range(STEPS), range(NUM_ENVS)):
            running[env].append((float(rollout.inputs[t, env, 0]), float(rollout.reward[t, env])))
            if rollout.done[t, env]:
                ended.append(running[env])
                running[env] = []
    kept = {float(episode[0][0]): episode for episode in ended[-CAPACITY:]}
    assert len(ended) > CAPACITY + 4
    assert max(map(len, ended)) > STEPS - 3
    assert {float(first) for first in store.ended.inputs[:, 0, 0]} == set(kept)
    for row in range(CAPACITY):
        steps = np.asarray(kept[float(store.ended.inputs[row, 0, 0])])
        assert store.ended.length[row] == len(steps)
        np.testing.assert_array_equal(store.ended.inputs[row, : len(steps), 0], steps[:LONGEST, 0])
        np.testing.assert_allclose(store.ended.total[row], steps[:, 1].sum(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(store.running.length, list(map(len, running)))


def test_only_episodes_that_there_are_are_drawn():
    episodes = made([0, 2, 0, 1, 0], np.zeros((5, 2, 1)), [9.0, 1.0, 9.0, 3.0, 9.0])
    draw = jax.jit(lambda episodes: drawn(episodes, jax.random.key(0), (400,)).total)
    often = np.bincount(np.asarray(draw(episodes)).astype(int), minlength=10)
    assert often[1] + often[3] == 400
    assert abs(often[1] - 200) < 50
    none = episodes._replace(length=jnp.zeros(5, jnp.int32))
    assert not jax.jit(lambda e: drawn(e, jax.random.key(0), (3,)).length.any())(none)


def test_what_a_prefix_model_pays_sums_up_to_returns_whatever_it_predicts():
    model = Prefix(1, 2, 4)
    memory = model.start(NUM_ENVS)
    seen = Moments(jnp.ones(()), jnp.zeros(1), jnp.ones(1))
    draw, pay = jax.jit(lambda key: model.draw(key, 1)), jax.jit(model.pay)
    paid, total, sums = np.zeros(NUM_ENVS), np.zeros(NUM_ENVS), []
    for k, rollout in enumerate(rollouts(3)):
        params = draw(jax.random.key(k))  # others at each rollout, amid episodes
        rollout = rollout._replace(inputs=jnp.asarray(RNG.normal(size=rollout.inputs.shape), float))
        memory, rewards = pay(Fitted(params, (), seen), memory, rollout)
        for t in range(STEPS):
            paid, total = paid + rewards[t], total + rollout.reward[t]
            sums += [(paid[env], total[env]) for env in range(NUM_ENVS) if rollout.done[t, env]]
            paid, total = (np.where(rollout.done[t], 0, x) for x in (paid, total))
        assert (np.abs(rewards)[~np.asarray(rollout.done)] > 1e-3).mean() > 0.5
    np.testing.assert_allclose(*zip(*sums, strict=True), atol=1e-5)
    np.testing.assert_allclose(memory.paid, paid, atol=1e-5)


@pytest.mark.parametrize("method", ["rudder", "ircr", "rrd"])
def test_the_step_that_decides_is_paid_the_most(method):
    """Of 64 episodes that pay 1 at the end, but for one step's sake in half of them; each has noise besides."""
    marked = np.arange(6) == RNG.integers(0, 5, 64)[:, None]
    marked[::2] = False
    inputs = np.stack([marked, RNG.normal(size=marked.shape)], -1)
    ended = made(np.full(64, 6), inputs, marked.any(1))
    model = model_of(Config(method=method, model_layers=(8,), model_updates=200, model_batch=32), 6)
    rewards = np.where(np.arange(6)[:, None] == 5, marked.any(1), 0.0)
    rollout = Rollout(jnp.moveaxis(ended.inputs, 0, 1), jnp.asarray(rewards, float), jnp.asarray(rewards * 0 + 1 > 1))
    rollout = rollout._replace(done=rollout.done.at[5].set(True))

    @jax.jit
    def run(key):
        fitted = Fitted(*model.init(key, 2), Moments(jnp.ones(()), jnp.zeros(2), jnp.ones(2)))
        fitted = model.fit(fitted, ended, key, Hyperparams(model_learning_rate=0.02))[0]
        return model.pay(fitted, model.start(64), rollout)[1]

    paid = np.asarray(run(jax.random.key(0))).T
    assert paid[marked].mean() - paid[~marked].mean() > 0.4


class Cues(Probe):
    """A cue that is drawn anew at each step."""

    def step_env(self, key, state, action, params):
        _, after, reward, terminated, info = super().step_env(key, state, action, params)
        after = after.replace(cue=jax.random.rademacher(key, (), float))
        return self.observation(after, params), after, reward, terminated, info


LATE = with_reward(Cues(), sparsify(environment_reward()))
"""Each of 20 steps is worth 1 or -1, by whether its action matches its cue; all is paid at the end."""
LATE_PARAMS = LATE.default_params.replace(env=LATE.env.default_params.replace(length=20, cue_steps=20, match=1.0))
SIZES = {"num_envs": 8, "num_steps": 24, "layers": (8,), "num_epochs": 2, "num_minibatches": 2}
MODEL = {
    "episode_steps": 20,
    "kept_episodes": 32,
    "model_layers": (8,),
    "model_updates": 8,
    "model_batch": 8,
    "sampled": 8,
}


def matching(observation, action, following):
    """The one factor that steps are paid by, and one that means nothing."""
    return jnp.stack([observation[0] * (2.0 * action - 1.0), following[1] + 1.0])


def returns(agent, hyperparams, iterations=30):
    """Of 8 seeds, over the last five iterations, and what the model learned."""
    agent = vmap(agent)

    def run(keys):
        return jax.lax.scan(lambda s, _: agent.step(s), agent.init(keys, hyperparams), length=iterations)

    state, metrics = jax.jit(run)(jax.random.split(jax.random.key(0), 8))
    return np.asarray(metrics["episode/return"])[-5:].mean(0), state.judge.fitted


def test_what_comes_late_is_learned_by_its_parts():
    """The model finds what a match is worth, and the policy to match: of 20 cues it gets half right by chance, 0."""
    config = Config(**SIZES, **MODEL, corrected=True)
    hyperparams = Hyperparams(learning_rate=3e-3, discount=1.0, model_learning_rate=1e-2)
    made = redistribution(LATE, LATE_PARAMS, config)
    earned, fitted = returns(made, hyperparams)
    read = reader("", head_for(LATE.action_space()))
    cue, action, following = (x.ravel() for x in np.meshgrid([-1.0, 1.0], [0, 1], [-1.0, 1.0]))
    seen = lambda x: jnp.stack([x, jnp.zeros_like(x)], -1)  # noqa: E731

    def paid(fitted):
        inputs = jax.vmap(read)(seen(jnp.asarray(cue)), jnp.asarray(action), seen(jnp.asarray(following)))
        return model_of(config, 20).pay(fitted, (), Rollout(inputs, (), ()))[1]

    worth = np.asarray(jax.jit(jax.vmap(paid))(fitted))
    matches = cue == 2 * action - 1
    gained = worth[:, matches].mean(1) - worth[:, ~matches].mean(1)
    assert (gained > 1).all(), gained  # nearer to what it is, 2, than to nothing
    assert (earned > 8).all(), earned
    assert earned.mean() > 12


def test_given_factors_are_read_and_paid_what_they_are_worth(linear):
    read = reader(f"{__file__}:matching", head_for(LATE.action_space()))
    np.testing.assert_allclose(read(np.array([0.5, 0.0]), 0, np.array([0.0, 2.0])), [-0.5, 3.0])
    episodes, weights = linear
    model = model_of(Config(method="least_squares", factors="any"), 8)
    totals = episodes.total + 0.7 * episodes.length  # what each step pays beside its factors
    none = Episodes(jnp.zeros((4, 8, 3)), jnp.zeros(4, jnp.int32), jnp.full(4, jnp.nan))
    kept = jax.tree.map(lambda *x: jnp.concatenate(x), episodes._replace(total=totals), none)
    steps = Rollout(jnp.asarray(RNG.normal(size=(2, 3, 3)), float), jnp.zeros((2, 3)), jnp.zeros((2, 3), bool))

    def paid(kept):
        before = Fitted(*model.init(jax.random.key(0), 3), ())
        fitted, _ = model.fit(before, kept, jax.random.key(0), Hyperparams(ridge=1e-7))
        return model.pay(fitted, (), steps)[1]

    np.testing.assert_allclose(jax.jit(paid)(kept), np.asarray(steps.inputs) @ weights + 0.7, atol=2e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "rrdd"}, "no method of redistribution 'rrdd'; did you mean 'rrd'"),
        ({"method": "least_squares"}, "least_squares is of rewards that are linear in factors, and there are none"),
        ({"method": "rudder", "model_layers": (8, 8)}, "a GRU has one width"),
        ({"kept_episodes": 4, "num_envs": 8}, "kept_episodes=8 or more"),
        ({"corrected": True, "sampled": 1}, "one step has no variance"),
        ({"corrected": True, "method": "ircr"}, "corrected=true is of method=rrd"),
        ({"episode_steps": 100}, "set episode_steps=500, or make the environment with max_steps_in_episode=100"),
        ({"factors": f"{__file__}:matchin"}, "did you mean 'matching'"),
        ({"factors": f"{__file__}:vague"}, r"are float32\[\]; expected a vector"),
        ({"factors": f"{__file__}:short"}, "fails on a step of CartPole-v1"),
    ],
)
def test_what_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        resolve("redistribution", "CartPole-v1", settings=settings)


def test_nothing_is_learned_where_no_episode_ends():
    with pytest.raises(ValueError, match="episodes"):
        resolve("redistribution", "average/catch")


def vague(observation, action, following):
    return observation.sum()


def short(observation):
    return observation
