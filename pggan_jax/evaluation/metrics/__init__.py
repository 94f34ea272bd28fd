"""Metrics: each file defines `Metric` objects, which `evaluation/registry.py` collects."""
