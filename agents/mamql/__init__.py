"""Inverse reinforcement learning by soft critics: what demonstrators of a game, or one alone, were after."""
