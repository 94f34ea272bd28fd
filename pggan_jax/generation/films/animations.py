"""Animated GIF, WebP and PNG, written frame by frame to a file that can be rewound.

Each frame is encoded by Pillow as an image of its own; its compressed data are then put into the animation.
Sources: GIF89a; the WebP container specification; the PNG specification, third edition, for APNG.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import numpy as np
from PIL import Image

from pggan_jax.errors import UserError
from pggan_jax.images import as_pillow
from pggan_jax.system.image_files import GENERATED_MARK, GIF_MARK, WEBP_MARK

GREY_LEVELS, COLOURS = 32, 256
"""Of a GIF. More levels of grey are hard to see and make it larger."""
_SHOWN = "generated images"
"""Written with the mark that excludes a film from training, as other generated images."""
_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" ' + WEBP_MARK + b"/></rdf:RDF></x:xmpmeta>"
)
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WEBP_QUALITY = 90
_LARGEST_WEBP = 2**32 - 2


@dataclass(frozen=True)
class HeldFrame:
    """A frame of a film that stays for some frames.

    Attributes:
        image: uint8 `[height, width, channels]` with 1 or 3 channels.
        start: number of its first frame.
        stop: number of the frame after its last.
    """

    image: np.ndarray
    start: int
    stop: int

    def duration(self, fps: int, *, units: int) -> int:
        """Length in units of 1/`units` s; rounded so that errors do not add up over the film."""
        return round(self.stop * units / fps) - round(self.start * units / fps)


def write_gif(file: BinaryIO, film: Iterator[HeldFrame], *, fps: int, colors: int | None = None) -> None:
    """Write a GIF that repeats for ever; each frame has a palette of its own.

    Args:
        file: opened for writing.
        film: its frames.
        fps: frames per second, at most 50.
        colors: 2 to 256 in each frame; by default 32 levels of grey, or 256 colours.
    """
    for frame in film:
        height, width = frame.image.shape[:2]
        if not frame.start:
            file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0x70, 0, 0))
            file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
            comment = GIF_MARK + _SHOWN.encode()
            file.write(b"!\xfe" + bytes([len(comment)]) + comment + b"\0")
        palette, data = _gif_frame(frame.image, colors)
        bits = len(palette) // 3 - 1
        file.write(b"!\xf9\x04" + struct.pack("<BHBB", 0x04, frame.duration(fps, units=100), 0, 0))
        file.write(b"," + struct.pack("<HHHHB", 0, 0, width, height, 0x80 | bits.bit_length() - 1) + palette + data)
    file.write(b";")


def _gif_frame(image: np.ndarray, colors: int | None) -> tuple[bytes, bytes]:
    """Return the palette, of 2^k colours, and the compressed pixels."""
    if image.shape[-1] == 1:
        count = colors or GREY_LEVELS
        step = 255 / (count - 1)
        levels = np.rint(image[..., 0] / step).astype(np.uint8)
        colours = Image.fromarray(levels).convert("P")
        colours.putpalette(np.repeat(np.rint(np.arange(count) * step).astype(np.uint8), 3).tobytes())
    else:
        # No dithering: its noise moves from frame to frame, and compresses badly.
        colours = Image.fromarray(image).quantize(colors or COLOURS, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    colours.save(buffer, format="GIF", interlace=0)
    content = buffer.getvalue()
    # Signature and screen are 13 bytes, with the size of the palette in the eleventh; extensions begin with 0x21.
    end = 13 + 3 * 2 ** ((content[10] & 7) + 1)
    palette = content[13:end]
    while content[end] == 0x21:
        end += 2
        while content[end]:
            end += content[end] + 1
        end += 1
    # The image descriptor has 10 bytes; the last byte of the file is its trailer.
    return palette, content[end + 10 : -1]


def write_webp(file: BinaryIO, film: Iterator[HeldFrame], *, fps: int) -> None:
    """Write a WebP that repeats for ever; lossless if that makes the first frame smaller."""
    options: dict[str, object] = {}
    for frame in film:
        height, width = frame.image.shape[:2]
        if not frame.start:
            choices: list[dict[str, object]] = [{"lossless": True}, {"quality": _WEBP_QUALITY}]
            options = min(choices, key=lambda choice: len(_webp_frame(frame.image, choice)))
            file.write(b"RIFF\0\0\0\0WEBP" + _riff(b"VP8X", b"\x06\0\0\0" + _int24(width - 1) + _int24(height - 1)))
            file.write(_riff(b"ANIM", b"\0\0\0\0" + b"\0\0"))
        size = _int24(width - 1) + _int24(height - 1) + _int24(frame.duration(fps, units=1000))
        # 2: the frame replaces the one before, and is not blended with it.
        file.write(_riff(b"ANMF", _int24(0) + _int24(0) + size + b"\x02" + _webp_frame(frame.image, options)))
        if file.tell() > _LARGEST_WEBP:
            raise UserError("the film is larger than 4 GB, the limit of WebP; write .mp4, or choose fewer --seconds")
    file.write(_riff(b"XMP ", _XMP))
    length = file.tell()
    file.seek(4)
    file.write(struct.pack("<I", length - 8))
    file.seek(length)


def _webp_frame(image: np.ndarray, options: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    as_pillow(image).convert("RGB").save(buffer, format="WEBP", **options)
    # Without the header of the file.
    return buffer.getvalue()[12:]


def _riff(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _int24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def write_apng(file: BinaryIO, film: Iterator[HeldFrame], *, fps: int) -> None:
    """Write an animated PNG that repeats for ever, lossless.

    Programs without animation show its first frame.
    """
    counts_at, written, sequence = 0, 0, 0
    for frame in film:
        height, width = frame.image.shape[:2]
        header, data = _png_frame(frame.image)
        if not frame.start:
            file.write(_PNG_SIGNATURE + _png_chunk(b"IHDR", header))
            counts_at = file.tell()
            file.write(_png_chunk(b"acTL", struct.pack(">II", 0, 0)))
            file.write(_png_chunk(b"tEXt", f"{GENERATED_MARK}\0{_SHOWN}".encode()))
        duration = Fraction(frame.stop - frame.start, fps)
        control = struct.pack(">IIIIIHHBB", sequence, width, height, 0, 0, *duration.as_integer_ratio(), 0, 0)
        file.write(_png_chunk(b"fcTL", control))
        sequence += 1
        if written:
            file.write(_png_chunk(b"fdAT", struct.pack(">I", sequence) + data))
            sequence += 1
        else:
            file.write(_png_chunk(b"IDAT", data))
        written += 1
    file.write(_png_chunk(b"IEND", b""))
    end = file.tell()
    file.seek(counts_at)
    file.write(_png_chunk(b"acTL", struct.pack(">II", written, 0)))
    file.seek(end)


def _png_frame(image: np.ndarray) -> tuple[bytes, bytes]:
    """Return the header chunk and the compressed pixels of an image."""
    buffer = io.BytesIO()
    as_pillow(image).save(buffer, format="PNG")
    content, position, header, data = buffer.getvalue(), len(_PNG_SIGNATURE), b"", []
    while position < len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        name, body = content[position + 4 : position + 8], content[position + 8 : position + 8 + length]
        if name == b"IHDR":
            header = body
        elif name == b"IDAT":
            data.append(body)
        position += length + 12
    return header, b"".join(data)


def _png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
