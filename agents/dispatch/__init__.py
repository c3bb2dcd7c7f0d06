"""Learning without a critic from what others of the same kind got: of the fleet's vehicles, or of any game's agents."""
