"""The run store as both sides see it: training writes it, analysis reads it."""
