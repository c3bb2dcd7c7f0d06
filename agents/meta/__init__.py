"""What learns how to learn: objectives and rewards that are judged by the agents that they bring up."""
