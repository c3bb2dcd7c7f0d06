import sys

import gymnax
import jax
import pytest
from gymnax.environments.classic_control.pendulum import EnvParams

from jaxreward.envs import list_envs, make
from jaxreward.names import check_name

KEY = jax.random.key(0)
DOWNLOADS = {"MNISTBandit-bsuite"}
OWN = """
import gymnax

def pair(length=7):
    env, params = gymnax.make("CartPole-v1")
    return env, params.replace(max_steps_in_episode=length)

def alone():
    return gymnax.make("Pendulum-v1")[0]

def nothing():
    return "an environment"

def offline():
    raise OSError("the server is down")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with a user's own environments in `own_envs.py`."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "own_envs", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_envs.py").write_text(OWN)
    (tmp_path / "broken_envs.py").write_text("import a_package_that_is_not_there\n")
    yield tmp_path
    sys.modules.pop("own_envs", None)


@pytest.mark.parametrize("name", sorted(set(gymnax.registered_envs) - DOWNLOADS))
def test_every_gymnax_environment_resolves_and_traces(name):
    env, params = make(name)
    with jax.numpy_rank_promotion("allow"):  # Swimmer-misc promotes ranks in gymnax's own code
        _trace(env, params)


def _trace(env, params):
    observation, state = jax.eval_shape(jax.jit(env.reset_env), KEY, params)
    action = jax.eval_shape(env.action_space(params).sample, KEY)
    stepped, _, reward, _, _ = jax.eval_shape(jax.jit(env.step_env), KEY, state, action, params)
    assert jax.tree.map(lambda leaf: leaf.shape, stepped) == jax.tree.map(lambda leaf: leaf.shape, observation)
    assert reward.shape == ()


def test_list_holds_each_suite():
    names = list_envs()
    assert set(gymnax.registered_envs) < set(names)
    assert {"brax/ant", "brax/halfcheetah", "brax/hopper"} < set(names)
    assert len(names) == len(set(names))


def test_arguments_go_to_the_environment_or_to_its_params():
    env, params = make("brax/fast?backend=generalized&max_steps_in_episode=50", action_repeat=2)
    assert (env.name, env.backend, env.action_repeat) == ("brax/fast", "generalized", 2)
    assert params.max_steps_in_episode == env.default_params.max_steps_in_episode == 50
    assert make("Pendulum-v1?g=9.81", max_steps_in_episode=5)[1] == EnvParams(g=9.81, max_steps_in_episode=5)
    env, params = make("DeepSea-bsuite?size=5")
    assert env.reset_env(KEY, params)[0].shape == (5, 5)


def test_given_arguments_precede_those_in_the_name():
    assert make("CartPole-v1?max_steps_in_episode=5", max_steps_in_episode=6)[1].max_steps_in_episode == 6


def test_words_in_a_name_are_read_as_python_would():
    env, _ = make("brax/halfcheetah?exclude_current_positions_from_observation=false")
    assert env.observation_space().shape == (18,)  # 9 positions and 9 velocities


def test_users_own_environments(folder):
    env, params = make("own_envs:pair")
    assert (env.name, params.max_steps_in_episode) == ("CartPole-v1", 7)
    assert make("own_envs:pair?length=3")[1].max_steps_in_episode == 3
    env, params = make("own_envs:alone")
    assert (env.name, params) == ("Pendulum-v1", EnvParams())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CartPol-v1", "did you mean 'CartPole-v1'.*list_envs"),
        ("ant", "did you mean 'brax/ant'"),
        ("brax/halfchetah", "did you mean 'halfcheetah'"),
        ("CartPole-v1?max_steps=5", "did you mean 'max_steps_in_episode'"),
        ("zzzz", "no environment 'zzzz'.*list_envs"),
        ("no_such_module:make", "no module 'no_such_module'.*module:attribute"),
        ("own_envs:par", "did you mean 'pair'.*alone"),
        ("own_envs:nothing", "made a str; expected a gymnax Environment"),
    ],
)
def test_names_that_do_not_exist(folder, name, message):
    with pytest.raises(ValueError, match=message):
        make(name)


def test_data_that_cannot_be_had(folder):
    with pytest.raises(RuntimeError, match=r"own_envs:offline.*the server is down"):
        make("own_envs:offline")


def test_what_a_users_module_lacks_is_the_users_to_see(folder):
    with pytest.raises(ValueError, match=r"broken_envs.*a_package_that_is_not_there"):
        make("broken_envs:make")


def test_few_choices_are_spelt_out_and_many_are_not():
    with pytest.raises(ValueError, match=r"^no fruit 'aple'; did you mean 'apple'\? There are: apple, pear\.$"):
        check_name("fruit", "aple", ["pear", "apple"])
    with pytest.raises(ValueError, match=r"^no digit 'x'\. Count them\.$"):
        check_name("digit", "x", [f"n{n}" for n in range(20)], "Count them.")
    check_name("fruit", "pear", ["pear", "apple"])
    with pytest.raises(ValueError, match=r"^no fruit True\. There are: apple, pear\.$"):
        check_name("fruit", True, ["pear", "apple"])


def test_a_misspelt_suite_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="no environments that begin with 'craftx'; did you mean 'craftax'"):
        make("craftx/Craftax-Symbolic-v1")
