"""Names, grids and rewards of a user's own, resolved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agents.registry import AgentSpec, get_agent
from jaxreward.environment import with_reward
from jaxreward.envs import make
from jaxreward.learning.evaluation import EvaluationConfig
from jaxreward.lookup import load_reference
from jaxreward.reward import Reward, Transition, markov
from jaxreward.rewards.registry import get_reward, list_rewards
from jaxreward.run.spec import headline, resolve, setting_names
from jaxreward.run.store import differences
from jaxreward.settings.values import convert, parse_grid, parse_settings, parse_value, product

REWARDS = """
import jax.numpy as jnp
from jaxreward import markov
from jaxreward.rewards import environment_reward, potential_shaping, weighted

def plain(transition):
    return 2.0 * transition.reward

def with_params(params, transition):
    return params["goal"] * transition.reward + params["bonus"]

with_params.params = {"goal": 3.0, "bonus": 1.0}

def paramless(params, transition):
    return transition.reward

ready = markov(lambda params, t: params["a"] * t.reward, {"a": 5.0})

def factory():
    return weighted(task=(environment_reward(), 7.0))

def vector(transition):
    return jnp.ones(2) * transition.reward

def matrix(transition):
    return jnp.ones((2, 2))

def misspelt(transition):
    return transition.rewrad

def branches(transition):
    return 1.0 if transition.reward > 0 else 0.0

def raises(transition):
    return undefined_name

def three(a, b, c):
    return 0.0

def makes_nothing():
    return 1

shaped = potential_shaping(lambda x: x.sum())
array = markov(lambda params, t: params.sum(), jnp.zeros(3))
number = 3
"""


@pytest.fixture
def rewards(tmp_path):
    path = tmp_path / "my_rewards.py"
    path.write_text(REWARDS)
    return lambda name: f"{path}:{name}"


def transition(reward=1.0):
    return Transition(0.0, 0, jnp.float32(reward), 0.0, jnp.array(False), jnp.array(False))


def value(reward: Reward, given=1.0):
    params = reward.init(jax.random.key(0))
    return float(reward.step(params, reward.reset(params), transition(given))[1])


# ---------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", 0.001),
        ("32", 32),
        ("true", True),
        ("False", False),
        ("inf", float("inf")),
        ("(64,32)", (64, 32)),
        ("[64,32]", (64, 32)),
        ("relu", "relu"),
        ("98_304", 98304),
    ],
)
def test_values_are_parsed(text, expected):
    parsed = parse_value(text)
    assert parsed == expected
    assert type(parsed) is type(expected)


def test_grid_is_parsed():
    grid = parse_grid(["a=1,2.5", "b=logspace(1e-4,1e-2,3)", "c=linspace(0,1,3)", "d=(1,2),(3,4)", "e=x"])
    assert grid == {
        "a": [1, 2.5],
        "b": [1e-4, 1e-3, 1e-2],
        "c": [0, 0.5, 1],
        "d": [(1, 2), (3, 4)],
        "e": ["x"],
    }


def test_product_varies_the_last_name_fastest():
    members = product({"a": [1, 2], "b": [3, 4]})
    assert members == [{"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4}]
    assert product({}) == [{}]


@pytest.mark.parametrize(
    "text", ["a", "=1", "a=", "a=logspace(0,1,3)", "a=linspace(0,1)", "a=linspace(0,1,1)", "a=1,1"]
)
def test_malformed_settings_are_refused(text):
    with pytest.raises(ValueError, match=r"a|NAME=VALUE"):
        parse_grid([text])


def test_repeated_and_listed_settings_are_refused():
    with pytest.raises(ValueError, match="a was given twice"):
        parse_grid(["a=1", "a=2"])
    with pytest.raises(ValueError, match="sweep --grid"):
        parse_settings(["a=1,2"])


@pytest.mark.parametrize(
    ("given", "like", "expected"),
    [
        (1e3, 5, 1000),
        (3, 0.5, 3.0),
        (True, False, True),
        (64, (1, 2), (64,)),
        ((32,), (), (32,)),
        ("relu", "tanh", "relu"),
        (2, jnp.int32(1), 2),
    ],
)
def test_values_take_the_type_they_replace(given, like, expected):
    converted = convert("x", given, like)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("given", "like", "words"),
    [
        (0.5, 5, "an integer"),
        ("a", 0.5, "a number"),
        (True, 5, "an integer"),
        (1, False, "true or false"),
        (1, "tanh", "a word"),
    ],
)
def test_values_of_the_wrong_type_are_refused(given, like, words):
    with pytest.raises(ValueError, match=f"x must be {words}"):
        convert("x", given, like)


# ----------------------------------------------------------------------------------------------------------- rewards


@pytest.mark.parametrize(("name", "expected"), [("plain", 2.0), ("with_params", 4.0), ("ready", 5.0), ("factory", 7.0)])
def test_own_rewards_in_all_their_forms(rewards, name, expected):
    assert value(get_reward(rewards(name))) == expected


def test_built_in_rewards_need_nothing():
    assert value(get_reward("environment"), 3.0) == 3.0
    assert value(get_reward("clipped"), 3.0) == 1.0
    for name in list_rewards():
        assert isinstance(get_reward(name), Reward)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("paramless", r"paramless\.params = "),
        ("three", "takes 3 arguments"),
        ("makes_nothing", "returned a int; expected a Reward"),
        ("number", "is a int; expected a Reward"),
        ("plane", "did you mean 'plain'"),
    ],
)
def test_wrong_rewards_are_refused(rewards, name, message):
    with pytest.raises(ValueError, match=message):
        get_reward(rewards(name))


def test_missing_and_broken_reward_files_are_refused(tmp_path, rewards):
    with pytest.raises(ValueError, match=r"did you mean .*my_rewards"):
        get_reward(rewards("plain").replace("my_rewards", "my_reward"))
    with pytest.raises(ValueError, match="no module 'nowhere'"):
        get_reward("nowhere.rewards:plain")
    with pytest.raises(ValueError, match="did you mean 'sparse'"):
        get_reward("sprase")
    (tmp_path / "broken.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(ValueError, match=r"SyntaxError at .*broken\.py:2"):
        get_reward(f"{tmp_path}/broken.py:f")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("misspelt", "did you mean 'reward'"),
        ("matrix", r"returned shape \(2, 2\)"),
        ("vector", "scalar reward"),
        ("branches", r"jnp\.where.* instead of if"),
        ("raises", r"NameError at .*my_rewards\.py:\d+: name 'undefined_name'"),
    ],
)
def test_rewards_that_do_not_fit_are_refused_before_compilation(rewards, name, message):
    with pytest.raises(ValueError, match=message):
        resolve(env="CartPole-v1", reward=rewards(name))


# ------------------------------------------------------------------------------------------------------- experiments


def test_grid_becomes_a_batch_in_the_order_given(rewards):
    settings = {"learning_rate": [1e-3, 1e-4], "reward.goal": [1, 2, 3], "env.gravity": 10, "num_envs": 8}
    made = resolve(env="CartPole-v1", reward=rewards("with_params"), settings=settings)
    rates, goals = zip(*[(m["learning_rate"], m["reward.goal"]) for m in made.population], strict=True)
    assert rates == (1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-4)
    assert goals == (1, 2, 3, 1, 2, 3)
    batch = made.hyperparams
    np.testing.assert_array_equal(batch.learning_rate, np.array(rates, np.float32))
    np.testing.assert_array_equal(batch.env_params.reward["goal"], np.array(goals, np.float32))
    np.testing.assert_array_equal(batch.env_params.reward["bonus"], np.ones(6))
    np.testing.assert_array_equal(batch.env_params.env.gravity, np.full(6, 10, np.float32))
    assert {jnp.shape(leaf)[0] for leaf in jax.tree.leaves(batch)} == {6}
    assert made.config["agent_config"]["num_envs"] == 8
    assert made.steps_per_iteration == 8 * 64


def test_integer_env_params_stay_integers():
    made = resolve(env="CartPole-v1", settings={"env.max_steps_in_episode": [100, 2e2]})
    limits = made.hyperparams.env_params.max_steps_in_episode
    assert limits.dtype == jnp.int32
    assert limits.tolist() == [100, 200]
    assert resolve(settings={"env.max_steps_in_episode": 7}).env_params.max_steps_in_episode.dtype == jnp.int32


@pytest.mark.parametrize("swept", [True, False])
def test_reward_settings_reach_the_rewards_of_each_member(rewards, swept):
    goals = [0.0, 4.0] if swept else 4.0
    made = resolve(
        env="CartPole-v1", reward=rewards("with_params"), settings={"reward.goal": goals, "reward.bonus": 0.5}
    )

    def first_reward(params):
        _, state = made.env.reset_env(jax.random.key(0), params)
        return made.env.step_env(jax.random.key(0), state, jnp.array(0), params)[2]

    found = [float(jax.jit(first_reward)(made.member_env_params(i))) for i in range(len(made.population))]
    assert found == ([0.5, 4.5] if swept else [4.5])


def test_without_swept_env_params_they_are_constants():
    made = resolve(settings={"learning_rate": [1e-3, 1e-4], "env.gravity": 10})
    assert made.hyperparams.env_params is None
    assert float(made.env_params.gravity) == 10


def test_discounts_that_follow_the_agents_are_bound_and_not_named(rewards):
    made = resolve(reward=rewards("shaped"), settings={"discount": [0.5, 0.9], "env.gravity": [9.8]})
    assert not [name for name in setting_names(made.hyperparams) if name.startswith("reward")]
    for index, discount in enumerate([0.5, 0.9]):
        bound = made.member_env_params(index).reward["discount"].value
        np.testing.assert_array_equal(bound, np.float32(discount))


def test_options_of_the_factory_are_no_params():
    made = resolve(env="CartPole-v1?gravity=5.0")
    assert made.env_params.gravity == 5.0
    with pytest.raises(ValueError, match="gravty"):
        resolve(settings={"env.gravty": 1.0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rat": 1e-3}, "did you mean 'learning_rate'"),
        ({"num_env": 4}, "did you mean 'num_envs'"),
        ({"num_envs": [4, 8]}, "shapes the program"),
        ({"env.gravty": [1.0, 2.0]}, "did you mean 'env.gravity'"),
        ({"reward.goal": 1.0}, "no params"),
        ({"learning_rate": "fast"}, "learning_rate must be a number"),
        ({"learning_rate": [1e-3, "fast"]}, "learning_rate must be a number"),
        ({"num_envs": 0.5}, "num_envs must be an integer"),
        ({"num_minibatches": 7}, "does not divide"),
        ({"activation": "rule"}, "activation"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        resolve(settings=settings)


def test_arrays_cannot_be_set(rewards):
    with pytest.raises(ValueError, match="only single numbers"):
        resolve(reward=rewards("array"), settings={"reward": 1.0})


def test_unknown_agents_are_refused():
    with pytest.raises(ValueError, match="did you mean 'ppo'"):
        get_agent("pp0")
    with pytest.raises(ValueError, match="no Config"):
        get_agent("math:sqrt")


def test_own_agent_by_file(tmp_path):
    path = tmp_path / "my_agent.py"
    path.write_text(
        "from jaxreward.agents.baselines.ppo import Config, Hyperparams, ppo\ndef mine(*args):\n    return ppo(*args)\n"
    )
    spec = get_agent(f"{path}:mine")
    assert isinstance(spec, AgentSpec)
    made = resolve(agent=f"{path}:mine", settings={"discount": [0.9, 0.99]})
    assert len(made.population) == 2


def test_agents_say_what_their_result_is_and_a_run_from_before_goes_on():
    told = {name: get_agent(name).headline for name in ("ppo", "cma_es", "serene", "pbt/serene", "map_elites", "stax")}
    assert {name for name, headline in told.items() if headline == ("coverage",)} == {*told} - {"ppo", "cma_es"}
    made = resolve("random_search", "qd/point2d", settings={"budget": 100}).config
    assert made["headline"] == ["coverage"]
    before = {name: value for name, value in made.items() if name != "headline"}
    assert differences({"config": before}, {"config": made}) == []
    assert differences({"config": before}, {"config": {**made, "agent": "serene"}}) != []
    assert "headline" not in resolve().config


ENDLESS = "average/two_choice"


def test_where_nothing_ends_runs_are_judged_by_rates():
    rates = ["average_env_reward", "average_reward"]
    assert resolve("ppo", ENDLESS).config["headline"] == rates
    covers = get_agent("random_search")
    never, often = EvaluationConfig(), EvaluationConfig(every=1)
    assert headline(covers, make(ENDLESS)[0], never) == ("coverage", *rates)
    assert headline(covers, make("CartPole-v1")[0], never) == ("coverage",)
    evaluated = ("evaluation/average_env_reward", "evaluation/average_reward")
    assert headline(covers, make(ENDLESS)[0], often) == ("coverage", *evaluated, *rates)
    assert headline(get_agent("ppo"), make("CartPole-v1")[0], often) == ("evaluation/env_return", "evaluation/return")


def test_agents_that_need_episodes_are_refused_where_nothing_ends():
    from jaxreward.agents.registry import list_agents, without_episodes

    of_rates = {name for name in list_agents() if ".loop." in get_agent(name.removeprefix("pbt/")).make.__module__}
    assert {"ucrl2", "psrl"} < of_rates
    on_steps = {"ppo", "gradnorm", "ippo", "grpo", "ospo", "a2c", "dqn", "recurrent_dqn", "pqn", "sac", "td3"}
    on_steps |= {"q_learning", "sarsa", "soft_q_learning", "lpg", "lpg_meta", "lpo_es", "reward_es"}
    on_steps |= {"behaviour_cloning", "mamql", "iq_learn", "gail", "airl", "sam", "orpo"}
    on_steps |= {f"pbt/{name}" for name in on_steps}
    assert set(without_episodes()) == on_steps | of_rates
    for name in set(list_agents()) - set(without_episodes()):
        with pytest.raises(ValueError, match=r"learns from whole episodes, and .* never ends; .* are ppo, "):
            resolve(name, ENDLESS)


def test_a_population_is_compared_by_what_there_is():
    made = resolve("pbt/ppo", ENDLESS).config["agent_config"]
    assert made["score"] == "average_reward"
    assert resolve("pbt/ppo").config["agent_config"]["score"] == "episode/return"
    assert resolve("pbt/ppo", ENDLESS, settings={"score": "loss/value"}).config["agent_config"]["score"] == "loss/value"
    with pytest.raises(ValueError, match="no episode ends here, so there is no episode/env_return"):
        resolve("pbt/ppo", ENDLESS, settings={"score": "episode/env_return"})


def test_steps_are_rounded_up_to_iterations():
    made = resolve(settings={"num_envs": 4, "num_steps": 8})
    assert [made.iterations(steps) for steps in (1, 32, 33)] == [1, 1, 2]
    with pytest.raises(ValueError, match="positive"):
        made.iterations(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make(5), "expected the name of an environment as text, not 5"),
        (lambda: get_agent(None), "expected the name of an agent as text, not None"),
        (lambda: get_reward(markov), "expected the name of a reward as text"),
        (lambda: resolve(settings=["learning_rate=1"]), "settings are values by name"),
        (
            lambda: with_reward(make("CartPole-v1")[0], value),
            r"not <function value.*; make it one with markov\(value\)",
        ),
        (lambda: with_reward(make("CartPole-v1")[0], 5), r"takes a Reward, not 5$"),
        (lambda: with_reward(None, get_reward("sparse")), "takes an environment, .* not None"),
    ],
)
def test_what_is_of_another_kind_is_refused_in_python_too(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_commas_in_brackets_and_quotes_are_part_of_a_value():
    text = "space=('learning_rate=log(1e-5,1e-1)','clip=uniform(0.1,0.4)')"
    assert parse_settings([text]) == {"space": ("learning_rate=log(1e-5,1e-1)", "clip=uniform(0.1,0.4)")}
    assert parse_grid(["layers=(64,64),((32,),(8,8))"]) == {"layers": [(64, 64), ((32,), (8, 8))]}
    assert parse_grid(["reward='a,b',c"]) == {"reward": ["a,b", "c"]}


def test_a_reward_that_a_run_folder_names_by_its_former_module_is_found():
    former = load_reference("jaxreward.experiments.figures.subpo_rooms:visits", "reward")
    assert former is load_reference("jaxreward.experiments.figures.subpo.rooms:visits", "reward")
