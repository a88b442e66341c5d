"""State of a pack between two training steps; loss, optimizers and learning-rate schedules."""
