"""The norms and activations as tables, without torch: an entry each."""
