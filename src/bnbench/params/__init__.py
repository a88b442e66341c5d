"""Parameter files: schema, grids, model shorthand, norms and activations, and every check before training."""
