"""The games by name, `games/NAME`; see `jaxreward.contract.games` for what a game is.

A number that each agent has of its own, such as what a gem pays it, is a tuple in the params: `env.own_reward.0` is the
setting for agent 0.
"""

from __future__ import annotations

from collections.abc import Callable

from gymnax.environments.environment import Environment

from jaxreward.envs.games.fleet import Fleet
from jaxreward.envs.games.gems import CleanGems, Gems
from jaxreward.envs.games.intersection import Intersection
from jaxreward.envs.games.markov_game import RandomGame
from jaxreward.envs.games.mini_gems import MiniGems
from jaxreward.envs.games.overcooked import Overcooked

TASKS: dict[str, Callable[..., Environment]] = {
    "gems": Gems,
    "gems_clean": CleanGems,
    "mini_gems": MiniGems,
    "overcooked": Overcooked,
    "random_game": RandomGame,
    "intersection": Intersection,
    "fleet": Fleet,
}
