"""What a run was trained on and with: recorded in checkpoints, compared at a resume.

`data.npz` in the workdir holds the record of the data that the run was last started with, and a checksum of each image. It
shows how many images differ, and that a change was accepted although no checkpoint records it yet.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.config import Config
from pggan_jax.config.io import difference, from_json, to_json
from pggan_jax.data.data_record import DataRecord, ImageChecksums, class_difference, differences
from pggan_jax.data.loader import Loader
from pggan_jax.distributed import devices, processes
from pggan_jax.errors import UserError
from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.sound.representations import Representation
from pggan_jax.system.files import write_atomically
from pggan_jax.system.json_files import parse_json

_DIFFERENCE_LENGTH = 110
_SOURCE_LENGTH = 50
_SCALE_TOLERANCE = 1e-6
_JAX_OPTIONS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl")


def describe_arithmetic() -> dict[str, str]:
    """Versions, devices and options that may change the last bits of a result."""
    versions = {name: version(name) for name in ("jax", "jaxlib", "flax", "numpy")}
    options = {name: str(getattr(jax.config, name, "")) for name in _JAX_OPTIONS}
    device = {"backend": devices.backend(), "devices": devices.describe_devices()}
    return versions | device | options | {"XLA_FLAGS": " ".join(sorted(os.environ.get("XLA_FLAGS", "").split()))}


def recorded_fields(config: Config, loader: Loader) -> dict[str, Any]:
    """The fields of `CheckpointMetadata` that are the same in all checkpoints of a process."""
    representation = loader.representation.to_json() if loader.representation else {}
    return {
        "representation": representation,
        "data": loader.record().to_json(),
        "arithmetic": describe_arithmetic(),
        "settings": to_json(config),
    }


def check_data(
    metadata: CheckpointMetadata | None, loader: Loader, *, stored: Path, source: str, is_accepted: bool
) -> list[str]:
    """Compare the data with those of the checkpoint that a run continues from.

    Every process must call it.

    Classes with the recorded names in another order are numbered as recorded.

    Args:
        metadata: of the checkpoint; None for a new run.
        loader: the data.
        stored: path of data.npz.
        source: `data.source`, for messages.
        is_accepted: go on with other data; the value of the first process counts.

    Returns:
        Lines for the log.

    Raises:
        UserError: the data differ and that is not accepted, or the networks do not fit these data.
    """
    is_accepted = bool(processes.first_message("accepted" if is_accepted and processes.is_main_process() else ""))
    if metadata is None:
        return _describe_empty_classes(loader.record())
    stored_record, before = _load(stored)
    records = [one for one in (metadata.data_record, stored_record) if one]
    lines = _keep_class_order(loader, records)
    record = loader.record()
    misfit = processes.first_message(_misfit(metadata, loader, record, records))
    problem = processes.first_message(misfit or _compare(loader, record, records, before))
    if problem and (misfit or not is_accepted):
        raise UserError(_refusal(source, problem, is_acceptable=not misfit))
    if problem:
        return [*lines, f"data changed: {problem}", *_describe_empty_classes(record)]
    if not records:
        lines.append("the checkpoint is of an earlier version and does not record its data; they are recorded from now on")
    return lines


def store_data(paths: Workdir, loader: Loader) -> None:
    """Write data.npz, unless it holds the same already.

    Raises:
        OSError: it cannot be written.
    """
    record = loader.record()
    stored, _ = _load(paths.data)
    sums = None if stored == record else loader.image_checksums()
    if sums is None:
        return
    buffer = io.BytesIO()
    document = np.frombuffer(json.dumps(record.to_json()).encode(), np.uint8)
    np.savez_compressed(buffer, record=document, resolution=sums.resolution, images=sums.images, classes=sums.classes)
    write_atomically(paths.data, buffer.getvalue())


def describe_changes(metadata: CheckpointMetadata | None, config: Config, *, is_announced: bool) -> list[str]:
    """Describe versions, devices and settings that differ from those of a checkpoint.

    Args:
        metadata: of the checkpoint that the run continues from; None for a new run.
        config: its settings now.
        is_announced: whether a change of settings is reported elsewhere.

    Returns:
        Lines for the log.
    """
    if metadata is None or not metadata.arithmetic:
        return []
    lines, now = [], describe_arithmetic()
    changed = [name for name in now if metadata.arithmetic.get(name) != now[name]]
    if changed:
        listed = "; ".join(f"{name}: {metadata.arithmetic.get(name, '')!r} -> {now[name]!r}" for name in changed)
        lines.append(f"WARNING: results may differ in their last bits from those of an uninterrupted run: {listed}")
    if not is_announced and metadata.settings:
        try:
            settings = difference(from_json(metadata.settings, "the checkpoint"), config)
        except UserError:
            settings = []
        if settings:
            lines.append(f"settings of the checkpoint differ (there -> now): {'; '.join(settings)}")
    return lines


def accepts_data_change(changes: Sequence[str]) -> bool:
    """Whether accepted changes of settings imply other images, or clips, of the same sources.

    Args:
        changes: as `config_io.difference` gives them.
    """
    names = {change.partition(":")[0] for change in changes}
    return not names & {"data.source", "data.held_out_source"} and any(name.startswith(("data.", "sound.")) for name in names)


def class_order_note(theirs: CheckpointMetadata, loader: Loader) -> list[str]:
    """A line for the log if the classes of the run that a new one starts from have other names."""
    record = theirs.data_record
    problem = class_difference(record.class_names, loader.class_names) if record else ""
    return [f"WARNING: the other run's classes have other names: {problem}"] if problem else []


def _keep_class_order(loader: Loader, records: Sequence[DataRecord]) -> list[str]:
    """Number the classes as recorded, or else as the checkpoint's version did; return log lines."""
    names = records[0].class_names if records else loader.former_class_names
    if not names or not loader.use_class_order(names):
        return []
    return [f"classes keep the order of this run: 0 is {names[0]!r}, {len(names) - 1} is {names[-1]!r}"]


def _compare(loader: Loader, record: DataRecord, records: Sequence[DataRecord], before: ImageChecksums | None) -> str:
    """How the data differ from all records; empty if they equal one."""
    if any(not differences(old, record) for old in records) or not records:
        return ""
    # Those of the workdir belong to the last of the records.
    now = loader.image_checksums(before.resolution) if before is not None and records[0] == records[-1] else None
    problem = "; ".join(differences(records[0], record, before=before if now else None, now=now))
    return problem if len(problem) <= _DIFFERENCE_LENGTH else f"{problem[:_DIFFERENCE_LENGTH]}..."


def _misfit(metadata: CheckpointMetadata, loader: Loader, record: DataRecord, records: Sequence[DataRecord]) -> str:
    """What no flag can accept, as the networks have learnt other images; empty if they fit."""
    stored = Representation.from_json(metadata.representation) if metadata.representation else None
    if problem := _representation_misfit(stored, loader.representation):
        return problem
    if metadata.channels != loader.channels:
        return f"{loader.channels} colour channel(s), was {metadata.channels}"
    if metadata.label_size == loader.label_size:
        return ""
    old = records[0].class_names if records else [""] * metadata.label_size
    return class_difference(old, record.class_names)


def _representation_misfit(stored: Representation | None, now: Representation | None) -> str:
    """How the images stand for other sound than the images learnt; empty if they do not."""
    if stored is None or now is None:
        kinds = ["images" if one is None else "sound" for one in (now, stored)]
        return "" if stored is now else f"{kinds[0]}, was {kinds[1]}"
    old, new = stored.to_json(), now.to_json()
    if changed := [f"{name} {new[name]}, was {old[name]}" for name in new if name != "scale" and new[name] != old[name]]:
        return f"representation: {'; '.join(changed)}"
    if np.allclose(stored.scale, now.scale, rtol=_SCALE_TOLERANCE, atol=_SCALE_TOLERANCE):
        return ""
    low, high = stored.ranges[0]
    found = ",".join(f"{end:.9g}" for end in now.ranges[0])
    return f"log magnitudes {found}, was {low:.9g},{high:.9g}; set sound.magnitude_range={low:.9g},{high:.9g} to keep its scale"


def _refusal(source: str, problem: str, *, is_acceptable: bool) -> str:
    shown = source if len(source) <= _SOURCE_LENGTH else f"...{source[-_SOURCE_LENGTH:]}"
    start = f"data.source = {shown!r}: these are not the data of this run: {problem}"
    if is_acceptable:
        return f"{start}; bring its data back, use a new --workdir, or give --allow_data_change to go on"
    return f"{start}; its networks do not fit them, so bring its data back or use a new --workdir"


def _describe_empty_classes(record: DataRecord) -> list[str]:
    empty = [number for number, count in enumerate(record.class_counts) if not count]
    if not empty:
        return []
    listed = ", ".join(f"{number} ({record.class_names[number]!r})" for number in empty[:5])
    more = f" and {len(empty) - 5:,} more" if len(empty) > 5 else ""
    return [f"{len(empty):,} of {len(record.class_names):,} classes have no images and are never drawn: {listed}{more}"]


def _load(path: Path) -> tuple[DataRecord | None, ImageChecksums | None]:
    """Contents of data.npz; None for what cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            record = DataRecord.from_json(parse_json(file["record"].tobytes()))
            sums = ImageChecksums(int(file["resolution"]), file["images"], file["classes"])
    except Exception:  # damage shows in many ways, and the checkpoint has the record, too
        return None, None
    whole = record is not None and sums.images.shape == sums.classes.shape == (record.images,)
    return record, sums if whole else None
