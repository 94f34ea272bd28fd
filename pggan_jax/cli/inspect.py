"""python launch.py inspect --workdir=runs/digits [--json]

List a run's checkpoints: kimg, resolution, alpha, size on disk, a sha256 over all leaves of the state, of what is read back;
and below the data they were trained on. Two runs that did the same have the same sums. A damaged checkpoint is named, and the
exit status is then 1.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from typing import Any

from absl import flags

from pggan_jax.cli.arguments import DEFAULT_WORKDIR, existing_run
from pggan_jax.errors import UserError
from pggan_jax.training.backend import require_backend

_CLASSES_SHOWN = 20

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", DEFAULT_WORKDIR, "folder of the run", flag_values=FLAGS)
flags.DEFINE_boolean("json", False, "print one JSON object per checkpoint instead of a table", flag_values=FLAGS)


def run(values: flags.FlagValues) -> int:
    """Print the checkpoints, oldest first; 1 if one is damaged."""
    workdir = existing_run(values["workdir"].value)
    require_backend()
    from tqdm import tqdm

    from pggan_jax.training.trained import open_checkpoints

    config, checkpoints = open_checkpoints(workdir)
    damaged, told = False, ""
    if not values["json"].value:
        print(f"{'kimg':>10}  {'resolution':>10}  {'alpha':>6}  {'MB':>8}  sha256")
    for images_seen in tqdm(checkpoints.all_images_seen(), desc="reading", delay=2, disable=None, leave=False):
        try:
            entry = _describe(config, checkpoints, images_seen)
        except UserError as error:
            damaged = True
            tqdm.write(f"error: {error}", file=sys.stderr)
            continue
        if values["json"].value:
            tqdm.write(json.dumps(entry), file=sys.stdout)
            continue
        tqdm.write(_row(entry), file=sys.stdout)
        if (data := _describe_data(entry["data"])) != told:
            told = data
            tqdm.write(data, file=sys.stdout)
    checkpoints.close()
    return int(damaged)


def _describe(config: Any, checkpoints: Any, images_seen: int) -> dict[str, Any]:
    from pggan_jax.training.trained import read_checkpoint

    position = read_checkpoint(config, checkpoints, images_seen).position
    folder, record = checkpoints.directory / str(images_seen), position.data_record
    return {
        "kimg": images_seen / 1000,
        "images_seen": images_seen,
        "resolution": position.resolution,
        "alpha": position.alpha,
        "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        "sha256": position.digest,
        "data": record and record.to_json() | {"fingerprint": record.fingerprint},
        "arithmetic": position.arithmetic,
        "settings": json.loads(position.settings or "{}"),
        "path": str(folder),
    }


def _describe_data(data: dict[str, Any] | None) -> str:
    """One line, below the first checkpoint of which it is true."""
    if data is None:
        return "  data: not recorded, the checkpoint is of an earlier version"
    line = f"  data: {data['images']:,} images, fingerprint {data['fingerprint']}"
    names = data["class_names"]
    if names:
        listed = ", ".join(f"{number} {name!r}: {count:,}" for number, (name, count) in _first_classes(data))
        more = f" and {len(names) - _CLASSES_SHOWN:,} more" if len(names) > _CLASSES_SHOWN else ""
        line += f"; {len(names):,} classes: {listed}{more}"
    return line


def _first_classes(data: dict[str, Any]) -> list[tuple[int, tuple[str, int]]]:
    pairs = zip(data["class_names"], data["class_counts"], strict=True)
    return list(enumerate(islice(pairs, _CLASSES_SHOWN)))


def _row(entry: dict[str, Any]) -> str:
    kimg, megabytes = entry["kimg"], entry["bytes"] / 1e6
    return f"{kimg:>10.3f}  {entry['resolution']:>10}  {entry['alpha']:>6.3f}  {megabytes:>8.2f}  {entry['sha256']}"
