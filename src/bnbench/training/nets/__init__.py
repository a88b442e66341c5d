"""Networks of a pack: layers, activations and norms, forward and backward."""
