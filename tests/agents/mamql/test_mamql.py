"""MAMQL and IQ-Learn: losses against numbers from critics' outputs, an equilibrium recovered from samples, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import Policy
from jaxreward.agents.mamql import iq_learn as single
from jaxreward.agents.mamql.mamql import Config, Hyperparams, mamql
from jaxreward.distances import recovery
from jaxreward.environment import with_reward
from jaxreward.envs import make
from jaxreward.envs.games.markov_game import induced
from jaxreward.envs.games.soft_equilibrium import soft_equilibrium, tabular_policy
from jaxreward.learning.demonstrations import Transitions
from jaxreward.mdp import discounted_occupancy
from jaxreward.results.demonstrate import record
from jaxreward.reward import Transition
from jaxreward.run.train import train
from tests.as_users import AS_USERS

DISCOUNT, GAME = 0.9, "games/random_game"
SMALL = {"layers": (), "num_envs": 8, "num_steps": 8, "num_updates": 32, "batch_size": 256}
KEY = jax.random.key(9)
SCALES = {"alpha": 0.7, "temperature": 2.0, "discount": 0.8, "l2": 0.0, "policy_share": 0.3}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The equilibrium of a game, and a file of 10,000 transitions of it with what followed."""
    env, params = make(GAME)
    found = jax.jit(lambda: soft_equilibrium(env.game, DISCOUNT, 1.0))()
    path = tmp_path_factory.mktemp("shown") / "game.npz"
    record(env, params, tabular_policy(found.policy), path, 10_110)
    return found, path


@pytest.fixture(scope="module")
def recovered(shown):
    """What is learned with an alpha of 1 and of 10 from 1,000 transitions and from 10,000: a critic for each, `[4]`."""
    env, params = make(GAME)
    agent = mamql(env, params, Config(demonstrations=str(shown[1]), **SMALL))

    def learned(alpha, number):
        numbers = {"discount": DISCOUNT, "l2": 0.0, "alpha": alpha, "num_demonstrations": number}
        now = agent.init(jax.random.key(0), Hyperparams(learning_rate=0.05, **numbers))
        slower = lambda now, rate: now._replace(hyperparams=now.hyperparams.replace(learning_rate=rate))  # noqa: E731
        rates = jnp.repeat(jnp.array([0.05, 0.005]), 30)
        return jax.lax.scan(lambda now, rate: agent.step(slower(now, rate)), now, rates)

    alphas, numbers = jnp.array([1.0, 10.0, 1.0, 10.0]), jnp.array([1e3, 1e3, 1e4, 1e4])
    return agent, jax.jit(jax.vmap(learned), compiler_options=AS_USERS)(alphas, numbers)


def judged(agent, state, found):
    """How far each agent's policy is from the equilibrium, and what its reward is worth, on its MDP."""
    env, _ = make(GAME)
    seen = jnp.eye(24)[:, None].repeat(2, 1)
    values = agent.step.__self__.values(state.params, seen)
    reward, every = agent.reward(state), jnp.eye(24)

    def paid(here, action, after):
        pair = lambda row: jnp.stack([row, row])  # noqa: E731
        step = Transition(pair(here), jnp.stack([action, action]), 0.0, pair(after), False, False)
        return reward.step(reward.init(jax.random.key(0)), (), step)[1]

    table = jax.vmap(jax.vmap(jax.vmap(paid, (None, None, 0)), (None, 0, None)), (0, None, None))
    rewards = table(every, jnp.arange(3), every)
    both = []
    for one in range(2):
        mdp, logs = induced(env.game, found.policy, one), jax.nn.log_softmax(values[:, one])
        met = (1 - DISCOUNT) * discounted_occupancy(mdp, found.policy[one], DISCOUNT)
        both.append(((met * (jnp.log(found.policy[one]) - logs)).sum(), recovery(mdp, rewards[..., one], DISCOUNT)))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *both)


@pytest.fixture(scope="module")
def measures(shown, recovered):
    agent, (states, _) = recovered
    divergence, found = jax.jit(jax.vmap(lambda state: judged(agent, state, shown[0])))(states)
    return np.asarray(divergence), jax.tree.map(np.asarray, found)


def test_an_equilibrium_is_recovered_from_samples(measures):
    """From 10,000 transitions and an alpha of 1, divergences of .012 and .011 and STARC distances of .15 and .17."""
    divergence, found = measures
    assert (divergence[2] <= 0.015).all()
    assert (found.starc[2] <= 0.25).all()
    assert (found.regret[2:] <= 0.02).all()


def test_more_transitions_and_a_larger_alpha_come_nearer(measures):
    """With many transitions it is alpha that keeps the policy off, with few the draw: there it does not help."""
    divergence, found = measures
    assert (divergence[2] < divergence[0]).all()
    assert (divergence[3] < divergence[1] / 4).all()
    assert (found.starc[2:] < found.starc[:2] / 2).all()
    assert (divergence[3] < divergence[2] / 2).all()


def test_an_error_is_beside_that_of_no_reward_at_all(measures):
    """A small alpha keeps rewards small, and their errors. With a larger one they are as near, and worse than zero."""
    _, found = measures
    assert (found.error[2] < found.error_of_zero[2]).all()
    assert (found.error[3] > found.error_of_zero[3]).all()
    assert (found.pearson[2:] > 0.2).all()


def test_what_is_logged_is_of_what_was_shown(shown, recovered):
    """The mean of `-log pi` at the least is nearly the entropy of what the equilibrium does where it is."""
    _, (_, logged) = recovered
    table = np.asarray(shown[0].policy)
    file = np.load(shown[1])
    state = file["observation"][:, 0].argmax(-1)
    entropy = -(table * np.log(table)).sum(-1)[:, state].mean()
    np.testing.assert_allclose(logged["loss/policy"][3, -20:].mean(), entropy, atol=0.01)
    likeliest = np.stack([table[one, state].argmax(-1) for one in range(2)], -1)
    agree = (likeliest == file["action"]).mean()
    np.testing.assert_allclose(logged["policy/agreement"][3, -20:].mean(), agree, atol=0.02)
    assert (logged["env_steps"] == 64).all()


def filled():
    """A batch of demonstrated transitions of two agents in the game, and another one."""
    rng = np.random.default_rng(0)
    batch = lambda: Transitions(  # noqa: E731
        np.eye(24, dtype=np.float32)[rng.integers(24, size=6)][:, None].repeat(2, 1),
        rng.integers(3, size=(6, 2)).astype(np.int32),
        np.eye(24, dtype=np.float32)[rng.integers(24, size=6)][:, None].repeat(2, 1),
        rng.integers(2, size=6).astype(bool),
    )
    return [jax.tree.map(jnp.asarray, batch()) for _ in range(2)]


def by_hand(agent, params, batch, target):
    """`Q(s, a)`, `V(s)` and `discount V(s')` in NumPy, of each agent `[B, 2]`."""
    values = lambda params, seen: np.asarray(agent.step.__self__.values(params, seen, batch.action), float)  # noqa: E731
    soft = lambda q: 2.0 * np.log(np.exp(q / 2.0).sum(-1))  # noqa: E731
    here = values(params, batch.observation)
    taken = np.take_along_axis(here, np.asarray(batch.action)[..., None], -1)[..., 0]
    follows = 0.8 * ~np.asarray(batch.terminated)[:, None] * soft(values(target, batch.next_observation))
    return taken, soft(here), follows


@pytest.mark.parametrize(
    "options",
    [
        {"value_states": "policy"},
        {"value_states": "expert"},
        {"value_states": "mixed", "target": True},
        {"value_states": "start"},
        {"value_states": "expert", "penalised": "both"},
        {"loss": "squared_likelihood", "reads": "joint_action"},
        {"value_states": "expert", "reads": "joint_action"},
        {"value_states": "policy", "reads": "others_actions"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_losses_are_those_of_the_paper_and_of_the_authors_code(shown, options):
    env, params = make(GAME)
    agent = mamql(env, params, Config(demonstrations=str(shown[1]), **{**SMALL, "layers": (4,)}, **options))
    algorithm, hyperparams = agent.step.__self__, Hyperparams(**SCALES)
    drawn = [agent.init(jax.random.key(seed), hyperparams).learner.params for seed in (0, 1)]
    critic, target = drawn if options.get("target") else drawn[:1] * 2
    demonstrated, played = filled()
    (taken, value, following), (played_taken, *lost) = (
        by_hand(agent, critic, x, target) for x in (demonstrated, played)
    )
    lost, reward = (lost[0] - lost[1]).mean(0), taken - following
    if options.get("value_states") == "start":
        soft = lambda q: 2.0 * np.log(np.exp(np.asarray(q) / 2.0).sum(-1))  # noqa: E731
        lost = 0.2 * soft(algorithm.values(critic, played.observation)).mean(0)
    elif options.get("value_states") != "policy":
        share = 0.3 if options.get("value_states") == "mixed" else 0.0
        lost = share * lost + (1 - share) * (value - following).mean(0)
    expected = lost - reward.mean(0) + (reward**2).mean(0) / (4 * 0.7)
    if options.get("penalised"):
        every = np.concatenate([reward, played_taken - by_hand(agent, critic, played, target)[2]])
        expected = lost - reward.mean(0) + (every**2).mean(0) / (4 * 0.7)
    if options.get("loss"):
        expected = ((value - taken) ** 2).mean(0)
    beside = played.observation if options.get("value_states") == "start" else played
    loss, told = algorithm.loss(critic, target if options.get("target") else (), hyperparams, demonstrated, beside, KEY)
    np.testing.assert_allclose(loss, expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(told["recovered/mean"], reward.mean(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(told["recovered/largest"], np.abs(reward).max(), rtol=1e-5)
    np.testing.assert_allclose(told["loss/policy"], (value - taken).mean() / 2, rtol=1e-5)


def test_squares_of_params_count_as_much_as_is_said(shown):
    env, params = make(GAME)
    agent = mamql(env, params, Config(demonstrations=str(shown[1]), value_states="expert", **SMALL))
    algorithm, (batch, _) = agent.step.__self__, filled()
    critic = agent.init(jax.random.key(0), Hyperparams()).learner.params
    of = lambda l2: algorithm.loss(critic, (), Hyperparams(**{**SCALES, "l2": l2}), batch, (), KEY)[0]  # noqa: E731
    squares = sum(np.square(leaf).sum() for leaf in jax.tree.leaves(critic))
    np.testing.assert_allclose(of(0.5) - of(0.0), 0.5 * squares, rtol=1e-4)


def test_units_are_left_out_in_updates_alone(shown):
    """Each agent's at random, and what is left counts so much more; a policy has all of them."""
    env, params = make(GAME)
    config = Config(demonstrations=str(shown[1]), dropout=0.25, **{**SMALL, "layers": (400,)})
    agent, (batch, _) = mamql(env, params, config), filled()
    algorithm, state = agent.step.__self__, agent.init(jax.random.key(0), Hyperparams())
    whole = algorithm.values(state.params, batch.observation)
    np.testing.assert_array_equal(whole, algorithm.values(state.params, batch.observation))
    draw = jax.jit(jax.vmap(lambda key: algorithm.values(state.params, batch.observation, key=key)))
    drawn = np.asarray(draw(jax.random.split(KEY, 2_000)))
    kept = jax.tree.map(np.asarray, state.params["params"])
    seen = np.asarray(batch.observation[0, 0]) @ kept["Torso_0"]["Dense_0"]["kernel"][0]
    units = np.where(seen > 0, seen, np.exp(seen) - 1)[:, None] * kept["Dense_0"]["kernel"][0]
    deviation = np.sqrt((units**2).sum(0) * 0.25 / 0.75)
    np.testing.assert_allclose(drawn[:, 0, 0].std(0), deviation, rtol=0.1)
    np.testing.assert_allclose(drawn[:, 0, 0].mean(0), whole[0, 0], atol=5 * deviation.max() / 2_000**0.5)
    assert abs(np.corrcoef(drawn[:, 0, 0, 0], drawn[:, 0, 1, 0])[0, 1]) < 0.1


@pytest.mark.parametrize("reads", ["joint_action", "others_actions"])
def test_actions_are_read_and_acted_on_as_zeros(shown, reads):
    env, params = make(GAME)
    agent = mamql(env, params, Config(demonstrations=str(shown[1]), reads=reads, **SMALL))
    algorithm, state = agent.step.__self__, agent.init(jax.random.key(0), Hyperparams())
    batch, _ = filled()
    read = np.asarray(algorithm.read(batch.observation, batch.action))
    joint = np.eye(3)[np.asarray(batch.action)].reshape(6, 1, 6).repeat(2, 1)
    if reads == "others_actions":
        joint[:, 0, :3] = joint[:, 1, 3:] = 0
    np.testing.assert_array_equal(read, np.concatenate([batch.observation, joint], -1))
    kernel = np.asarray(state.params["params"]["Dense_0"]["kernel"])
    expected = [(np.asarray(batch.observation[0, one]) @ kernel[one, :24]).argmax() for one in range(2)]
    assert agent.policy(state).mode((), batch.observation[0], jax.random.key(0))[1].tolist() == expected


def test_transitions_beyond_the_number_are_not_looked_at(shown, tmp_path):
    """A file whose later rows are others, or aren't there, leads to the same bits."""
    file, env_params = dict(np.load(shown[1])), make(GAME)
    rest = {name: file[name][:50].copy() for name in ("observation", "action", "terminated", "truncated")}
    np.savez(tmp_path / "short.npz", **{name: leaf[:31] for name, leaf in rest.items()})
    rest["action"][30:] = (rest["action"][30:] + 1) % 3
    np.savez(tmp_path / "long.npz", **rest)

    def learned(name, number):
        config = Config(demonstrations=str(tmp_path / name), value_states="expert", **{**SMALL, "num_updates": 4})
        agent = mamql(*env_params, config)
        state = agent.init(jax.random.key(0), Hyperparams(num_demonstrations=number))
        return jax.jit(agent.step.__self__.learn)(state, jax.random.key(1))[0].params

    short, long, every = learned("short.npz", np.inf), learned("long.npz", 30.0), learned("long.npz", np.inf)
    jax.tree.map(np.testing.assert_array_equal, short, long)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(short), jax.tree.leaves(every), strict=True))


def test_a_recovered_reward_is_an_ordinary_one(shown, recovered):
    """It pays what critics say of a step that is taken, and its params may be vmapped over."""
    env, _ = make(GAME)
    agent, (states, _) = recovered
    reward = agent.reward(jax.tree.map(lambda leaf: leaf[3], states))
    game = with_reward(env, reward)
    game_params = game.default_params
    observation, state = game.reset_env(jax.random.key(1), game_params)
    action = jnp.array([2, 0])
    after, _, paid, _, info = jax.jit(game.step_env)(jax.random.key(2), state, action, game_params)
    values = agent.step.__self__.values(game_params.reward.critic, jnp.stack([observation, after]))
    soft = np.log(np.exp(np.asarray(values[1], float)).sum(-1))
    np.testing.assert_allclose(paid, np.asarray(values[0])[[0, 1], [2, 0]] - DISCOUNT * soft, rtol=1e-4)
    assert info["env_reward"].shape == (2,)
    twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 1]), game_params.reward)
    step = lambda reward: game.step_env(jax.random.key(2), state, action, game_params.replace(reward=reward))[2]  # noqa: E731
    assert jax.vmap(step)(twice).shape == (2, 2)


def balanced(path, steps=600):
    """A file of what keeps a pole up: pushing to where it leans and falls."""
    push = lambda carry, seen, key: (carry, (seen[2] + seen[3] > 0).astype(jnp.int32))  # noqa: E731
    env, params = make("CartPole-v1")
    record(env, params, Policy(lambda: (), push, push), path, steps)
    return env, params


@pytest.mark.parametrize(("states", "least"), [("expert", 475), ("mixed", 350)])
def test_iq_learn_keeps_a_pole_up_that_it_saw_kept_up(tmp_path, states, least):
    """The mean of four seeds, actions sampled; at random it falls after 22 steps, an episode has 500."""
    env, params = balanced(tmp_path / "pole.npz")
    sizes = {"layers": (32,), "num_envs": 4, "num_steps": 64, "num_updates": 64, "batch_size": 64, "capacity": 4096}
    config = single.Config(demonstrations=str(tmp_path / "pole.npz"), value_states=states, **sizes)
    agent = single.iq_learn(env, params, config)

    @jax.jit
    @jax.vmap
    def learned(key):
        start = agent.init(key, single.Hyperparams(learning_rate=3e-3))
        return jax.lax.scan(lambda now, _: agent.step(now), start, length=30)[1]

    told = learned(jax.random.split(jax.random.key(0), 4))
    count, returns = (np.asarray(told[f"episode/{name}"])[:, -10:] for name in ("count", "return"))
    assert np.nansum(count * returns) / count.sum() > least


def refused(message, error=ValueError, make_agent=mamql, name=GAME, config=Config, **settings):
    with pytest.raises(error, match=message):
        make_agent(*make(name), config(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"divergence": "chi"}, "no divergence 'chi'; did you mean 'chi2'"),
        ({"value_states": "experts"}, "no value_states 'experts'; did you mean 'expert'"),
        ({"loss": "nll"}, "no loss 'nll'"),
        ({"capacity": 100}, r"capacity=100 is no multiple of num_envs \* num_steps = 64; try 128"),
        ({"divergence": "js", "penalised": "both"}, "penalised=both is a part of chi2, and the divergence is js"),
        ({"reads": "joint_action", "value_states": "start"}, "no actions where an episode starts"),
        ({"penalised": "both", "value_states": "start"}, "which value_states=start with loss=inverse does without"),
        ({"penalised": "both", "loss": "squared_likelihood"}, "with loss=squared_likelihood does without"),
        ({"divergence": "js", "loss": "squared_likelihood"}, "has no divergence: leave divergence=js out"),
        ({"reads": "actions"}, "no reads 'actions'"),
        ({"activation": "elus"}, "did you mean 'elu'"),
        ({"conv": (2,)}, r"is for pictures .* games/random_game shows \[\(24,\)\]"),
        ({"digest": "0"}, "is another file than it was"),
    ],
)
def test_options_that_do_not_fit_are_refused(shown, settings, message):
    refused(message, demonstrations=str(shown[1]), **settings)


def test_what_cannot_be_learned_from_is_refused(shown, tmp_path):
    path = str(tmp_path / "cut.npz")
    refused("mamql learns from a file: set demonstrations=FILE")
    refused(
        "has demonstrations of games/random_game, not of games/gems", demonstrations=str(shown[1]), name="games/gems"
    )
    refused("has one agent, and this agent takes games", demonstrations=str(shown[1]), name="CartPole-v1")
    alone = {"make_agent": single.iq_learn, "config": single.Config}
    refused("is a game of 2 agents, and this agent learns to act for one", demonstrations=str(shown[1]), **alone)
    np.savez(path, observation=np.zeros((3, 2, 24)), action=np.zeros((3, 2), int))
    refused("say neither `terminated` nor `truncated`", demonstrations=path)
    np.savez(path, observation=np.zeros((3, 2, 24)), action=np.zeros((3, 2), int), truncated=np.ones(3, bool))
    refused("of 3 demonstrated steps each is the last before a cut", demonstrations=path)
    np.savez(path, observation=np.zeros((3, 3)), action=np.zeros((3, 1)), terminated=np.ones(3, bool))
    refused("has a value for each of some actions", TypeError, name="Pendulum-v1", demonstrations=path, **alone)


def test_critics_of_pictures_see_all_of_them(tmp_path):
    """Of each agent's picture, by convolutions of its own."""
    env, params = make("games/overcooked?observation=planes")
    shape = jax.eval_shape(env.reset_env, jax.random.key(0), params)[0].shape
    np.savez(tmp_path / "p.npz", observation=np.zeros((2, *shape)), action=np.zeros((2, 2), int), terminated=[1, 1])
    agent = mamql(env, params, Config(demonstrations=str(tmp_path / "p.npz"), conv=(3,), layers=(), num_envs=2))
    state = agent.init(jax.random.key(0), Hyperparams())
    window = state.params["params"]["Convolution_0"]["Dense_0"]["kernel"]
    assert window.shape == (2, 9 * shape[-1], 3)
    seen = jnp.zeros((1, *shape)).at[0, 1].set(1.0)
    values = agent.step.__self__.values(state.params, jnp.concatenate([seen, 0 * seen]))
    np.testing.assert_array_equal(values[0, 0], values[1, 0])
    assert (values[0, 1] != values[1, 1]).all()


def test_a_resumed_run_has_the_same_bits(shown, tmp_path):
    """The ring of transitions is kept, and full where the run is stopped."""
    env, params = make(GAME)
    sizes = {**SMALL, "num_updates": 2, "batch_size": 4, "capacity": 128}
    agent = mamql(env, params, Config(demonstrations=str(shown[1]), target=True, **sizes))
    told = {"seeds": 2, "log_every": 2, "progress": False}
    whole = train(agent, Hyperparams(), iterations=6, folder=tmp_path / "whole", **told)
    train(agent, Hyperparams(), iterations=4, folder=tmp_path / "part", **told)
    resumed = train(agent, Hyperparams(), iterations=6, folder=tmp_path / "part", resume=True, **told)
    raw = lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf  # noqa: E731
    same = jax.tree.map(lambda x, y: np.array_equal(raw(x), raw(y)), whole.state, resumed.state)
    assert all(jax.tree.leaves(same))
    assert resumed.state.replay.filled.ravel().tolist() == [16, 16]
