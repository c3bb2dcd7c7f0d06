"""TAXONS, SERENE and STAX: many different behaviours where rewards are sparse, and what they are compared with."""

from jaxreward.agents.stax.agent import Config, Hyperparams, State, stax

__all__ = ["Config", "Hyperparams", "State", "stax"]
