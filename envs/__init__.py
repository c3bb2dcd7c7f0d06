"""Environments: adapters to other suites, and all of them by name.

`make` and `list_envs` know gymnax's, brax's and MuJoCo Playground's environments and a user's own;
`render.render` draws an episode.
"""

from jaxreward.envs.registry import list_envs, make

__all__ = ["list_envs", "make"]
