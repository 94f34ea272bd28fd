"""Model files: a trained model as one .safetensors file, which every command reads.

The arrays are named by network and path, as `discriminator/block_4x4/conv/kernel`. The text is a JSON object with the settings
of the networks, the level that was reached, and where the weights come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.checkpointing.trained_model import TrainedModel, Weights, networks_for
from pggan_jax.config import Config
from pggan_jax.config.io import from_json, to_json
from pggan_jax.errors import UserError, one_line, visible
from pggan_jax.interop.safetensors_file import read_tensors, write_tensors
from pggan_jax.networks.build import parameter_shapes
from pggan_jax.networks.normalization import without_statistics
from pggan_jax.sound.representations import Representation
from pggan_jax.system.json_files import parse_json

OWN_PROGRAM = "pggan_jax"
_VERSION = 1
_NETWORKS = ("generator_ema", "generator", "discriminator")
_METADATA = (
    *("images_seen", "resolution", "alpha", "channels", "label_size", "scores", "training_seconds", "representation", "data"),
    "arithmetic",
)
"""Fields of the checkpoint that a model file keeps; the others describe an unfinished run."""


@dataclass(frozen=True)
class Origin:
    """Where the weights of a model file come from.

    Attributes:
        program: that trained them.
        file: name of the file that they were imported from, or of the run.
        sha256: of that file; empty for a run.
        licence: of the weights; empty if it is not known.
        metrics: records of metric-NAME.jsonl of the checkpoint.
        notes: what a user should know, one line each.
    """

    program: str = OWN_PROGRAM
    file: str = ""
    sha256: str = ""
    licence: str = ""
    metrics: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_foreign(self) -> bool:
        """Whether another program has trained the networks."""
        return self.program != OWN_PROGRAM


def write_model_file(path: Path, trained: TrainedModel, origin: Origin) -> None:
    """Write a trained model.

    Raises:
        OSError: the file cannot be written.
    """
    weights = trained.state
    trees = {name: getattr(weights, name) for name in _NETWORKS}
    if trees["generator"] is trees["generator_ema"]:
        del trees["generator"]
    tensors = {
        f"{name}/{leaf}": np.asarray(array)
        for name, tree in trees.items()
        if tree is not None
        for leaf, array in flatten_dict(without_statistics(tree), sep="/").items()
    }
    document = {
        "version": _VERSION,
        "config": json.loads(to_json(trained.config)),
        "checkpoint": {name: getattr(trained.metadata, name) for name in _METADATA},
        "origin": asdict(origin),
    }
    write_tensors(path, tensors, json.dumps(document))


def read_model_file(path: Path) -> tuple[TrainedModel, Origin]:
    """Read a model file of this or an earlier version.

    Raises:
        UserError: it is damaged, was written by a later version, or its arrays do not fit its settings.
    """
    try:
        tensors, text = read_tensors(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); allow it, or name another file") from None
    config, metadata, origin = _read_document(path, text)
    trees: dict[str, dict[str, np.ndarray]] = {}
    for name, array in tensors.items():
        network, _, leaf = name.partition("/")
        if network not in _NETWORKS:
            raise UserError(f"{path}: has an array for {visible(network)[:40]}, which is none of {', '.join(_NETWORKS)}")
        trees.setdefault(network, {})[leaf] = array
    return fitted_model(config, metadata, trees, named=str(path)), origin


def _read_document(path: Path, text: str) -> tuple[Config, CheckpointMetadata, Origin]:
    damaged = f"{path}: its description is damaged"
    try:
        document = parse_json(text)
        version, stored, origin = document["version"], document["checkpoint"], document["origin"]
        settings = json.dumps(document["config"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{damaged}; get the file again") from None
    if version != _VERSION:
        raise UserError(f"{path}: is of version {str(version)[:20]}, and this program reads {_VERSION}; update pggan_jax")
    config = from_json(settings, str(path))
    try:
        metadata = CheckpointMetadata.from_json(stored)
        _check_metadata(metadata)
        return config, metadata, _read_origin(origin)
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{damaged} ({one_line(str(error), longest=80)}); get the file again") from None


def _check_metadata(metadata: CheckpointMetadata) -> None:
    """Raise `ValueError` for numbers that no model has."""
    limits = {"images_seen": 2**53, "channels": 16, "label_size": 2**20}
    for name, largest in limits.items():
        if not (name == "channels") <= getattr(metadata, name) <= largest:
            raise ValueError(f"its {name} is impossible")
    if metadata.representation:
        Representation.from_json(metadata.representation)


def _read_origin(document: Any) -> Origin:
    """Read what `asdict` gave; unknown fields of later versions are left out.

    Raises:
        ValueError: a field has another type.
    """
    known = {one.name: getattr(Origin(), one.name) for one in fields(Origin)}
    given = {name: value for name, value in dict(document).items() if name in known}
    for name, value in given.items():
        if type(value) is not type(known[name]):
            raise ValueError(f"its {name} is a {type(value).__name__}")
    origin = Origin(**given)
    if not all(isinstance(note, str) for note in origin.notes):
        raise ValueError("a note is no text")
    if not all(isinstance(record, dict) and isinstance(record.get("values"), dict) for record in origin.metrics):
        raise ValueError("a metric has no values")
    return origin


def fitted_model(
    config: Config, metadata: CheckpointMetadata, trees: Mapping[str, Mapping[str, np.ndarray]], *, named: str
) -> TrainedModel:
    """Return a model of the arrays that its networks need.

    Others, such as those of later levels, are left out.

    Args:
        config: settings of the networks.
        metadata: resolution, alpha, channels and label size.
        trees: arrays by path for "generator_ema", and if there are any "generator" and "discriminator".
        named: the file, for messages.

    Raises:
        UserError: an array is missing or has another shape, or no networks have such settings.
    """
    if "generator_ema" not in trees:
        raise UserError(f"{named}: has no generator; give a file with one")
    start, full = config.schedule.start_resolution, config.data.resolution
    if not _is_level(metadata.resolution, start, full) or not 0 <= metadata.alpha <= 1:
        raise UserError(
            f"{named}: its resolution {metadata.resolution} or alpha {metadata.alpha} is impossible; get the file again"
        )
    networks = networks_for(config, metadata)
    of_generator, of_discriminator = parameter_shapes(networks)
    shapes = {"generator_ema": of_generator, "generator": of_generator, "discriminator": of_discriminator}
    fitted = {name: _fitted(tree, shapes[name], named=f"{named}: {name}") for name, tree in trees.items()}
    average = fitted["generator_ema"]
    weights = Weights(average, fitted.get("generator", average), fitted.get("discriminator"))
    return TrainedModel(config, metadata, weights, networks)


def _is_level(resolution: int, start: int, full: int) -> bool:
    return start <= resolution <= full and resolution & (resolution - 1) == 0


def _fitted(tree: Mapping[str, np.ndarray], shapes: Mapping[str, Any], *, named: str) -> dict[str, Any]:
    """Return the arrays that a module needs, as its nested tree."""
    found = {}
    for path, leaf in flatten_dict(shapes, sep="/").items():
        if path not in tree:
            raise UserError(f"{named} lacks {path}; the file is incomplete, or its settings are of other networks")
        if tree[path].shape != leaf.shape:
            raise UserError(f"{named} has {path} of shape {tree[path].shape}, and its settings make {leaf.shape}")
        found[path] = tree[path]
    return unflatten_dict(found, sep="/")
