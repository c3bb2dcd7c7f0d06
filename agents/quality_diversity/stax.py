"""STAX: SERENE in a space of behaviours that is learned from pictures while searching.

Paolo, Coninx, Laflaquiere & Doncieux, Discovering and Exploiting Sparse Rewards in a Learned Behavior Space,
Evolutionary Computation 32(3), 2024 (arXiv:2111.01919). What the abstract leaves open is as in the authors' code, of
which the variant with a Pareto selection and several pictures of an episode is the one their plots call STAX. How many
pictures they took is not known to us; 5 is our choice.
"""

from __future__ import annotations

from dataclasses import dataclass

from gymnax.environments.environment import Environment
from jaxtyping import PyTree

from jaxreward.agent import Agent
from jaxreward.agents.quality_diversity.parts.learned_space import PicturesConfig, space_of_pictures
from jaxreward.agents.quality_diversity.parts.selection import Selection
from jaxreward.agents.quality_diversity.serene import Hyperparams, ScheduledConfig, State, with_emitters
from jaxreward.contract.sizes import size

__all__ = ["Config", "Hyperparams", "State", "stax"]


@dataclass(frozen=True)
class Config(ScheduledConfig, PicturesConfig):
    """See `ScheduledConfig` and `PicturesConfig`.

    Ablations: `selection="novelty_or_surprise"`, as TAXONS selects; `frames=1`; `encoder="reset"`, and "untrained" or
    "redrawn" with `selection="novelty"`; `scheduler="exploring"`, which has no emitters.
    """

    selection: Selection = "novelty_and_surprise"
    frames: int = size(5)


def stax(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A STAX agent. Its policy is the one of all it keeps that earned most.

    Args:
        env: An environment that draws itself and has a descriptor of behaviours, which is for metrics alone, such as
            the tasks qd/...
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes, emitters and pictures.

    Raises:
        ValueError: If an option is unknown or does not fit the environment.
    """
    return with_emitters(env, env_params, config, space_of_pictures(env, config))
