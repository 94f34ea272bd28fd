"""MP4 files with H.264 video, by the optional package PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from pggan_jax.errors import UserError, first_line, import_optional
from pggan_jax.generation.films.animations import HeldFrame

_QUALITY = {"crf": "18"}
"""Constant rate factor of x264: visually close to lossless."""


def require_video() -> None:
    """Check that MP4 files can be written.

    Raises:
        UserError: PyAV is not installed, or was built without x264.
    """
    av = import_optional("av", package="-r requirements-optional.txt", needed_by="--out=....mp4")
    if "libx264" not in av.codecs_available:
        raise UserError("--out=....mp4: PyAV was built without libx264; run pip install --force-reinstall av, or write .webp")


def write_mp4(file: BinaryIO, film: Iterator[HeldFrame], *, fps: int) -> None:
    """Write an MP4 file: H.264, yuv420p, which every player shows.

    An odd height or width gets a copy of the last row or column, as this pixel format needs even ones.
    """
    require_video()
    import av

    try:
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=fps, options=_QUALITY)
            for frame in film:
                image = _even(frame.image)
                if not frame.start:
                    stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv420p"
                for _ in range(frame.stop - frame.start):
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise UserError(
            f"the video cannot be encoded ({first_line(error)}); write .webp, or a smaller one by --zoom"
        ) from error


def _even(image: np.ndarray) -> np.ndarray:
    height, width, channels = image.shape
    padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(np.broadcast_to(padded, (*padded.shape[:2], 3)) if channels == 1 else padded)
