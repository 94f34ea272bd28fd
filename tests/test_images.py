"""Host images: ranges and rounding, upscaling, grids, PNG files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pggan_jax.images import (
    encode_png,
    grid_size,
    make_grid,
    nearest_upscale,
    to_uint8,
    write_png,
)
from pggan_jax.system.files import write_atomically


def random_images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_every_pixel_value_survives_the_round_trip():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(to_uint8(values * np.float32(2 / 255) - 1), values)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-1.0, 0),
        (1.0, 255),
        (0.0, 128),  # 127.5 rounds to even
        (-1.0 + 0.9 / 255, 0),
        (-1.0 + 1.1 / 255, 1),
        (1.0 - 0.9 / 255, 255),
        (1.0 - 1.1 / 255, 254),
        (-1.5, 0),
        (1.5, 255),
        (1e30, 255),
        (-np.inf, 0),
        (np.inf, 255),
        (np.nan, 0),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_and_saturation(value, expected, dtype):
    result = to_uint8(np.full((1, 1, 1, 1), value, dtype))
    assert result.dtype == np.uint8
    assert result.item() == expected


@pytest.mark.parametrize("factor", [1, 2, 3, 8])
def test_nearest_upscale_against_a_slow_loop(factor):
    images = random_images(2, 3, 4, 3)
    large = nearest_upscale(images, factor)
    assert large.shape == (2, 3 * factor, 4 * factor, 3)
    for n, y, x, channel in np.ndindex(large.shape):
        assert large[n, y, x, channel] == images[n, y // factor, x // factor, channel]


@pytest.mark.parametrize(("batch", "columns", "rows"), [(6, 3, 2), (5, 3, 2), (1, 4, 1), (4, 1, 4), (7, 7, 1)])
def test_grid_layout(batch, columns, rows):
    images = np.maximum(random_images(batch, 2, 3, 2), 1)
    grid = make_grid(images, columns)
    assert grid.shape == (rows * 2, columns * 3, 2)
    assert grid.dtype == np.uint8
    for cell in range(rows * columns):
        row, column = divmod(cell, columns)
        tile = grid[row * 2 : row * 2 + 2, column * 3 : column * 3 + 3]
        np.testing.assert_array_equal(tile, images[cell] if cell < batch else 0)


@pytest.mark.parametrize("name", ["1080p", "4k"])
def test_golden_grid_sizes(reference, name):
    golden = reference["golden_misc"][f"snapshot_grid_{name}"]
    assert {resolution: list(grid_size(name, height=int(resolution), width=int(resolution))) for resolution in golden} == golden


@pytest.mark.parametrize(("name", "expected"), [("1x1", (1, 1)), ("10x8", (10, 8)), ("3x20", (3, 20))])
def test_own_grid_sizes(name, expected):
    assert grid_size(name, height=4, width=4) == grid_size(name, height=1024, width=768) == expected


@pytest.mark.parametrize("name", ["", "x", "10", "1080", "0x1", "1x0", "-1x1", "1x1x1", "a x b", "1,2"])
def test_wrong_grid_names(name):
    with pytest.raises(ValueError, match="COLUMNSxROWS"):
        grid_size(name, height=32, width=32)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA"), (5, "RGB")])
def test_png_round_trip(tmp_path, channels, mode):
    image = random_images(5, 7, channels)
    path = tmp_path / "image.png"
    write_png(path, image)
    with Image.open(path) as stored:
        assert (stored.format, stored.mode, stored.size) == ("PNG", mode, (7, 5))
        pixels = np.asarray(stored).reshape(5, 7, -1)
    np.testing.assert_array_equal(pixels, image[..., :3] if channels > 4 else image)


def test_png_of_a_transposed_view():
    image = random_images(3, 6, 4).transpose(2, 1, 0)
    with Image.open(io.BytesIO(encode_png(image))) as stored:
        np.testing.assert_array_equal(np.asarray(stored), image)


def test_writing_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "stats.json"
    write_atomically(path, b"old and longer")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["stats.json"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "stats.json"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("pggan_jax.system.files.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_readers_see_whole_contents_only(tmp_path, monkeypatch):
    """The new content exists completely under another name before the old name points to it."""
    path = tmp_path / "stats.json"
    write_atomically(path, b"old")
    seen = []
    replace = type(path).replace

    def spy(partial, target):
        seen.append((partial.parent, partial.read_bytes(), target.read_bytes()))
        return replace(partial, target)

    monkeypatch.setattr(type(path), "replace", spy)
    write_atomically(path, b"new")
    assert seen == [(tmp_path, b"new", b"old")]
    assert path.read_bytes() == b"new"
