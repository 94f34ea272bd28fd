"""Operating system and files: paths, locks, small JSON files, resource limits."""
