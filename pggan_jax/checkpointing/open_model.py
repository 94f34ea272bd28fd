"""Open what a user names as SOURCE: a run, one checkpoint of it, or a model file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from pggan_jax.checkpointing.metadata import read_metadata
from pggan_jax.checkpointing.model_file import Origin, read_model_file
from pggan_jax.checkpointing.orbax_fixes import silence_log
from pggan_jax.checkpointing.trained_model import TrainedModel, open_checkpoints, read_checkpoint, read_chosen
from pggan_jax.errors import UserError
from pggan_jax.generation.model import Model
from pggan_jax.interop.safetensors_file import SUFFIX
from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.system.jax_environment import fixed_jax_settings
from pggan_jax.system.json_files import json_objects
from pggan_jax.system.paths import user_path
from pggan_jax.system.xla_options import prefer_fast_convolutions

_NETWORKS = ("ema", "raw")


def load(source: str | Path, *, checkpoint: str = "", network: str = "ema", named: str = "") -> Model:
    """Load a trained model.

    Args:
        source: the workdir of a run; WORKDIR@KIMG, WORKDIR@best or WORKDIR@latest for one of its checkpoints; or a model file,
            .safetensors.
        checkpoint: KIMG, best or latest, instead of the part after @.
        network: "ema", the moving average of the generator's weights, or "raw", its current weights.
        named: what stands before the source in messages, such as "--from=".

    Raises:
        UserError: there is no such run, checkpoint or file, or it is damaged.
    """
    if network not in _NETWORKS:
        raise UserError(f"network={network!r}: must be one of {', '.join(_NETWORKS)}")
    prefer_fast_convolutions()
    trained, origin = open_source(str(source), checkpoint=checkpoint, named=named)
    return replace(model_of(trained, name=str(source), network=network), program=origin.program)


def open_source(source: str, *, checkpoint: str = "", named: str = "") -> tuple[TrainedModel, Origin]:
    """Read what a user names as SOURCE.

    Args:
        source, checkpoint, named: as for `load`.

    Raises:
        UserError: as for `load`.
    """
    if is_model_file(source):
        return open_model_file(source, checkpoint=checkpoint, named=named)
    workdir, wanted = split_source(source, named=named)
    if wanted and checkpoint and wanted != checkpoint:
        raise UserError(f"{source}: names checkpoint {wanted}, and --checkpoint={checkpoint} another one; give one of the two")
    with silence_log():
        config, checkpoints = open_checkpoints(workdir)
        with closing(checkpoints):
            trained = read_chosen(config, checkpoints, checkpoint=wanted or checkpoint or "latest")
    return trained, Origin(file=workdir.name)


def lower_levels(source: str, model: Model, *, network: str, on_skip: Callable[[int, UserError], None]) -> list[Model]:
    """Load the newest checkpoint of each resolution below that of a model, smallest first.

    Args:
        source: that the model was loaded from, whose run may not keep all levels; a model file has no others.
        model: of the highest level.
        network: "ema" or "raw".
        on_skip: called with images seen and the reason for each checkpoint that cannot be read.
    """
    if is_model_file(source):
        return []
    workdir, _ = split_source(source)
    levels: dict[int, Model] = {}
    with silence_log():
        config, checkpoints = open_checkpoints(workdir)
        with closing(checkpoints):
            for images_seen in reversed(checkpoints.all_images_seen()):
                metadata = read_metadata(checkpoints.directory / str(images_seen))
                if metadata and (metadata.resolution >= model.resolution or metadata.resolution in levels):
                    continue
                try:
                    trained = read_checkpoint(config, checkpoints, images_seen=images_seen)
                except UserError as error:
                    on_skip(images_seen, error)
                else:
                    levels[trained.metadata.resolution] = model_of(trained, name=source, network=network)
    return [levels[resolution] for resolution in sorted(levels)]


def metric_records(workdir: Path, images_seen: int) -> list[dict[str, Any]]:
    """Return the newest line of each metric of the moving average of a checkpoint."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(workdir.glob(Workdir(workdir).metric("*").name)):
        with suppress(OSError):
            for record in json_objects(path.read_text(encoding="utf-8", errors="replace").splitlines()):
                is_of_it = record.get("images_seen") == images_seen and record.get("network", "ema") == "ema"
                if is_of_it and isinstance(record.get("values"), dict):
                    found[str(record.get("label") or path.stem)] = record
    return list(found.values())


def is_model_file(source: str) -> bool:
    """Whether a user's SOURCE names a model file, which may not be there."""
    return source.lower().endswith(SUFFIX) and not Path(source).is_dir()


def open_model_file(source: str, *, checkpoint: str = "", named: str = "") -> tuple[TrainedModel, Origin]:
    """Read a model file that a user names.

    Args:
        source: path of the file.
        checkpoint: what --checkpoint says; a file has no others.
        named: as for `load`.

    Raises:
        UserError: there is no such file, it is damaged, or `checkpoint` is given.
    """
    path = user_path(source, named=named or "source=", example="name a model file")
    if checkpoint not in ("", "latest"):
        raise UserError(f"{named}{source}: is a model file, which holds one model; remove --checkpoint={checkpoint}")
    if not path.is_file():
        raise UserError(f"{named}{source}: no such file; write one by `launch.py import` or `export`")
    return read_model_file(path)


def model_of(trained: TrainedModel, *, name: str, network: str = "ema") -> Model:
    """Return a restored checkpoint as a model.

    Args:
        trained: the checkpoint.
        name: where it comes from, for messages.
        network: "ema" or "raw".
    """
    metadata, record = trained.metadata, trained.metadata.data_record
    present = record.present_classes if record and metadata.label_size else range(metadata.label_size)
    generator = trained.state.generator_ema if network == "ema" else trained.state.generator
    with fixed_jax_settings():
        generator = jax.device_get(trained.sampler().with_statistics(generator, alpha=metadata.alpha))
    return Model(
        name,
        trained.config,
        trained.networks,
        generator=generator,
        discriminator=trained.state.discriminator,
        alpha=metadata.alpha,
        kimg=metadata.images_seen / 1000,
        class_names=tuple(record.class_names) if record and metadata.label_size else (),
        present_classes=tuple(present),
        representation=trained.representation,
        label_kind=_label_kind(trained),
    )


def _label_kind(trained: TrainedModel) -> str:
    """Return what the classes of sound are; without a record of it, what the settings say."""
    record, data = trained.metadata.data_record, trained.config.data
    if trained.representation is None or (record and record.label_kind):
        return record.label_kind if record else ""
    is_notes = data.source.partition(":")[0] == "notes"
    return "pitch" if data.sound.label_by == "pitch" or (is_notes and data.sound.label_by == "auto") else ""


def split_source(source: str, *, named: str = "") -> tuple[Path, str]:
    """Split WORKDIR@CHECKPOINT.

    The second part is empty without @, or if the whole text is the name of a folder.

    Raises:
        UserError: there is no such folder.
    """
    path = user_path(source, named=named or "source=", example="name the workdir of a run")
    if path.is_dir():
        return path, ""
    text, at, checkpoint = source.rpartition("@")
    if at and text and checkpoint:
        path = user_path(text, named=named or "source=", example="name the workdir of a run")
        if path.is_dir():
            return path, checkpoint
        if is_model_file(text) and path.is_file():
            raise UserError(f"{named}{source}: {text} is a model file, which holds one model; remove @{checkpoint}")
    if path.is_file():
        raise UserError(
            f"{named}{source}: is a file; give the workdir of a run, such as runs/digits, or a model file, .safetensors"
        )
    raise UserError(f"{named}{source}: no such folder; give the workdir of a run, such as runs/digits, or WORKDIR@KIMG")
