"""The figures of MAMQL: what is claimed, on data that meets it and on data that does not, and what it is made of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from gymnax.environments import spaces
from gymnax.environments.environment import Environment

from jaxreward.agent import Agent, Policy
from jaxreward.agents.registry import get_agent
from jaxreward.distances.canonical import canonicalise
from jaxreward.distances.starc import starc_distance
from jaxreward.experiments.figures.mamql import _common, _recovered, _told, gems, intersection, overcooked
from jaxreward.experiments.figures.mamql._recovered import Listed, advantages, distances
from jaxreward.mdp import TabularMDP
from jaxreward.reproduce.claims import check
from jaxreward.reward import markov

OTHERS = ("independent IQ-Learn", "cloning", "MA-AIRL")
MEANS = {
    "MAMQL": (8.5, 12.8, 13.1),
    "independent IQ-Learn": (2.4, 7.3, 11.5),
    "cloning": (4.0, 11.0, 13.0),
    "MA-AIRL": (2.0, 4.0, 6.0),
}
FAR = {"MAMQL": 0.3, "independent IQ-Learn": 0.9, "MA-AIRL": 1.2}


def table(means=MEANS, demonstrator=13.2, numbers=(1_000, 10_000, 20_000), starc=FAR, spread=0.2):
    """Six runs of each method with each number of transitions, a little apart, and a demonstrator's episodes."""
    rows = [
        {"method": method, "number": number, "seed": seed, "updates": updates, "return": mean * share + 0.02 * seed}
        | {"starc": starc.get(method, np.nan) + 0.001 * seed if share == 1 and number == numbers[-1] else np.nan}
        for method, each in means.items()
        for number, mean in zip(numbers, each, strict=True)
        for seed in range(6)
        for updates, share in ((100, 0.1), (200, 1))
    ]
    shown = [
        {"method": _common.DEMONSTRATOR, "number": numbers[-1], "seed": k, "return": demonstrator + spread * (-1) ** k}
        for k in range(8)
    ]
    return pd.DataFrame(rows + shown)


def verdicts(frame, figure=gems.figure, scale="small"):
    return [check(claim, frame, scale).verdict for claim in figure.claims]


@pytest.mark.parametrize(
    ("module", "numbers", "claims"),
    [
        (gems, (1_000, 10_000, 20_000), 14),
        (intersection, (1_000, 5_000, 20_000), 11),
        (overcooked, (500, 1_000, 2_000), 14),
    ],
)
def test_claims_are_met_by_such_numbers_as_the_authors_plots_show(module, numbers, claims):
    assert module.SIZES["small"].numbers == numbers
    assert verdicts(table(numbers=numbers), module.figure) == ["met"] * claims
    assert verdicts(table(numbers=numbers), module.figure, "smoke") == ["not decidable"] * claims


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"MAMQL": (8.5, 12.8, 12.0)}, [0]),
        ({"independent IQ-Learn": (9.0, 7.3, 11.5)}, [1, 7]),
        ({"cloning": (9.0, 14.0, 13.0)}, [2, 5, 8]),
        ({"independent IQ-Learn": (2.4, 13.5, 11.5)}, [4]),
        ({"MA-AIRL": (5.0, 13.0, 6.0)}, [6, 9]),
    ],
)
def test_claims_are_not_met_otherwise(changed, wrong):
    found = verdicts(table({**MEANS, **changed}))
    assert [place for place, verdict in enumerate(found) if verdict == "not met"] == wrong


def test_a_demonstrator_whose_returns_vary_is_not_known_better_than_they_say():
    """8 episodes 2 from their mean have a standard error of 0.76, and 13.15 is 0.6 above 0.95 of it."""
    assert verdicts(table(spread=2.0))[0] == "not decidable"
    assert verdicts(table({**MEANS, "MAMQL": (8.5, 12.8, 16.0)}, spread=2.0))[0] == "met"


def test_who_loses_is_exceeded_though_no_ratio_says_so():
    claims = [check(claim, table({**MEANS, "cloning": (-0.5, 11.0, 13.0)}), "small") for claim in gems.figure.claims]
    (twice,) = [claim for claim in claims if "twice what cloning" in claim.text]
    assert twice.verdict == "met"
    assert np.isnan(twice.estimate.value)


def test_rewards_that_are_no_nearer_meet_no_claim():
    worse = table(starc={**FAR, "MAMQL": 0.7})
    assert verdicts(worse)[-4:] == ["met", "not met", "met", "not met"]
    assert verdicts(table(starc={**FAR, "MAMQL": 1.0}))[-4:] == ["not met", "not met", "met", "not met"]


def test_returns_of_a_file_are_of_whole_episodes(tmp_path):
    """Episodes of 2, 1 and 3 steps, the last two of which were cut, one by the recording: means over agents."""
    paid = np.array([[1.0, 3.0], [0, 2], [5, 7], [1, 1], [0, 0], [9, 9]])
    ends = {"terminated": np.array([0, 1, 0, 0, 0, 0], bool), "truncated": np.array([0, 0, 1, 0, 0, 1], bool)}
    np.savez(tmp_path / "shown.npz", reward=paid, **ends)
    np.testing.assert_allclose(_common.returns_of(tmp_path / "shown.npz"), [3, 6])


def test_parts_are_methods_and_claims_say_which_they_take():
    parts = list(gems.figure.data("small"))
    assert parts == [_common.DEMONSTRATOR, *_common.METHODS]
    level, first, *_ = gems.figure.claims
    assert level.parts(parts) == [_common.DEMONSTRATOR, "MAMQL"]
    assert first.parts(parts) == ["MAMQL", "independent IQ-Learn"]
    assert all(len(claim.parts(parts)) == 2 for claim in overcooked.figure.claims)
    frame = table().assign(updates=lambda rows: rows["updates"].fillna(0))
    for name in parts:
        assert len(_told.plot(frame[frame["method"] == name]).axes) >= 2


def test_what_is_to_be_run_is_counted(monkeypatch):
    """Two learning rates with two seeds each, and each number of transitions with five; where there is one, that."""
    ready = _common.Learner(Agent(None, None, None), lambda **numbers: numbers, 8 * 64)
    monkeypatch.setattr(_common, "learner", lambda *_: ready)
    size = gems.SIZES["small"]
    chosen, told = _common.works("MAMQL", gems.GAME, size)
    assert (chosen.configurations, chosen.seeds, told.configurations, told.seeds) == (2, 2, 3, 5)
    assert chosen.steps == told.steps == size.iterations * 8 * 64
    assert chosen.alike == told.alike
    assert len(_common.works("MAMQL", gems.GAME, size._replace(rates=(1e-3,)))) == 1


def test_it_is_drawn():
    figure = _told.plot(table())
    by_number, by_updates, recovered = figure.axes
    named = [*(f"{name} (n = 6)" for name in MEANS), _common.DEMONSTRATOR]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == named
    np.testing.assert_allclose(by_number.lines[0].get_ydata(), np.array(MEANS["MAMQL"]) + 0.05)
    assert by_number.lines[-1].get_ydata()[0] == 13.2
    np.testing.assert_allclose(by_updates.lines[0].get_ydata(), [1.31 + 0.05, 13.1 + 0.05])
    assert [text.get_text() for text in recovered.get_yticklabels()] == list(FAR)
    np.testing.assert_allclose(float(recovered.containers[0].lines[0].get_xdata()[0]), 0.3025)
    alone = _told.plot(table().drop(columns="starc"))
    assert len(alone.axes) == 2


def test_the_learning_rate_with_the_highest_mean_return_is_kept_and_all_are_tried_alike():
    size = _common.Size(5, (1, 2, 3), 10, (4,), 8, rates=(0.1, 0.2, 0.3))
    asked = []

    def train(keys, numbers, rates):
        asked.append((keys, np.asarray(numbers), np.asarray(rates)))
        last = np.array([5.0, 1.0, 2.5, 4.5, np.nan, 9.0])  # a rate that fails once is none
        return np.stack([np.zeros(6), last], -1), None

    assert _common.tuned(train, size) == 0.2
    (keys, numbers, rates), *_ = asked
    assert set(numbers) == {2.0}
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.2, 0.2, 0.3, 0.3])
    assert len(np.unique(np.asarray(jax.random.key_data(keys)), axis=0)) == _common.TUNED_WITH
    assert _common.tuned(None, size._replace(rates=(0.5,))) == 0.5


def test_methods_have_as_many_steps_of_adam_on_as_many_transitions():
    size = gems.SIZES["small"]
    for name, method in _common.METHODS.items():
        config = method.config(size, "f.npz")
        prefix = "discriminator_" if name == "MA-AIRL" else ""
        of = {"updates": "num_updates", "batch": "batch_size"} if not prefix else {}
        assert config[of.get("updates", "discriminator_updates")] == _common.UPDATES
        assert config[of.get("batch", "discriminator_batch")] == size.batch_size
        assert config[f"{prefix}layers"] == size.layers
        numbers = {each.name for each in dataclasses.fields(get_agent(method.agent).Hyperparams)}
        assert set(method.rates) == {name for name in numbers if name.endswith("learning_rate")}


@pytest.fixture(scope="module")
def small():
    """A game of 5 states, 3 actions and 2 things that others do, in both forms, two rewards in it, and a policy."""
    draw = np.random.default_rng(0)
    following, likely = draw.integers(0, 5, (5, 3, 2)), draw.dirichlet(np.ones(2), 5)
    transition = np.zeros((5, 3, 5))
    for (state, action, other), after in np.ndenumerate(following):
        transition[state, action, after] += likely[state, other]
    rewards = draw.normal(size=(2, 5, 3, 2))
    dense = np.repeat(np.einsum("ksab,sb->ksa", rewards, likely)[..., None], 5, -1)
    mdp = TabularMDP(jnp.asarray(transition), jnp.asarray(dense[0]), jnp.full(5, 0.2), jnp.zeros(5, bool))
    own = draw.dirichlet(np.ones(3), 5)
    return Listed(following, likely, own), rewards, mdp, dense


def test_canonical_rewards_and_distances_of_listed_states_are_those_of_tables(small):
    listed, rewards, mdp, dense = small
    own = jnp.asarray(listed.own)
    found = advantages(listed, rewards, 0.9)
    for canonical, table in zip(found, dense, strict=True):
        expected = canonicalise("val", mdp._replace(reward=jnp.asarray(table)), 0.9, own)[..., 0]
        np.testing.assert_allclose(canonical, expected, atol=1e-5)
    exact = starc_distance(mdp, jnp.asarray(dense[1]), 0.9, policy=own)
    np.testing.assert_allclose(distances(found, np.ones(5)), [exact], rtol=1e-4)


def test_shaping_and_scale_are_no_distance_and_only_states_that_count_do(small):
    listed, rewards, *_ = small
    potential = np.random.default_rng(1).normal(size=5)
    shaped = 3 * rewards[0] + 0.9 * potential[listed.following] - potential[:, None, None]
    canonical = advantages(listed, np.stack([rewards[0], shaped, -rewards[0], 0 * rewards[0]]), 0.9)
    np.testing.assert_allclose(distances(canonical, np.arange(5.0)), [0, 2, 1], atol=1e-5)
    apart = canonical.copy()
    apart[1, 0] += 1
    assert distances(apart, np.arange(5.0))[0] < 1e-5 < distances(apart, np.ones(5))[0]


def test_states_that_can_be_come_to_are_found():
    following = np.array([[1, 1], [2, 0], [2, 2], [0, 4], [3, 3]])
    assert overcooked.come_to(following, np.array([1])).tolist() == [0, 1, 2]
    assert overcooked.come_to(following, np.array([4, 2])).tolist() == [0, 1, 2, 3, 4]


class Dice(Environment):
    """Two agents who each throw 0 or 1, and what counts is whose turn it is; nothing ends."""

    num_agents, num_actions, name, default_params = 2, 2, "dice", None

    def observe(self, turn):
        return jnp.stack([turn, 1 - turn])[:, None].astype(float)

    def reset_env(self, key, params):
        turn = jax.random.randint(key, (), 0, 2)
        return self.observe(turn), turn

    def step_env(self, key, turn, action, params):
        paid = jnp.where(jnp.arange(2) == turn, action, 2.0 * action[::-1]).astype(float)
        after = (turn + action.sum()) % 2
        return self.observe(after), after, paid, jnp.zeros((), bool), {}

    def is_truncated(self, turn, params):
        return jnp.zeros((), bool)

    def action_space(self, params=None):
        return spaces.Discrete(2)


def test_distances_of_samples_see_scale_and_shaping_as_none_and_the_opposite_as_the_greatest(monkeypatch):
    """Recovered are the true reward, scaled and shaped, its opposite, and that each throw of 1 is paid.

    A throw is worth half a point more or less than one at random, truly in a thrower's turn alone, which is half the
    time. So of the last the cosine is the root of a half.
    """
    monkeypatch.setattr(_recovered, "make", lambda task: (Dice(), None))
    for name, less in {"DISCOUNT": 0.5, "STEPS": 64, "OF_TRUE": 4, "AT_ONCE": 1_024}.items():
        monkeypatch.setattr(_recovered, name, less)

    def reward(kind):
        def paid(kind, one):
            shape = lambda turn: jnp.array([2.0, -1.0])[turn]  # noqa: E731
            shaped = 3 * one.reward + 0.5 * shape(one.next_state) - shape(one.state)
            return jnp.stack([shaped, -one.reward, one.action])[kind]

        return markov(paid, lambda key: kind)

    throw = lambda carry, seen, key: (carry, jax.random.randint(key, (2,), 0, 2))  # noqa: E731
    game = _common.Game("dice", Policy(lambda: (), throw, throw))
    same, opposite, always = _recovered.sampled_starc(game, Agent(None, None, None, reward), jnp.arange(3))
    assert same < 0.2
    assert opposite > 1.95
    np.testing.assert_allclose(always, np.sqrt(2 - np.sqrt(2)), atol=0.1)


def of_cooks(kind):
    """The reward of cooks in an eighth and shaped, its opposite, what only deliveries pay, and what only onions do."""

    def paid(kind, one):
        held = lambda state: jnp.asarray(state.held, float) + state.onions  # noqa: E731
        shaped = one.reward / 8 + 0.9 * held(one.next_state) - held(one.state)
        return jnp.stack([shaped, -one.reward, one.info["reward/deliver"], one.info["reward/put"]])[kind]

    return markov(paid, lambda key: kind)


@pytest.mark.slow
def test_exact_distances_of_cooks_and_those_of_samples(monkeypatch):
    """At a discount of 0.9, at which futures are short; cosines, whose noise is that of products."""
    monkeypatch.setattr(_recovered, "STEPS", 64)
    for module in (_recovered, overcooked):
        monkeypatch.setattr(module, "DISCOUNT", 0.9)
    agent = Agent(None, None, None, of_cooks)
    exact = overcooked.starc(agent, jnp.arange(4))
    np.testing.assert_allclose(exact[:2], [0, 2], atol=1e-3)
    found = _recovered.sampled_starc(overcooked.GAME, agent, jnp.arange(4))
    np.testing.assert_allclose(1 - found**2 / 2, 1 - exact**2 / 2, atol=0.02)
    room = overcooked.kitchen()
    assert room.following.min() >= 0  # nothing leads out of what is listed
    np.testing.assert_allclose([room.weight.sum(), room.odds.sum(-1).min(), room.odds.sum(-1).max()], 1, rtol=1e-5)
