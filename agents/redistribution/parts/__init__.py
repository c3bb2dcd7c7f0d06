"""What redistribution is made of: episodes gathered from rollouts, losses and models."""
