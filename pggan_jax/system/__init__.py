"""The machine and its files: paths, locks, small JSON files, limits of processors and memory."""
