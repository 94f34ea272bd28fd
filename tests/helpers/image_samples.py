"""Image files for tests, made in memory."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from pggan_jax.data.images.decode import UnusableImageError

ORIENTATION_TAG = 0x0112
# How a camera stores an upright picture under each EXIF orientation: the inverse of what a viewer does.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def encoded(image, kind="PNG", **options):
    """A picture, or uint8 pixels, as the bytes of a file."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(size=(16, 16), color=(200, 100, 50), mode="RGB", kind="PNG", **options):
    """A file of one colour."""
    return encoded(Image.new(mode, size, color), kind, **options)


def noise(height, width, channels=3, seed=0):
    """uint8 `[height, width, channels]` that no two seeds share."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def landscape(height, width):
    """Something like a photograph: broad shapes, edges, and a little texture; uint8 `[height, width, 3]`."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    hills = y > 0.5 + 0.2 * np.sin(5 * x)
    picture = np.stack([180 - 120 * hills, 120 + 60 * y, 220 - 160 * hills * y], axis=-1)
    picture[(x - 0.7) ** 2 + (y - 0.25) ** 2 < 0.01] = (250, 240, 120)
    texture = np.random.default_rng(0).normal(0, 6, (height, width, 1))
    return np.clip(picture + texture, 0, 255).astype(np.uint8)


def quarters(height=12, width=20):
    """Four colours, one in each corner, so that every turn and flip shows; uint8 `[height, width, 3]`."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    return pixels


def stored_turned(pixels, orientation, kind="PNG", **options):
    """A file whose EXIF data says that a viewer must turn it to show `pixels`."""
    image = Image.fromarray(pixels)
    if orientation in STORED:
        image = image.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return encoded(image, kind, exif=exif, **options)


def png_chunks(*chunks):
    """A PNG of (type, content) chunks."""
    written = (struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def png_header(width, height, *, depth=8, colour=2):
    """The chunk that tells size and kind of a PNG; colour 0 is grey, 2 RGB, 4 grey with alpha, 6 RGBA."""
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def bomb(width=30_000, height=30_000):
    """A tiny PNG whose header claims many pixels."""
    return png_chunks(png_header(width, height), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))


def deep_png(pixels, *, colour):
    """A PNG of uint16 `[height, width, channels]` with 16 bits; Pillow writes grey alone."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png_chunks(png_header(width, height, depth=16, colour=colour), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))


class Items:
    """A source over a list of encoded files, arrays, or reasons why one cannot be read."""

    problems = ()
    channels = 3

    def __init__(self, items, *, names=(), labels=(), class_names=(), problems=()):
        self.name = "items"
        self.items, self.names, self.labels = list(items), list(names), list(labels)
        self.class_names, self.problems = tuple(class_names), tuple(problems)

    def __len__(self):
        return len(self.items)

    def item_name(self, index):
        return self.names[index] if self.names else f"item {index}"

    def label(self, index):
        return self.labels[index] if self.labels else 0

    def read(self, index):
        item = self.items[index]
        if isinstance(item, str):
            raise UnusableImageError(item)
        return item

    def fingerprint(self):
        return self.name
