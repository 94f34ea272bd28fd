"""Write frames to a film: MP4, GIF, WebP or APNG, by the suffix of the file.

Frames are written as they come: memory does not grow with the length of a film. Pillow's own writers of animations keep
all frames, so only single frames are encoded by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.generation.films.animations import HeldFrame, write_apng, write_gif, write_webp
from pggan_jax.generation.films.video import require_video, write_mp4
from pggan_jax.system.files import atomic_file

_WRITERS = {".mp4": write_mp4, ".webp": write_webp, ".png": write_apng}
SUFFIXES = (".mp4", ".gif", ".webp", ".png")
_MOST_GIF_FPS, _MOST_BROWSER_FPS = 50, 90
MOST_PIXELS = 4096 * 4096
MOST_SIDE = 16_383
"""Of a WebP."""
_LONGEST_SECONDS = 300
"""A GIF's frames last up to 655 s, those of an APNG 546 s at 120 frames per second."""


def require_format(suffix: str, fps: int) -> str:
    """Check that a format can be written at so many frames per second.

    Returns:
        A remark on the frame rate, or "".

    Raises:
        UserError: it cannot, or a package is missing.
    """
    if suffix == ".mp4":
        require_video()
    if suffix in (".webp", ".png") and fps > _MOST_BROWSER_FPS:
        return f"browsers show frames of 10 ms or less for 100 ms; choose --fps={_MOST_BROWSER_FPS} or less, or .mp4"
    if suffix != ".gif":
        return ""
    if fps > _MOST_GIF_FPS:
        raise UserError(f"--fps={fps}: a GIF shows at most {_MOST_GIF_FPS} frames per second; lower it, or write .mp4 or .webp")
    if 100 % fps == 0:
        return ""
    return (
        f"frames of a GIF last whole hundredths of a second: here {100 // fps} or {100 // fps + 1}, {100 / fps:.3g} on average"
    )


def stored_size(suffix: str, height: int, width: int) -> tuple[int, int]:
    """Return height and width of the frames in a file: those of an MP4 are even."""
    return (height + height % 2, width + width % 2) if suffix == ".mp4" else (height, width)


def require_frame_size(height: int, width: int, *, advice: str) -> None:
    """Check that a film can have frames of this size.

    Raises:
        UserError: it cannot.
    """
    if height * width > MOST_PIXELS or max(height, width) > MOST_SIDE:
        raise UserError(
            f"a frame would have {height:,}x{width:,} pixels, more than {MOST_PIXELS:,} or a side of {MOST_SIDE:,}; {advice}"
        )


def write_film(path: Path, frames: Iterable[np.ndarray], *, fps: int, colors: int | None = None) -> None:
    """Write a film; an interrupted one leaves no file.

    Args:
        path: ends in one of `SUFFIXES`.
        frames: uint8 `[height, width, channels]`, all of one size, with 1 channel (grey) or 3.
        fps: frames per second.
        colors: of each frame of a GIF; by default 32 levels of grey, or 256 colours.

    Raises:
        UserError: a package is missing, or the film does not fit into the format.
        OSError: the file cannot be written.
    """
    suffix, film = path.suffix.lower(), join_equal_frames(frames, longest=_LONGEST_SECONDS * fps)
    with atomic_file(path) as file:
        if suffix == ".gif":
            write_gif(file, film, fps=fps, colors=colors)
        else:
            _WRITERS[suffix](file, film, fps=fps)


def join_equal_frames(frames: Iterable[np.ndarray], *, longest: int) -> Iterator[HeldFrame]:
    """Join equal frames that follow each other.

    Args:
        frames: the frames in order.
        longest: most frames that are joined.
    """
    held, start, number = None, 0, 0
    for number, frame in enumerate(frames):
        if held is not None and number - start < longest and (held is frame or np.array_equal(held, frame)):
            continue
        if held is not None:
            yield HeldFrame(held, start, number)
        held, start = frame, number
    if held is not None:
        yield HeldFrame(held, start, number + 1)
