"""What the agents that learn soft critics from demonstrations are made of."""
