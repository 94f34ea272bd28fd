"""python launch.py inspect --workdir=runs/digits [--json]

Read and verify all checkpoints of a run, and list them: kimg, resolution, alpha, size on disk, sha256 of the state; below them
the data they were trained on, and of a run with sound the representation and the wave files. Runs with equal results have equal
sums.

Example: python launch.py inspect --workdir=runs/digits --json

Writes no files. Exit status 1 if a checkpoint is damaged. If the run is training, checkpoints that it removes meanwhile are
reported and skipped; those that it writes meanwhile are listed at the end.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from pggan_jax.cli.shared_flags import DEFAULT_WORKDIR, existing_run, flag_value
from pggan_jax.distributed.backend import require_backend
from pggan_jax.errors import UserError
from pggan_jax.system.json_files import parse_json

if TYPE_CHECKING:
    from pggan_jax.checkpointing.trained_model import TrainedModel

_CLASSES_SHOWN = 20

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", DEFAULT_WORKDIR, "folder of the run", flag_values=FLAGS)
flags.DEFINE_boolean("json", False, "print one JSON object per checkpoint instead of a table", flag_values=FLAGS)


def run(values: flags.FlagValues) -> int:
    """Print the checkpoints, oldest first; 1 if one is damaged."""
    workdir = existing_run(flag_value(values, "workdir"))
    require_backend()
    from tqdm import tqdm

    from pggan_jax.checkpointing.trained_model import CheckpointRemovedError, open_checkpoints, read_all

    config, checkpoints = open_checkpoints(workdir)
    damaged: list[int] = []
    printed = ""

    def skip(images_seen: int, error: UserError) -> None:
        if not isinstance(error, CheckpointRemovedError):
            damaged.append(images_seen)
        tqdm.write(f"{'note' if isinstance(error, CheckpointRemovedError) else 'error'}: {error}", file=sys.stderr)

    with closing(checkpoints):
        if not flag_value(values, "json"):
            print(f"{'kimg':>10}  {'resolution':>10}  {'alpha':>6}  {'MB':>8}  sha256")
        readable = read_all(config, checkpoints, on_skip=skip)
        count = len(checkpoints.all_images_seen())
        for trained in tqdm(readable, desc="reading", total=count, delay=2, disable=None, leave=False):
            entry = _describe(trained, checkpoints.directory / str(trained.metadata.images_seen))
            if flag_value(values, "json"):
                tqdm.write(json.dumps(entry), file=sys.stdout)
                continue
            tqdm.write(_row(entry, trained.shape.label), file=sys.stdout)
            if (data := _describe_data(entry["data"]) + _describe_sound(trained, workdir)) != printed:
                printed = data
                tqdm.write(data, file=sys.stdout)
    return int(bool(damaged))


def _describe(trained: TrainedModel, folder: Path) -> dict[str, Any]:
    from pggan_jax.checkpointing.integrity import state_digest

    metadata = trained.metadata
    size, record = 0, metadata.data_record
    # The run may remove it after it has been read.
    with suppress(FileNotFoundError):
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {
        "kimg": metadata.images_seen / 1000,
        "images_seen": metadata.images_seen,
        "resolution": metadata.resolution,
        "height": trained.shape.height,
        "width": trained.shape.width,
        "alpha": metadata.alpha,
        "bytes": size,
        "sha256": state_digest(trained.state),
        "data": record and record.to_json() | {"fingerprint": record.fingerprint},
        "representation": None if trained.representation is None else trained.representation.to_json(),
        "arithmetic": metadata.arithmetic,
        "settings": parse_json(metadata.settings or "{}"),
        "path": str(folder),
    }


def _describe_data(data: dict[str, Any] | None) -> str:
    """One line, printed below the first checkpoint with these data."""
    if data is None:
        return "  data: not recorded, the checkpoint is of an earlier version"
    held_out = f" ({data['held_out']:,} of them held out)" if data.get("held_out") else ""
    held_out += ", others held out" if data.get("held_out_images") else ""
    line = f"  data: {data['images']:,} images{held_out}, fingerprint {data['fingerprint']}"
    names = data["class_names"]
    if names:
        listed = ", ".join(f"{number} {name!r}: {count:,}" for number, (name, count) in _first_classes(data))
        more = f" and {len(names) - _CLASSES_SHOWN:,} more" if len(names) > _CLASSES_SHOWN else ""
        line += f"; {len(names):,} classes: {listed}{more}"
    return line


def _describe_sound(trained: TrainedModel, workdir: Path) -> str:
    """Two lines about clips and wave files; nothing for images."""
    form = trained.representation
    if form is None:
        return ""
    clips = (
        f"{form.seconds:g} s at {form.sample_rate:,} Hz, {form.frames} frames of {form.bins} bins, representation {form.name}"
    )
    reals = [path.name for path in sorted(workdir.glob("reals*.wav"))]
    fakes = [path.name for path in sorted(workdir.glob("fakes*.wav"))]
    if len(fakes) > 2:
        fakes[1:-1] = ["..."]
    return f"\n  sound: clips of {clips}\n  waves: {', '.join([*reals, *fakes]) or 'none'}"


def _first_classes(data: dict[str, Any]) -> list[tuple[int, tuple[str, int]]]:
    pairs = zip(data["class_names"], data["class_counts"], strict=True)
    return list(enumerate(islice(pairs, _CLASSES_SHOWN)))


def _row(entry: dict[str, Any], size: str) -> str:
    kimg, megabytes = entry["kimg"], entry["bytes"] / 1e6
    return f"{kimg:>10.3f}  {size:>10}  {entry['alpha']:>6.3f}  {megabytes:>8.2f}  {entry['sha256']}"
