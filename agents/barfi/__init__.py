"""BARFI: a reward learned so that what is learned from it earns what is wanted."""

from jaxreward.agents.barfi.agent import Config, Hyperparams, State, barfi

__all__ = ["Config", "Hyperparams", "State", "barfi"]
