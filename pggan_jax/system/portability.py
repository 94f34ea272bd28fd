"""Replacements for functions that Windows lacks: file locks, `pread`, signals and threads."""

from __future__ import annotations

import _thread
import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SEEKING = threading.Lock()


class _NoLocks:
    """Replacement of the module `fcntl`: a lock fails as on a disk without locks."""

    LOCK_EX, LOCK_NB, LOCK_UN, LOCK_SH = 2, 4, 8, 1

    def flock(self, file: Any, operation: int) -> None:
        """Fail.

        Raises:
            OSError: with ENOTSUP.
        """
        del file, operation
        raise OSError(errno.ENOTSUP, "this system has no file locks")


fcntl: Any
try:
    import fcntl
except ImportError:
    fcntl = _NoLocks()


def pread(descriptor: int, count: int, offset: int) -> bytes:
    """Read at most `count` bytes of an open file from `offset`; safe in threads."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    with _SEEKING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, count)


def read_only_flags() -> int:
    """Flags of `os.open` for reading bytes; without O_BINARY Windows changes line ends."""
    return os.O_RDONLY | getattr(os, "O_BINARY", 0)


@contextmanager
def block_interrupts() -> Iterator[None]:
    """Block Ctrl-C inside the `with` block, in this thread and in processes started there.

    Does nothing where the operating system cannot block signals.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def in_main_thread() -> bool:
    """Whether this is the main thread, where signal handlers can be set."""
    return threading.current_thread() is threading.main_thread()


def interrupt_main_thread() -> None:
    """Send Ctrl-C to the main thread, from any thread.

    A call that the main thread waits in ends early, but not on Windows.
    """
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)
    else:
        _thread.interrupt_main()
