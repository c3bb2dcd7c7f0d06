"""MAMQL: what each agent of a game was after, from what all of them did.

Haynam et al., "Multi-Agent Inverse Q-Learning from Demonstrations", ICRA 2025, arXiv:2503.04679. Each agent has a
critic of its own actions alone, the mean over what the others do of what a joint action is worth to it, and plays
`softmax(lambda Q_i)`. Others' actions are nowhere averaged over: those demonstrated are draws from what they do. So
each critic is trained by the criterion of IQ-Learn, on states that all see and on its agent's actions.
"""

from __future__ import annotations

from dataclasses import dataclass

from gymnax.environments.environment import Environment
from jaxtyping import PyTree

from jaxreward.agent import Agent
from jaxreward.agents.mamql.parts import inverse_q
from jaxreward.agents.mamql.parts.inverse_q import Hyperparams as Hyperparams
from jaxreward.agents.mamql.parts.inverse_q import Reads
from jaxreward.environment import game_environment


@dataclass(frozen=True)
class Config(inverse_q.Config):
    """What shapes the program; all else is in `jaxreward.agents.mamql.parts.inverse_q.Config`.

    Attributes:
        reads: What critics read: what their agent sees alone, or beside it others' actions or the joint action, as
            independent IQ-Learn does that MAMQL is compared with. What follows is then judged with the same actions,
            and the policy acts on zeros in their place. With "joint_action", as in the authors' code, the agent's own
            action is among what is read: a critic that learns to find it there has learned nothing to act by.
    """

    reads: Reads = "state"


def mamql(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that plays all sides of a game as was demonstrated, and says what each was after.

    Its policy takes the observations of all agents, leaves `[n, ...]`, and gives the joint action `[n]`; its reward is
    that of each agent, `[n]`.

    Args:
        env: A game, see `jaxreward.contract.games`, with `Discrete` actions.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: The demonstrations, sizes and architecture.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If the environment has one agent, there is no such option, sizes do not fit together, or there are
            no demonstrations of this game that say where episodes end.
    """
    env, agents = game_environment(env, env_params)
    return inverse_q.inverse_q(env, env_params, config, (agents,), "mamql", config.reads)
