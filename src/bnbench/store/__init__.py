"""Formats of the run store and of records of packs, shared by training, which writes them, and analysis."""
