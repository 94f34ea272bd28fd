"""The one place that opens encoded images: which formats are read, how a file shows that it is one, what is left of a PNG.

Pillow by itself tries every format it knows, and starts Ghostscript for a PostScript file, whatever its name says. Here the
first bytes decide, and one decoder of a short list is asked.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Pillow's names of the formats that are read. JPEG includes the MPO files of cameras, PPM the whole family (PBM, PGM, PPM)."""
FORMATS_IN_WORDS = "JPEG, PNG, WebP, BMP, GIF, TIFF, PBM, PGM and PPM"
IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .ppm .pgm .pbm .pnm".split()  # noqa: SIM905
)
"""How files of these formats are usually named. A file of another name is read all the same if its content is an image."""
HEAD_BYTES = 256
"""So many bytes from the beginning of a file are enough for `recognise`."""
OWN_PICTURE = "pggan_jax"
"""Keyword of the PNG text chunk that marks a picture made of several images by this program."""

UNREADABLE_IMAGES = frozenset(
    "HEIC AVIF ICO icns SVG PostScript PDF PSD OpenEXR Radiance DDS DICOM FITS camera-raw JPEG-2000 JPEG-XL".split()  # noqa: SIM905
)
"""Kinds of images that `recognise` knows and that are not read."""

_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_PPM_SPACE = b" \t\r\n\x0b\x0c"
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"%PDF", "PDF"),
    (b"8BPS", "PSD"),
    (b"icns", "icns"),
    (b"\0\0\0\x0cjP  ", "JPEG-2000"),
    (b"\xff\x4f\xff\x51", "JPEG-2000"),
    (b"\0\0\0\x0cJXL ", "JPEG-XL"),
    (b"\xff\x0a", "JPEG-XL"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance"),
    (b"DDS ", "DDS"),
    (b"SIMPLE  =", "FITS"),
    (b"FUJIFILM", "camera-raw"),
    (b"IIRO", "camera-raw"),
    (b"IIRS", "camera-raw"),
    (b"IIU\0", "camera-raw"),
    (b"PK\3\4", "a zip archive"),
    (b"PK\5\6", "a zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"Rar!", "a rar archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1aE\xdf\xa3", "a video"),
)
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


def recognise(head: bytes) -> str:
    """What a file is by its first `HEAD_BYTES`: one of `FORMATS` or `UNREADABLE_IMAGES`, other words, or ""."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    # The number of its pictures follows. In a Targa file, which may begin alike, there is a zero.
    if head[:4] in (b"\0\0\1\0", b"\0\0\2\0") and head[4:6] not in (b"", b"\0\0"):
        return "ICO"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "camera-raw" if head[8:10] == b"CR" else "TIFF"
    if head[:4] == b"RIFF":
        return "WEBP" if head[8:12] == b"WEBP" else "a video or sound"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if head[:1] == b"P" and head[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and head[2:3] and head[2] in _PPM_SPACE:
        return "PPM" if head[2:].lstrip(_PPM_SPACE)[:1].isdigit() or head[2:].lstrip(_PPM_SPACE)[:1] == b"#" else "a text"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return "AVIF" if brand in (b"avif", b"avis") else "HEIC" if brand in _HEIC_BRANDS else "a video"
    if head[128:132] == b"DICM":
        return "DICOM"
    return _kind_of_text(head)


def is_own_picture(head: bytes) -> bool:
    """Whether the first `HEAD_BYTES` of a file are those of a picture of several images that this program has written."""
    return recognise(head) == "PNG" and b"tEXt" + OWN_PICTURE.encode() + b"\0" in head


def _kind_of_text(head: bytes) -> str:
    """Of a file that no signature tells: SVG, text, or nothing known."""
    if not head or b"\0" in head:
        return ""
    try:
        # The last letter may be cut.
        text = head[:-4].decode() if len(head) >= HEAD_BYTES else head.decode()
    except UnicodeDecodeError:
        return ""
    return "SVG" if "<svg" in text else "a text"


def open_encoded(content: bytes | BinaryIO) -> Image.Image:
    """The picture of an encoded file, its header alone: pixels are decoded when they are asked for.

    Args:
        content: the bytes of a file, or a file opened for reading.

    Raises:
        Image.UnidentifiedImageError: it is none of `FORMATS`; whatever else Pillow raises on a damaged header.
    """
    if not isinstance(content, bytes):
        content.seek(0)
        content = content.read()
    kind = recognise(content[:HEAD_BYTES])
    if kind not in FORMATS:
        raise Image.UnidentifiedImageError(kind)
    if kind == "PNG":
        content = without_side_chunks(content)
    return Image.open(io.BytesIO(content), formats=(kind,))


# What decides about pixels, their transparency, turn and frames. Everything else in a PNG is dropped before it can do harm.
_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"})
_TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
# These may say how the picture is turned.
_KEPT_TEXTS = (b"Raw profile type exif\0", b"Raw profile type APP1\0", b"XML:com.adobe.xmp\0", OWN_PICTURE.encode() + b"\0")
_MAX_TEXT = 2**20
_MAX_CHUNKS = 2**20


def without_side_chunks(content: bytes) -> bytes:
    """A PNG without what is of no use here: texts, profiles, times, whatever a program has added.

    Pillow refuses a whole file for a text of more than a megabyte, a broken profile or a wrong checksum in one of these.

    Raises:
        ValueError: it consists of more than a million chunks.
    """
    kept = [content[:8]]
    for count, (place, end, kind) in enumerate(_png_chunks(content)):
        if count == _MAX_CHUNKS:
            raise ValueError(f"more than {_MAX_CHUNKS:,} chunks")
        if kind in _PIXEL_CHUNKS or _is_useful(content, place, end, kind):
            kept.append(content[place:end])
    return b"".join(kept)


def _png_chunks(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(begin, end, type) of every chunk up to the end of the picture; the last one may be cut."""
    place, kind = 8, b""
    while place + 8 <= len(content) and kind != b"IEND":
        kind = content[place + 4 : place + 8]
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        # What is cut, or no chunk at all, is for the decoder to judge.
        yield place, min(end, len(content)), kind if end <= len(content) and kind.isalpha() else b"IDAT"
        place = end


def _is_useful(content: bytes, place: int, end: int, kind: bytes) -> bool:
    """Whether a side chunk may say how to turn the picture or who made it, is whole, and small even when unpacked."""
    body = content[place + 8 : end - 4]
    if kind not in _TEXT_CHUNKS | {b"eXIf"} or len(body) > _MAX_TEXT:
        return False
    if kind in _TEXT_CHUNKS and not body.startswith(_KEPT_TEXTS):
        return False
    if zlib.crc32(kind + body) != int.from_bytes(content[end - 4 : end], "big"):
        return False
    return kind in (b"tEXt", b"eXIf") or _unpacks(kind, body)


def _unpacks(kind: bytes, body: bytes) -> bool:
    """Whether a packed text is at most `_MAX_TEXT` long and whole."""
    _, _, rest = body.partition(b"\0")
    if kind == b"iTXt":
        if rest[:1] != b"\1":
            return True
        # Flag, method, language, translated keyword, text.
        parts = rest[2:].split(b"\0", 2)
        packed = parts[2] if len(parts) == 3 else b""
    else:
        packed = rest[1:]
    try:
        unpacking = zlib.decompressobj()
        unpacking.decompress(packed, _MAX_TEXT - 1)
        return unpacking.eof
    except zlib.error:
        return False
