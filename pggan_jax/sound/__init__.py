"""Sound as images: spectrograms of a few channels, and their way back to waves. NumPy only."""
