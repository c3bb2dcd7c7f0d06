"""What the agents of submodular RL are made of, and planners to compare them with."""
