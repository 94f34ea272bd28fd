"""Trained networks of other programs: the authors' pickles, and pytorch_GAN_zoo's checkpoints."""
