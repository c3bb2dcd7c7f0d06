"""Every agent by name keeps the contract of agents."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxreward.agents.registry import get_agent, list_agents
from jaxreward.contract.agents import check_agent
from jaxreward.run.spec import resolve
from tests.by_default import by_default
from tests.demonstrated import demonstrated

SMALL = {
    "num_envs": 2,
    "layers": (4,),
    "num_minibatches": 1,
    "num_epochs": 1,
    "memory": 2,
    "num_episodes": 2,
    "curvature_episodes": 2,
    "inner_steps": 2,
    "first_rounds": 1,
    "buffer": 8,
    "warm_up": 2,
    "curvature_batch": 2,
    "candidates": 2,
    "budget": 8,
    "population_size": 4,
    "archived": 2,
    "neighbours": 2,
    "batch": 4,
    "target_size": 8,
    "best": 1,
    "bins": 3,
    "num_cells": 4,
    "emitters": 2,
    "capacity": 16,
    "batch_size": 2,
    "emitter_capacity": 4,
    "reward_capacity": 8,
    "population": 2,
    "group_size": 2,
    "inner_iterations": 2,
    "judged_iterations": 1,
    "num_agents": 2,
    "width": 4,
    "kept_episodes": 4,
    "members": 2,
    "model_layers": (2,),
    "model_updates": 2,
    "model_batch": 2,
}
OF_GENOMES = {"num_steps": 4, "chunk_size": 4, "width": 2, "layers": 1}
OF_PICTURES = {"image_size": 16, "channels": (2,), "code": 2, "epochs": 2, "images": 8, "frames": 2}
OWN = {
    "airl": {"memory": 0},
    "orpo": {"memory": 0, "demonstrations": ""},
    "recurrent_dqn": {"length": 2, "burn_in": 1, "warm_up": 6, "batch_size": 2},
}
"""What an agent does not take of these."""
LOOP = [name for name in list_agents() if "/" not in name and ".agents.loop." in get_agent(name).make.__module__]
TABULAR = ["q_learning", "sarsa", "soft_q_learning"]
ENVS = {name: "average/river_swim" for name in [*LOOP, *TABULAR]}
ENVS |= {"ppo": "CartPole-v1", "subpo": "subrl/two_rooms", "global_rl": "subrl/two_rooms", "ippo": "games/gems"}
ENVS |= {"grpo": "games/gems", "ospo": "games/gems"}
ENVS |= {"mamql": "games/gems", "iq_learn": "CartPole-v1"}
ENVS |= {name: "MountainCarContinuous-v0" for name in ("sac", "td3", "sam")}
ENVS |= {"loop_ensemble": "average/pendulum?continuous=true"}
REWARDS = {"reward_es": "auxiliary"}
ENVS |= {"lpg": "levels/tiny?observation=index", "lpg_meta": "CartPole-v1", "lpg_es": "CartPole-v1"}
VARIANTS = [(name, {}) for name in list_agents() if name.startswith("pbt/ppo") or "/" not in name]
VARIANTS += [
    ("ppo", {"memory": 0}),
    ("gradnorm", {"reward": f"{Path(__file__).parents[1]}/two_rewards.py:both"}),
    ("ippo", {"shared": True}),
    ("mamql", {"reads": "joint_action", "target": True, "penalised": "both", "value_states": "mixed"}),
    ("grpo", {"advantage": "process"}),
    ("grpo", {"advantage": "outcome", "env": "CartPole-v1", "num_steps": 500}),
    ("ospo", {"dispatch": True, "env": "games/fleet?num_vehicles=2&max_orders=2"}),
    ("mamql", {"value_states": "start"}),
    ("iq_learn", {"value_states": "expert"}),
    ("gail", {"memory": 0, "penalty": "wgan", "spectral_norm": True}),
    ("gail", {"shared": True, "env": "games/gems"}),
    ("gail", {"discriminators": "centralised", "normalise_observations": True, "env": "games/gems"}),
    ("airl", {"state_only": False}),
    ("orpo", {"divergence": "wasserstein", "reads_actions": False, "env": "MountainCarContinuous-v0"}),
    ("sam", {"pessimistic": "forward"}),
    ("sam", {"pessimistic": "discriminator", "penalty": "nagard", "one_sided": False, "n_step": 2, "warm_up": 4}),
    ("airl", {"discriminators": "decentralised_all", "normalise_observations": True, "env": "games/gems"}),
    ("redistribution", {"method": "rudder", "memory": 0}),
    ("subpo", {"history": "gru"}),
    ("subpo", {"history": "visited"}),
]
VARIANTS += [("subpo", {"estimator": "gae"}), ("map_elites", {"controller": "mlp"})]
VARIANTS += [("psrl", {"episodes": "tsde"}), ("loop", {"model": "likelihood"})]
VARIANTS += [("loop", {"model": "kernel", "planner": "box", "features": "rotated"})]


def small(name, more):
    """An agent of few and small parts."""
    there, single = get_agent(name).config_defaults(), name.removeprefix("pbt/")
    sizes = {
        **SMALL,
        **OWN.get(single, {}),
        **(OF_GENOMES if "genome_low" in there else {}),
        **(OF_PICTURES if "image_size" in there else {}),
    }
    env = "qd/point2d" if "genome_low" in there else more.get("env", ENVS.get(single, "barfi/gridworld"))
    if "demonstrations" in there:
        sizes.setdefault("demonstrations", demonstrated(env))
    settings = {size: value for size, value in {**sizes, **more}.items() if size in there}
    return resolve(name, env, more.get("reward", REWARDS.get(single, "environment")), settings)


@pytest.mark.parametrize(("name", "more"), by_default(VARIANTS, *(case for case in VARIANTS if not case[1])))
def test_every_agent_keeps_the_contract(name, more):
    """Nothing is computed: a state of mixed precision, or one that changes in a step, shows in its types.

    In double precision, where both show; `test_compiles_once` traces all agents in single precision.
    """
    with jax.enable_x64(True):
        assert jnp.result_type(float).itemsize == 8
        made = small(name, more)
        check_agent(name, made.agent, made.member(0), made.env, made.env_params)
