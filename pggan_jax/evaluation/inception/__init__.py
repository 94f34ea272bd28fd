"""The Inception network, its weights and its features."""
