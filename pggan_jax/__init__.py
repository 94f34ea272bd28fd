"""Progressive Growing of GANs in JAX and Flax (Karras et al., ICLR 2018, arXiv 1710.10196)."""
