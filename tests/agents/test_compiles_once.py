"""An agent's step is one program: neither the next step, nor another seed or hyperparams, nor a resume traces it again.

What is traced again is what differs in shape, type or weak type, so shapes tell, and nothing has to be compiled.
"""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from jaxreward.agent import strong
from jaxreward.agents.registry import get_agent, list_agents
from jaxreward.run.spec import resolve
from tests.demonstrated import demonstrated

TASKS = {
    "jaxreward.agents.baselines": "CartPole-v1?max_steps_in_episode=8",
    "jaxreward.agents.barfi": "barfi/gridworld",
    "jaxreward.agents.mamql": "CartPole-v1?max_steps_in_episode=8",
    "jaxreward.agents.dispatch": "games/gems",
    "jaxreward.agents.subpo": "subrl/two_rooms",
    "jaxreward.agents.quality_diversity": "qd/point2d",
    "jaxreward.agents.loop": "average/river_swim",
    "jaxreward.agents.inverse": "CartPole-v1?max_steps_in_episode=8",
    "jaxreward.agents.hacking": "CartPole-v1",
    "jaxreward.agents.meta": "CartPole-v1",
    "jaxreward.agents.redistribution": "CartPole-v1?max_steps_in_episode=8",
    "q_learning": "average/river_swim",
    "sarsa": "average/river_swim",
    "soft_q_learning": "average/river_swim",
    "loop_ensemble": "average/pendulum?continuous=true",
    "td3": "Pendulum-v1",
    "sam": "Pendulum-v1",
    "ippo": "games/gems",
    "mamql": "games/gems",
    "reward_es": "barfi/gridworld",
}
"""By family, or by name where an agent needs another one than its family."""
SETTINGS = {"pbt/ppo": {"population": 2, "ready_iterations": 1}}
REWARDS = {"reward_es": "auxiliary"}
FROM_FILES = {"behaviour_cloning", "mamql", "iq_learn", "gail", "airl", "sam"}


def task_of(agent):
    family = get_agent(agent.removeprefix("pbt/")).make.__module__.rpartition(".")[0]
    return TASKS.get(agent, TASKS[family])


@pytest.mark.parametrize("name", [*(name for name in list_agents() if "/" not in name), "pbt/ppo"])
def test_the_step_is_traced_once_and_reads_what_it_is_given(name):
    task, settings = task_of(name), SETTINGS.get(name, {})
    if name in FROM_FILES:
        settings = {"demonstrations": demonstrated(task)}
    experiment = resolve(name, task, REWARDS.get(name, "environment"), settings)
    agent, traced = experiment.agent, []
    hyperparams = jax.tree.map(lambda leaf: leaf[0], strong(experiment.hyperparams))
    hyperparams = dataclasses.replace(hyperparams, env_params=strong(experiment.env_params))

    @jax.jit
    def step(state):
        traced.append(name)
        return agent.step(state)

    init = jax.jit(agent.init)
    state = jax.eval_shape(init, jax.random.key(0), hyperparams)
    program = step.trace(state)
    after, metrics = program.out_info
    jax.eval_shape(step, after)
    others = jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf), hyperparams)
    jax.eval_shape(step, jax.eval_shape(init, jax.random.key(1), others))
    jax.eval_shape(step, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), after))
    assert traced == [name]
    assert {metric.shape for metric in metrics.values()} == {()}
    if "/" not in name:
        _reads_its_own_and_moves_on(program.jaxpr.jaxpr, jax.tree.structure(state))


def _reads_its_own_and_moves_on(traced, form):
    """A step neither hands its key on, nor passes by the environment's params that it is to take for its own."""
    before = jax.tree.unflatten(form, traced.invars)
    after = jax.tree.unflatten(form, traced.outvars[: form.num_leaves])
    assert after.key is not before.key
    assert after.iteration is not before.iteration
    read = {id(variable) for equation in traced.eqns for variable in equation.invars}
    assert any(id(leaf) in read for leaf in jax.tree.leaves(before.hyperparams.env_params))


def test_a_state_that_changes_its_type_is_traced_again():
    traced = []

    @jax.jit
    def step(state):
        traced.append(state.dtype)
        return state + 0.5

    after = jax.eval_shape(step, jax.ShapeDtypeStruct((), jnp.int32))
    jax.eval_shape(step, after)
    assert len(traced) == 2
