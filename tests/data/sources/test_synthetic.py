"""Sources without files: reproducible images, distinct classes, the official stacks."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources.synthetic import StackedSource, SyntheticSource
from pggan_jax.errors import UserError
from pggan_jax.images import encode_png


def synthetic(argument="", resolution=16, channels=3):
    return SyntheticSource(argument, height=resolution, width=resolution, channels=channels)


class TestSynthetic:
    @pytest.mark.parametrize(
        ("argument", "length"), [("", 10_000), ("7", 7), ("7:9", 7), (":9", 10_000), ("1000000", 1_000_000)]
    )
    def test_length_and_name(self, argument, length):
        source = synthetic(argument)
        assert len(source) == length
        assert source.name == ("synthetic:" + argument).rstrip(":")

    @pytest.mark.parametrize("channels", [1, 2, 3, 4, 16])
    @pytest.mark.parametrize("resolution", [4, 32])
    def test_any_shape(self, resolution, channels):
        image = synthetic(resolution=resolution, channels=channels).read(3)
        assert image.shape == (resolution, resolution, channels)
        assert image.dtype == np.uint8

    def test_no_channels_asked_for_means_three(self):
        assert synthetic(channels=0).channels == synthetic(channels=0).read(0).shape[-1] == 3

    def test_an_image_depends_on_its_number_and_the_seed_alone(self):
        few, many = synthetic("50:4"), synthetic("90:4")
        backward = [many.read(index) for index in reversed(range(50))][::-1]
        np.testing.assert_array_equal([few.read(index) for index in range(50)], backward)
        assert len({image.tobytes() for image in backward}) == 50
        assert not np.array_equal(synthetic("50:5").read(0), few.read(0))

    def test_threads_and_processes_draw_the_same(self):
        source = synthetic("40")
        expected = [source.read(index) for index in range(40)]
        with ThreadPoolExecutor(4) as pool:
            np.testing.assert_array_equal(list(pool.map(source.read, range(40))), expected)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            np.testing.assert_array_equal(list(pool.map(source.read, range(40), chunksize=40)), expected)

    def test_two_resolutions_show_the_same_image(self):
        small, large = synthetic(resolution=32).read(5), synthetic(resolution=128).read(5)
        means = large.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
        assert np.abs(means - small).mean() < 3

    def test_classes_are_seen_in_the_colours(self):
        """The mean colour of each image determines its class."""
        source = synthetic()
        assert source.class_names == tuple("0123456789")
        colours = np.array([source.read(index).mean(axis=(0, 1)) for index in range(200)])
        labels = np.array([source.label(index) for index in range(200)])
        assert labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
        tints = colours - colours.mean(axis=1, keepdims=True)
        tints /= np.linalg.norm(tints, axis=1, keepdims=True)
        centres = np.array([tints[labels == number].mean(axis=0) for number in range(10)])
        assert ((tints @ centres.T).argmax(axis=1) == labels).mean() > 0.95

    def test_classes_are_seen_in_the_direction_of_grey_waves(self):
        source = synthetic(resolution=64, channels=1)
        spread = {}
        for number in (0, 5):
            images = np.array([source.read(index)[..., 0] for index in range(number, 100, 10)], float)
            spread[number] = np.abs(np.diff(images, axis=2)).mean() / np.abs(np.diff(images, axis=1)).mean()
        assert spread[0] > 2
        assert spread[5] < 0.5

    def test_images_are_smooth_and_use_the_range(self):
        images = np.array([synthetic(resolution=64).read(index) for index in range(20)], int)
        assert np.abs(np.diff(images, axis=1)).mean() < 12
        assert images.min() < 30
        assert images.max() > 220

    @pytest.mark.parametrize("argument", ["0", "-1", "many", "1.5", "1e4", "5:x", "5:-1", "5:6:7", "²", "1000000001"])
    def test_bad_counts_and_seeds_are_refused_in_one_line(self, argument):
        with pytest.raises(
            UserError, match=r"data\.source = 'synthetic:.*must be a whole number from [01] to .*50000:7"
        ) as caught:
            synthetic(argument)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("channels", [-1, 17])
    def test_bad_channels_are_refused(self, channels):
        with pytest.raises(UserError, match=rf"data\.channels = {channels}: synthetic allows 1 to 16"):
            synthetic(channels=channels)

    def test_fingerprint_follows_count_and_seed(self):
        prints = {synthetic(argument).fingerprint() for argument in ("", "10000:0", "9", "9:1", "10000:1")}
        assert len(prints) == 4


class Grey:
    """A source of flat images: image i has brightness i."""

    name = "grey"
    channels = 1
    class_names = ("even", "odd")
    problems = ("something about the collection",)

    def __init__(self, length, *, odd_one=None):
        self.length = length
        self.odd_one = odd_one or {}

    def __len__(self):
        return self.length

    def item_name(self, index):
        return f"image {index}"

    def label(self, index):
        return index % 2

    def read(self, index):
        if isinstance(self.odd_one.get(index), Exception):
            raise self.odd_one[index]
        return self.odd_one.get(index, np.full((4, 5, 1), index % 256, np.uint8))

    def fingerprint(self):
        return f"grey {self.length}"


class TestStacked:
    def test_triples_are_the_official_ones(self, reference):
        """`create_mnistrgb` draws three numbers per image from 60,000."""
        source = StackedSource(Grey(60_000))
        expected = reference["golden_data"]["mnistrgb_first3_index_triples"]
        assert len(source) == reference["golden_data"]["dataset_images"]["mnistrgb_default"]
        for index, triple in enumerate(expected):
            image = source.read(index)
            assert image.shape == (4, 5, 3)
            assert image.dtype == np.uint8
            assert (image == np.array(triple) % 256).all()

    @pytest.mark.parametrize("length", [1, 10, 1797, 60_000])
    def test_one_draw_of_all_is_the_stream_of_draws_of_three(self, length):
        random = np.random.RandomState(123)
        one_by_one = [random.randint(length, size=3) for _ in range(500)]
        np.testing.assert_array_equal(StackedSource(Grey(length), count=500)._triples, one_by_one)

    def test_no_labels_and_the_names(self):
        source = StackedSource(Grey(9), count=5)
        assert (source.name, source.channels, source.class_names, source.label(3)) == ("stacked:grey", 3, (), 0)
        assert source.item_name(3) == "stack 3"
        assert source.problems == Grey.problems

    def test_colours_become_luminance(self):
        coloured = Grey(1, odd_one={0: np.full((4, 5, 3), (255, 0, 0), np.uint8)})
        assert (StackedSource(coloured, count=1).read(0) == 76).all()

    def test_a_pickled_copy_reads_the_same(self):
        source = StackedSource(Grey(200), count=20, seed=4)
        copy = pickle.loads(pickle.dumps(source))
        for index in range(20):
            np.testing.assert_array_equal(copy.read(index), source.read(index))

    def test_different_sizes_are_unusable(self):
        source = StackedSource(Grey(2, odd_one={1: np.zeros((8, 8, 1), np.uint8)}), count=50)
        mixed = next(index for index in range(50) if len(set(source._triples[index])) == 2)
        with pytest.raises(UnusableImageError, match=r"different sizes: .*image 0 is 5x4.*") as caught:
            source.read(mixed)
        assert "image 1 is 8x8" in str(caught.value)

    def test_encoded_images_are_stacked_too(self):
        encoded = Grey(1, odd_one={0: encode_png(np.full((4, 5, 1), 9, np.uint8))})
        np.testing.assert_array_equal(StackedSource(encoded, count=1).read(0), np.full((4, 5, 3), 9))

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (UnusableImageError("is not an image"), "is not an image"),
            (encode_png(np.zeros((64, 64, 1), np.uint8))[:60], "is truncated"),
        ],
    )
    def test_an_unusable_image_is_named(self, content, reason):
        with pytest.raises(UnusableImageError, match=f"image 0: {reason}"):
            StackedSource(Grey(1, odd_one={0: content}), count=1).read(0)

    @pytest.mark.parametrize(("length", "count", "needle"), [(0, 5, "has no image"), (5, 0, "stacks is 0")])
    def test_nothing_to_stack_is_refused(self, length, count, needle):
        with pytest.raises(UserError, match=needle):
            StackedSource(Grey(length), count=count)

    def test_fingerprint_follows_the_inner_source_the_count_and_the_seed(self):
        sources = [
            StackedSource(Grey(5), count=3),
            StackedSource(Grey(6), count=3),
            StackedSource(Grey(5), count=4),
            StackedSource(Grey(5), count=3, seed=1),
        ]
        assert len({source.fingerprint() for source in sources}) == 4
        assert StackedSource(Grey(5), count=3).fingerprint() == sources[0].fingerprint()
