"""Images of a trained generator."""
