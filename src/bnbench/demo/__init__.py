"""Drawing window: a page that shows the class probabilities of trained networks for a drawn digit."""
