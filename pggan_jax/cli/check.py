"""python launch.py check SOURCE [FLAGS]

Read every image once, on all cores, and tell how many there are, of what sizes, modes and classes, which are exact copies, and
which cannot be used, why, and what helps. SOURCE is written as in data.source: folder:DIR, zip:FILE, tfds:NAME, tfrecords:DIR,
prepared:DIR ... With --resolution=R images are also judged by whether they can be prepared at that resolution with these flags.

Exit status 1 means that something needs a decision: an unusable image, a label without image, copies with different labels.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from absl import flags

from pggan_jax.cli.arguments import define_preparation_flags, define_workers_flag, read_preparation

if TYPE_CHECKING:
    from pggan_jax.data.check import Report

ARGUMENTS = ("SOURCE",)
FLAGS = flags.FlagValues()
define_preparation_flags(FLAGS)
define_workers_flag(FLAGS)
flags.DEFINE_boolean("json", False, "print one JSON object instead of a report", flag_values=FLAGS)

_EXIT_NEEDS_DECISION = 1
_CLASSES_SHOWN = 20
_DUPLICATES_SHOWN = 5
_NAME_WIDTH = 40


def run(values: flags.FlagValues, source_name: str) -> int:
    """Print the report; 1 if something needs a decision."""
    from pggan_jax.data.check import check
    from pggan_jax.data.sources import open_source

    resolution, frame = values["resolution"].value, None
    preparation = read_preparation(values) if resolution is not None else None
    source = open_source(source_name, resolution=resolution or 0, channels=values["channels"].value)
    if preparation:
        frame = preparation.for_source(source).frame
    report = check(source, frame, workers=values["workers"].value)
    print(json.dumps(_as_json(report), indent=1) if values["json"].value else _as_text(report, source_name, resolution))
    return _EXIT_NEEDS_DECISION if report.needs_decision else 0


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "source": report.source,
        "images": report.images,
        "usable": report.usable,
        "sizes": {f"{width}x{height}": count for (width, height), count in sorted(report.found.sizes.items())},
        "modes": dict(report.found.modes),
        "classes": {name: report.found.labels[number] for number, name in enumerate(report.class_names)},
        "resolutions": dict(report.resolutions()),
        "duplicates": report.duplicates,
        "conflicting_labels": report.conflicts,
        "unusable": [problem._asdict() for problem in report.found.unusable],
        "complaints": report.complaints,
        "warnings": report.warnings,
        "needs_decision": report.needs_decision,
    }


def _as_text(report: Report, source_name: str, resolution: int | None) -> str:
    found = report.found
    lines = [
        report.source,
        f"  images      {report.usable:,} usable of {report.images:,}",
        f"  sizes       {_sizes(found.sizes)}",
        f"  modes       {', '.join(f'{mode} {count:,}' for mode, count in found.modes.most_common()) or 'none'}",
        f"  classes     {_classes(report)}",
        f"  resolution  {_resolutions(report)}",
        f"  copies      {_copies(report)}",
    ]
    for group in report.conflicts:
        lines.append(f"  different labels on copies: {' = '.join(group)}; keep one of them")
    lines += [f"  {complaint}" for complaint in report.complaints]
    if found.unusable:
        lines.append(f"  unusable    {len(found.unusable):,}")
        width = min(_NAME_WIDTH, max(len(problem.name) for problem in found.unusable))
        lines += [f"    {problem.name:{width}}  {problem.reason}" for problem in found.unusable]
    lines += [f"  note: {warning}" for warning in report.warnings]
    if report.needs_decision:
        lines.append("needs a decision: mend the lines above, or go on: `prepare` and `train` leave unusable images out")
    elif report.usable:
        lines.append(f"next: {_next_command(report, source_name, resolution)}")
    return "\n".join(lines)


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    if not sizes:
        return "none"
    (commonest, count), *others = sizes.most_common()
    text = f"{count:,} of {commonest[0]}x{commonest[1]}"
    if others:
        ordered = sorted((size for size, _ in others), key=lambda size: size[0] * size[1])
        (low_width, low_height), (high_width, high_height) = ordered[0], ordered[-1]
        rest = sum(number for _, number in others)
        text += f"; {rest:,} of {len(others):,} other sizes, {low_width}x{low_height} to {high_width}x{high_height}"
    return text


def _classes(report: Report) -> str:
    if not report.class_names:
        return "none"
    counts = [(name, report.found.labels[number]) for number, name in enumerate(report.class_names)]
    shown = ", ".join(f"{name} {count:,}" for name, count in counts[:_CLASSES_SHOWN])
    more = len(counts) - _CLASSES_SHOWN
    return f"{len(counts):,}: {shown}" + (f" and {more:,} more" if more > 0 else "")


def _resolutions(report: Report) -> str:
    levels = report.resolutions()
    if not levels:
        return "all images are smaller than 4x4"
    largest_for_all = max((size for size, count in levels if count == report.usable), default=0)
    text = f"up to {largest_for_all} for all" if largest_for_all else "none suits all"
    further = [f"{size} for {count:,}" for size, count in levels if size > largest_for_all]
    return text + "".join(f", {one}" for one in further[:3])


def _copies(report: Report) -> str:
    if not report.duplicates:
        return "none"
    shown = "; ".join(
        " = ".join(group[:3]) + (" ..." if len(group) > 3 else "") for group in report.duplicates[:_DUPLICATES_SHOWN]
    )
    more = len(report.duplicates) - _DUPLICATES_SHOWN
    return f"{len(report.duplicates):,} groups: {shown}" + (f"; and {more:,} more groups" if more > 0 else "")


def _next_command(report: Report, source_name: str, resolution: int | None) -> str:
    fitting = [size for size, count in report.resolutions() if count == report.usable]
    size = resolution or max(fitting, default=4)
    labels = " --set data.labels=true" if report.class_names else ""
    return (
        f"python launch.py --config=experiments/folder.py --set data.source={source_name} --set data.resolution={size}{labels} "
        "--workdir=runs/mine"
    )
