"""Checks of pickles that are read as data: declared sizes, and refusal of all other names.

A pickle is a program of a small machine. The scan follows it without running it, so that a file of 100 bytes cannot ask for a
terabyte; the unpicklers then create what their allow-lists name, and nothing else.
"""

from __future__ import annotations

import io
import pickletools

from pggan_jax.errors import visible

_NAME_LENGTH = 80
_INDEX_OPCODES = ("PUT", "BINPUT", "LONG_BINPUT")


class Refused(Exception):
    """A file holds something that is not read; the message continues "is refused: "."""


class Budget:
    """Bytes that the arrays of a file may take, however often it refers to the same ones."""

    def __init__(self, limit: int):
        self._limit, self._left = limit, limit

    def take(self, count: int) -> None:
        """Take some bytes.

        Raises:
            Refused: there are not so many left.
        """
        self._left -= count
        if self._left < 0:
            raise Refused(f"its arrays take more than the {self._limit:,} bytes of the file")


def scan(data: bytes) -> None:
    """Follow one pickle to its end without creating anything.

    Args:
        data: starts with the pickle; what comes after it is ignored.

    Raises:
        Refused: it declares more than the file holds.
        ValueError: it is damaged.
    """
    for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
        if opcode.name in _INDEX_OPCODES and argument is not None and int(argument) > len(data):
            raise Refused(f"it asks for {int(argument):,} entries of memory, and has {len(data):,} bytes")


def refuse_name(module: str, name: str) -> Refused:
    """Return the error for a function or class that a file names."""
    return Refused(f"it names {visible(f'{module}.{name}')[:_NAME_LENGTH]}, which could run code")
