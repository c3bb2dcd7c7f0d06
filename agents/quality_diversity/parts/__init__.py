"""What the agents of quality-diversity are made of."""
