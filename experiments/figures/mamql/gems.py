"""Gems, learned from demonstrations: what agents come to be paid, by how many transitions they have seen.

Haynam et al., "Multi-Agent Inverse Q-Learning from Demonstrations", ICRA 2025 (arXiv:2503.04679), the game of gems.
Demonstrations are of a scripted player that is as good as the authors' demonstrators, and as far from the best: with
`slack=4` it is paid 14.7 an agent, they were paid 13.2. (With `slack=0` it is paid 24.8.) In a plot that comes with the
authors' code MAMQL's policies are paid about 8.6 after 1,000 transitions and 12.8 after 10,000, independent IQ-Learn's
2.4 and 7.3; cloning is in the code and not in the plot.

MAMQL is in its online form, in which the value term is taken on what its own policies do. "Offline" is the same with
demonstrated transitions in their place. Independent IQ-Learn has critics that read what others do beside what their
agent sees, are trained on demonstrations, and act on zeros in place of others' actions. In the authors' code they read
their own agent's action too, which leaves nothing to be learned to act by; that is drawn, and not claimed to be beaten.
(Cloning reads the action that it is to predict there, and is not in the plot.) Its alpha and its temperature are 1, as
MAMQL's are; the authors have 100 for both, the same criterion in other units, but act at a temperature of 1. MA-AIRL is
on independent PPO, with as many steps of its discriminators' Adam as the others have, and eight times the steps of the
game. All have the same networks and batches, and learning rates that were chosen alike, of two or three; `paper` has as
many steps of Adam as the authors. All seeds learn from the first transitions of one recording: what differs between
them, and what intervals are of, is learning and not what was demonstrated.

Different here: what agents see are features, such as their own gems' relative places, where the authors have pictures.
At `paper` a fifth of the hidden units is left out in updates, in all methods but MA-AIRL, as the authors do in their
convolutions; at `small` layers are of 64 units, and none is left out. A return is the mean over the last tenth of a
run, as episodes went, with actions sampled. The share of the demonstrator's return that counts as its level is ours.

States are too many to be listed, so the STARC distance of a recovered reward to the true one is estimated: on the MDP
that an agent is in while the other does as the demonstrator does, with the largest number of transitions, a mean over
agents. Canonical rewards are VAL's of the demonstrator that acts at random in three steps of ten, what an action is
worth more than what it does: what is worth how much later is asked where it goes, not where nothing was shown. They are
of all actions in 4,096 states that it comes to, others for each run, so that intervals are of these too.
"""

from __future__ import annotations

from jaxreward.envs.games.experts import gems_expert
from jaxreward.experiments.figures.mamql._common import Game, Size, data
from jaxreward.experiments.figures.mamql._told import claims_of, plot
from jaxreward.reproduce.figure import PaperFigure

SIZES = {
    "smoke": Size(
        2, (1_000, 10_000), 30, (4,), 16, methods=("MAMQL", "cloning"), rates=(1e-3,), parts=1, measures=False
    ),
    "small": Size(5, (1_000, 10_000, 20_000), 1_000, (64, 64), 128, rates=(1e-3, 3e-3)),
    "hour": Size(10, (1_000, 10_000, 20_000), 3_000, (64, 64), 128),
    "paper": Size(10, (1_000, 5_000, 10_000, 15_000, 20_000), 5_500, (256, 256), 256, dropout=0.2),
}


GAME = Game("games/gems", gems_expert(slack=4.0))


figure = PaperFigure(
    title="Gems: what is learned from how many demonstrations",
    source="Haynam et al. 2025, arXiv:2503.04679, the game of gems",
    data=lambda scale: data(GAME, SIZES[scale]),
    plot=lambda frame: plot(frame),  # its notes are those of the file that it is in
    claims=claims_of(20_000, (1_000, 10_000)),
)
