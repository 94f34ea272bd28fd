"""The check of a collection: every problem is named and counted, and no image stops it."""

from __future__ import annotations

import json
import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from pggan_jax.data.checking.check_report import CollectionStats
from pggan_jax.data.checking.collection_check import check
from pggan_jax.data.images.crop_resize import TargetFormat, crop_and_resize
from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources.open_source import open_source
from tests.helpers.image_samples import Items, bomb, encoded, landscape, noise, plain, stored_turned

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")

BAD = {
    "cut.png": (encoded(noise(40, 40))[:2000], "is truncated, its end is missing; copy it again or remove it"),
    "cut.jpg": (encoded(noise(40, 40), "JPEG")[:900], "is truncated, its end is missing; copy it again or remove it"),
    "empty.png": (b"", "is empty"),
    "text.png": (b"hello", "is not an image; remove it or save it as PNG or JPEG"),
    "bomb.png": (bomb(), "has more than 134,217,728 pixels; shrink it"),
    "large.png": (bomb(12_000, 12_000), "has 12000x12000 pixels, at most 134,217,728 are decoded; shrink it"),
    "float.tif": (encoded(Image.new("F", (40, 40)), "TIFF"), "has floating-point pixels of unknown range"),
    "\udcff.png": (b"hello", "is not an image"),
}
MODES = {
    "rgb.png": encoded(noise(40, 40, seed=1)),
    "grey.png": encoded(noise(40, 40, 1, seed=2)[..., 0]),
    "deep.png": encoded(np.full((40, 40), 1000, np.uint16)),
    "alpha.png": encoded(noise(40, 40, 4, seed=3)),
    "palette.png": plain((40, 40), mode="P", color=3),
    "cmyk.jpg": plain((40, 40), mode="CMYK", color=(1, 2, 3, 4), kind="JPEG"),
    "bit.png": plain((40, 40), mode="1", color=1),
    "moving.gif": encoded(Image.new("L", (40, 40), 7), "GIF", save_all=True, append_images=[Image.new("L", (40, 40), 99)]),
    "turned.jpg": stored_turned(landscape(40, 60), 6, "JPEG"),
}


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A folder with one of everything."""
    folder = tmp_path_factory.mktemp("mixed")
    write(folder / "bad", {name: content for name, (content, _) in BAD.items()})
    write(folder / "good", MODES)
    write(folder / "good", {"again.png": MODES["rgb.png"]})
    write(folder / "other", {"copy.png": MODES["grey.png"], "other.png": encoded(noise(50, 60, seed=9))})
    (folder / "bad" / "gone.png").symlink_to("nowhere.png")
    return folder


def report_on(folder, target=None, workers=0):
    return check(open_source(f"folder:{folder}"), target, workers=workers, progress=False)


def test_every_bad_file_is_named_with_reason_and_remedy(mixed):
    found = dict(report_on(mixed).stats.unusable)
    assert len(found) == len(BAD) + 1
    for name, (_, reason) in BAD.items():
        shown = name.replace("\udcff", "\\xff")
        assert found[f"bad/{shown}"].startswith(reason)
        assert ";" in found[f"bad/{shown}"] or ":" in found[f"bad/{shown}"]
    assert found["bad/gone.png"].startswith("is a broken link")
    json.dumps(found).encode("ascii")
    "".join(found).encode()  # printable: no lone surrogates


def test_counts(mixed):
    report = report_on(mixed)
    assert report.images == len(BAD) + 1 + len(MODES) + 3
    assert report.usable == len(MODES) + 3
    assert report.stats.sizes == {(40, 40): 10, (60, 40): 1, (60, 50): 1}
    assert report.stats.modes == {"RGB": 4, "L": 2, "I;16": 1, "RGBA": 1, "P": 2, "CMYK": 1, "1": 1}
    assert report.class_names == ("bad", "good", "other")
    assert report.stats.labels == {1: 10, 2: 2}
    assert report.stats.animated == 1
    assert report.needs_decision


def test_copies_and_those_of_different_labels(mixed):
    report = report_on(mixed)
    assert report.duplicates == (("good/again.png", "good/rgb.png"), ("good/grey.png", "other/copy.png"))
    assert report.conflicts == (("good/grey.png", "other/copy.png"),)
    assert report.copies == 2


@pytest.mark.parametrize("target", [None, TargetFormat(48, 48, 3)])
def test_worker_processes_find_the_same(mixed, target):
    alone, together = (report_on(mixed, target, workers) for workers in (0, 2))
    assert alone == together


def test_order_is_kept_over_many_requests():
    items = [plain((4 + index % 5, 4), (index, 0, 0)) if index % 7 else b"broken" for index in range(256)]
    alone, together = (check(Items(items), workers=workers, progress=False) for workers in (0, 2))
    assert alone == together
    assert [problem.name for problem in alone.stats.unusable] == [f"item {index}" for index in range(0, 256, 7)]
    assert alone.stats.numbers.tolist() == [index for index in range(256) if index % 7]


class TestFrame:
    @pytest.mark.parametrize(
        "target",
        [
            TargetFormat(8, 8, 3),
            TargetFormat(48, 48, 3),
            TargetFormat(40, 40, 1, crop="none"),
            TargetFormat(24, 36, 4, crop="none"),
            TargetFormat(40, 48, 3, crop="pad"),
            TargetFormat(8, 8, 3, crop="1,2,41,30"),
            TargetFormat(8, 8, 1, modes="refuse"),
            TargetFormat(8, 8, 4, modes="refuse"),
            TargetFormat(8, 8, 7),
        ],
        ids=str,
    )
    def test_judges_as_a_preparation_does(self, mixed, target):
        """Unusable here and left out there are the same images, for the same reasons."""
        source = open_source(f"folder:{mixed}")
        reasons = {}
        for index in range(len(source)):
            try:
                crop_and_resize(source.read(index), target)
            except UnusableImageError as error:
                reasons[source.item_name(index)] = str(error)
        assert len(reasons) > 0
        assert dict(report_on(mixed, target).stats.unusable) == reasons

    def test_shapes_and_modes(self):
        items = [plain((8, 8)), plain((8, 6)), plain((8, 8), mode="L", color=1)]
        report = check(Items(items), TargetFormat(4, 4, 3, crop="none", modes="refuse"), workers=0, progress=False)
        reasons = [problem.reason for problem in report.stats.unusable]
        assert reasons == [
            "is 8x6, another shape than 4x4; crop it, or set crop=center",
            "is grey, not RGB; convert it, or set modes=convert",
        ]

    def test_only_some_images(self):
        items = [b"broken", *(plain((8, 8), (index, 0, 0)) for index in range(5)), b"broken"]
        report = check(Items(items), numbers=np.array([5, 0, 2]), workers=0, progress=False)
        assert (report.images, report.usable) == (3, 2)
        assert report.stats.unusable[0].name == "item 0"
        assert report.stats.numbers.tolist() == [5, 2]


class TestArrays:
    def test_any_channels(self):
        items = [noise(8, 6, channels) for channels in (1, 2, 3, 4, 7)]
        report = check(Items(items), workers=0, progress=False)
        assert report.stats.modes == {"L": 1, "LA": 1, "RGB": 1, "RGBA": 1, "7 channels": 1}
        assert report.stats.sizes == {(6, 8): 5}
        framed = check(Items([noise(8, 6, 7)]), TargetFormat(8, 6, 7), workers=0, progress=False)
        assert framed.usable == 1

    def test_in_any_memory_order(self):
        pixels = noise(3, 8, 8).transpose(1, 2, 0)
        report = check(Items([pixels, pixels.copy(), pixels[::-1]]), workers=0, progress=False)
        assert report.duplicates == (("item 0", "item 1"),)

    def test_equal_bytes_of_another_shape_are_no_copies(self):
        black = np.zeros((4, 8, 3), np.uint8)
        report = check(Items([black, black.reshape(8, 4, 3), black.reshape(4, 24, 1)]), workers=0, progress=False)
        assert report.duplicates == ()


class Exploding(Items):
    """Breaks its promise to raise nothing but `UnusableImageError`."""

    def read(self, index):
        if index == 1:
            raise RuntimeError("boom\nboom")
        if index == 2:
            raise MemoryError
        return super().read(index)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_image_stops_the_check(workers):
    source = Exploding([plain(), b"", b"", "has no label; add one", plain()])
    report = check(source, workers=workers, progress=False)
    assert report.usable == 2
    assert [problem.reason for problem in report.stats.unusable] == [
        "cannot be decoded (boom boom); save it again or remove it",
        "needs more memory to decode than is free; shrink it or remove it",
        "has no label; add one",
    ]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_unreadable_files(tmp_path):
    write(tmp_path, {"a.png": plain(), "b.png": plain()})
    (tmp_path / "a.png").chmod(0)
    assert "may not be read" in dict(report_on(tmp_path).stats.unusable)["a.png"]


class TestWarnings:
    def warnings(self, counts):
        labels = [label for label, count in enumerate(counts) for _ in range(count)]
        image = noise(4, 4)
        names = [f"class {label}" for label in range(len(counts))]
        report = check(Items([image] * len(labels), labels=labels, class_names=names), workers=0, progress=False)
        return report.warnings

    def test_few_images(self):
        assert self.warnings([999]) == ["few images (999): below 1,000 the discriminator soon memorises them"]
        assert self.warnings([1000]) == []

    def test_unequal_classes(self):
        assert self.warnings([1000, 100]) == []
        assert self.warnings([1000, 99, 500]) == ["very unequal classes: 1,000 of class 0, 99 of class 1"]
        assert self.warnings([1000, 0]) == ["1 of 2 classes have no image"]

    def test_none_of_few_images_where_there_are_none(self):
        assert check(Items([b"", b""]), workers=0, progress=False).warnings == []

    def test_warnings_need_no_decision(self):
        assert not check(Items([plain(), plain()]), workers=0, progress=False).needs_decision
        assert check(Items([plain()], problems=["odd"]), workers=0, progress=False).needs_decision
        two = check(Items([plain(), plain()], labels=[0, 1], class_names="ab"), workers=0, progress=False)
        assert two.needs_decision


def test_resolutions():
    items = [plain(size) for size in ((64, 64), (63, 200), (200, 16), (3, 3), (128, 130))]
    report = check(Items(items), workers=0, progress=False)
    assert report.resolutions() == [(4, 4), (8, 4), (16, 4), (32, 3), (64, 2), (128, 1)]
    assert check(Items([b""]), workers=0, progress=False).resolutions() == []


def test_findings_stay_compact():
    """About 32 bytes for an image: a million are no burden."""
    images = 20_000
    part = CollectionStats(digests=bytearray(os.urandom(16 * 64)))
    part.numbers.extend(range(64))
    part.classes.extend([0] * 64)
    part.sizes[9, 9] = part.modes["RGB"] = part.labels[0] = 64
    found = CollectionStats()
    tracemalloc.start()
    try:
        for _ in range(images // 64):
            found.add(part)
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(found.numbers) == images // 64 * 64
    assert found.sizes[9, 9] == len(found.numbers)
    assert size < 48 * images
