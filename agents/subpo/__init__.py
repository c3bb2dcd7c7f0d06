"""Submodular RL: rewards of diminishing returns, which depend on what was visited before."""
