"""Output of `evaluate`: a table, lines of metric-NAME.jsonl, images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pggan_jax.cli.shared_flags import folder

if TYPE_CHECKING:
    from pggan_jax.evaluation.metric_result import Evaluation


def kimg_name(images_seen: int) -> str:
    """Format kimg for file names, with a fraction only if needed."""
    thousands, rest = divmod(images_seen, 1000)
    return f"{thousands:06d}" + (f".{rest:03d}" if rest else "")


def writable(path: str, *sources: str) -> Path:
    """Create the folder of --out, and mark it as output of this program if it is new.

    Raises:
        UserError: the folder cannot be written, or lies inside one of the sources.
    """
    from pggan_jax.system.own_output import claim_output

    out = folder("out", path)
    claim_output("out", out, *sources, command="evaluate")
    return out


def report_results(evaluations: list[Evaluation], out: Path | None, *, where: dict[str, Any], name: str) -> None:
    """Print a table, and write records, images and lists.

    Args:
        evaluations: one per metric.
        out: the folder; None writes nothing.
        where: what was measured, for the records.
        name: end of the names of image and list files.
    """
    from pggan_jax.evaluation.result_log import append_record, as_record, table
    from pggan_jax.images import write_png
    from pggan_jax.system.files import write_atomically

    print(table(evaluations))
    if out is None:
        print("nothing was written; add --out=DIR to store the numbers and images")
        return
    written = [append_record(out, as_record(evaluation, **where)) for evaluation in evaluations]
    for evaluation in evaluations:
        for illustration, pixels in evaluation.result.images.items():
            written.append(out / f"{illustration}{name}.png")
            write_png(written[-1], pixels, holds="several images")
        for listing, entries in evaluation.result.lists.items():
            written.append(out / f"{listing}{name}.json")
            write_atomically(written[-1], (json.dumps(entries, indent=1) + "\n").encode())
    print(f"-> {', '.join(map(str, written))}")
