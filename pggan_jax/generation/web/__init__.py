"""A generator as one HTML file that draws samples in a browser."""
