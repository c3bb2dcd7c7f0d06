"""jaxreward: reinforcement learning in which the reward function is the thing you design."""
