"""Evaluation of generated images: metrics, sets of images, records."""
