"""What algorithms of this family are made of."""
