"""Results of one file: a zip archive of images, or NumPy arrays.

The file grows under a hidden name, and a journal beside it says up to where it is valid.
"""

from __future__ import annotations

import io
import json
import math
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from pggan_jax.generation.image_writers import FolderWriter, ImageWriter, Plan, Sample
from pggan_jax.system.files import write_atomically
from pggan_jax.system.json_files import parse_json, read_json_object
from pggan_jax.system.own_output import read_mark
from pggan_jax.system.stored_zip import StoredZip, read_comment

SECONDS_BETWEEN_JOURNALS = 1.0
"""The most work that is lost when the process is killed."""


class ArchiveWriter(ABC):
    """A file that grows under a hidden name.

    Args:
        path: of the result.
        plan: what is written.

    Attributes:
        done: which images are in the file.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, plan: Plan):
        self._path, self.plan, self.done = path, plan, np.zeros(len(plan), bool)
        self._partial, self._journal = partial_path(path), journal_path(path)
        self._images = self.checksum = 0
        self.file: StoredZip | None = None
        if request_at(path) == plan.request:
            self.done[:] = True
            # A kill may have come after the file had its name.
            for path in (self._partial, self._journal):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            return
        self.file = self._continue() or StoredZip(self._partial)
        self.done[: self._images] = True
        if not self._images:
            self.begin(self.file)
        self._state = self._images, self.checksum, self.file.size
        self._write_journal()

    def _continue(self) -> StoredZip | None:
        """Open what an interrupted command has left; None if there is nothing of this request."""
        try:
            journal = read_json_object(self._journal)
            images, checksum, size = (int(journal[name]) for name in ("images", "checksum", "bytes"))
            if journal["request"] != self.plan.request or not (0 < images <= len(self.plan) and size > 0):
                return None
            file = StoredZip(self._partial, size=size)
        except (OSError, ValueError, KeyError, TypeError):  # Absent, or not what the journal says.
            return None
        self._images, self.checksum = images, checksum
        return file

    def store(self, encoded: Any, count: int) -> None:
        """Append images."""
        assert self.file is not None
        self.append(self.file, encoded)
        self._images += count
        # One assignment, so that an interruption at any time leaves a state of complete images.
        self._state = self._images, self.checksum, self.file.size
        if time.monotonic() - self._last_journal >= SECONDS_BETWEEN_JOURNALS:
            self._write_journal()

    def finish(self) -> None:
        """Complete the file, and give it its name."""
        if self.file is not None:
            # If the file cannot get its name, nothing has to be generated again.
            self._write_journal()
            self.end(self.file)
            self.file.finish(_comment(self.plan.request))
            self._partial.replace(self._path)
            self._journal.unlink(missing_ok=True)
            self.file = None

    def close(self) -> None:
        """Keep an incomplete file, to be continued."""
        if self.file is not None and not self.file.is_closed:
            with suppress(OSError):
                self._write_journal()
            self.file.close()

    def _write_journal(self) -> None:
        """Record the images written so far, after they have reached the disk."""
        assert self.file is not None
        state = dict(zip(("images", "checksum", "bytes"), self._state, strict=True))
        self.file.sync()
        write_atomically(self._journal, json.dumps({**state, "request": self.plan.request}).encode())
        self._last_journal = time.monotonic()

    @abstractmethod
    def encode(self, samples: Sequence[Sample]) -> Any:
        """Encode images."""

    @abstractmethod
    def begin(self, file: StoredZip) -> None:
        """Write what comes before the images."""

    @abstractmethod
    def append(self, file: StoredZip, encoded: Any) -> None:
        """Write what `encode` has returned."""

    @abstractmethod
    def end(self, file: StoredZip) -> None:
        """Write what comes after the images."""


class ZipWriter(ArchiveWriter):
    """A zip archive of image files, and of dataset.json with their classes if there are labels."""

    def __init__(self, path: Path, plan: Plan, *, format: str):
        self._format = format
        super().__init__(path, plan)

    def encode(self, samples: Sequence[Sample]) -> list[tuple[str, bytes]]:
        """Return name and content of each file."""
        return [(sample.name, self.plan.content_of(sample, self._format)) for sample in samples]

    def begin(self, file: StoredZip) -> None:
        """Write nothing."""

    def append(self, file: StoredZip, encoded: list[tuple[str, bytes]]) -> None:
        """Write files."""
        file.add(encoded)

    def end(self, file: StoredZip) -> None:
        """Write dataset.json."""
        if self.plan.has_labels:
            file.add_chunks("dataset.json", self._labels)

    def _labels(self) -> Iterator[bytes]:
        before = '{"labels": ['
        for name, number in self.plan.names():
            yield f"{before}{json.dumps([name, number])}".encode()
            before = ",\n"
        yield b"]}"


class ArraysWriter(ArchiveWriter):
    """An .npz of arrays.

    `images` uint8 `[count, height, width, channels]`; `seeds` and `classes` int64 `[count]`, classes 0 without labels.
    """

    def encode(self, samples: Sequence[Sample]) -> bytes:
        """Return the pixels."""
        return b"".join(sample.image.tobytes() for sample in samples)

    def begin(self, file: StoredZip) -> None:
        """Write the header of the images."""
        shape = len(self.plan), *self.plan.shape
        header = _npy_header(np.uint8, shape)
        file.begin("images.npy", len(header) + math.prod(shape))
        self.append(file, header)

    def append(self, file: StoredZip, encoded: bytes) -> None:
        """Write pixels."""
        file.append(encoded)
        self.checksum = zlib.crc32(encoded, self.checksum)

    def end(self, file: StoredZip) -> None:
        """Write seeds and classes."""
        file.set_first_checksum(self.checksum)
        for number, name in enumerate(("seeds", "classes")):
            file.add_chunks(f"{name}.npy", lambda number=number: self._column(number))  # type: ignore[misc]

    def _column(self, number: int) -> Iterator[bytes]:
        yield _npy_header(np.int64, (len(self.plan),))
        for rows in self.plan.rows():
            yield rows[number].astype(np.int64).tobytes()


def open_writer(out: Path, plan: Plan, *, format: str) -> ImageWriter:
    """Return the writer for a name: .zip, .npz, or a folder, which exists.

    Raises:
        OSError: it cannot be written.
    """
    if out.suffix.lower() == ".npz":
        return ArraysWriter(out, plan)
    return ZipWriter(out, plan, format=format) if out.suffix.lower() == ".zip" else FolderWriter(out, plan, format=format)


def request_at(out: Path) -> Any:
    """Return the request of a folder or a complete archive; None if it has none."""
    try:
        if out.is_dir():
            return read_mark(out).get("request")
        return parse_json(read_comment(out))["request"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def unfinished_request(path: Path) -> Any:
    """Return the request of an archive that an interrupted command has left; None without one."""
    try:
        return read_json_object(journal_path(path)).get("request")
    except (OSError, ValueError):
        return None


def partial_path(path: Path) -> Path:
    """Return the name under which an archive grows."""
    return path.with_name(f".{path.name}.partial")


def journal_path(path: Path) -> Path:
    """Return the name of an archive's journal."""
    return path.with_name(f".{path.name}.journal")


def _comment(request: Mapping[str, Any]) -> bytes:
    return json.dumps({"program": "pggan_jax", "command": "sample", "request": request}, sort_keys=True).encode()


def _npy_header(dtype: type, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()
