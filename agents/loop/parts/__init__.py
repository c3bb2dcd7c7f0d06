"""What the average-reward agents are made of."""
