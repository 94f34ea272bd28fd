"""One progress bar over all runs of a study."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import Any

from experiments.paper.study.folder import Folder
from experiments.paper.study.plan import Plan, Run, work_of
from pggan_jax.run_logs.eta import format_duration

_SECONDS_BETWEEN_READS = 2.0


def arithmetic(plan: Plan, run: Run, images_seen: int | None = None) -> float:
    """Estimate the multiply-adds of a run, or of its first images.

    A run with the time of another one counts as that one.
    """
    whole = work_of(plan.configs[run.variant.timed_by])
    return whole if images_seen is None else min(whole, work_of(plan.configs[run.variant.name], images_seen))


class Progress:
    """A bar of the arithmetic that is done, with an estimate of the remaining time.

    Without a terminal there is no bar; each line ends with the number of complete runs and the remaining time.

    Args:
        plan: the runs.
        folder: where they are.
    """

    def __init__(self, plan: Plan, folder: Folder):
        self._plan, self._folder = plan, folder
        self._total = {run.name: arithmetic(plan, run) for run in plan.runs()}
        self._done: dict[str, float] = {}
        self._at_start, self._started, self._last_read = 0.0, time.monotonic(), -math.inf
        self._bar: Any = None
        self._left = math.nan

    def __enter__(self) -> Progress:
        from tqdm import tqdm

        for run in self._plan.runs():
            self._read(run)
        self._at_start = sum(self._done.values())
        layout = "{desc} {percentage:3.0f}%|{bar}| {postfix}"
        self._bar = tqdm(total=100, desc=self._plan.study.name, bar_format=layout, disable=None, dynamic_ncols=True)
        if self._bar.disable:
            self.message(f"{self._plan.study.name}: runs and their logs are in {self._folder.path}")
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _read(self, run: Run) -> None:
        is_complete = self._folder.result(run.name) is not None
        self._done[run.name] = (
            self._total[run.name] if is_complete else arithmetic(self._plan, run, self._folder.images_seen(run))
        )

    def update(self, active: Sequence[Run], *, waiting: int) -> None:
        """Show how far all runs are; reads the active ones every two seconds."""
        now = time.monotonic()
        if now - self._last_read < _SECONDS_BETWEEN_READS:
            return
        self._last_read = now
        for run in active:
            self._read(run)
        done, total = sum(self._done.values()), sum(self._total.values())
        gained = done - self._at_start
        self._left = (total - done) * (now - self._started) / gained if gained > 0 else math.nan
        complete = len(self._total) - waiting - len(active)
        self._bar.n = 100 * done / total
        names = ", ".join(run.name for run in active[:3]) + ", ..." * (len(active) > 3)
        self._bar.set_postfix_str(f"{complete} of {len(self._total)} runs, {names}, {format_duration(self._left)} left")

    def message(self, line: str) -> None:
        """Print a line above the bar."""
        if self._bar.disable:
            complete = sum(self._folder.result(name) is not None for name in self._total)
            is_known = complete < len(self._total) and math.isfinite(self._left)
            left = f", {format_duration(self._left)} left" if is_known else ""
            line = f"{line} ({complete} of {len(self._total)} runs{left})"
        self._bar.write(line)
        sys.stdout.flush()
        self._last_read = -math.inf
