"""`jaxreward distance`."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from jaxreward.cli.shell import Text, console
from jaxreward.cli.train import required_env


@dataclass(frozen=True)
class Distance:
    """Say how different two rewards are in a finite environment, and what it costs to maximise the wrong one.

    Exact, so without intervals: the environment is one of which all states are listed, such as average/river_swim.

    Attributes:
        first: A reward by name (`jaxreward list rewards`; environment for the environment's own), or your own as
            `path/to/file.py:function`.
        second: The other one.
        env: The environment (`jaxreward list environments`).
        discount: What a later reward counts less for each step.
        traceback: Show where an error came from.
    """

    first: tyro.conf.Positional[str]
    second: tyro.conf.Positional[str]
    env: Text = None
    discount: float = 0.99
    traceback: bool = False

    def run(self) -> int:
        from jaxreward.distances.compared import compared, tables
        from jaxreward.envs.registry import make
        from jaxreward.run.spec import rewarded

        env, params = make(required_env(self.env))
        (one, one_params), (other, other_params) = (rewarded(env, params, name) for name in (self.first, self.second))
        rows = compared(*tables(one, one_params, other, other_params), self.discount)
        out, width = console(), max(len(row.name) for row in rows)
        out.print(f"{self.first} and {self.second} in {self.env}, discount {self.discount:g}")
        for row in rows:
            most = f"of {row.most:g}" if row.most else ""
            out.print(f"  {row.name:<{width}}  {row.value:8.4f} {most:<5} {row.about}", soft_wrap=True)
        return 0
