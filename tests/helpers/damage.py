"""Ways to damage a checkpoint."""

from __future__ import annotations

import shutil


def largest_file(folder):
    return max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def data_files(checkpoint):
    return sorted(file for file in (checkpoint / "state").rglob("d/*") if file.is_file())


def flip(file, share):
    """Change one bit of the byte that lies at this share of a file."""
    content = bytearray(file.read_bytes())
    content[int(len(content) * share)] ^= 1
    file.write_bytes(bytes(content))


def flip_bytes(checkpoint):
    for file in data_files(checkpoint):
        flip(file, 0.5)


def truncate(checkpoint):
    """Leave 100 bytes of each data file: any one of them may be superseded, and never be read."""
    for file in data_files(checkpoint):
        file.write_bytes(file.read_bytes()[:100])


def empty(checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def make_foreign(checkpoint):
    empty(checkpoint)
    (checkpoint / "holiday.txt").write_text("not a checkpoint")


def lose_half(checkpoint):
    for file in sorted(file for file in checkpoint.rglob("*") if file.is_file())[::2]:
        file.unlink()


def lose_state(checkpoint):
    shutil.rmtree(checkpoint / "state")


def garble_metadata(checkpoint):
    (checkpoint / "position" / "metadata").write_text('{"a": 1}')


def zero_bytes(checkpoint):
    for file in checkpoint.rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
