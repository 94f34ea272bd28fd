"""What commands print to: streams that may be closed, full, broken, without an encoding, or those of a notebook.

A stream that fails never ends a command in the middle of its work: what follows goes nowhere, and the command line is told at
the end. Only commands whose whole result is printed stop at once.
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

# A progress bar goes to the start of its line, writes, and goes to other lines; what it writes itself has no controls.
_OF_BARS = re.compile("^(?:\r|\n| |\x1b\\[A)*")
_LINES = "\n\t"


class Terminal(io.TextIOBase):
    """A text stream to which everything can be written: controls and letters that its encoding lacks become escapes.

    Args:
        stream: what is written to; None, as Python has it where the descriptor was closed, takes nothing.
        raises: whether a failure is raised where it happens; else it is only noted.
        has_bars: whether progress bars are drawn there.

    Attributes:
        failure: why nothing more can be written; None as long as all is well.
    """

    def __init__(self, stream: TextIO | None, *, raises: bool = False, has_bars: bool = False):
        self._stream, self._raises = stream, raises
        self._has_bars = has_bars
        self.failure: OSError | None = None if stream else OSError(errno.EBADF, os.strerror(errno.EBADF))

    def write(self, text: str) -> int:
        """Write `text` as far as that is possible; its length."""
        moves = "".join(_OF_BARS.findall(text)[:1]) if self._has_bars else ""
        safe = moves + visible(text[len(moves) :], but=_LINES)
        safe = safe.encode(self.encoding, "backslashreplace").decode(self.encoding)
        self._try(lambda stream: stream.write(safe))
        return len(text)

    def flush(self) -> None:
        """Pass on what is held back."""
        self._try(lambda stream: stream.flush())

    def close(self) -> None:
        """Leave the stream as it is: Python closes what it forgets, and the stream belongs to others."""

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
        """Python flushes the stream once more when it ends: that must find a place that takes everything."""
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, self.fileno())
            finally:
                os.close(nowhere)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # io has a plain attribute
        """Of the stream; UTF-8 where it has none."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a person is looking."""
        with suppress(OSError, ValueError, AttributeError):
            return self._stream is not None and self._stream.isatty()
        return False

    def fileno(self) -> int:
        """The descriptor.

        Raises:
            OSError: there is none.
        """
        if self._stream is None or not hasattr(self._stream, "fileno"):
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def writable(self) -> bool:
        """Always."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_stream"], name)


@contextmanager
def streams(*, raises: bool = False) -> Iterator[Terminal]:
    """Put a `Terminal` before stdout and stderr inside the `with` block.

    Args:
        raises: what stdout does when it fails.

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
    """A descriptor that was closed would be given to the next file that is opened, and libraries write messages into 2."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
            os.set_inheritable(descriptor, True)
