"""Execution of training steps and predictions: `choose` picks among the ways of this folder."""
