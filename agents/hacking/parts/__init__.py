"""What agents against reward hacking are made of."""
