"""Training data: image sources, preparation at all resolutions, and batches by sample index."""
