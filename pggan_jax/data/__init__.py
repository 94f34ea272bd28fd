"""Images in: sources, the pyramid of resolutions, and rows by position."""
