"""`jaxreward distance`."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from jaxreward.cli.shell import Number, Text, console
from jaxreward.cli.train import required_env


@dataclass(frozen=True)
class Distance:
    """Say how different two rewards are, and in a finite environment what it costs to maximise the wrong one.

    Exact where all states of the environment are listed, as of average/river_swim; of samples elsewhere, with 95%
    intervals.

    Attributes:
        first: A reward by name (`jaxreward list rewards`; environment for the environment's own), or your own as
            `path/to/file.py:function`.
        second: The other one.
        env: The environment (`jaxreward list environments`).
        discount: What a later reward counts less for each step.
        samples: Of how many states, where they are not listed; 1000 unless said.
        seed: Of what is drawn there; 0 unless said.
        traceback: Show where an error came from.
    """

    first: tyro.conf.Positional[str]
    second: tyro.conf.Positional[str]
    env: Text = None
    discount: float = 0.99
    samples: Number = None
    seed: Number = None
    traceback: bool = False

    def run(self) -> int:
        from jaxreward.envs.registry import make
        from jaxreward.run.spec import rewarded

        env, params = make(required_env(self.env))
        pairs = [rewarded(env, params, name) for name in (self.first, self.second)]
        rows = self.rows(*pairs)
        out, width = console(), max(len(row.name) for row in rows)
        out.print(f"{self.first} and {self.second} in {self.env}, discount {self.discount:g}")
        for row in rows:
            most = f"of {row.most:g}" if row.most else ""
            between = f"[{row.low:.4f}, {row.high:.4f}]  " if row.low is not None else ""
            out.print(
                f"  {row.name:<{width}}  {row.value:8.4f} {most:<5} {between}{row.about}", soft_wrap=True, markup=False
            )
        return 0

    def rows(self, first: tuple, second: tuple) -> list:
        """Exact distances where there is a table of rewards, those of samples elsewhere."""
        from jaxreward.distances.compared import compared, compared_by_samples, tables
        from jaxreward.distances.sampled import pair_of
        from jaxreward.environment import world
        from jaxreward.mdp import TabularEnv

        if not isinstance(world(*first)[0], TabularEnv):
            samples, seed = (
                default if said is None else said for said, default in ((self.samples, 1_000), (self.seed, 0))
            )
            return compared_by_samples(pair_of(*first, *second), self.discount, samples=samples, seed=seed)
        if self.samples is not None or self.seed is not None:
            raise ValueError(f"distances in {self.env} are exact: leave out --samples and --seed")
        return compared(*tables(*first, *second), self.discount)
