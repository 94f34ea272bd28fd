"""Decoding: a reason for every kind of bad file, the right colours for every kind of good one."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pggan_jax.data.images.decode import (
    MAX_PIXELS,
    UnusableImageError,
    colour_channels,
    decoding_errors,
    is_animated,
    open_image,
    orientation,
    to_channels,
    upright,
)
from pggan_jax.images import encode_png
from tests.helpers.image_samples import (
    ORIENTATION_TAG,
    bomb,
    deep_png,
    encoded,
    landscape,
    noise,
    plain,
    png_chunks,
    png_header,
    quarters,
    stored_turned,
)

# The filter that the module sets for the program does not hold under pytest, which has its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*(EXIF|bomb):UserWarning", "ignore::PIL.Image.DecompressionBombWarning")


def pixels_of(content, channels):
    """Decoded completely, uint8 `[height, width, channels]`."""
    image = open_image(content)
    with decoding_errors():
        colour_channels(image)
        image = to_channels(upright(image), channels)
        return np.asarray(image).reshape(image.height, image.width, channels)


def refusal(content, channels=3):
    with pytest.raises(UnusableImageError) as caught:
        pixels_of(content, channels)
    reason = str(caught.value)
    assert "\n" not in reason
    assert len(reason) < 150
    return reason


class TestBadFiles:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP"])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
    def test_truncated(self, kind, share):
        whole = encoded(noise(64, 64), kind)
        reason = refusal(whole[: int(len(whole) * share)])
        assert "is truncated" in reason or "is not an image" in reason
        assert "copy it again or remove it" in reason or "save it as PNG or JPEG" in reason

    def test_truncated_webp_and_progressive_jpeg(self):
        for whole in (encoded(noise(64, 64), "WEBP"), encoded(noise(64, 64), "JPEG", progressive=True)):
            assert "remove it" in refusal(whole[: len(whole) // 2])

    def test_a_flipped_byte_in_a_png_is_found(self):
        whole = bytearray(encoded(noise(64, 64)))
        whole[len(whole) // 2] ^= 0xFF
        assert "cannot be decoded" in refusal(bytes(whole))

    @pytest.mark.parametrize("content", [b"hello, I am a text", b"\x89PNG", b"\xff\xd8", b"GIF89a", b"\0" * 1000, b"%PDX-1.4"])
    def test_not_an_image(self, content):
        assert refusal(content) == "is not an image; remove it or save it as PNG or JPEG"

    def test_zero_bytes(self):
        assert refusal(b"") == "is empty (0 bytes); copy it again or remove it"

    @pytest.mark.parametrize("size", [(30_000, 30_000), (12_000, 12_000), (2**27 + 1, 1)])
    def test_a_bomb_is_refused_by_the_stated_limit_without_memory_for_its_pixels(self, size):
        content = bomb(*size)
        tracemalloc.start()
        try:
            reason = refusal(content)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert f"{MAX_PIXELS:,}" in reason
        assert "shrink it" in reason
        assert peak < 2**20

    def test_just_below_the_limit_opens(self):
        content = bomb(MAX_PIXELS // 8192, 8192) + bytes(2**20)
        assert open_image(content).size == (MAX_PIXELS // 8192, 8192)

    def test_many_pixels_in_few_bytes_are_refused_before_they_are_decoded(self):
        assert "8000x8000 pixels in" in refusal(bomb(8000, 8000))
        assert open_image(bomb(4000, 4000)).size == (4000, 4000)

    @pytest.mark.parametrize(
        ("head", "kind"),
        [
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "PostScript"),
            (b"\xc5\xd0\xd3\xc6", "PostScript"),
            (b"%PDF-1.4", "PDF"),
            (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF"),
            (b"8BPS\0\1", "PSD"),
        ],
    )
    def test_formats_that_are_not_read_are_named(self, head, kind):
        assert refusal(head + bytes(100)).startswith(f"is {kind}, which is not supported")

    @pytest.mark.parametrize("kind", ["ICO", "ICNS", "TGA", "PCX", "SGI", "DIB", "EPS", "JPEG2000", "AVIF", "DDS", "MSP"])
    def test_other_formats_that_pillow_writes_are_not_read(self, kind):
        image = Image.new("1" if kind == "MSP" else "RGB", (32, 32), 1)
        try:
            content = encoded(image, kind)
        except (OSError, KeyError):
            pytest.skip(f"this Pillow writes no {kind}")
        assert "not" in refusal(content)

    def test_no_process_is_started_for_postscript(self, monkeypatch):
        """Pillow has Ghostscript do it; whatever starts a process here fails the test."""

        def refuse(*_args, **_options):
            raise AssertionError("a process was started")

        for module, names in ((subprocess, ("Popen", "run", "call", "check_call", "check_output")), (os, ("system", "popen"))):
            for name in names:
                monkeypatch.setattr(module, name, refuse)
        for name in ("posix_spawn", "posix_spawnp", "fork", "forkpty", "execv", "execve"):
            monkeypatch.setattr(os, name, refuse, raising=False)
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), "red").save(buffer, "EPS")
        for content in (buffer.getvalue(), b"%!PS-Adobe-3.0\n", b"\xc5\xd0\xd3\xc6" + bytes(28) + buffer.getvalue()):
            assert "PostScript" in refusal(content)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
    def test_every_format_of_the_list_is_read(self, kind):
        assert open_image(encoded(noise(8, 8), kind)).format == kind

    def test_a_tiff_with_tiles_larger_than_the_image(self):
        tags = {256: 8, 257: 8, 258: 8, 259: 5, 262: 1, 322: 2**20, 323: 2**20, 324: 8, 325: 8}
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        content = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
        assert "tiles of 1048576x1048576 pixels" in refusal(content)


LONG = b"x" * (3 * 2**20)
SIDE_CHUNKS = {
    "long text": (b"tEXt", b"Comment\0" + LONG),
    "long packed text": (b"zTXt", b"Comment\0\0" + zlib.compress(LONG)),
    "long international text": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LONG)),
    "packed bomb": (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(2**26))),
    "long profile": (b"iCCP", b"p\0\0" + zlib.compress(LONG)),
    "broken profile": (b"iCCP", b"p\0\0" + b"no zlib"),
    "broken text": (b"zTXt", b"Comment\0\0" + b"no zlib"),
    "profile of another method": (b"iCCP", b"p\0\7" + zlib.compress(b"x")),
    "empty gamma": (b"gAMA", b""),
    "short resolution": (b"pHYs", b"\0"),
    "unknown": (b"prVt", LONG),
    "broken EXIF": (b"eXIf", b"II*\0\xff\xff\xff\xff"),
}


class TestSideChunks:
    """What a PNG holds beside its pixels costs no image."""

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("chunk", SIDE_CHUNKS.values(), ids=SIDE_CHUNKS)
    def test_long_or_broken_ones_do_no_harm(self, chunk, after):
        pixels = noise(8, 8)
        content = encoded(pixels)
        place = content.index(b"IEND") - 4 if after else content.index(b"IDAT") - 4
        content = content[:place] + png_chunks(chunk)[8:] + content[place:]
        np.testing.assert_array_equal(pixels_of(content, 3), pixels)

    def test_a_wrong_checksum_of_one(self):
        content = encoded(noise(8, 8), pnginfo=text("Comment", "hello"))
        content = content.replace(b"hello", b"jello")
        np.testing.assert_array_equal(pixels_of(content, 3), noise(8, 8))

    def test_pixels_and_transparency_keep_their_checksums(self):
        content = encoded(noise(8, 8), transparency=(1, 2, 3))
        assert "remove it" in refusal(content.replace(b"tRNS\0\1", b"tRNS\0\2"))

    def test_an_orientation_in_a_text_chunk_counts(self):
        picture = quarters(16, 32)
        turned = Image.fromarray(picture).transpose(Image.Transpose.ROTATE_90)
        xmp = '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
        content = encoded(turned, pnginfo=text("XML:com.adobe.xmp", xmp, zip=True))
        np.testing.assert_array_equal(pixels_of(content, 3), picture)

    def test_frames_are_still_counted(self):
        frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime")]
        assert is_animated(open_image(encoded(frames[0], save_all=True, append_images=frames[1:], pnginfo=text("a", "b"))))

    def test_grids_of_this_program_are_refused(self):
        grid = encode_png(noise(8, 8), holds="several images")
        assert refusal(grid).startswith("shows several images and was written by this program")
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(grid))), noise(8, 8))
        np.testing.assert_array_equal(pixels_of(encode_png(noise(8, 8)), 3), noise(8, 8))


def text(keyword, content, zip=False):
    info = PngImagePlugin.PngInfo()
    info.add_itxt(keyword, content, zip=zip)
    return info


class TestMoreBadFiles:
    @pytest.mark.parametrize(("mode", "kind"), [("F", "floating-point"), ("I", "32-bit")])
    def test_pixels_of_unknown_range(self, mode, kind):
        assert refusal(encoded(Image.new(mode, (8, 8)), "TIFF")).startswith(f"has {kind} pixels of unknown range")

    @pytest.mark.parametrize("content", [b"\0\0\0\x0dIHDR", b""])
    def test_a_png_without_pixels(self, content):
        assert refusal(png_chunks(png_header(8, 8), (b"IEND", b"")))

    def test_lack_of_memory_leaves_out_one_image(self):
        """The worker that meets one such image has others to do."""
        with pytest.raises(UnusableImageError, match="more memory"), decoding_errors():
            raise MemoryError

    def test_reasons_are_one_line(self):
        with pytest.raises(UnusableImageError, match=r"cannot be decoded \(two lines\)"), decoding_errors():
            raise ValueError("two\n  lines\n")

    def test_arrays_of_other_channels(self):
        assert "has 5 channels" in refusal(np.zeros((4, 4, 5), np.uint8))


class TestColours:
    @pytest.mark.parametrize(("value", "expected"), [(0, 0), (128 * 257, 128), (128 * 257 + 200, 129), (65535, 255), (300, 1)])
    def test_16_bit_grey_is_scaled_to_the_nearest(self, value, expected):
        deep = np.full((5, 7), value, np.uint16)
        for kind in ("PNG", "TIFF"):
            assert (pixels_of(encoded(deep, kind), 1) == expected).all()
            assert (pixels_of(encoded(deep, kind), 3) == expected).all()
        assert colour_channels(open_image(encoded(deep))) == 1

    def test_16_bit_grey_of_the_other_byte_order(self):
        deep = Image.fromarray(np.full((5, 7), 128 * 257, ">u2"))
        assert (pixels_of(encoded(deep, "TIFF"), 1) == 128).all()

    def test_16_bit_grey_with_a_transparent_value(self):
        rows = np.array([[[1000], [40_000]]], np.uint16)
        content = deep_png(rows, colour=0)
        end = content.index(b"IDAT") - 4
        transparent = png_chunks((b"tRNS", (1000).to_bytes(2, "big")))[8:]
        content = content[:end] + transparent + content[end:]
        assert colour_channels(open_image(content)) == 2
        assert pixels_of(content, 4).tolist() == [[[4, 4, 4, 0], [156, 156, 156, 255]]]
        assert pixels_of(content, 1).tolist() == [[[255], [156]]]

    @pytest.mark.parametrize(("colour", "channels", "own"), [(2, 3, 3), (4, 2, 4), (6, 4, 4)])
    def test_16_bit_colours_are_scaled(self, colour, channels, own):
        """Pillow opens grey with alpha as RGBA here."""
        deep = np.full((3, 3, channels), 65535, np.uint16)
        deep[..., 0] = 0x8000
        content = deep_png(deep, colour=colour)
        assert colour_channels(open_image(content)) == own
        np.testing.assert_allclose(pixels_of(content, 3)[0, 0], [128, 255, 255] if channels > 2 else [128] * 3, atol=1)

    def test_palette(self):
        picture = quarters()
        content = encoded(Image.fromarray(picture).convert("P", palette=Image.Palette.ADAPTIVE, colors=4))
        assert open_image(content).mode == "P"
        assert colour_channels(open_image(content)) == 3
        np.testing.assert_array_equal(pixels_of(content, 3), picture)

    @pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
    def test_palette_with_transparency_is_shown_over_white(self, transparency):
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.putpixel((1, 0), 1)
        content = encoded(image, transparency=transparency)
        assert colour_channels(open_image(content)) == 4
        assert pixels_of(content, 3).tolist() == [[[10, 20, 30], [255, 255, 255]]]
        assert pixels_of(content, 4)[0, :, 3].tolist() == [255, 0]

    def test_rgb_with_a_transparent_colour(self):
        image = Image.new("RGB", (2, 1), (10, 20, 30))
        image.putpixel((1, 0), (40, 50, 60))
        content = encoded(image, transparency=(40, 50, 60))
        assert pixels_of(content, 3).tolist() == [[[10, 20, 30], [255, 255, 255]]]
        assert pixels_of(content, 4).tolist() == [[[10, 20, 30, 255], [40, 50, 60, 0]]]

    @pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (51, 204), (255, 0)])
    def test_transparency_over_white(self, alpha, expected):
        for mode, color in (("RGBA", (0, 0, 0, alpha)), ("LA", (0, alpha))):
            content = plain(mode=mode, color=color)
            assert (pixels_of(content, 3) == expected).all()
            assert (pixels_of(content, 1) == expected).all()
            assert pixels_of(content, 4)[0, 0].tolist() == [0, 0, 0, alpha]

    def test_cmyk(self):
        for kind, color, expected in (
            ("JPEG", (0, 0, 0, 0), 255),
            ("TIFF", (0, 0, 0, 255), 0),
            ("JPEG", (255, 255, 255, 255), 0),
        ):
            content = plain(mode="CMYK", color=color, kind=kind)
            assert colour_channels(open_image(content)) == 3
            np.testing.assert_allclose(pixels_of(content, 3), expected, atol=3)

    def test_bilevel(self):
        image = Image.new("1", (2, 1))
        image.putpixel((1, 0), 1)
        assert colour_channels(open_image(encoded(image))) == 1
        assert pixels_of(encoded(image), 1)[0, :, 0].tolist() == [0, 255]
        assert pixels_of(encoded(image), 3).tolist() == [[[0] * 3, [255] * 3]]

    def test_grey_from_colours_is_luminance(self):
        red, green, blue = (pixels_of(plain(color=color), 1)[0, 0, 0] for color in ("red", "lime", "blue"))
        np.testing.assert_allclose([red, green, blue], [76, 150, 29], atol=1)

    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_arrays_are_images_too(self, channels):
        pixels = noise(5, 7, channels)
        image = open_image(pixels)
        assert image.size == (7, 5)
        assert colour_channels(image) == channels
        np.testing.assert_array_equal(np.asarray(image).reshape(5, 7, channels), pixels)

    def test_arrays_in_any_memory_order(self):
        pixels = noise(5, 7).transpose(1, 0, 2)[::-1]
        np.testing.assert_array_equal(np.asarray(open_image(pixels)), pixels)


class TestFrames:
    @pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})])
    def test_the_first_is_used(self, kind, options):
        first, *others = (Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue"))
        content = encoded(first, kind, save_all=True, append_images=others, **options)
        image = open_image(content)
        assert is_animated(image)
        # Having looked for further frames must not have moved to one.
        assert np.asarray(to_channels(image, 3))[0, 0].tolist() == [255, 0, 0]
        assert not is_animated(open_image(encoded(first, kind, **options)))

    def test_the_preview_of_a_camera_is_no_animation(self):
        first, preview = (Image.new("RGB", (8, 8), color) for color in ("red", "lime"))
        content = encoded(first, "MPO", save_all=True, append_images=[preview])
        assert open_image(content).format == "MPO"
        assert not is_animated(open_image(content))
        np.testing.assert_allclose(pixels_of(content, 3)[0, 0], [255, 0, 0], atol=3)


class TestUpright:
    @pytest.mark.parametrize("orientation_", range(1, 9))
    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("PNG", {}),
            ("JPEG", {"quality": 95, "subsampling": 0}),
            ("WEBP", {"lossless": True}),
            ("TIFF", {}),
            ("TIFF", {"compression": "tiff_lzw"}),
        ],
    )
    def test_every_orientation_lands_upright(self, orientation_, kind, options):
        picture = quarters(16, 32)
        content = stored_turned(picture, orientation_, kind, **options)
        np.testing.assert_allclose(pixels_of(content, 3), picture, atol=30 if kind == "JPEG" else 0)

    @pytest.mark.parametrize(
        "exif",
        [b"xx", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03"],
        ids=["short", "garbage", "nowhere", "cut"],
    )
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
    def test_broken_exif_is_no_reason_to_refuse(self, kind, exif):
        content = encoded(quarters(), kind, exif=exif)
        assert orientation(open_image(content)) == 1
        assert pixels_of(content, 3).shape == (12, 20, 3)

    @pytest.mark.parametrize("value", [0, 9, 99, 65535])
    def test_orientations_that_do_not_exist(self, value):
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = value
        assert orientation(open_image(encoded(quarters(), "JPEG", exif=exif))) == 1

    def test_damaged_pixels_are_not_taken_for_broken_exif(self):
        content = encoded(landscape(64, 64))
        assert "is truncated" in refusal(content[: len(content) // 2])


def test_pillow_s_warnings_stay_out_of_the_terminal(tmp_path):
    """In a process of its own, as pytest keeps warnings back."""
    cut_exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03"
    (tmp_path / "a.jpg").write_bytes(encoded(quarters(), "JPEG", exif=cut_exif))
    program = (
        "import sys, pathlib; from pggan_jax.data.images.decode import *;"
        "image = upright(open_image(pathlib.Path(sys.argv[1]).read_bytes())); image.load(); print(image.size)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "a.jpg"], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("(20, 12)\n", "")
