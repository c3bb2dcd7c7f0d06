"""Figures of MAMQL: a game learned from what somebody did in it."""
