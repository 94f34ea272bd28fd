"""Metrics of sound, measured on waves."""
