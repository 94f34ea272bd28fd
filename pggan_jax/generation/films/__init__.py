"""Films of a generator: their frames, text in frames, and files of animated images and video."""
