"""Functions of the Python interface that do what a command does."""
