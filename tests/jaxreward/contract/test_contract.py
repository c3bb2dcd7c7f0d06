"""Agents and environments of users: what is wrong with them is said before anything is trained, by file and line."""

import re

import pytest

from jaxreward.cli import main
from jaxreward.run.spec import resolve

AGENT = """
from dataclasses import dataclass
import jax, jax.numpy as jnp
from flax import struct
from jaxreward.agent import Agent, Policy

@dataclass(frozen=True)
class Config:
    num_envs: int = 2
    num_steps: int = 3

@struct.dataclass
class Hyperparams:
    learning_rate: float = 0.1

METRICS = {"env_steps": jnp.int32(6), "episode/count": jnp.float32(1), "episode/return": jnp.float32(1)}
ACT = lambda carry, observation, key: (carry, jnp.int32(0))

def made(init=lambda key, h: jnp.zeros(()), step=lambda s: (s, METRICS), policy=lambda s: Policy(lambda: (), ACT, ACT)):
    return lambda env, params, config: Agent(init, step, policy)

def fine(env, params, config): return made()(env, params, config)
def no_return(env, params, config):
    return made(step=lambda s: (s, {k: METRICS[k] for k in ("env_steps", "episode/count")}))(env, params, config)
def no_count(env, params, config):
    return made(step=lambda s: (s, {"env_steps": jnp.int32(6)}))(env, params, config)
def vector(env, params, config):
    return made(step=lambda s: (s, {**METRICS, "loss": jnp.zeros(3)}))(env, params, config)
def alone(env, params, config): return made(step=lambda s: METRICS)(env, params, config)
def no_policy(env, params, config): return made(policy=lambda s: ACT)(env, params, config)
def wrong_action(env, params, config):
    act = lambda carry, observation, key: (carry, jnp.zeros(2))
    return made(policy=lambda s: Policy(lambda: (), act, act))(env, params, config)
def forgets(env, params, config):
    act = lambda carry, observation, key: (carry + 1.5, jnp.int32(0))
    return made(policy=lambda s: Policy(lambda: jnp.zeros((), int), act, act))(env, params, config)
def changes(env, params, config):
    step = lambda s: ({"a": s["a"] + 0.5}, METRICS)
    return made(init=lambda key, h: {"a": jnp.int32(0)}, step=step)(env, params, config)
def none(env, params, config): return None
def breaks(env, params, config):
    def step(s):
        return s.nothing, METRICS  # breaks here
    return made(step=step)(env, params, config)
def unmakeable(env, params, config):
    raise RuntimeError("no such thing")  # unmakeable
"""
ENV = """
import jax.numpy as jnp
from gymnax.environments import spaces
from gymnax.environments.environment import Environment, EnvParams

class Fine(Environment):
    default_params = EnvParams()
    def reset_env(self, key, params):
        return jnp.zeros(2), {"time": jnp.int32(0)}
    def step_env(self, key, state, action, params):
        return jnp.zeros(2), {"time": state["time"] + 1}, jnp.float32(1), False, {}
    def is_truncated(self, state, params):
        return state["time"] > 3
    def action_space(self, params=None):
        return spaces.Discrete(2)

class Floats(Fine):
    def step_env(self, key, state, action, params):
        return jnp.zeros(2), {"time": state["time"] + 0.5}, jnp.float32(1), False, {}
class Grows(Fine):
    def step_env(self, key, state, action, params):
        return jnp.zeros(3), state, jnp.float32(1), False, {}
class Adds(Fine):
    def step_env(self, key, state, action, params):
        return jnp.zeros(2), {**state, "more": 1}, jnp.float32(1), False, {}
class Breaks(Fine):
    def step_env(self, key, state, action, params):
        return jnp.zeros(2), state["tmie"], jnp.float32(1), False, {}  # breaks
class Text(Fine):
    def step_env(self, key, state, action, params):
        return jnp.zeros(2), state, "1", False, {}
class Unlimited(Fine):
    is_truncated = Environment.is_truncated
class NoActions(Fine):
    action_space = Environment.action_space
def unmakeable():
    return {}["x"]  # unmakeable
"""
AGENTS = {
    "no_return": "its metrics lack 'episode/return', by which a run is judged",
    "no_count": "its metrics lack 'episode/count'",
    "vector": r"metrics are scalars; these have other shapes: {'loss': \(3,\)}",
    "alone": r"step returned a dict; expected \(state, metrics\)",
    "no_policy": "policy returned a function, which has no reset",
    "wrong_action": r"act gives actions of shape \(2,\); the environment's \(\)",
    "forgets": "the memory of its policy's act is int32 after reset and float32 after act",
    "changes": r"the state\['a'\] is int32 after init and float32 after step",
    "none": "made a NoneType, which has no init",
    "breaks": "failed: AttributeError at {path}:{line}: .*nothing",
    "unmakeable": "failed: RuntimeError at {path}:{line}: no such thing",
}
ENVS = {
    "Floats": r"the state\['time'\] is int32 after reset_env and float32 after step_env",
    "Grows": r"the observation is float32\[2\] after reset_env and float32\[3\] after step_env",
    "Adds": "the state is not built alike after reset_env and after step_env",
    "Breaks": "failed: KeyError at {path}:{line}: 'tmie'",
    "Text": "Text returned a str; expected a scalar",
    "Unlimited": "Unlimited does not define `is_truncated`",
    "NoActions": "NoActions does not define `action_space`",
    "unmakeable": "failed: KeyError at {path}:{line}: 'x'",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "agents.py").write_text(AGENT)
    (folder / "envs.py").write_text(ENV)
    return folder


def message(pattern, path, name):
    """The message, with the line that has the name in a comment."""
    lines = [i for i, text in enumerate(path.read_text().splitlines(), 1) if f"# {name.lower()}" in text]
    return pattern.replace("{path}", re.escape(str(path))).replace("{line}", str(lines[0]) if lines else "")


def test_an_agent_and_an_environment_that_keep_the_contract_are_made(folder):
    made = resolve(f"{folder}/agents.py:fine", f"{folder}/envs.py:Fine")
    assert made.steps_per_iteration == 6


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_that_does_not_is_refused(folder, name):
    with pytest.raises(ValueError, match=message(AGENTS[name], folder / "agents.py", name)):
        resolve(f"{folder}/agents.py:{name}", "CartPole-v1")


@pytest.mark.parametrize("name", ENVS)
def test_an_environment_that_does_not_is_refused(folder, name):
    with pytest.raises(ValueError, match=message(ENVS[name], folder / "envs.py", name)):
        resolve("ppo", f"{folder}/envs.py:{name}", settings={"layers": (4,)})


@pytest.mark.parametrize("name", sorted(set(AGENTS) & {"no_return", "breaks"}))
def test_a_command_says_so_in_one_message(folder, name, capsys):
    words = ["train", "--agent", f"{folder}/agents.py:{name}", "--env", "CartPole-v1", "--steps", "6"]
    assert main([*words, "--folder", str(folder / name)]) == 2
    assert re.search(message(AGENTS[name], folder / "agents.py", name), capsys.readouterr().err)
    assert not (folder / name).exists()


def test_where_nothing_ends_an_agent_tells_the_reward_a_step(folder):
    with pytest.raises(ValueError, match="lack 'average_reward', by which a run is judged where the environment never"):
        resolve(f"{folder}/agents.py:fine", "average/two_choice")
