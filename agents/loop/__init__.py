"""Average-reward RL: optimism over a confidence set with few switches, and the agents it is compared with."""
