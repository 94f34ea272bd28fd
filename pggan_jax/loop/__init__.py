"""The training loop and everything that happens between steps."""
