"""`jaxreward sweep`."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated

import tyro

from jaxreward.cli.shell import Repeated
from jaxreward.cli.train import Training, required_env, train


@dataclass(frozen=True)
class Sweep(Training):
    """Train every combination of a grid with every seed, in one compiled program.

    Attributes:
        grid: What to vary, as NAME=A,B,C or NAME=logspace(FIRST,LAST,COUNT) or linspace: names as in --set, except
            sizes.
    """

    grid: Annotated[Repeated, tyro.conf.arg(metavar="NAME=A,B,... ...")] = ()

    def run(self) -> int:
        from jaxreward.job import Setup
        from jaxreward.settings import parse_grid, parse_settings, product

        settings, grid = parse_settings(itertools.chain(*self.set)), parse_grid(itertools.chain(*self.grid))
        twice = sorted(set(settings) & set(grid))
        if twice:
            raise ValueError(f"{twice[0]} is both in --set and in --grid")
        setup = lambda: Setup(self.agent, required_env(self), self.reward, settings)  # noqa: E731
        return train(self, setup, tuple(product(grid)))
