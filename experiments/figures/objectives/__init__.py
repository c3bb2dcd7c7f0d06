"""What can be said in which formalism of objectives."""
