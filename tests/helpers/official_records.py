"""Writes what the authors' dataset tool writes (spec 4.1), byte for byte: a file per level, and labels. For tests alone."""

from __future__ import annotations

import struct

import google_crc32c
import numpy as np


def length_delimited(number, content):
    """A protobuf field with a length before it."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def shape_feature(shape, *, packed=True):
    numbers = b"".join(map(varint, shape))
    values = length_delimited(1, numbers) if packed else b"".join(b"\x08" + varint(size) for size in shape)
    return map_entry("shape", length_delimited(3, values))


def data_feature(content):
    return map_entry("data", length_delimited(1, length_delimited(1, content)))


def map_entry(key, feature):
    return length_delimited(1, length_delimited(1, key.encode()) + length_delimited(2, feature))


def example(*features):
    return length_delimited(1, b"".join(features))


def framed(payload):
    length = struct.pack("<Q", len(payload))
    return length + masked_crc(length) + payload + masked_crc(payload)


def masked_crc(content):
    crc = google_crc32c.value(content)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32)


def image_record(image):
    """The record of one uint8 image `[channels, height, width]`."""
    return framed(example(shape_feature(image.shape), data_feature(image.tobytes())))


def write_tfrecords(folder, name, images, labels=None):
    """Write uint8 images `[images, channels, side, side]` at every level down to 4x4, and one-hot labels of class numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    exponent = int(np.log2(images.shape[-1]))
    level = images.astype(np.float32)
    while exponent >= 2:
        quantised = np.clip(np.rint(level), 0, 255).astype(np.uint8)
        (folder / f"{name}-r{exponent:02}.tfrecords").write_bytes(b"".join(map(image_record, quantised)))
        level = (level[..., ::2, ::2] + level[..., 1::2, ::2] + level[..., ::2, 1::2] + level[..., 1::2, 1::2]) / 4
        exponent -= 1
    if labels is not None:
        write_labels(folder / f"{name}-rxx.labels", np.eye(max(labels) + 1, dtype=np.float32)[labels])


def write_labels(path, rows):
    """A .npy as the NumPy of that time wrote it: the header filled up to whole 16 bytes, today's to 64."""
    header = str({"descr": rows.dtype.str, "fortran_order": False, "shape": rows.shape})[:-1] + ", }"
    filled = header.ljust(-(-(10 + len(header) + 1) // 16) * 16 - 11) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(filled)) + filled.encode() + rows.tobytes())
