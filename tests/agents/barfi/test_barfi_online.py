"""Meta-gradients against finite differences of the whole step, written again by hand; what they do to a reward."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import environment, spaces
from jax.flatten_util import ravel_pytree

from jaxreward import vmap, with_reward
from jaxreward.agents.barfi import bipars as bipars_module
from jaxreward.agents.barfi import lirpg as lirpg_module
from jaxreward.agents.barfi.bipars import METHODS, bipars, incremental, shaped
from jaxreward.agents.barfi.lirpg import lirpg, with_intrinsic
from jaxreward.agents.barfi.parts.online import OPTIMISERS, Batch, Online, learner_for, through_one_step
from jaxreward.envs import make as make_env
from jaxreward.learning.bilevel import unrolled_gradient
from jaxreward.reward import environment_reward, markov
from jaxreward.rewards.beside import beside

STATES, ACTIONS, STEPS = 3, 2, 6


class Walk(environment.Environment):
    """A random walk between three places that an action pushes to the left or to the right, until it is lucky."""

    name, num_actions = "Walk", ACTIONS

    @property
    def default_params(self):
        return environment.EnvParams(max_steps_in_episode=STEPS)

    def reset_env(self, key, params):
        state = environment.EnvState(time=jnp.zeros((), jnp.int32))
        return jnp.array([1.0, 0.3, -0.2]), state

    def step_env(self, key, state, action, params):
        key_end, key_observation = jax.random.split(key)
        observation = jax.random.normal(key_observation, (STATES,)) + jnp.full(STATES, action, float)
        state = environment.EnvState(time=state.time + 1)
        ends = jax.random.uniform(key_end) < 0.2
        return observation, state, observation[0] + 0.5 * action, ends, {}

    def is_truncated(self, state, params):
        return state.time >= params.max_steps_in_episode

    def action_space(self, params=None):
        return spaces.Discrete(ACTIONS)


class Slide(Walk):
    """The same with a continuous action."""

    def step_env(self, key, state, action, params):
        return super().step_env(key, state, action[0] - 0.3 * action[1], params)

    def action_space(self, params=None):
        return spaces.Box(-1.0, 1.0, (2,))


class Bandit(environment.Environment):
    """Two arms; the second pays 1."""

    name, num_actions = "Bandit", 2

    @property
    def default_params(self):
        return environment.EnvParams(max_steps_in_episode=1)

    def reset_env(self, key, params):
        return jnp.ones(1), environment.EnvState(time=jnp.zeros((), jnp.int32))

    def step_env(self, key, state, action, params):
        return jnp.ones(1), environment.EnvState(time=state.time + 1), jnp.asarray(action, float), jnp.array(True), {}

    def is_truncated(self, state, params):
        return jnp.zeros((), bool)

    def action_space(self, params=None):
        return spaces.Discrete(2)


def hinted(env, hint):
    return with_reward(env, beside(environment_reward(), auxiliary=markov(hint)))


WALK = hinted(Walk(), lambda t: jnp.sin(t.observation[1]) + t.action)
SLIDE = hinted(Slide(), lambda t: jnp.sin(t.observation[1]) + t.action[0])
HARMFUL = hinted(Bandit(), lambda t: 2.0 * (t.action == 0))


def settings(**numbers):
    given = {"learning_rate": 0.3, "reward_learning_rate": 0.1, "discount": 0.9, "entropy_coefficient": 0.2}
    return SimpleNamespace(**{**given, "intrinsic": 0.7, "auxiliary": 0.4, "env_params": None, **numbers})


def steps_of(kind, env=WALK, **options):
    """The steps of an agent: "lirpg" or a method of BiPaRS."""
    module = lirpg_module if kind == "lirpg" else bipars_module
    num_steps = env.default_params.env.max_steps_in_episode
    config = module.Config(**{"num_envs": 5, "num_steps": num_steps, "baseline": "none", **options})
    learner = learner_for(env, env.default_params, config)
    shared = functools.partial(Online, learner, env.default_params, config)
    if kind == "lirpg":
        return shared("intrinsic_reward", 0.0, with_intrinsic, through_one_step)
    options = {"carries_jacobian": kind == "incremental", "shows_values": kind == "explicit"}
    return shared("shaping_weight", 1.0, shaped, METHODS[kind], **options)


def hyperparams_of(kind, **numbers):
    names = vars(settings(**numbers)).items()
    fields = (lirpg_module if kind == "lirpg" else bipars_module).Hyperparams.__dataclass_fields__
    module = lirpg_module if kind == "lirpg" else bipars_module
    return module.Hyperparams(**{name: value for name, value in names if name in fields})


def start(online, kind, **numbers):
    """A state whose reward isn't at its start."""

    def draw(key):
        key_init, key_phi = jax.random.split(key)
        state = online.init(key_init, hyperparams_of(kind, **numbers))
        phi, unravel = ravel_pytree(state.phi)
        return state._replace(phi=unravel(phi + 0.5 * jax.random.normal(key_phi, phi.shape)))

    return jax.jit(draw)(jax.random.key(0))


@functools.cache
def played(env):
    """Four batches of episodes of some policy, leaves `[4, T, N, ...]`."""
    online = steps_of("meta", env)

    def draw(key):
        state = online.init(key, hyperparams_of("meta"))
        _, episodes, _ = online.learner.play(state.actor.params, online.env_params, state.ended, key)
        return online.batch(state, episodes)

    return jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(7), 4))


def nth(tree, index):
    return jax.tree.map(lambda x: x[index], tree)


def pulls(online, state, actions, hint):
    """A batch of pulls of the bandit's arms, `[1, N]`; `hint` is what each of the two is said to pay."""
    features = jnp.ones((1, *actions.shape, 1))
    action, valid = actions[None], jnp.ones((1, *actions.shape), bool)
    log_prob, _ = online.learner.scores(state.actor.params, online.seen(state.phi, features), action)
    return Batch(features, action, action.astype(float), jnp.asarray(hint)[action], valid, log_prob)


def doubled(tree):
    """In float64; for use where x64 is enabled."""
    return jax.tree.map(lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


class ByHand:
    """Policy and reward again in NumPy, both as matrices whose last row is the bias."""

    def __init__(self, batch, hyperparams, average="padded", baseline="none"):
        self.h, self.baseline = hyperparams, baseline
        self.features = np.asarray(batch.features, np.float64)
        self.joined = np.concatenate([self.features, np.ones((*self.features.shape[:2], 1))], -1)
        self.chosen = np.eye(ACTIONS)[np.asarray(batch.action)]
        self.primary, self.auxiliary = (np.asarray(x, np.float64) for x in (batch.primary, batch.auxiliary))
        self.valid = np.asarray(batch.valid, np.float64)
        self.log_prob = np.asarray(batch.log_prob, np.float64)
        self.size = self.valid.size if average == "padded" else self.valid.sum()

    def to_go(self, reward):
        total, out = 0.0, np.zeros_like(reward)
        for t in reversed(range(len(reward))):
            total = out[t] = reward[t] + self.h.discount * total
        return out - (self.valid * out).sum() / self.valid.sum() if self.baseline == "mean" else out

    def log_probs(self, theta, joined=None):
        logits = (self.joined if joined is None else joined) @ theta
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    def reward(self, phi, kind):
        value = ((self.joined @ phi) * self.chosen).sum(-1)
        if kind == "lirpg":
            return self.primary + self.h.auxiliary * self.auxiliary + self.h.intrinsic * value
        return self.primary + value * self.auxiliary

    def advance(self, theta, phi, kind):
        """A step of gradient ascent, from the score of a softmax and the derivative of its entropy."""
        log_probs = self.log_probs(theta)
        probs = np.exp(log_probs)
        returns = self.to_go(self.valid * self.reward(phi, kind))
        scores = (self.valid * returns)[..., None] * (self.chosen - probs) / self.size
        entropy = -(probs * log_probs).sum(-1, keepdims=True)
        bonus = -self.valid[..., None] * probs * (log_probs + entropy) / self.valid.sum()
        ascent = scores + self.h.entropy_coefficient * bonus
        return theta + self.h.learning_rate * np.einsum("tnf,tna->fa", self.joined, ascent)

    def objective(self, theta):
        log_prob = (self.log_probs(theta) * self.chosen).sum(-1)
        ratio = np.exp(log_prob - self.log_prob)
        return (self.valid * ratio * self.to_go(self.primary)).sum() / self.size

    def explicit(self, theta, phi):
        """The mean log-probability of a policy that sees the weights of all actions, weighed by the return."""
        seen = np.concatenate([self.features, self.joined @ phi, np.ones((*self.features.shape[:2], 1))], -1)
        log_prob = (self.log_probs(theta, seen) * self.chosen).sum(-1)
        return (self.valid * log_prob * self.to_go(self.primary)).sum() / self.size


def matrix(tree):
    """A kernel with its bias as the last row."""
    tree = tree["params"]["Linear_0"] if "params" in tree else tree
    return np.concatenate([np.asarray(tree["kernel"]), np.asarray(tree["bias"])[None]]).astype(np.float64)


def differences(fn, x, step=1e-5):
    """Central ones, of each entry."""
    out = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        nudge = np.zeros_like(x)
        nudge[i] = step
        out[i] = (fn(x + nudge) - fn(x - nudge)) / (2 * step)
    return out


def taught(online, state, batch):
    """What a batch teaches, in float64."""
    with jax.enable_x64(True):
        return jax.jit(lambda s, b: online.improve(online, s, b))(doubled(state), doubled(batch))


@pytest.mark.parametrize(
    ("kind", "average", "baseline"),
    [
        ("lirpg", "padded", "mean"),
        ("meta", "padded", "none"),
        ("incremental", "padded", "mean"),
        ("meta", "valid", "mean"),
    ],
)
def test_the_gradient_is_that_of_the_whole_step(kind, average, baseline):
    online = steps_of(kind, average=average, baseline=baseline)
    state, batch = start(online, kind), nth(played(WALK), 0)
    assert 0.3 < batch.valid.mean() < 0.95  # episodes of several lengths
    hand = ByHand(batch, settings(), average, baseline)
    theta, phi = matrix(state.actor.params), matrix(state.phi)
    found = taught(online, state, batch)
    np.testing.assert_allclose(matrix(found.actor.params), hand.advance(theta, phi, kind), rtol=2e-6, atol=1e-7)
    expected = differences(lambda phi: hand.objective(hand.advance(theta, phi, kind)), phi)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(matrix(found.phi_gradient), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    mean = ((hand.joined @ phi) * hand.chosen).sum(-1)[hand.valid > 0].mean()
    told = online.metrics(state.phi, batch, found._replace(phi_gradient=state.phi))
    np.testing.assert_allclose(told[f"outer/{online.called}"], mean, rtol=1e-5)


def test_the_explicit_gradient_is_that_of_what_the_policy_sees():
    online = steps_of("explicit")
    state, batch = start(online, "explicit"), nth(played(WALK), 0)
    theta, phi = matrix(state.actor.params), matrix(state.phi)
    assert theta.shape == (STATES + ACTIONS + 1, ACTIONS)
    hand = ByHand(batch, settings())
    expected = differences(lambda phi: hand.explicit(theta, phi), phi)
    assert np.abs(expected).max() > 1e-3
    found = taught(online, state, batch)
    np.testing.assert_allclose(matrix(found.phi_gradient), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("optimiser", ["sgd", "rmsprop"])
def test_a_jacobian_that_is_carried_along_is_that_of_all_steps(optimiser):
    online = steps_of("incremental", optimiser=optimiser)
    state, batches = start(online, "incremental"), played(WALK)

    def along(state, batches):
        """Gradients after each step, where `phi` stays as it is."""

        def step(state, batch):
            one, found = through_one_step(online, state, batch), incremental(online, state, batch)
            state = state._replace(actor=found.actor, jacobian=found.jacobian)
            return state, (one.phi_gradient, found.phi_gradient)

        return jax.lax.scan(step, state, batches)

    def unrolled(state, batches):
        advance = lambda actor, phi, batch: online.advance(actor, phi, batch, state.hyperparams)  # noqa: E731
        objective = lambda actor: online.objective(actor.params, nth(batches, -1), state.hyperparams)  # noqa: E731
        return unrolled_gradient(advance, objective, state.actor, state.phi, batches)

    with jax.enable_x64(True):
        state, batches = doubled(state), doubled(batches)
        after, (one, carried) = jax.jit(along)(state, batches)
        expected, arrived = jax.jit(unrolled)(state, batches)
        close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
        jax.tree.map(close, nth(carried, 0), nth(one, 0))
        jax.tree.map(close, nth(carried, -1), expected)
        jax.tree.map(close, after.actor, arrived)
        assert np.abs(one["kernel"][-1] - expected["kernel"]).max() > 1e-3  # one step alone is not that


@pytest.mark.parametrize("kind", ["meta", "explicit"])
def test_with_continuous_actions_too_it_is_that_of_the_whole_step(kind):
    online = steps_of(kind, SLIDE)
    state, batch = start(online, kind, learning_rate=1e-3), nth(played(SLIDE), 0)
    found = taught(online, state, batch)
    with jax.enable_x64(True):
        state, batch = doubled(state), doubled(batch)
        phi, unravel = ravel_pytree(state.phi)
        returns = ByHand.to_go(SimpleNamespace(h=state.hyperparams, baseline="none"), np.asarray(batch.primary))

        def objective(phi):
            if kind == "explicit":
                params, features = state.actor.params, online.seen(unravel(phi), batch.features)
            else:
                actor = online.advance(state.actor, unravel(phi), batch, state.hyperparams)
                params, features = actor.params, batch.features
            log_prob = online.learner.distribution(params, features).log_prob(batch.action)
            score = log_prob if kind == "explicit" else jnp.exp(log_prob - batch.log_prob)
            return jnp.where(batch.valid, score * returns, 0.0).mean()

        expected = differences(jax.jit(objective), np.asarray(phi))
        gradient = ravel_pytree(found.phi_gradient)[0]
        assert np.abs(expected).max() > 1e-4
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert (np.abs(np.asarray(found.phi_gradient["action"])).max() == 0) == (kind == "explicit")


def test_one_pull_of_a_bandits_arm_in_closed_form():
    """`p' = sigmoid(d + 4 alpha R (1 - p))`, as a logit is the sum of a weight and a bias, and both take the step."""
    online = steps_of("lirpg", HARMFUL)
    state = start(online, "lirpg", entropy_coefficient=0.0)
    batch = pulls(online, state, jnp.array([1]), [0.0, 0.0])
    batch = batch._replace(primary=3 * batch.primary)
    logits, alpha, weight = matrix(state.actor.params).sum(0), 0.3, 0.7
    after = lambda step: 1 / (1 + np.exp(logits[0] - logits[1] - step))  # noqa: E731
    p, learned = after(0.0), 3 + weight * matrix(state.phi).sum(0)[1]
    p_after = after(4 * alpha * learned * (1 - p))
    expected = 4 * alpha * weight * 3 * (p_after / p) * (1 - p) * (1 - p_after)
    found = matrix(taught(online, state, batch).phi_gradient)
    np.testing.assert_allclose(found, [[0, expected], [0, expected]], rtol=1e-5)


def test_the_explicit_gradient_is_that_of_a_bandits_expected_reward():
    online = steps_of("explicit", HARMFUL)
    state, paid = start(online, "explicit"), jnp.array([0.4, 1.7])

    def chances(phi):
        return online.learner.distribution(state.actor.params, online.seen(phi, jnp.ones(1))).probs

    def estimated(state):
        # Both arms once; what each pays is weighed by its chance.
        both = pulls(online, state, jnp.arange(2), [2.0, 0.0])
        both = both._replace(primary=(2 * chances(state.phi) * paid)[None])
        return METHODS["explicit"](online, state, both).phi_gradient

    found = jax.jit(estimated)(state)
    expected = jax.jit(jax.grad(lambda phi: (chances(phi) * paid).sum()))(state.phi)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), found, expected)
    assert abs(expected["bias"]).max() > 1e-3


def gradients_of(kind, hint):
    """Of the two arms, for many policies and pulls, of both arms each."""
    online = steps_of(kind, HARMFUL)

    def gradient(key):
        state = online.init(key, hyperparams_of(kind, entropy_coefficient=0.0, auxiliary=0.0))
        actions = jax.random.bernoulli(key, shape=(6,)).astype(jnp.int32).at[:2].set(jnp.arange(2))
        return online.improve(online, state, pulls(online, state, actions, hint)).phi_gradient["bias"]

    return jax.jit(jax.vmap(gradient))(jax.random.split(jax.random.key(0), 50))


def test_the_weight_of_a_harmful_hint_falls_and_that_of_a_helpful_one_rises():
    """That of the other arm multiplies nothing and stays."""
    harmful, helpful = gradients_of("meta", [2.0, 0.0]), gradients_of("meta", [0.0, 1.0])
    assert (harmful[:, 0] < 0).all()
    assert (helpful[:, 1] > 0).all()
    assert (harmful[:, 1] == 0).all()
    assert (helpful[:, 0] == 0).all()


def test_an_arm_that_pays_becomes_an_arm_that_is_liked():
    gradients = gradients_of("lirpg", [2.0, 0.0])
    assert (gradients[:, 1] > 0).all()
    assert (gradients[:, 0] < 0).all()


def train(agent, hyperparams, seeds, iterations):
    """A population of seeds, leaves `[T, population, seeds]`."""
    size = hyperparams.learning_rate.shape[0]
    hyperparams = jax.tree.map(lambda x: jnp.broadcast_to(x, size), hyperparams)
    agent = vmap(vmap(agent), population=True)
    keys = jnp.broadcast_to(jax.random.split(jax.random.key(0), seeds), (size, seeds))
    run = lambda state: jax.lax.scan(lambda s, _: agent.step(s), state, None, iterations)  # noqa: E731
    return jax.jit(lambda: run(agent.init(keys, hyperparams)))()


@pytest.mark.parametrize("method", ["meta", "incremental"])
def test_a_harmful_hint_is_unlearned(method):
    """Of 64 seeds at least 60 end with the arm that pays, so that more than 86 in 100 do (95% confidence).

    And at least 60 don't if the hint is just added.
    """
    config = bipars_module.Config(num_envs=8, num_steps=1, method=method)
    agent = bipars(HARMFUL, HARMFUL.default_params, config)
    rates = {"learning_rate": jnp.full(2, 0.05), "reward_learning_rate": jnp.array([0.02, 0.0])}
    state, metrics = train(agent, bipars_module.Hyperparams(**rates, entropy_coefficient=0.05), 64, 400)
    learned, naive = metrics["episode/return"][-20:].mean(0)
    assert (learned > 0.8).sum() >= 60
    assert (naive < 0.2).sum() >= 60
    weight = (state.phi["kernel"][:, :, 0] + state.phi["bias"])[..., 0]
    assert (weight[0] < 1).all()
    assert (weight[1] == 1).all()


def test_intrinsic_rewards_do_not_keep_it_from_the_goal():
    """Each of 8 seeds reaches the goal of the grid world: more than 68 in 100 do (95% confidence)."""
    env, params = make_env("barfi/gridworld", auxiliary="bad")
    _, metrics = train(lirpg(env, params), lirpg_module.Hyperparams(learning_rate=jnp.full(1, 0.01)), 8, 300)
    assert metrics["episode/return"][:3].mean() < 70
    assert metrics["episode/return"][-50:].mean(0).min() > 90


@pytest.mark.parametrize("kind", ["incremental", "explicit"])
def test_an_agent_vmapped_over_keys_is_that_of_each_key(kind):
    online = steps_of(kind, optimiser="rmsprop")
    keys = jax.random.split(jax.random.key(0), 3)

    def thrice(key):
        state = online.init(key, hyperparams_of(kind))
        return jax.lax.scan(lambda state, _: online.step(state), state, None, 3)

    _, together = jax.jit(jax.vmap(thrice))(keys)
    state, alone = jax.jit(thrice)(keys[1])
    for name, value in alone.items():
        np.testing.assert_allclose(together[name][1], value, rtol=2e-5, atol=1e-7)
    assert (alone["env_steps"] == online.learner.num_envs * STEPS).all()
    assert state.iteration == 3
    assert kind == "explicit" or (np.asarray(state.jacobian) != 0).any()
    policy = online.policy(state)
    observation = jnp.array([1.0, 0.3, -0.2])
    chances = online.learner.distribution(state.actor.params, online.seen(state.phi, observation)).probs
    assert policy.mode((), observation, keys[0])[1] == jnp.argmax(chances)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_made_as_it_is_tested_here(method):
    config = bipars_module.Config(num_steps=STEPS, method=method)
    made, tested = bipars(WALK, WALK.default_params, config).step.__self__, steps_of(method)
    for name in ("called", "start", "combine", "improve", "carries_jacobian", "shows_values"):
        assert getattr(made, name) == getattr(tested, name)


@pytest.mark.parametrize(
    ("make", "env", "options", "message"),
    [
        (bipars, WALK, {"method": "metta"}, "meta"),
        (bipars, Bandit(), {}, "shows no auxiliary reward to weigh"),
        (lirpg, WALK, {"optimiser": "adam"}, "rmsprop"),
        (lirpg, WALK, {"baseline": "value"}, "mean"),
        (lirpg, WALK, {"num_steps": 5}, "num_steps=6"),
        (lirpg, WALK, {"average": "all"}, "valid"),
    ],
    ids=["method", "no hint", "optimiser", "baseline", "steps", "average"],
)
def test_options_that_do_not_fit_are_refused(make, env, options, message):
    module = bipars_module if make is bipars else lirpg_module
    with pytest.raises(ValueError, match=message):
        make(env, env.default_params, module.Config(**{"num_steps": STEPS, **options}))


def test_without_an_auxiliary_reward_there_is_still_an_intrinsic_one():
    agent = lirpg(Bandit(), Bandit().default_params, lirpg_module.Config(num_steps=1))
    state = agent.init(jax.random.key(0), lirpg_module.Hyperparams(auxiliary=1.0))
    assert not any(leaf.any() for leaf in jax.tree.leaves(state.phi))  # nothing is liked at first
    _, metrics = jax.jit(agent.step)(state)
    assert metrics["outer/gradient_norm"] > 0 or metrics["episode/return"] == 0


def test_optimisers_have_derivatives_where_gradients_are_zero():
    for make in OPTIMISERS.values():
        scale = make()
        moved = lambda x, scale=scale: scale.update(x, scale.init(jnp.zeros(2)))[0].sum()  # noqa: E731
        assert jnp.isfinite(jax.grad(moved)(jnp.zeros(2))).all()
        assert (jax.grad(moved)(jnp.zeros(2)) > 0).all()
