"""Proximal policy optimisation."""

from jaxreward.agents.ppo.agent import PPO as PPO
from jaxreward.agents.ppo.agent import Config as Config
from jaxreward.agents.ppo.agent import Hyperparams as Hyperparams
from jaxreward.agents.ppo.agent import ppo as ppo

__all__ = ["PPO", "Config", "Hyperparams", "ppo"]
