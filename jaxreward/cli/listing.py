"""`jaxreward list`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tyro

What = Literal["everything", "agents", "environments", "rewards", "objectives", "presets"]


@dataclass(frozen=True)
class Listing:
    """Show the agents with their settings, the environments, the rewards, the objectives and the presets there are.

    Attributes:
        what: What to show; everything by default.
        all: Also name each of brax's, MuJoCo Playground's and our own environments, which takes some seconds.
        traceback: Show where an error came from.
    """

    what: tyro.conf.Positional[What] = "everything"
    all: bool = False
    traceback: bool = False

    def run(self) -> int:
        sections = {
            "agents": _agents,
            "environments": lambda: _environments(self.all),
            "rewards": _rewards,
            "objectives": _objectives,
            "presets": _presets,
        }
        wanted = sections if self.what == "everything" else (self.what,)
        print("\n\n".join(sections[name]() for name in wanted))
        return 0


def _agents() -> str:
    from jaxreward.agents.registry import get_agent, list_agents

    lines = ["agents (--agent), with their settings (--set, --grid) and sizes (--set) and the defaults"]
    for name in list_agents():
        spec = get_agent(name)
        for kind, defaults in (("settings", spec.hyperparam_defaults()), ("sizes", spec.config_defaults())):
            lines += [f"  {name} {kind}", *(f"    {setting} = {value}" for setting, value in defaults.items())]
    return "\n".join([*lines, "  your own: module:factory or path/to/file.py:factory"])


def _environments(everything: bool) -> str:
    import gymnax.registration

    from jaxreward.envs.registry import list_envs, list_families

    named = list_envs() if everything else list(gymnax.registration.registered_envs)
    families = ", ".join(f"{family}/NAME" for family in list_families())
    others = [] if everything else [f"brax/NAME, such as brax/ant; playground/NAME; {families} (--all names each)"]
    own = ["your own: module:factory"]
    return "\n".join(["environments (--env)", *(f"  {line}" for line in [*named, *others, *own])])


def _rewards() -> str:
    from jaxreward.rewards.registry import list_rewards

    known = [f"  {name:<12} {description}" for name, description in list_rewards().items()]
    own = "  your own: path/to/file.py:function or module:function; its numbers are the settings reward.NAME"
    return "\n".join(["rewards (--reward)", *known, own])


def _objectives() -> str:
    from jaxreward.learning.drifts import list_drifts
    from jaxreward.learning.learned_drifts import list_learned

    known = [f"  {name:<16} {description}" for name, description in list_drifts().items()]
    own = "  your own: path/to/file.py:function or module:function; its numbers are the settings objective.NAME"
    lpg = ["objectives of LPG (--agent lpg --objective)", "  actor_critic     written by hand, to compare with"]
    lpg += [f"  {name:<16} {description}" for name, description in list_learned("lpg_es", "lpg_meta").items()]
    learned = "  a run's folder   of lpg_meta or lpg_es, once it is exported"
    return "\n".join(["objectives of PPO (--objective)", *known, own, "", *lpg, learned])


def _presets() -> str:
    from jaxreward.run.preset import list_presets, read_preset

    known = [f"  {name:<28} {read_preset(name).about}" for name in list_presets()]
    return "\n".join(
        ["presets (jaxreward train PRESET, jaxreward sweep PRESET)", *known, "  your own: path/to/file.toml"]
    )
