"""TFRecord files of other tools: readable ones are read, others are described in one line."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from pggan_jax.data.images.crop_resize import TargetFormat, crop_and_resize
from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources.open_source import open_source
from pggan_jax.data.sources.record_images import RecordImagesSource, open_tfrecords
from pggan_jax.errors import UserError
from tests.helpers.image_samples import encoded, noise
from tests.helpers.official_records import (
    data_feature,
    example,
    framed,
    length_delimited,
    map_entry,
    shape_feature,
    varint,
    write_labels,
    write_tfrecords,
)

IMAGES = [noise(8, 8, seed=seed) for seed in range(5)]


def bytes_feature(name, content):
    return map_entry(name, length_delimited(1, length_delimited(1, content)))


def int_feature(name, number):
    return map_entry(name, length_delimited(3, length_delimited(1, varint(number))))


def write(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(framed(example(*features)) for features in records))


def images_of(source):
    return [crop_and_resize(source.read(index), TargetFormat(8, 8, 3)) for index in range(len(source))]


def refusal(folder):
    with pytest.raises(UserError) as caught:
        open_source(f"tfrecords:{folder}")
    assert len(str(caught.value)) <= 300 + len(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a-r03.tfrecords", "train.tfrecord", "x-train.tfrecord-00000-of-00001"])
@pytest.mark.parametrize("feature", ["img", "data", "image/encoded"])
def test_encoded_images(tmp_path, name, feature):
    records = [[bytes_feature(feature, encoded(image)), int_feature("label", 3), shape_feature((3, 8, 8))] for image in IMAGES]
    write(tmp_path / name, records)
    source = open_source(f"tfrecords:{tmp_path}", resolution=8)
    np.testing.assert_array_equal(images_of(source), IMAGES)
    assert source.item_name(2) == f"{name} record 2"
    assert source.notes[1:] == ("their 'label' is not read",)
    copy = pickle.loads(pickle.dumps(source))
    assert copy.read(4) == source.read(4)
    assert copy.fingerprint() == source.fingerprint()


@pytest.mark.parametrize("name", ["shape", "image/shape"])
def test_raw_pixels_with_the_channels_last(tmp_path, name):
    shape = map_entry(name, length_delimited(3, length_delimited(1, bytes([8, 8, 3]))))
    write(tmp_path / "a-r03.tfrecords", [[data_feature(image.tobytes()), shape] for image in IMAGES])
    source = open_source(f"tfrecords:{tmp_path}")
    np.testing.assert_array_equal([source.read(index) for index in range(5)], IMAGES)
    assert source.channels == 3


def test_raw_pixels_with_the_channels_first_under_another_name(tmp_path):
    records = [[bytes_feature("pixels", image.transpose(2, 0, 1).tobytes()), shape_feature((3, 8, 8))] for image in IMAGES]
    write(tmp_path / "x.tfrecords", records)
    np.testing.assert_array_equal(images_of(open_source(f"tfrecords:{tmp_path}")), IMAGES)


def test_grey_without_channels(tmp_path):
    write(tmp_path / "a-r03.tfrecords", [[data_feature(image[..., 0].tobytes()), shape_feature((8, 8))] for image in IMAGES])
    source = open_source(f"tfrecords:{tmp_path}")
    assert source.channels == 1
    np.testing.assert_array_equal(source.read(3), IMAGES[3][..., :1])


def test_the_level_of_the_wanted_size_and_shards_in_order(tmp_path):
    for exponent in (2, 3, 4):
        content = encoded(noise(2**exponent, 2**exponent))
        write(tmp_path / f"levels/a-r0{exponent}.tfrecords", [[bytes_feature("img", content)]] * 3)
    for resolution, side in ((0, 16), (4, 4), (8, 8), (16, 16), (32, 16)):
        source = open_tfrecords(str(tmp_path / "levels"), resolution=resolution)
        assert source.item_name(0) == f"a-r0{side.bit_length() - 1}.tfrecords record 0"
    for number in range(5):
        write(tmp_path / f"shards/a.tfrecord-0000{number}-of-00005", [[bytes_feature("img", encoded(IMAGES[number]))]] * 2)
    source = open_source(f"tfrecords:{tmp_path / 'shards'}")
    np.testing.assert_array_equal(images_of(source), np.repeat(IMAGES, 2, axis=0))
    assert source.item_name(5) == "a.tfrecord-00002-of-00005 record 1"


def test_labels_beside_them(tmp_path):
    write(tmp_path / "a-r03.tfrecords", [[bytes_feature("img", encoded(image))] for image in IMAGES])
    write_labels(tmp_path / "a-rxx.labels", np.eye(3, dtype=np.float32)[[0, 1, 2, 1, 0]])
    source = open_source(f"tfrecords:{tmp_path}")
    assert [source.label(index) for index in range(5)] == [0, 1, 2, 1, 0]


def test_files_of_the_authors_tool_are_read_as_before(tmp_path):
    for channels in (1, 3, 4):
        folder = tmp_path / str(channels)
        write_tfrecords(folder, "tiny", np.stack([noise(4, 4, channels).transpose(2, 0, 1)] * 2))
        source = open_source(f"tfrecords:{folder}")
        assert not isinstance(source, RecordImagesSource)
        np.testing.assert_array_equal(source.read(1), noise(4, 4, channels))


class TestDamage:
    def test_a_flipped_bit_costs_one_record(self, tmp_path):
        path = tmp_path / "x.tfrecords"
        write(path, [[bytes_feature("img", encoded(image))] for image in IMAGES])
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        source = open_source(f"tfrecords:{tmp_path}")
        outcomes = []
        for index in range(5):
            try:
                outcomes.append(len(source.read(index)) > 0)
            except UnusableImageError as error:
                outcomes.append("does not match its checksum" in str(error) and None)
        assert outcomes == [True, True, None, True, True]

    def test_a_truncated_file(self, tmp_path):
        path = tmp_path / "x.tfrecords"
        write(path, [[bytes_feature("img", encoded(image))] for image in IMAGES])
        os.truncate(path, path.stat().st_size - 5)
        source = open_source(f"tfrecords:{tmp_path}")
        assert len(source) == 4
        assert "truncated" in source.problems[0]

    def test_records_of_something_else_among_them(self, tmp_path):
        write(tmp_path / "x.tfrecords", [[bytes_feature("img", encoded(IMAGES[0]))], [int_feature("label", 1)]])
        with pytest.raises(UnusableImageError, match="has no feature 'img'"):
            open_source(f"tfrecords:{tmp_path}").read(1)


class TestDescriptions:
    def test_no_images(self, tmp_path):
        write(tmp_path / "x.tfrecords", [[int_feature("label", 1), bytes_feature("waveform", bytes(100))]])
        message = refusal(tmp_path)
        assert "its first record has the features label (1 numbers), waveform (100 bytes)" in message

    @pytest.mark.parametrize("content", [b"", b"text", bytes(100), struct.pack("<Q", 2**60) + bytes(4), framed(b"no example")])
    def test_no_records(self, tmp_path, content):
        (tmp_path / "x.tfrecord").write_bytes(content)
        assert "x.tfrecord has no" in refusal(tmp_path)

    def test_gzip(self, tmp_path):
        (tmp_path / "x.tfrecord").write_bytes(b"\x1f\x8b" + bytes(100))
        assert "x.tfrecord is compressed by gzip; unpack it" in refusal(tmp_path)

    def test_many_long_features(self, tmp_path):
        write(tmp_path / "x.tfrecords", [[int_feature(f"{'x' * 200}{number}", 1) for number in range(50)]])
        assert "has no readable images" in refusal(tmp_path)

    def test_under_the_names_of_the_authors_tool(self, tmp_path):
        write(tmp_path / "a-r02.tfrecords", [[bytes_feature("waveform", bytes(20))]] * 2)
        assert "its first record has the features waveform (20 bytes)" in refusal(Path(tmp_path))
