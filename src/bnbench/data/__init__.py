"""Data sets: download, prepare, augment, preprocess, and reading what was prepared with every byte checked."""
