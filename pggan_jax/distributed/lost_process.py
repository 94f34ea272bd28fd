"""Recognise a lost process of the run by the messages of XLA, gloo and NCCL."""

from __future__ import annotations

import re
import time
import traceback
from contextlib import suppress
from pathlib import Path

_OF_THE_NETWORK = re.compile(
    r"""
    gloo/(transport|rendezvous)             # source files of gloo's network code
    | connect(ion)?\ (was\ )?(closed|reset|refused|aborted|fail|timed\ out|dropped|lost)
    | (failed|unable)\ to\ connect
    | socket\ (is\ )?(closed|error)
    | broken\ pipe | closed\ by\ peer | reset\ by\ peer
    | heartbeat
    | timed\ out\ waiting
    | (another|other|remote)\ (task|process|node|host)s?\b.*(died|exited|fail|unhealthy|lost|stale|restart|terminat)
    | (task|process|node)\ [^ ]*\ ?.*\b(disconnected|unreachable|unhealthy|preempted)
    | coordination\ (service|agent).*(error|fail|shut|unavailable|disconnect|not\ (running|connected))
    | barrier.*(timed\ out|timeout|error|fail|task|shut)
    | ncclremoteerror | remote\ process\ exited | network\ error
    | nccl.*(unhandled\ system\ error|abort)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_STATUSES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED")
"""Statuses that XLA's runtime uses for the network only."""
_IS_LOGGED = "is_logged"
"""Attribute of an error whose traceback is in log.txt: it may pass through several `with` blocks."""
_NEVER = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNIMPLEMENTED", "OUT_OF_RANGE")


def is_lost_process(message: str) -> bool:
    """Whether the message of a `JaxRuntimeError` means that another process cannot be reached."""
    if message.startswith(_NEVER):
        return False
    return message.startswith(_STATUSES) or bool(_OF_THE_NETWORK.search(message))


def log_traceback(log: Path | None, error: BaseException) -> None:
    """Append the traceback to log.txt, once; does nothing if the file cannot be written."""
    if log is not None and log.parent.is_dir() and not hasattr(error, _IS_LOGGED):
        setattr(error, _IS_LOGGED, True)
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        with suppress(OSError), log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} the run has ended with an error:\n{''.join(lines)}")
