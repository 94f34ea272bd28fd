"""Checks of a whole image collection: unusable images, duplicates, pixel statistics."""
