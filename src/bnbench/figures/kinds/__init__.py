"""Kinds of figures, a module each: the data that a figure shows, its drawing and its caption."""
