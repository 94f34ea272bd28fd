"""Output streams that survive errors: closed, full or broken ones, or without an encoding.

A stream that fails does not stop a command: later output is discarded, and the exit status of the command shows it. Only
commands whose whole result is printed stop at once.
"""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from pggan_jax.errors import visible

# A progress bar moves to the start of its line or to other lines, then writes text without control characters.
_OF_BARS = re.compile("^(?:\r|\n| |\x1b\\[A)*")
_LINES = "\n\t"


class Terminal(io.TextIOBase):
    """A text stream that escapes control characters and letters that its encoding lacks.

    Args:
        stream: the underlying stream; None, Python's value for a closed descriptor, discards everything.
        raises: raise a failure when it happens; else only record it.
        has_bars: whether progress bars are written to it.

    Attributes:
        failure: the error after which nothing is written; None without one.
    """

    def __init__(self, stream: TextIO | None, *, raises: bool = False, has_bars: bool = False):
        self._stream, self._raises = stream, raises
        self._has_bars = has_bars
        self.failure: OSError | None = None if stream else OSError(errno.EBADF, os.strerror(errno.EBADF))

    def write(self, text: str) -> int:
        """Write `text` if possible, and return its length."""
        moves = "".join(_OF_BARS.findall(text)[:1]) if self._has_bars else ""
        safe = moves + visible(text[len(moves) :], but=_LINES)
        safe = safe.encode(self.encoding, "backslashreplace").decode(self.encoding)
        self._try(lambda stream: stream.write(safe))
        return len(text)

    def flush(self) -> None:
        """Flush the underlying stream."""
        self._try(lambda stream: stream.flush())

    def close(self) -> None:
        """Do nothing: the underlying stream belongs to others."""

    def _try(self, action: Any) -> None:
        if not self.failure:
            try:
                action(self._stream)
            except (OSError, ValueError) as error:  # ValueError: the stream was closed
                self.failure = error if isinstance(error, OSError) else OSError(errno.EBADF, os.strerror(errno.EBADF))
                self._let_go()
        if self.failure and self._raises:
            raise self.failure

    def _let_go(self) -> None:
        """Redirect the descriptor to /dev/null, as Python flushes the stream again at its exit."""
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, self.fileno())
            finally:
                os.close(nowhere)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # io has a plain attribute
        """Encoding of the stream; UTF-8 if it has none."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        with suppress(OSError, ValueError, AttributeError):
            return self._stream is not None and self._stream.isatty()
        return False

    def fileno(self) -> int:
        """Return the descriptor.

        Raises:
            OSError: the stream has none.
        """
        if self._stream is None or not hasattr(self._stream, "fileno"):
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_stream"], name)


@contextmanager
def streams(*, raises: bool = False) -> Iterator[Terminal]:
    """Replace stdout and stderr by `Terminal`s inside the `with` block.

    Args:
        raises: whether a failure of stdout is raised.

    Yields:
        stdout.
    """
    _open_standard_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout = out = Terminal(before[0], raises=raises)
    sys.stderr = Terminal(before[1], has_bars=True)
    try:
        yield out
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _open_standard_descriptors() -> None:
    """Open closed descriptors 0 to 2 on /dev/null, so that no other file gets these numbers."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
            os.set_inheritable(descriptor, True)
