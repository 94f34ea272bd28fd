"""The registry of metrics: every `Metric` that a module in `metrics/` or `sounds/` defines."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from pggan_jax.evaluation import metrics, sounds
from pggan_jax.evaluation.metric import Metric


def collect_metrics() -> dict[str, Metric]:
    """Import every module in `metrics/` and `sounds/`, and return the metrics by name."""
    names = [f"{folder.__name__}.{info.name}" for folder in (metrics, sounds) for info in iter_modules(folder.__path__)]
    modules = [import_module(name) for name in names]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Metric)]
    return {metric.kind.name: metric for metric in sorted(found, key=lambda metric: metric.kind.name)}


METRICS = collect_metrics()
