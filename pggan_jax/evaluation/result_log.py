"""Results as lines of metric-NAME.jsonl and as a table."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pggan_jax.evaluation.metric_result import Evaluation, MetricResult
from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.system.files import append_durably

_COLUMNS = ("metric", "value", "", "real vs real", "images")


def as_record(evaluation: Evaluation, **subject: Any) -> dict[str, Any]:
    """Return a line of metric-NAME.jsonl.

    Args:
        evaluation: of one metric.
        subject: what was evaluated, such as `kimg`.
    """
    floor = evaluation.floor or MetricResult({})
    return {
        "metric": evaluation.name,
        "label": evaluation.label,
        **subject,
        "values": _finite_or_none(evaluation.result.values),
        "uncertainty": _finite_or_none(evaluation.result.uncertainty),
        "floor": _finite_or_none(floor.values),
        "floor_uncertainty": _finite_or_none(floor.uncertainty),
        "num_reals": evaluation.real_count,
        "num_fakes": evaluation.fake_count,
        "num_floor": evaluation.floor_count,
        **evaluation.details,
        "notes": list(evaluation.result.notes),
        "jax": version("jax"),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def append_record(folder: Path, record: Mapping[str, Any]) -> Path:
    """Append a line to the file of its metric, and return the path of the file.

    Raises:
        OSError: the file cannot be written.
    """
    path = Workdir(folder).metric(record["metric"])
    append_durably(path, (json.dumps(record) + "\n").encode())
    return path


def table(evaluations: Sequence[Evaluation]) -> str:
    """Format a table with one row per value, its uncertainty and real-versus-real floor."""
    rows = [_COLUMNS, *(row for evaluation in evaluations for row in _rows(evaluation))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [f"{evaluation.label}: {note}" for evaluation in evaluations for note in evaluation.result.notes]
    return "\n".join([*lines, *notes])


def _rows(evaluation: Evaluation) -> Iterator[tuple[str, ...]]:
    label = evaluation.label
    images = f"{evaluation.fake_count:,} fakes" + (f", {evaluation.real_count:,} reals" if evaluation.real_count else "")
    for name in evaluation.result.values:
        floor = _shown(evaluation.floor, name) if evaluation.floor else "-"
        if evaluation.floor and evaluation.floor_count != evaluation.fake_count:
            floor += f" ({evaluation.floor_count:,})"
        yield label, name, _shown(evaluation.result, name), floor, images
        label = images = ""


def _shown(result: MetricResult, name: str) -> str:
    if name not in result.values:
        return "-"
    text = f"{result.values[name]:.4g}"
    return f"{text} ±{result.uncertainty[name]:.2g}" if name in result.uncertainty else text


def _finite_or_none(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """Replace infinities and NaN, which JSON does not have, by None."""
    return {name: float(value) if math.isfinite(value) else None for name, value in numbers.items()}
