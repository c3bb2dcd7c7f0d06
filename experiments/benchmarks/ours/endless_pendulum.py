"""gymnax's pendulum, which is never reset."""

from __future__ import annotations

from gymnax.environments.classic_control.pendulum import Pendulum

from jaxreward.envs.average.never_ending import NeverEnding


class EndlessPendulum(NeverEnding, Pendulum):
    """`Pendulum-v1` without its time limit: what counts is the cost a step."""
