"""Format measurements as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_HEADS = (
    "resolution",
    "batch",
    "ours ms",
    "torch ms",
    "torch form",
    "torch/ours",
    "images/s",
    "of matrix rate",
    "of bound",
    "others",
)


def table_head(rates: Mapping[str, float]) -> str:
    """Format the head of the table of steps: rates of the device and names of the columns."""
    measured = f"{rates['flops_per_second'] / 1e9:,.0f} GFLOP/s in matrix products, {rates['bytes_per_second'] / 1e9:,.0f} GB/s"
    return f"measured: {measured}\n" + "  ".join(f"{head:>11}" for head in _HEADS)


def table_line(row: Mapping[str, Any]) -> str:
    """Format one row of the table of steps."""
    cells = (
        f"{row['resolution']}x{row['resolution']}",
        f"{row['batch_size']}",
        f"{row['ours_ms']:,.2f}",
        f"{row['torch_ms']:,.2f}" if row["torch_ms"] else "-",
        row["torch_form"] or "-",
        f"{row['ratio']:.2f}" if row["ratio"] else "-",
        f"{row['images_per_second']:,.0f}",
        f"{row['share_of_matrix_rate']:.0%}" if row["share_of_matrix_rate"] else "-",
        f"{row['share_of_bound']:.0%}",
        f"{row['cores_busy_with_other_programs']:.2f}",
    )
    return "  ".join(f"{cell:>{max(11, len(head))}}" for cell, head in zip(cells, _HEADS, strict=True))


def describe(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the rows of any other section; the columns are the keys of the first row."""
    heads = list(rows[0]) if rows else []
    cells = [[_format(row.get(head)) for head in heads] for row in rows]
    widths = [max(len(one) for one in column) for column in zip(heads, *cells, strict=True)]
    return "\n".join("  ".join(f"{one:>{width}}" for one, width in zip(line, widths, strict=True)) for line in [heads, *cells])


def _format(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
