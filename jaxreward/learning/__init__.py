"""What agents are made of: rollouts, episodes, estimators, networks, populations, derivatives through learning."""
