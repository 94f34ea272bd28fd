"""Films of a generator: frames, text in frames, files of animated images and video."""
