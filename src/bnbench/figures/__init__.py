"""Figures: one file per kind, the data it draws, captions, style."""
