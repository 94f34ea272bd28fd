"""Lines that the reports of `check` on images and on sound share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pggan_jax.data.checking.check_report import CheckReport
    from pggan_jax.data.checking.sound_check import SoundReport

NAME_WIDTH = 40


def remark_lines(report: CheckReport | SoundReport) -> list[str]:
    """Return problems of the collection, notes, unusable items with their reasons, and warnings."""
    unusable, lines = report.stats.unusable, []
    if report.problems:
        lines += ["  collection", *(f"    {problem}" for problem in report.problems)]
    lines += [f"  note: {note}" for note in report.notes]
    if unusable:
        lines.append(f"  unusable    {len(unusable):,}")
        width = min(NAME_WIDTH, max(len(problem.name) for problem in unusable))
        lines += [f"    {problem.name:{width}}  {problem.reason}" for problem in unusable]
    return lines + [f"  note: {warning}" for warning in report.warnings]
