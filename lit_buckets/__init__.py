"""Same-shape batches of images of every shape, for PyTorch Lightning."""
