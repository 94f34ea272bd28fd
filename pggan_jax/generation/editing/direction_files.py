"""Files of named directions: an .npz without pickles."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.system.json_files import parse_json

_LARGEST_BYTES = 2**28
_SHOWN = 8
_LENGTH_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Directions:
    """Named directions of a latent space.

    Attributes:
        directions: float32 `[count, latent_size]`, each of length 1.
        names: one per direction.
        method: sefa, pca or classes.
        image_change: float32 `[count]`, mean absolute pixel change of a step of length 1, in grey levels of 255.
        values: float64 `[count]`: eigenvalues (sefa), shares of variance (pca), or length left by --orthogonal (classes).
        source: the run and its kimg, and how the directions were found; a JSON object.
        strengths: float32 `[strengths]` at which the effect was measured; empty without a classifier.
        effect: float32 `[count, strengths]`, share of samples that the classifier reads as the class of the direction.
    """

    directions: np.ndarray
    names: tuple[str, ...]
    method: str
    image_change: np.ndarray
    values: np.ndarray
    source: dict[str, Any]
    strengths: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    effect: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @property
    def latent_size(self) -> int:
        """Length of a direction."""
        return self.directions.shape[1]


def save_directions(file: BinaryIO | Path, found: Directions) -> None:
    """Write directions to an open file, or to one that ends in .npz."""
    arrays = {
        "directions": found.directions.astype(np.float32),
        "names": np.array(found.names, np.str_),
        "method": np.array(found.method, np.str_),
        "image_change": found.image_change.astype(np.float32),
        "values": found.values.astype(np.float64),
        "source": np.array(json.dumps(found.source), np.str_),
        "strengths": found.strengths.astype(np.float32),
        "effect": found.effect.astype(np.float32),
    }
    np.savez(file, allow_pickle=False, **arrays)


def read_directions(path: Path, *, named: str) -> Directions:
    """Read a file of directions.

    Args:
        path: of the file.
        named: how the user named it, for messages.

    Raises:
        UserError: the file cannot be read, is damaged, or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST_BYTES:
                raise UserError(f"{named}: is too large for a file of directions; give one that `directions` has written")
        with np.load(path, allow_pickle=False) as archive:
            found = _from_arrays({name: archive[name] for name in _FIELDS})
    except (UserError, IsADirectoryError, PermissionError):
        raise
    except Exception:  # damage shows in many ways
        found = None
    if found is None:
        raise UserError(f"{named}: is damaged or not a file of directions; give an .npz that `directions` has written")
    return found


_FIELDS = ("directions", "names", "method", "image_change", "values", "source", "strengths", "effect")


def _from_arrays(arrays: dict[str, np.ndarray]) -> Directions | None:
    """Return checked directions; None if something does not fit."""
    directions, names = arrays["directions"], arrays["names"]
    if directions.ndim != 2 or directions.dtype.kind != "f" or not directions.size or names.shape != directions.shape[:1]:
        return None
    lengths = np.linalg.norm(directions, axis=1)
    if not np.all(np.abs(lengths - 1) < _LENGTH_TOLERANCE):  # false for NaN, too
        return None
    source = parse_json(str(arrays["source"]))
    measured = {name: arrays[name] for name in ("image_change", "values", "strengths", "effect")}
    if not isinstance(source, dict) or any(array.dtype.kind != "f" for array in measured.values()):
        return None
    if {measured["image_change"].shape, measured["values"].shape} != {names.shape}:
        return None
    return Directions(directions.astype(np.float32), tuple(map(str, names)), str(arrays["method"]), source=source, **measured)


def find_direction(found: Directions, wanted: str, *, named: str) -> int:
    """Return the number of the direction that a user names by number or name.

    Raises:
        UserError: there is none; the message lists what there is.
    """
    if wanted in found.names:
        return found.names.index(wanted)
    if wanted.isascii() and wanted.isdecimal() and len(wanted) <= 9 and int(wanted) < len(found.names):
        return int(wanted)
    more = f" and {len(found.names) - _SHOWN} more" if len(found.names) > _SHOWN else ""
    raise UserError(
        f"{named}: has no direction {wanted[:40]!r}; give a number from 0 to {len(found.names) - 1}, or one of "
        f"{', '.join(found.names[:_SHOWN])}{more}"
    )
