"""`jaxreward export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from jaxreward.cli.shell import Number, OptionalPath


@dataclass(frozen=True)
class Export:
    """Write a trained policy in forms that programs without jaxreward read.

    Its numbers as safetensors, and the policy as a program for `jax.export`, with a description beside them.

    Attributes:
        folder: The run folder, or that of a sweep.
        out: Where to; `exported` in the folder by default.
        member: Which configuration, by its number; the best one by default.
        seed: Which seed; the first by default.
        best: Take the checkpoint of the best evaluation, of a run with --evaluate-every, and not the newest.
        trust: Run the code in a run folder that was not begun here by you.
        traceback: Show where an error came from.
    """

    folder: tyro.conf.Positional[Path]
    out: OptionalPath = None
    member: Number = None
    seed: Number = None
    best: bool = False
    trust: bool = False
    traceback: bool = False

    def run(self) -> int:
        from jaxreward.results.export import export

        place = export(self.folder, self.out, member=self.member, seed=self.seed, best=self.best)
        print("\n".join(str(path) for path in sorted(place.iterdir())))
        return 0
