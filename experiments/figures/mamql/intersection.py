"""Four cars at a crossing, learned from demonstrations: what they come to be paid, by how many transitions were seen.

Haynam et al., "Multi-Agent Inverse Q-Learning from Demonstrations", ICRA 2025 (arXiv:2503.04679), the intersection.
Demonstrations are of cars that go by who comes first, which are paid 6.4 each without a crash in 1,000 episodes; who
drove for the authors is not known to us. In a plot that comes with their code MAMQL's policies are paid about 1.5 after
5,000 transitions and 1.6 after 20,000, independent IQ-Learn's -2.0 and -1.9: as the latter are below zero nothing is so
many times another there, and claims are of differences.

Methods are those of `mamql/gems`, see there, and so are all departures. The game is without the other traffic, and what
a car sees is turned into numbers of another size; see `jaxreward.envs.games.intersection`.
"""

from __future__ import annotations

from jaxreward.envs.games.experts import intersection_expert
from jaxreward.experiments.figures.mamql._common import Game, Size, data
from jaxreward.experiments.figures.mamql._told import claims_of, plot
from jaxreward.reproduce.figure import PaperFigure

SIZES = {
    "smoke": Size(2, (100, 1_000), 4, (4,), 16, methods=("MAMQL", "cloning"), rates=(1e-3,), parts=2, measures=False),
    "small": Size(5, (1_000, 5_000, 20_000), 500, (64, 64), 64, rates=(1e-3, 3e-3)),
    "hour": Size(10, (1_000, 5_000, 20_000), 2_000, (64, 64), 128),
    "paper": Size(10, (5_000, 20_000, 35_000, 50_000, 70_000), 5_000, (256, 256), 256),
}


GAME = Game("games/intersection", intersection_expert())


figure = PaperFigure(
    title="The intersection: what is learned from how many demonstrations",
    source="Haynam et al. 2025, arXiv:2503.04679, the intersection",
    data=lambda scale: data(GAME, SIZES[scale]),
    plot=lambda frame: plot(frame),  # its notes are those of the file that it is in
    claims=claims_of(20_000, (1_000, 5_000), ratios=False),
)
