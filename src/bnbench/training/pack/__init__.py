"""A pack's state between two steps, its optimisers and learning-rate schedules."""
