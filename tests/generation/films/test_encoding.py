"""Files of films, read back frame by frame."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageSequence

from pggan_jax.data.images.decode import UnusableImageError, open_image
from pggan_jax.errors import UserError
from pggan_jax.generation.films import animations
from pggan_jax.generation.films.encoding import join_equal_frames, require_format, require_frame_size, stored_size, write_film
from pggan_jax.system.image_files import HEAD_BYTES, is_generated_image

LOSSLESS = [".png", ".webp"]
# A small WebP of noise is lossless; of the others, see each test.
ANIMATIONS = [*LOSSLESS, ".gif"]


def noise_film(count: int, height: int = 20, width: int = 31, channels: int = 1) -> list[np.ndarray]:
    """Frames of few grey levels, which a GIF holds exactly."""
    random = np.random.RandomState(0)
    return [(random.randint(0, 2, (height, width, channels)) * 255).astype(np.uint8) for _ in range(count)]


def read_back(path) -> tuple[list[np.ndarray], list[float]]:
    """Frames as red, green, blue, and milliseconds of each."""
    with Image.open(path) as film:
        pairs = [(np.asarray(one.convert("RGB")), one.info["duration"]) for one in ImageSequence.Iterator(film)]
        assert film.info["loop"] == 0
    return [frame for frame, _ in pairs], [time for _, time in pairs]


@pytest.mark.parametrize("suffix", ANIMATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_frames_come_back(tmp_path, suffix, channels):
    film = noise_film(7, channels=channels)
    write_film(tmp_path / f"film{suffix}", iter(film), fps=10)
    frames, times = read_back(tmp_path / f"film{suffix}")
    assert len(frames) == 7
    assert all(abs(time - 100) < 1e-6 for time in times)
    for wanted, frame in zip(film, frames, strict=True):
        assert np.array_equal(frame, np.broadcast_to(wanted, frame.shape))


@pytest.mark.parametrize("suffix", ANIMATIONS)
def test_a_single_frame(tmp_path, suffix):
    write_film(tmp_path / f"film{suffix}", noise_film(1), fps=10)
    with Image.open(tmp_path / f"film{suffix}") as image:
        assert np.array_equal(np.asarray(image.convert("L")), noise_film(1)[0][..., 0])


@pytest.mark.parametrize("suffix", ANIMATIONS)
@pytest.mark.parametrize("fps", [7, 30, 50])
def test_the_length_is_exact(tmp_path, suffix, fps):
    """Rounded durations do not add up to an error."""
    write_film(tmp_path / f"film{suffix}", noise_film(2 * fps), fps=fps)
    _, times = read_back(tmp_path / f"film{suffix}")
    assert abs(sum(times) - 2000) < 1e-3
    assert max(times) - min(times) <= {".gif": 10, ".webp": 1, ".png": 0}[suffix] + 1e-3


@pytest.mark.parametrize("suffix", ANIMATIONS)
def test_equal_frames_are_written_once(tmp_path, suffix):
    first, second = noise_film(2)
    write_film(tmp_path / f"film{suffix}", [first, first.copy(), first, second], fps=10)
    frames, times = read_back(tmp_path / f"film{suffix}")
    assert len(frames) == 2
    assert [round(time) for time in times] == [300, 100]


def test_a_frame_that_stays_long_is_divided():
    frame = noise_film(1)[0]
    assert [(one.start, one.stop) for one in join_equal_frames([frame] * 7, longest=3)] == [(0, 3), (3, 6), (6, 7)]
    assert list(join_equal_frames([], longest=3)) == []


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gif_is_close_to_the_image(tmp_path, channels):
    ramp = np.linspace(0, 255, 64 * 64 * channels).reshape(64, 64, channels).astype(np.uint8)
    for colors, error in ((None, 5), (4, 43)):
        write_film(tmp_path / "film.gif", [ramp], fps=10, colors=colors)
        with Image.open(tmp_path / "film.gif") as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        assert np.abs(pixels - ramp).max() <= error
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) <= (colors or 256)


def test_a_photograph_is_a_lossy_webp(tmp_path):
    """Whatever is smaller; the image is close to the original."""
    smooth = np.add.outer(np.sin(np.arange(96) / 9), np.cos(np.arange(96) / 7)) * 60 + 128
    frame = (smooth[..., None] + np.random.RandomState(0).randn(96, 96, 3) * 2).astype(np.uint8)
    write_film(tmp_path / "film.webp", [frame, frame[::-1]], fps=10)
    frames, _ = read_back(tmp_path / "film.webp")
    assert len(frames) == 2
    assert 0 < np.abs(frames[0].astype(int) - frame).mean() < 5
    assert np.abs(frames[1].astype(int) - frame[::-1]).mean() < 5


@pytest.mark.parametrize("suffix", ANIMATIONS)
def test_a_film_is_no_training_image(tmp_path, suffix):
    write_film(tmp_path / f"film{suffix}", noise_film(3, 200, 300), fps=10)
    content = (tmp_path / f"film{suffix}").read_bytes()
    assert is_generated_image(content)
    assert is_generated_image(content[:HEAD_BYTES]) == (suffix != ".webp")
    with pytest.raises(UnusableImageError, match="shows generated images and was written by this program"):
        open_image(content)
    # Other animations are not refused.
    others = [Image.fromarray(frame[..., 0]) for frame in noise_film(2)]
    others[0].save(tmp_path / f"other{suffix}", save_all=True, append_images=others[1:], comment=b"pggan", xmp=b"<x/>")
    other = (tmp_path / f"other{suffix}").read_bytes()
    assert not is_generated_image(other)
    assert open_image(other).size == (31, 20)


@pytest.mark.slow  # as all tests that need an optional package
@pytest.mark.parametrize(("channels", "size"), [(1, (20, 32)), (3, (21, 31))])
def test_a_video(tmp_path, channels, size):
    av = pytest.importorskip("av")
    shade = [np.full((*size, channels), 20 * number, np.uint8) for number in range(8)]
    write_film(tmp_path / "film.mp4", [*shade, shade[-1]], fps=25)
    with av.open(tmp_path / "film.mp4") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 25)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 9
    assert frames[0].shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert all(np.abs(frame.astype(int) - 20 * min(number, 7)).max() <= 4 for number, frame in enumerate(frames))


@pytest.mark.parametrize("suffix", [*ANIMATIONS, pytest.param(".mp4", marks=pytest.mark.slow)])
def test_an_interrupted_film_leaves_nothing(tmp_path, suffix):
    if suffix == ".mp4":
        pytest.importorskip("av")

    def frames():
        yield from noise_film(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_film(tmp_path / f"film{suffix}", frames(), fps=10)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [*ANIMATIONS, pytest.param(".mp4", marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_length(tmp_path, suffix):
    """300 frames of 0.75 MB; the process of all writers of Pillow would hold them."""
    if suffix == ".mp4":
        pytest.importorskip("av")
    code = f"""
import resource
import numpy as np
from pathlib import Path
from pggan_jax.generation.films.encoding import write_film

def frames(count):
    for number in range(count):
        yield np.full((512, 512, 3), number % 251, np.uint8)

def peak(count):
    write_film(Path({str(tmp_path)!r}) / "film{suffix}", frames(count), fps=10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

short = peak(20)
print((peak(300) - short) / 1024)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 50


def test_frame_rates():
    assert require_format(".gif", 50) == require_format(".gif", 20) == ""
    assert require_format(".webp", 90) == require_format(".png", 90) == ""
    for suffix in LOSSLESS:
        assert "browsers show frames of 10 ms or less for 100 ms; choose --fps=90 or less" in require_format(suffix, 91)
    assert "3 or 4, 3.33 on average" in require_format(".gif", 30)
    with pytest.raises(UserError, match="at most 50 frames per second"):
        require_format(".gif", 60)


def test_frame_sizes():
    require_frame_size(4096, 4096, advice="")
    for height, width in ((4096, 4097), (16384, 1)):
        with pytest.raises(UserError, match="smaller"):
            require_frame_size(height, width, advice="smaller")


def test_the_stored_size():
    assert stored_size(".mp4", 21, 31) == stored_size(".mp4", 22, 32) == (22, 32)
    assert stored_size(".webp", 21, 31) == (21, 31)


def test_the_largest_webp(tmp_path, monkeypatch):
    monkeypatch.setattr(animations, "_LARGEST_WEBP", 500)
    with pytest.raises(UserError, match="limit of WebP"):
        write_film(tmp_path / "film.webp", noise_film(9), fps=10)
    assert not list(tmp_path.iterdir())


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        UserError, match=r"needs the package av, which is not installed; run pip install -r requirements-optional"
    ):
        require_format(".mp4", 30)
