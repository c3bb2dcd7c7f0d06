"""SubPO: policy gradients for rewards of diminishing returns, which depend on what was visited before."""

from jaxreward.agents.subpo.agent import Config, Hyperparams, State, subpo

__all__ = ["Config", "Hyperparams", "State", "subpo"]
