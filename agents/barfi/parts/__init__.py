"""What several agents of behaviour alignment are made of."""
