"""Generator and discriminator, rebuilt for each resolution."""
