"""A record of the checkpoints that were finished, with size and checksum of their files: tells what has become of them since.

So Orbax never meets a damaged file, of which its threads would fill the terminal with complaints.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pggan_jax.system.files import write_atomically
from pggan_jax.system.json_files import is_count, read_json_object

Marks = dict[str, dict[str, tuple[int, int]]]


class FinishedFiles:
    """The file `.finished` beside the checkpoints.

    A checkpoint that was finished just before its process died is not on record, and nothing is said of it here; its digest
    guards it all the same. The record has a seal of its own: where that is broken, nothing is said of any checkpoint.

    Args:
        directory: the folder with one folder per checkpoint.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._path = directory / ".finished"

    def exists(self) -> bool:
        """Whether some checkpoint is known to have been finished."""
        return self._path.exists()

    def note(self, checkpoints: Sequence[int]) -> None:
        """Put those checkpoints on record, and forget all others; where there is no space for that, the next time."""
        known = self._read()
        with suppress(OSError):
            marks = {str(one): known.get(str(one)) or self._marks(one) for one in checkpoints}
            if marks and marks != known:
                self._write(marks)

    def forget(self, checkpoint: int) -> None:
        """A checkpoint is gone or about to be saved again: what is on record of it says nothing of what comes.

        Raises:
            OSError: the record cannot be written.
        """
        known = self._read()
        if known.pop(str(checkpoint), None):
            self._write(known)

    def differences(self, checkpoint: int) -> Iterator[str]:
        """What has become of the files of a checkpoint since, such as "its file state/x is missing"."""
        folder = self._directory / str(checkpoint)
        for name, (size, checksum) in self._read().get(str(checkpoint), {}).items():
            file = folder / name
            try:
                if not file.is_file():
                    yield f"its file {name} is missing"
                elif file.stat().st_size != size:
                    yield f"its file {name} has {file.stat().st_size:,} of {size:,} bytes"
                elif zlib.crc32(file.read_bytes()) != checksum:
                    yield f"its file {name} has other contents than were saved"
            except OSError as error:
                yield f"its file {name} cannot be read: {error.strerror}"

    def _read(self) -> Marks:
        try:
            record = read_json_object(self._path)
            marks = record["marks"]
            return marks if record["seal"] == _seal(marks) and _are_marks(marks) else {}
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def _write(self, marks: Marks) -> None:
        write_atomically(self._path, json.dumps({"marks": marks, "seal": _seal(marks)}).encode())

    def _marks(self, checkpoint: int) -> dict[str, tuple[int, int]]:
        folder = self._directory / str(checkpoint)
        files = (file for file in folder.rglob("*") if file.is_file())
        return {str(file.relative_to(folder)): (file.stat().st_size, zlib.crc32(file.read_bytes())) for file in files}


def _are_marks(marks: object) -> bool:
    return isinstance(marks, dict) and all(
        isinstance(files, dict)
        and all(isinstance(mark, list) and len(mark) == 2 and all(map(is_count, mark)) for mark in files.values())
        for files in marks.values()
    )


def _seal(marks: Marks) -> str:
    return hashlib.sha256(json.dumps(marks, sort_keys=True).encode()).hexdigest()
