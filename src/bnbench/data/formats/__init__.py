"""Readers of raw files: IDX, CIFAR-10, folders of images, scikit-learn's digits."""
