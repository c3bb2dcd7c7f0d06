"""The way to some goals by the order that has all soonest there, with plain loops."""

import itertools

import numpy as np

SPEED = 18.0
KM = SPEED / 60
"""A minute's."""


def shortest(place, goals):
    """How far it is, minutes to each goal, and the order."""
    ways = []
    for order in itertools.permutations(range(len(goals))):
        here, far, reached = place, 0.0, {}
        for k in order:
            far += np.abs(goals[k] - here).sum()
            here, reached[k] = goals[k], far / KM
        ways.append((far, [reached[k] for k in range(len(goals))], order))
    return min(ways, key=lambda way: way[0])
