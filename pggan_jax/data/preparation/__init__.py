"""Writing a data set at every resolution, once, on all cores."""
