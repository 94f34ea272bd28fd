"""What a run prints: log.txt, the progress bar, and one status line per tick.

Hosts other than the first print and write nothing.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from pggan_jax.errors import visible
from pggan_jax.run_logs.eta import format_duration
from pggan_jax.stats_fields import MEASUREMENT_PREFIX

_WAIT_SHARE_SHOWN = 0.01
_METRICS = (
    ("loss_g", "loss G", "<7.3f"),
    ("loss_d", "D", "<7.3f"),
    ("real_score", "score real", "<7.3f"),
    ("fake_score", "fake", "<7.3f"),
    ("gradient_penalty", "gp", "<7.4f"),
    ("held_out_gap", "held-out gap", "<7.3f"),
)
"""Metrics in the status line: name, label and format."""


class Log:
    """Write lines to log.txt and to the terminal, above the progress bar.

    A full disk or a closed terminal does not raise: a run must not end because a line cannot be printed.

    Args:
        path: log.txt, or None for a host that prints nothing.
    """

    def __init__(self, path: Path | None):
        self._file = path.open("a", encoding="utf-8") if path else None

    def __call__(self, line: str) -> None:
        if self._file:
            line = visible(line)
            # ValueError and AttributeError: stdout was closed, or does not exist.
            with suppress(OSError, ValueError, AttributeError):
                tqdm.write(line, file=sys.stdout)
                sys.stdout.flush()
            with suppress(OSError):
                self._file.write(line + "\n")
                self._file.flush()

    def close(self) -> None:
        """Close log.txt."""
        if self._file:
            with suppress(OSError):
                self._file.close()


class ProgressBar:
    """A bar over the images of the whole run or the time that ends it, with what remains.

    Args:
        total_images: of the whole run.
        images_seen: so far.
        total_seconds: seconds of training after which the run ends before that; infinity for no limit.
        visible: whether this host shows a bar; it is shown on a terminal only.
    """

    def __init__(self, *, total_images: int, images_seen: int, total_seconds: float = math.inf, visible: bool):
        self._images_seen, self._total_images, self._total_seconds = images_seen, total_images, total_seconds
        counted = "{n_fmt}/{total_fmt} images" if math.isinf(total_seconds) else "{desc}"
        self._bar = tqdm(
            total=total_images,
            initial=images_seen,
            unit="img",
            unit_scale=True,
            dynamic_ncols=True,
            disable=None if visible and sys.stderr else True,
            bar_format=f"{{percentage:3.0f}}% |{{bar}}| {counted}{{postfix}}",
        )

    def update(self, images: int, *, stage: str, eta_seconds: float, training_seconds: float = 0.0) -> None:
        """Advance the bar by a number of images, or to a time where that ends the run earlier."""
        self._images_seen += images
        # A closed terminal must not end the run.
        with suppress(OSError):
            self._bar.set_postfix_str(f"{stage}, {format_duration(eta_seconds)} left", refresh=False)
            if math.isinf(self._total_seconds):
                self._bar.update(images)
                return
            share = max(training_seconds / self._total_seconds, self._images_seen / self._total_images)
            total = format_duration(self._total_seconds)
            words = f"{self._images_seen / 1000:.1f} kimg, {format_duration(training_seconds)} of {total}"
            self._bar.set_description_str(words, refresh=False)
            self._bar.update(min(1.0, share) * self._total_images - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        with suppress(OSError):
            self._bar.close()


def process_memory_bytes() -> int:
    """Return the resident memory of this process."""
    return psutil.Process().memory_info().rss


def status_line(record: Mapping[str, Any], *, size: str = "") -> str:
    """Format the record of a tick as one line.

    Metrics of the train step that the record lacks are left out; waiting for data is shown above 1 %.

    Args:
        record: of the tick.
        size: of the images, where their height or width is not the resolution in the record.
    """
    metrics = "".join(f"{label} {record[name]:{form}} " for name, label, form in _METRICS if name in record)
    wait = f"waiting {record['wait_share']:.0%}  " if record["wait_share"] > _WAIT_SHARE_SHOWN else ""
    measured = "".join(
        f"{name.removeprefix(MEASUREMENT_PREFIX)} {value:.4g}  "
        for name, value in record.items()
        if name.startswith(MEASUREMENT_PREFIX)
    )
    size = size or str(record["resolution"])
    return (
        f"tick {record['tick']:<4d} kimg {record['kimg']:<8.1f} res {size:<4} alpha {record['alpha']:.2f}  "
        f"{metrics}{measured}"
        f"{record['images_per_second']:.0f} img/s  {format_duration(record['seconds_per_tick'])}/tick  {wait}"
        f"mem {record['memory_bytes'] / 2**30:.1f} GiB  skipped {record['skipped_steps']}  "
        f"compiles {record['compiles']}  left {format_duration(record['eta_seconds'])}"
    )
