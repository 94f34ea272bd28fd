"""Image sources: one file per kind."""
