"""`jaxreward demonstrate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from jaxreward.cli.shell import Number


@dataclass(frozen=True)
class Demonstrate:
    """Record what a trained agent does to a file of observations and actions, for behaviour cloning.

    Attributes:
        folder: The run folder.
        out: The file to write, .npz.
        steps: How many steps.
        member: Which configuration, by its number; the best one by default.
        seed: Which seed; the first by default.
        stochastic: Sample actions as in training, instead of taking the most likely ones.
        key: The seed of the episodes.
        trust: Run the code in a run folder that was not begun here by you.
        traceback: Show where an error came from.
    """

    folder: tyro.conf.Positional[Path]
    out: Path
    steps: int = 10_000
    member: Number = None
    seed: Number = None
    stochastic: bool = False
    key: int = 0
    trust: bool = False
    traceback: bool = False

    def run(self) -> int:
        from jaxreward.results.demonstrate import demonstrate

        done = demonstrate(
            self.folder,
            self.out,
            steps=self.steps,
            member=self.member,
            seed=self.seed,
            stochastic=self.stochastic,
            key=self.key,
        )
        whole = f"{done.episodes} whole episodes of return {done.returns:.4g}" if done.episodes else "no whole episode"
        print(f"{done.steps:,} steps of member {done.member}, seed {done.seed}, {whole}, are in {done.path}")
        return 0
