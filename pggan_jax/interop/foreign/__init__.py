"""Trained networks of other programs: the authors', and pytorch_GAN_zoo's."""
