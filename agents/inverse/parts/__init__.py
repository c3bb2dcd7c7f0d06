"""What inverse reinforcement learning is made of."""
