"""Changes of latents: directions, arithmetic, and sheets of the images."""
