"""Ctrl-C, SIGTERM and SIGHUP as a request to stop after the current step."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from pggan_jax.system.portability import in_main_thread


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop a run: those that the system has and that are not ignored."""
    hang_up = [signal.SIGHUP] if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
    return [signal.SIGINT, signal.SIGTERM, *hang_up]


class StopRequest:
    """A request to stop, made by the first Ctrl-C, SIGTERM or SIGHUP.

    A second Ctrl-C or SIGTERM stops the process at once; SIGHUP does not count, as it comes twice, or with SIGTERM, when a
    terminal closes. A SIGHUP that is ignored at the start, as under nohup, stays ignored. Only the main thread receives
    signals: in another thread, as in a notebook, no request is made.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._signals = stop_signals() if in_main_thread() else []
        for number in self._signals:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.is_set = True
        hang_up = getattr(signal, "SIGHUP", None)
        for one in self._signals:
            if one == hang_up:
                # Sent by both the kernel and the shell when a terminal closes, and by service managers with SIGTERM.
                signal.signal(one, signal.SIG_IGN)
            elif number != hang_up:
                signal.signal(one, signal.SIG_DFL)
        # A closed terminal, or one that is being written to, must not stop the run before it is saved.
        with suppress(OSError, RuntimeError):
            print("stopping after this step and saving; once more to stop at once", file=sys.stderr)

    def __call__(self) -> bool:
        return self.is_set


@contextmanager
def restore_signal_handlers() -> Iterator[None]:
    """Restore the signal handlers after the `with` block, as the process of a notebook goes on."""
    before = {number: signal.getsignal(number) for number in signal.valid_signals()} if in_main_thread() else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None stands for a handler that was not set by Python, which cannot set it again.
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
