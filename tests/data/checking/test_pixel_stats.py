"""Pixel statistics of a check, and the range of 16-bit images."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from pggan_jax.data.checking.collection_check import check
from pggan_jax.data.checking.pixel_range import resolve_range
from pggan_jax.data.checking.pixel_stats import SIGNATURE_BYTES, PixelStats, find_similar
from pggan_jax.data.images.crop_resize import TargetFormat, crop_and_resize
from pggan_jax.data.preparation.prepare import prepare
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.data.sources.folder import FolderSource
from pggan_jax.images import parse_range
from tests.helpers.command_line import one_line_error
from tests.helpers.image_samples import Items, encoded, landscape, noise, plain


def deep(low, high, side=16, seed=0):
    """12 bits, say, in 16: uint16 `[side, side]` with both values in it."""
    pixels = np.random.default_rng(seed).integers(low, high + 1, (side, side), np.uint16)
    pixels[0, :2] = low, high
    return pixels


def report_on(items, target=None, workers=0):
    return check(Items(items), target, workers=workers, progress=False)


def noted(report, part):
    """Return the only line that contains `part`."""
    (line,) = [line for line in report.warnings if part in line]
    assert len(line) <= 300
    return line


class TestRange:
    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
    @pytest.mark.parametrize("levels", [(0, 4095), (100, 4095), (0, 1), (0, 65535)])
    def test_values_between_are_scaled_to_the_nearest(self, kind, levels):
        low, high = levels
        stored = deep(0, 65535)
        stored[1] = np.linspace(low, high, 16).astype(np.uint16)
        content = encoded(Image.fromarray(stored.astype(np.int32), "I"), "PPM") if kind == "PPM" else encoded(stored, kind)
        made = crop_and_resize(content, TargetFormat(16, 16, 1, value_range=levels))[..., 0]
        expected = np.clip((stored.astype(float) - low) / (high - low), 0, 1) * 255
        assert np.abs(made - expected).max() <= 0.5

    def test_all_values_are_those_of_no_range(self):
        content = encoded(np.arange(2**16, dtype=np.uint16).reshape(256, 256))
        np.testing.assert_array_equal(
            crop_and_resize(content, TargetFormat(256, 256, 1)),
            crop_and_resize(content, TargetFormat(256, 256, 1, value_range=(0, 65535))),
        )

    def test_8_bits_stay_as_they_are(self):
        for content in (encoded(noise(16, 16)), noise(16, 16), encoded(noise(16, 16), "JPEG")):
            np.testing.assert_array_equal(
                crop_and_resize(content, TargetFormat(16, 16, 3)),
                crop_and_resize(content, TargetFormat(16, 16, 3, value_range=(7, 90))),
            )

    @pytest.mark.parametrize("workers", [0, 2])
    def test_auto_is_of_the_whole_collection(self, workers):
        items = [encoded(deep(200, 900)), encoded(deep(100, 300, seed=1)), encoded(noise(16, 16)), b"broken", noise(16, 16)]
        for order in (items, items[::-1]):
            resolved = resolve_range(
                Items(order), PreparationSpec(16, channels=1, range="auto"), workers=workers, progress=False
            )
            assert resolved.range == "100,900"
        assert resolve_range(Items(items[2:]), PreparationSpec(16, channels=1, range="auto")).range == "full"
        assert resolve_range(Items(items), PreparationSpec(16, channels=1, range="auto", max_images=1)).range == "200,900"

    def test_single_pixels_do_not_decide(self):
        pixels = deep(100, 4000, side=200)
        pixels[50, 50], pixels[60, 60] = 65535, 0
        assert resolve_range(Items([encoded(pixels)]), PreparationSpec(16, channels=1, range="auto")).range == "100,4000"

    @pytest.mark.parametrize("value", [0, 7, 65535])
    def test_one_value_alone(self, value):
        content = encoded(np.full((16, 16), value, np.uint16))
        low, high = parse_range(resolve_range(Items([content]), PreparationSpec(16, channels=1, range="auto")).range)
        assert low <= value <= high == low + 1

    @pytest.mark.parametrize(
        "text", ["", "auto,", "1", "1,2,3", "2,1", "3,3", "-1,5", "0,65536", "0,1e3", "0,²", "0," + "9" * 5000]
    )
    def test_other_texts_are_refused(self, text):
        with pytest.raises(ValueError, match="must be full, auto, or LOW,HIGH"):
            parse_range(text)

    def test_it_is_recorded_and_the_default_is_not(self, tmp_path):
        for number in range(2):
            (tmp_path / "x").mkdir(exist_ok=True)
            (tmp_path / f"x/{number}.png").write_bytes(encoded(deep(48, 4095, seed=number)))
        source = FolderSource(str(tmp_path / "x"))
        default = prepare(source, PreparationSpec(16, channels=1), folder=tmp_path / "full", progress=False)
        auto = prepare(source, PreparationSpec(16, channels=1, range="auto"), folder=tmp_path / "auto", progress=False)
        given = prepare(source, PreparationSpec(16, channels=1, range="48,4095"), folder=tmp_path / "given", progress=False)
        assert "range" not in default.info["options"]
        assert [one.info["range"] for one in (default, auto, given)] == ["full", "48,4095", "48,4095"]
        assert auto.info["options"]["range"] == "auto"
        np.testing.assert_array_equal(auto.level(16), given.level(16))
        assert (default.level(16).max(), auto.level(16).max(), auto.level(16).min()) == (16, 255, 0)


class TestCommands:
    def test_flag_of_check_prepare_and_show(self, launch, tmp_path):
        (tmp_path / "x").mkdir()
        (tmp_path / "x/1.png").write_bytes(encoded(deep(0, 4095)))
        source = f"folder:{tmp_path / 'x'}"
        assert "--range=auto" in launch("check", source)[1]
        advised = launch("check", source, "--resolution=16", "--range=auto")[1]
        assert "pixels      0 to 255 of 0 to 255" in advised
        assert "--set data.range=auto" in advised
        launch("prepare", source, "--resolution=16", f"--out={tmp_path / 'p'}", "--range=0,4095", "--workers=0")
        assert json.loads((tmp_path / "p/info.json").read_text())["range"] == "0,4095"
        shown = []
        for value in ("full", "auto"):
            launch("show", source, f"--out={tmp_path / 'g.png'}", "--resolution=16", f"--range={value}")
            shown.append(np.asarray(Image.open(tmp_path / "g.png")).max())
        assert shown == [16, 255]
        assert "--range=9,8: must be full, auto" in one_line_error(launch("check", source, "--resolution=16", "--range=9,8"))

    def test_what_a_crop_throws_away(self, launch, tmp_path):
        for name, size in (("wide", (120, 30)), ("square", (30, 30))):
            (tmp_path / f"{name}.png").write_bytes(plain(size))
        found = json.loads(launch("check", f"folder:{tmp_path}", "--json")[1])
        assert found["kept"] == {"mean": 0.625, "least": 0.25, "of": "120x30"}
        text = launch("check", f"folder:{tmp_path}", "--resolution=16")[1]
        assert "--crop=center: 38 % of the area is cut off, 75 % of 120x30; --crop=fit keeps all" in text
        text = launch("check", f"folder:{tmp_path}", "--resolution=16", "--crop=fit")[1]
        assert "--crop=fit: nothing is cut off" in text


class TestSeen:
    def test_blank_images(self):
        items = [plain(color="black"), plain(color="white"), plain(color=(9, 90, 200)), plain(mode="RGBA", color=(1, 2, 3, 0))]
        report = report_on([*items, *(encoded(noise(16, 16, seed=seed)) for seed in range(6))])
        assert "1 of 10 images (10 %) are black or nearly so, such as item 0" in noted(report, "black")
        assert "such as item 1" in noted(report, "are white")
        assert "such as item 2" in noted(report, "a single colour")
        assert "such as item 3" in noted(report, "transparent")
        assert not report.needs_decision

    def test_nearly_black_12_bits(self):
        report = report_on([encoded(deep(0, 4095, seed=seed)) for seed in range(4)])
        assert noted(report, "black").startswith("4 of 4 images (100 %)")
        assert "use 0 to 4,095 of 0 to 65,535, scaled to 0 to 16 of 255: --range=auto" in noted(report, "16 bits")
        assert report_on([encoded(deep(0, 65535))]).warnings == report_on([encoded(noise(16, 16, 1)[..., 0])]).warnings

    def test_empty_channels_and_grey_in_colours(self):
        red = noise(16, 16)
        red[..., 1:] = (40, 90)
        assert "channel B is constant in 1 of 2 images" in report_on([red, noise(16, 16)]).warnings
        grey = np.repeat(noise(16, 16, 1), 3, axis=-1)
        assert noted(report_on([encoded(grey)] * 2), "all images are grey").endswith("--channels=1 trains faster")
        assert not any("all images are grey" in line for line in report_on([grey, noise(16, 16)]).warnings)

    def test_a_range_that_is_not_used(self):
        assert "lie between 100 and 1" in noted(report_on([noise(16, 16) // 4 + 100]), "lie between")
        assert not any("lie between" in line for line in report_on([noise(16, 16)]).warnings)

    def test_worker_processes_see_the_same(self):
        items = [encoded(noise(16, 16, seed=seed % 5)) if seed % 3 else encoded(deep(0, 999 + seed)) for seed in range(60)]
        alone, together = (report_on(items, workers=workers) for workers in (0, 2))
        assert alone == together
        assert alone.stats.pixels.images_16_bit == 20


class TestAlike:
    def test_the_same_image_in_other_files(self):
        pictures = [landscape(96, 128)[:, ::-1] // 2 + 64, landscape(128, 96), noise(64, 64), noise(64, 64, seed=1)]
        other_size = np.asarray(Image.fromarray(pictures[0]).resize((64, 48), Image.Resampling.LANCZOS))
        items = [*map(encoded, pictures), encoded(pictures[0], "JPEG", quality=80), encoded(other_size), encoded(pictures[2])]
        report = report_on(items)
        assert report.similar == (("item 0", "item 4", "item 5"),)
        assert report.duplicates == (("item 2", "item 6"),)

    def test_blank_and_similar_images_are_not_joined(self):
        blank = [plain(color=(level, level, level)) for level in (20, 22, 24)]
        shifted = [np.roll(landscape(64, 64), 8 * number, axis=1) for number in range(4)]
        assert report_on([*blank, *shifted]).similar == ()

    def test_as_by_comparing_all_with_all(self):
        """Buckets of quarters lose no pair."""
        random = np.random.default_rng(0)
        first = random.integers(0, 256, (40, SIGNATURE_BYTES), np.uint8)
        second = first.copy()
        for row in second[::2]:
            for bit in random.choice(64, 2, replace=False):
                row[bit // 8] ^= 1 << bit % 8
        for row in second[1::2]:
            for bit in random.choice(64, 3, replace=False):
                row[bit // 8] ^= 1 << bit % 8
        groups = find_similar(np.concatenate([first, second]).tobytes(), range(80))
        assert groups == [[number, 40 + number] for number in range(0, 40, 2)]

    def test_other_channels_are_counted_and_not_looked_at(self):
        found = PixelStats()
        found.add_image(noise(4, 4, 7), "x")
        assert (len(found.signatures), sum(found.kinds.values())) == (SIGNATURE_BYTES, 0)
        assert find_similar(bytes(found.signatures) * 3, [0, 1, 2]) == []
