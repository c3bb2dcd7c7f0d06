"""Agents compared with each other: advantages beside NumPy, orders that are dealt, a fleet that learns to earn more."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import vmap
from jaxreward.agents.baselines.parts.on_policy import Batch
from jaxreward.agents.dispatch.grpo import GRPO, GRPOAlone, grpo
from jaxreward.agents.dispatch.grpo import Config as GrpoConfig
from jaxreward.agents.dispatch.ospo import OSPO, ospo
from jaxreward.agents.dispatch.parts.actor import NEVER
from jaxreward.agents.dispatch.parts.dealing import dealing_head
from jaxreward.agents.dispatch.parts.group import Config, Hyperparams, spread_growth, standardised
from jaxreward.environment import with_reward
from jaxreward.envs import make
from jaxreward.learning.networks import categorical_head
from jaxreward.learning.rollout import Trajectory
from jaxreward.mdp import TabularEnv, tabular_mdp
from jaxreward.reward import Reward, markov
from tests.matrix_game import OfOne

T, N, AGENTS, DISCOUNT = 5, 2, 3, 0.8


def algorithm(kind, **config):
    return kind(None, None, (GrpoConfig if kind is GRPO else Config)(**config), None, None, None, AGENTS)


def rollout_of():
    draw = np.random.default_rng(0)
    reward = draw.normal(size=(T, N, AGENTS))
    counted = draw.random((T, N, AGENTS)) < 0.6
    counted[0, 0], counted[1, 0] = False, [True, False, False]
    done = np.zeros((T, N), bool)
    done[2, 0], done[4, 1] = True, True
    return reward, done, counted, draw.normal(size=(N, AGENTS))


def to_go(reward, done):
    """Discounted, up to the end of the episode or of the rollout."""
    found = np.zeros_like(reward)
    for t in range(T):
        for k in range(N):
            weight = 1.0
            for later in range(t, T):
                found[t, k] += weight * reward[later, k]
                weight *= DISCOUNT
                if done[later, k]:
                    break
    return found


def apart(values):
    """How many standard deviations each is from the mean; one alone is at it."""
    return (values - values.mean()) / values.std() if len(values) > 1 else 0 * values


def told_of_episodes(reward, done):
    """How far what each earns in an episode is from what the others do, at all of its steps."""
    going, found = to_go(reward, done), np.zeros_like(reward)
    for k in range(N):
        first = 0
        for t in range(T):
            found[t, k] = apart(going[first, k])
            first = t + 1 if done[t, k] else first
    return found


def test_advantages_are_those_of_numpy():
    """Of OSPO, and of GRPO in three ways, where only some count; and how the spread of returns grows."""
    reward, done, counted, before = rollout_of()
    among = np.repeat(done[..., None], AGENTS, -1)
    kinds = [
        algorithm(OSPO),
        algorithm(GRPO),
        algorithm(GRPO, advantage="process"),
        algorithm(GRPO, advantage="outcome"),
    ]
    given = jnp.asarray(reward), jnp.asarray(among), jnp.asarray(counted), Hyperparams(discount=DISCOUNT)
    all_of = jax.jit(lambda *given: [kind.relative(*given) for kind in kinds])
    one_step, going, whole, outcome = (np.asarray(found) for found in all_of(*given))
    expected = np.zeros((2, T, N, AGENTS))
    for k, values in enumerate([reward, to_go(reward, done)]):
        for t in range(T):
            for game in range(N):
                some = counted[t, game]
                expected[k, t, game, some] = apart(values[t, game][some]) if some.any() else 0
    np.testing.assert_allclose(one_step, expected[0], atol=1e-4)
    np.testing.assert_allclose(going, expected[1], atol=1e-4)
    alike = np.zeros((T, N, AGENTS))
    for game in range(N):
        alike[:, game][counted[:, game]] = apart(reward[:, game][counted[:, game]])
    np.testing.assert_allclose(whole, to_go(alike, done), atol=1e-4)
    np.testing.assert_allclose(outcome, told_of_episodes(reward, done), atol=1e-4)
    grown, earned = np.zeros((T, N)), before.copy()
    for t in range(T):
        grown[t] = (earned + reward[t]).std(-1) - earned.std(-1)
        earned = np.where(done[t][:, None], 0, earned + reward[t])
    np.testing.assert_allclose(jax.jit(spread_growth)(reward, done, before), grown, atol=1e-5)


class Untold:
    """Without networks or environments: a state is what was earned before, and hyperparams."""

    def features(self, state, observation, axes):
        return observation

    def earned(self, state):
        return state.earned


class Bare(Untold, OSPO):
    """OSPO so."""


class BareAlone(Untold, GRPOAlone):
    """GRPO of copies so."""


def test_who_got_none_has_no_advantage_and_a_step_that_drives_returns_apart_is_held_against_all():
    """Agents of a game lie beside each other; what has been earned before counts until the episode ends."""
    reward, done, counted, before = rollout_of()
    config = Config(dispatch=True)
    algorithm = Bare(None, None, config, categorical_head(4), None, None, AGENTS)
    state = SimpleNamespace(earned=before, hyperparams=Hyperparams(spread_coefficient=0.5))
    flat = lambda x: jnp.asarray(np.reshape(x, (T, N * AGENTS)))  # noqa: E731
    action, outputs = jnp.where(flat(counted), 1, 3), jnp.zeros((T, N * AGENTS, 4))
    among, never = flat(np.repeat(done[..., None], AGENTS, -1)), jnp.zeros((T, N * AGENTS), bool)
    trajectory = Trajectory((), action, (action, outputs), flat(reward), among, never, ())
    batch = jax.jit(lambda: algorithm.advantages(state, trajectory)[0])()
    grown = jax.jit(spread_growth)(reward, done, before)[..., None]
    alone = algorithm.relative(jnp.asarray(reward), None, jnp.asarray(counted), None)
    expected = np.where(counted, alone - 0.5 * grown, 0)
    np.testing.assert_allclose(batch.advantage, expected.reshape(T, -1), atol=1e-5)
    np.testing.assert_allclose(batch.log_prob, np.log(0.25), rtol=1e-6)
    assert algorithm.limits(Hyperparams(clip=0.1, clip_above=0.3)) == (0.1, 0.3)


def compared(advantage, first, alive):
    """Advantages within groups, before what lies behind first episodes is taken from them."""
    expected = np.zeros((T, N, AGENTS))
    if advantage == "process":
        for k in range(N):
            expected[:, k][alive[:, k]] = apart(first[:, k][alive[:, k]])
        return to_go_of(expected)
    going = to_go_of(first)
    for t, k in np.ndindex(T, N):
        among = alive[t, k] if advantage == "to_go" else np.ones(AGENTS, bool)
        expected[t, k, among] = apart(going[t if advantage == "to_go" else 0, k][among])
    return expected


@pytest.mark.parametrize("advantage", ["to_go", "outcome", "process"])
def test_copies_are_compared_until_each_ends_and_are_told_nothing_behind_it(advantage):
    """The first of the first group ends after 2 steps, the second goes on as nobody else does at step 4."""
    reward, _, _, _ = rollout_of()
    done = np.zeros((T, N, AGENTS), bool)
    done[1, 0, 0], done[3, 0, 2], done[2, 1, 1] = True, True, True
    alive = np.cumsum(done, 0) - done == 0
    learner = BareAlone(None, None, GrpoConfig(advantage=advantage), categorical_head(4), None, None, AGENTS)
    flat = lambda x: jnp.asarray(np.reshape(x, (T, N * AGENTS)))  # noqa: E731
    zeros, never = jnp.zeros((T, N * AGENTS, 4)), jnp.zeros((T, N * AGENTS), bool)
    trajectory = Trajectory((), (), (flat(done) * 0, zeros), flat(reward), flat(done), never, ())
    state = SimpleNamespace(hyperparams=Hyperparams(discount=DISCOUNT))
    batch = jax.jit(lambda: learner.advantages(state, trajectory)[0])()
    expected = compared(advantage, np.where(alive, reward, 0), alive)
    np.testing.assert_array_equal(batch.counted, alive.reshape(T, -1))
    np.testing.assert_allclose(batch.advantage, np.where(alive, expected, 0).reshape(T, -1), atol=1e-4)
    assert not np.asarray(batch.advantage)[2, 0]
    assert (np.asarray(batch.advantage)[4, 1] == 0) == (advantage == "to_go")  # with 2 others ended it is alone


def to_go_of(reward):
    """What is earned from each step on, discounted."""
    return to_go(reward, np.zeros((T, N), bool))


class OfTwo(Untold, GRPOAlone):
    """Two actions, whose logits are all of the params."""

    def forward(self, params, memory, features):
        return memory, jnp.stack([features, 0 * features], -1) * params, ()


def test_entropy_is_that_of_steps_that_count():
    """Uniform at the steps that count, nearly certain at the others; the bonus is of one scale with the surrogate."""
    learner = OfTwo(None, None, GrpoConfig(), categorical_head(2), None, None, AGENTS)
    counted, certain = jnp.array([True, True, True, False]), jnp.array([0.0, 0.0, 0.0, 50.0])
    zeros = jnp.zeros(4)
    batch = Batch(certain, zeros.astype(int), zeros - np.log(2), zeros, zeros, zeros > 0, (), counted)
    loss, told = jax.jit(lambda: learner.loss(1.0, batch, Hyperparams(entropy_coefficient=0.1)))()
    np.testing.assert_allclose(told["policy/entropy"], np.log(2), rtol=1e-6)
    np.testing.assert_allclose(loss, -0.1 * np.log(2) * 3 / 4, rtol=1e-5)
    assert told["policy/kl"] == told["policy/clipped"] == 0  # the ratio of the last is 2


COUNTED = Reward(
    init=lambda key: (),
    reset=lambda params: jnp.zeros(()),
    step=lambda params, count, t: (count + 1, count + 1),
    persist=lambda ended, fresh: ended,
)
"""Pays how many steps an environment has seen in all of its episodes."""


def test_each_copy_keeps_what_outlives_episodes_and_only_first_episodes_are_told_of():
    """Episodes end by chance or after 6 steps; 3 groups of 4 copies, of which each has counted to another number."""
    mdp = tabular_mdp(
        np.array([[[0.7, 0.3]], [[0.0, 1.0]]]), np.zeros(2), np.array([1.0, 0.0]), np.array([False, True])
    )
    env = with_reward(TabularEnv(mdp, max_steps_in_episode=6), COUNTED)
    agent = grpo(env, env.default_params, GrpoConfig(num_envs=12, num_steps=6, group_size=4, layers=(2,)))
    before, keys = 100.0 * np.arange(12), jax.random.split(jax.random.key(0), 3)

    @jax.jit
    def run():
        state = agent.init(keys[0], Hyperparams())
        envs = state.envs._replace(state=state.envs.state.replace(memory=jnp.asarray(before)))
        return agent.init.__self__.collect(state._replace(envs=envs), *keys[1:])[2:]

    steps, told = run()
    np.testing.assert_array_equal(steps.reward, before + np.arange(1, 7)[:, None])
    done, lengths = np.asarray(steps.done), np.argmax(steps.done, 0) + 1
    assert done.sum() > 12 == done.any(0).sum() == told["episode/count"]
    np.testing.assert_allclose(told["episode/length"], lengths.mean(), rtol=1e-6)


def test_a_pole_is_kept_up_by_what_others_from_the_same_start_did():
    """At 64 steps at the most, by 4 seeds in one program: above 50 with 95 % confidence; acting at random is at 22."""
    env, params = make("CartPole-v1")
    params = params.replace(max_steps_in_episode=64)
    agent = grpo(env, params, GrpoConfig(num_envs=32, num_steps=64, layers=(16,)))
    learner = agent.init.__self__

    def iteration(state, _):
        """That of `agent.step`, which does not tell what was seen."""
        key, key_noise, key_envs, key_update = jax.random.split(state.key, 4)
        envs, _, steps, told = learner.collect(state, key_noise, key_envs)
        after = learner.learn(state, steps, key_update)[0]._replace(envs=envs, key=key)
        return after, (steps.observation[0], told["episode/return"])

    @jax.jit
    @jax.vmap
    def run(key):
        first, returns = jax.lax.scan(iteration, agent.init(key, Hyperparams(learning_rate=0.01)), None, 30)[1]
        return first[0], returns

    first, returns = map(np.asarray, run(jax.random.split(jax.random.key(0), 4)))
    groups = first.reshape(4, 4, 8, -1)
    assert (groups == groups[:, :, :1]).all()
    assert len(np.unique(groups[:, :, 0].reshape(16, -1), axis=0)) == 16
    last = returns[:, -3:].mean(1)
    assert returns[:, 0].max() < 30
    assert last.mean() - 3.18 * last.std(ddof=1) / 2 > 50  # Student's interval of 95 %, 3 degrees of freedom


def test_who_is_paid_alike_is_not_apart_by_what_rounding_leaves():
    alike = np.repeat(np.random.default_rng(0).uniform(0, 8, (100, 1)), 6, 1).astype(np.float32)
    np.testing.assert_array_equal(jax.jit(standardised)(alike, alike > 0), 0)


def test_what_is_dealt_is_had_by_one_alone_and_drawn_from_the_softmax_where_nobody_else_wants_it():
    """Agent 0 may have the first two choices, agent 1 the third, agent 2 nothing."""
    head, number = dealing_head(4), 4000
    logits = jnp.array([[0.0, 1.0, NEVER, NEVER], [NEVER, NEVER, 3.0, NEVER], [NEVER] * 4])

    @jax.jit
    def run(key):
        drawn = head.sample(jnp.broadcast_to(logits, (number, 3, 4)), head.noise(key, (number, 3)))
        contested = jnp.array([[2.0, 1.0, NEVER], [1.5, NEVER, NEVER]])
        likely = dealing_head(3).distribution(contested)
        distribution = head.distribution(logits)
        return drawn, likely.mode(), distribution.log_prob(jnp.array([1, 2, 3])), distribution.entropy()

    drawn, mode, log_prob, entropy = jax.device_get(run(jax.random.key(0)))
    assert (drawn[:, 1:] == [2, 3]).all()
    share = 1 / (1 + np.exp(-1))
    # Four standard errors of a share over so many draws.
    np.testing.assert_allclose((drawn[:, 0] == 1).mean(), share, atol=4 * np.sqrt(share * (1 - share) / number))
    np.testing.assert_array_equal(mode, [1, 0])  # both want the first most, and can't both have it
    np.testing.assert_allclose(log_prob, [np.log(share), 0, 0], atol=1e-6)
    np.testing.assert_allclose(entropy[:2], [-share * np.log(share) - (1 - share) * np.log(1 - share), 0], atol=1e-6)
    assert entropy[2] == 0


def test_a_fleet_comes_to_earn_more_than_by_dealing_at_random():
    """Of 4 seeds in one program; the policy that it starts from deals as good as at random."""
    env, params = make("games/fleet?num_vehicles=4&max_orders=4&rows=4&columns=3")
    config = Config(num_envs=16, num_steps=30, num_minibatches=2, layers=(16,), dispatch=True)
    agent = vmap(ospo(env, params, config))

    @jax.jit
    def run(keys):
        start = agent.init(keys, Hyperparams(learning_rate=0.03))
        return jax.lax.scan(lambda state, _: agent.step(state), start, None, 12)[1]["episode/return"]

    returns = np.asarray(run(jax.random.split(jax.random.key(0), 4)))
    gained = returns[-5:].mean(0) - returns[:2].mean(0)
    assert gained.mean() - 3.18 * gained.std(ddof=1) / 2 > 0  # Student's interval of 95 %, 3 degrees of freedom


@pytest.mark.parametrize("make_agent", [ospo, grpo])
def test_what_does_not_fit_is_refused(make_agent):
    name = make_agent.__name__
    config = Config if make_agent is ospo else GrpoConfig
    if make_agent is ospo:
        with pytest.raises(ValueError, match=r"CartPole-v1 has one agent"):
            make_agent(*make("CartPole-v1"))
    with pytest.raises(ValueError, match=rf"has one agent, and {name} learns from how agents of a game differ"):
        make_agent(OfOne(make("CartPole-v1")[0]), make("CartPole-v1")[1])
    team = with_reward(make("games/gems")[0], markov(lambda t: t.reward.sum()))
    with pytest.raises(ValueError, match=rf"pays all agents alike, one reward \(\), and {name}"):
        make_agent(team, team.default_params)
    with pytest.raises(ValueError, match=r"dispatch=True needs .*games/gems has 5 actions and shows \(42,\)"):
        make_agent(*make("games/gems"), config(dispatch=True))
    with pytest.raises(ValueError, match=r"normalise_observations=True would move"):
        make_agent(*make("games/fleet"), config(dispatch=True, normalise_observations=True))


def test_groups_that_do_not_fit_are_refused():
    pole = make("CartPole-v1")
    with pytest.raises(ValueError, match=r"num_envs=20 are no whole number of groups of group_size=8.*try num_envs=16"):
        grpo(*pole, GrpoConfig(num_envs=20))
    with pytest.raises(
        ValueError, match=r"dispatch=True deals orders to the agents of a game, and CartPole-v1 has one"
    ):
        grpo(*pole, GrpoConfig(dispatch=True))
    with pytest.raises(ValueError, match=r"num_steps=30 is less than the 500 steps.*CartPole-v1.*give num_steps=500"):
        grpo(*pole)
    grpo(*pole, GrpoConfig(num_steps=500, num_envs=8, num_minibatches=4000))  # of one step, of which no mean is taken
    with pytest.raises(ValueError, match=r"3.*num_envs \* num_steps"):
        grpo(*pole, GrpoConfig(num_steps=500, num_minibatches=3))
    with pytest.raises(ValueError, match=r"outcom.*did you mean 'outcome'"):
        grpo(*pole, GrpoConfig(advantage="outcom"))
    with pytest.raises(ValueError, match="group_size must be at least 2"):
        GrpoConfig(group_size=1)
