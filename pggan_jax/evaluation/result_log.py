"""Results as lines of metric-NAME.jsonl, and as a table to read."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pggan_jax.evaluation.evaluator import Result
from pggan_jax.evaluation.metric_result import Measured
from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.system.files import append_durably

_COLUMNS = ("metric", "value", "", "real vs real", "images")


def as_record(result: Result, **where: Any) -> dict[str, Any]:
    """A line of metric-NAME.jsonl: what was measured, by what, of what.

    Args:
        result: of one metric.
        where: what was judged, such as `kimg`.
    """
    floor = result.floor or Measured({})
    return {
        "metric": result.name,
        "label": result.label,
        **where,
        "values": _clean(result.measured.values),
        "uncertainty": _clean(result.measured.uncertainty),
        "floor": _clean(floor.values),
        "floor_uncertainty": _clean(floor.uncertainty),
        "num_reals": result.real_count,
        "num_fakes": result.fake_count,
        "num_floor": result.floor_count,
        **result.details,
        "notes": list(result.measured.notes),
        "jax": version("jax"),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def append_record(folder: Path, record: Mapping[str, Any]) -> Path:
    """Add a line to the file of its metric, and return that file.

    Raises:
        OSError: it cannot be written.
    """
    path = Workdir(folder).metric(record["metric"])
    append_durably(path, (json.dumps(record) + "\n").encode())
    return path


def table(results: Sequence[Result]) -> str:
    """One row per value: with its uncertainty, and beside it what reals against other reals give."""
    rows = [_COLUMNS, *(row for result in results for row in _rows(result))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [f"{result.label}: {note}" for result in results for note in result.measured.notes]
    return "\n".join([*lines, *notes])


def _rows(result: Result) -> Iterator[tuple[str, ...]]:
    label = result.label
    images = f"{result.fake_count:,} fakes" + (f", {result.real_count:,} reals" if result.real_count else "")
    for name in result.measured.values:
        floor = _shown(result.floor, name) if result.floor else "-"
        if result.floor and result.floor_count != result.fake_count:
            floor += f" ({result.floor_count:,})"
        yield label, name, _shown(result.measured, name), floor, images
        label = images = ""


def _shown(measured: Measured, name: str) -> str:
    if name not in measured.values:
        return "-"
    text = f"{measured.values[name]:.4g}"
    return f"{text} ±{measured.uncertainty[name]:.2g}" if name in measured.uncertainty else text


def _clean(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no word for what is not finite."""
    return {name: float(value) if math.isfinite(value) else None for name, value in numbers.items()}
