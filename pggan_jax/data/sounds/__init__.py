"""Sources of sound, and their clips as images."""
