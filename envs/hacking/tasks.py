"""Tasks with a proxy by name, `hacking/NAME`; `info["reward/proxy"]` is the proxy, for the reward called `proxy`."""

from __future__ import annotations

import functools
from collections.abc import Callable

from gymnax.environments.environment import Environment

from jaxreward.envs.hacking.tomato import Tomato

TASKS: dict[str, Callable[..., Environment]] = {
    "tomato": Tomato,
    "tomato_toy": functools.partial(Tomato, "toy"),
}
