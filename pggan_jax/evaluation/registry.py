"""The registry of metrics: every `Metric` that a module in `metrics/` defines."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from pggan_jax.evaluation import metrics
from pggan_jax.evaluation.metric import Metric


def collect_metrics() -> dict[str, Metric]:
    """Import every module in `evaluation/metrics/` and return its metrics by name."""
    modules = [import_module(f"{metrics.__name__}.{info.name}") for info in iter_modules(metrics.__path__)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Metric)]
    return {metric.kind.name: metric for metric in sorted(found, key=lambda metric: metric.kind.name)}


METRICS = collect_metrics()
