"""What agents of this family are made of."""
