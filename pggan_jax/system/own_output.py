"""Marks on folders that this program writes, so that it does not read them as data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from pggan_jax.errors import UserError
from pggan_jax.source_kinds import parse_source
from pggan_jax.system.files import write_atomically
from pggan_jax.system.json_files import parse_json, read_json_object
from pggan_jax.system.paths import expand_path

MARKER = ".pggan_jax"
"""File in a folder of images that a command has written; JSON with the name of the command."""
_PREPARED_LEVEL = re.compile(rb"r\d{4}\.npy")
_MARKS = frozenset({MARKER.encode(), b"config.json", b"info.json", b"journal.json"})
_RUN_SETTINGS = frozenset({"data", "generator", "discriminator", "schedule"})
_MAX_JSON = 2**20


def is_marker(name: bytes) -> bool:
    """Whether a file of this name may mark its folder as output of this program."""
    return name in _MARKS or _PREPARED_LEVEL.fullmatch(name) is not None


def describe_own_folder(names: Collection[bytes], load: Callable[[bytes], bytes | None]) -> str:
    """Describe a folder of this program, such as "a prepared folder"; "" for others.

    Args:
        names: names of the files in it for which `is_marker` is true.
        load: returns the content of one of these files, or None if it cannot be read.
    """
    if any(map(_PREPARED_LEVEL.fullmatch, names)) and (b"info.json" in names or b"journal.json" in names):
        return "a prepared folder"
    if b"config.json" in names and _has_run_settings(load(b"config.json")):
        return "the workdir of a run"
    if MARKER.encode() in names:
        return "output of this program"
    return ""


def _has_run_settings(content: bytes | None) -> bool:
    if content is None or len(content) > _MAX_JSON:
        return False
    try:
        settings = parse_json(content)
    except ValueError:
        return False
    return isinstance(settings, dict) and settings.keys() >= _RUN_SETTINGS


def claim_output(flag: str, out: Path, *sources: str, command: str, details: Mapping[str, Any] | None = None) -> None:
    """Create the folder `out`, and mark it as output of this program if it is new or empty.

    Args:
        flag: name of the flag that gives the folder, for messages.
        out: the folder.
        sources: sources as written in `data.source`, which must not read the images written here.
        command: name of the command that writes there.
        details: more entries of the mark.

    Raises:
        UserError: the folder lies inside one of the sources and is not empty, or cannot be written.
    """
    try:
        is_ours = not out.exists() or (out / MARKER).is_file() or not any(out.iterdir())
        inside = next((source for source in sources if is_inside_source(out, source)), None)
        if inside and (not is_ours or _is_source_itself(out, inside)):
            raise UserError(
                f"--{flag}={out}: lies inside {inside}, which would read what is written there; choose a new folder"
            )
        out.mkdir(parents=True, exist_ok=True)
        if is_ours:
            write_atomically(out / MARKER, json.dumps({"program": "pggan_jax", "command": command, **(details or {})}).encode())
    except OSError as error:
        raise UserError(f"--{flag}={out}: cannot be written ({error.strerror}); choose a folder you may write to") from None


def read_mark(out: Path) -> dict[str, Any]:
    """Return what a command has recorded in a folder of its own; empty without a mark."""
    try:
        return read_json_object(out / MARKER)
    except (OSError, ValueError):
        return {}


def is_inside_source(out: Path, source: str) -> bool:
    """Whether a path is, or lies in, the folder that a `data.source` reads."""
    folder = _folder_of(source)
    return folder is not None and out.resolve().is_relative_to(folder)


def _is_source_itself(out: Path, source: str) -> bool:
    return out.resolve() == _folder_of(source)


def _folder_of(source: str) -> Path | None:
    """Return the folder that `folder:DIR` or `sound:DIR` reads, also inside `stacked:`."""
    while source.startswith("stacked:"):
        source = source.partition(":")[2]
    try:
        kind, argument = parse_source(source)
        return expand_path(argument).resolve() if kind in ("folder", "sound") else None
    except ValueError:
        return None
