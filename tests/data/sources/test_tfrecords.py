"""The official multi-resolution files: exact pixels, and every kind of damaged folder."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources.tfrecords import TFRecordsSource
from pggan_jax.errors import UserError
from tests.helpers.official_records import (
    data_feature,
    example,
    framed,
    image_record,
    map_entry,
    masked_crc,
    shape_feature,
    write_labels,
    write_tfrecords,
)

COUNT = 12
RECORD_BYTES_16 = 823


def random_images(count=COUNT, channels=3, side=16):
    return np.random.default_rng(1).integers(0, 256, (count, channels, side, side), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Twelve images of 16x16 in three classes."""
    write_tfrecords(tmp_path / "tiny", "tiny", random_images(), [index % 3 for index in range(COUNT)])
    return tmp_path / "tiny"


def flip_bit(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)


def refusal(folder, **options):
    with pytest.raises(UserError) as caught:
        TFRecordsSource(str(folder), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestBytes:
    """The test's writer is the official one, so what the reader reads is what users have."""

    def test_one_record(self, reference):
        golden = reference["golden_data"]
        record = image_record(np.arange(16, dtype=np.uint8).reshape(1, 4, 4))
        assert record.hex() == golden["tfrecord_hex"]

    def test_sizes(self, reference, tmp_path):
        golden = reference["golden_data"]
        for shape, size in golden["tfrecord_bytes_per_record"].items():
            assert len(image_record(np.zeros([int(side) for side in shape.split("x")], np.uint8))) == size
        write_tfrecords(tmp_path, "cifar10", random_images(2, 3, 32), [9, 0])
        for name, size in golden["cifar10_file_sizes"].items():
            written = (tmp_path / name).stat().st_size
            missing = golden["dataset_images"]["cifar10"] - 2
            # Two more digits of the number of images fit into the spaces that fill up the header.
            each = 40 if name.endswith("labels") else written // 2
            assert written + missing * each == size

    def test_the_golden_record_is_read(self, reference, tmp_path):
        (tmp_path / "a-r02.tfrecords").write_bytes(bytes.fromhex(reference["golden_data"]["tfrecord_hex"]))
        source = TFRecordsSource(str(tmp_path))
        np.testing.assert_array_equal(source.read(0), np.arange(16).reshape(4, 4, 1))
        assert source.channels == 1


class TestReading:
    def test_images_labels_and_names(self, folder):
        source = TFRecordsSource(str(folder))
        assert len(source) == COUNT
        assert (source.name, source.channels, source.class_names) == (f"tfrecords:{folder}", 3, ("0", "1", "2"))
        assert source.item_name(7) == "tiny-r04.tfrecords record 7"
        assert [source.label(index) for index in range(COUNT)] == [0, 1, 2] * 4
        for index, image in enumerate(random_images()):
            read = source.read(index)
            assert read.dtype == np.uint8
            np.testing.assert_array_equal(read, image.transpose(1, 2, 0))

    @pytest.mark.parametrize("resolution", [4, 8, 16])
    def test_any_level(self, folder, resolution):
        source = TFRecordsSource(str(folder), resolution=resolution)
        factor = 16 // resolution
        blocks = random_images()[3].reshape(3, resolution, factor, resolution, factor).mean(axis=(2, 4))
        np.testing.assert_allclose(source.read(3), blocks.transpose(1, 2, 0), atol=0.51)

    def test_no_labels_file(self, folder):
        (folder / "tiny-rxx.labels").unlink()
        source = TFRecordsSource(str(folder))
        assert (source.class_names, source.label(5)) == ((), 0)

    @pytest.mark.parametrize("order", ["data first", "unpacked shape", "other features"])
    def test_any_order_and_packing(self, tmp_path, order):
        image = random_images(1, 3, 4)[0]
        shape, data = shape_feature(image.shape), data_feature(image.tobytes())
        features = {
            "data first": [data, shape],
            "unpacked shape": [shape_feature(image.shape, packed=False), data],
            "other features": [map_entry("score", b"\x12\x06\x0a\x04\0\0\x80\x3f"), shape, data],
        }[order]
        (tmp_path / "a-r02.tfrecords").write_bytes(framed(example(*features)) * 2)
        np.testing.assert_array_equal(TFRecordsSource(str(tmp_path)).read(1), image.transpose(1, 2, 0))

    def test_threads_processes_and_copies_read_the_same(self, folder):
        source = TFRecordsSource(str(folder))
        expected = [source.read(index) for index in range(COUNT)]
        with ThreadPoolExecutor(4) as pool:
            np.testing.assert_array_equal(list(pool.map(source.read, list(range(COUNT)) * 20)), expected * 20)
        copy = pickle.loads(pickle.dumps(source))
        del source  # Closes its own file; the copy has another.
        assert copy.label(2) == 2
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            np.testing.assert_array_equal(list(pool.map(copy.read, range(COUNT), chunksize=COUNT)), expected)

    def test_files_are_closed_with_their_source(self, folder):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            TFRecordsSource(str(folder))
        assert len(os.listdir("/proc/self/fd")) <= before + 2

    def test_fingerprint_follows_the_files_and_not_the_folder(self, folder):
        prints = [TFRecordsSource(str(folder), resolution=resolution).fingerprint() for resolution in (0, 16, 8)]
        moved = folder.rename(folder.parent / "moved")
        prints.append(TFRecordsSource(str(moved)).fingerprint())
        os.utime(moved / "tiny-rxx.labels", ns=(1, 1))
        prints.append(TFRecordsSource(str(moved)).fingerprint())
        os.utime(moved / "tiny-r04.tfrecords", ns=(1, 1))
        prints.append(TFRecordsSource(str(moved)).fingerprint())
        assert prints[0] == prints[1] == prints[3]
        assert len(set(prints)) == 4


class TestDamage:
    @pytest.mark.parametrize("record", [0, 5, COUNT - 1])
    @pytest.mark.parametrize("place", [0, 7, 9, 12, 60, 400, RECORD_BYTES_16 - 2])
    def test_a_flipped_bit_costs_one_record(self, folder, record, place):
        flip_bit(folder / "tiny-r04.tfrecords", record * RECORD_BYTES_16 + place)
        source = TFRecordsSource(str(folder))
        assert len(source) == COUNT
        for index, image in enumerate(random_images()):
            if index == record:
                with pytest.raises(UnusableImageError, match="does not match its checksum; copy or write"):
                    source.read(index)
            else:
                np.testing.assert_array_equal(source.read(index), image.transpose(1, 2, 0))

    def test_a_file_that_shrinks_while_it_is_read(self, folder):
        source = TFRecordsSource(str(folder))
        os.truncate(folder / "tiny-r04.tfrecords", 5 * RECORD_BYTES_16 + 20)
        source.read(4)
        with pytest.raises(UnusableImageError, match="does not match its checksum"):
            source.read(5)

    @pytest.mark.parametrize(
        "features",
        [
            [],
            [shape_feature((3, 4, 4))],
            [data_feature(bytes(48))],
            [shape_feature((3, 4, 5)), data_feature(bytes(48))],
            [shape_feature((48,)), data_feature(bytes(48))],
            [data_feature(b""), map_entry("shape", b"")],
            [b"\x0b"],
        ],
    )
    def test_records_of_something_else(self, tmp_path, features):
        payload = example(*features)
        image = random_images(1, 3, 4)[0]
        fitting = example(data_feature(image.tobytes()), shape_feature(image.shape))
        # Records of one size: the payload is padded with an unknown field.
        fill = len(fitting) - len(payload) - 2
        payload += bytes([15 << 3 | 2, fill]) + bytes(fill) if fill >= 0 else b""
        assert len(payload) == len(fitting)
        (tmp_path / "a-r02.tfrecords").write_bytes(framed(payload) + framed(fitting))
        source = TFRecordsSource(str(tmp_path))
        assert source.channels == 3
        with pytest.raises(UnusableImageError, match="no image of the official dataset tool"):
            source.read(0)
        np.testing.assert_array_equal(source.read(1), image.transpose(1, 2, 0))

    def test_an_image_of_another_shape(self, tmp_path):
        wrong = image_record(np.zeros((3, 2, 8), np.uint8))
        (tmp_path / "a-r02.tfrecords").write_bytes(image_record(np.zeros((3, 4, 4), np.uint8)) + wrong)
        with pytest.raises(UnusableImageError, match="has the shape 3x2x8, not 3x4x4"):
            TFRecordsSource(str(tmp_path)).read(1)

    def test_no_readable_image_at_all(self, tmp_path):
        (tmp_path / "a-r02.tfrecords").write_bytes(framed(b"some text") * 3)
        assert "a-r02.tfrecords has no readable image" in refusal(tmp_path)


class TestRefusals:
    def test_no_folder_and_no_files(self, tmp_path):
        assert "cannot be listed (No such file or directory); give the folder" in refusal(tmp_path / "missing")
        assert "has no files NAME-rNN.tfrecords" in refusal(tmp_path)
        (tmp_path / "file").write_text("")
        assert "cannot be listed (Not a directory); give the folder" in refusal(tmp_path / "file")

    @pytest.mark.parametrize("kept", [[4], [2, 4], [3, 4]])
    def test_missing_levels_are_made_from_a_larger_one(self, folder, kept):
        for exponent in {2, 3, 4} - set(kept):
            (folder / f"tiny-r0{exponent}.tfrecords").unlink()
        for resolution in (0, 4, 8, 16):
            wanted = [2**exponent for exponent in kept if 2**exponent >= resolution and resolution] or [16]
            assert TFRecordsSource(str(folder), resolution=resolution).read(0).shape == (wanted[0], wanted[0], 3)
        (folder / "tiny-r04.tfrecords").rename(folder.parent / "gone")
        if len(kept) > 1:
            assert "data.resolution = 16" in refusal(folder, resolution=16)

    @pytest.mark.parametrize("exponent", [2, 3, 4])
    @pytest.mark.parametrize("cut", ["in a record", "between records"])
    def test_a_truncated_level(self, folder, exponent, cut):
        path = folder / f"tiny-r0{exponent}.tfrecords"
        size = path.stat().st_size
        os.truncate(path, size - 5 if cut == "in a record" else size - size // COUNT)
        message = refusal(folder)
        assert f"{path.name} is truncated" in message
        assert "copy or write it again" in message
        assert ("has 11 images" in message) == (cut == "between records")

    @pytest.mark.parametrize("content", [b"", b"\x1f\x8b" + bytes(200), b"text"])
    def test_no_records(self, folder, content):
        (folder / "tiny-r03.tfrecords").write_bytes(content)
        assert "tiny-r03.tfrecords has no uncompressed records; unpack it" in refusal(folder)

    def test_an_unreadable_file(self, folder):
        path = folder / "tiny-r03.tfrecords"
        path.unlink()
        path.symlink_to("nowhere")
        assert "tiny-r03.tfrecords cannot be read (No such file" in refusal(folder)

    def test_two_data_sets(self, folder):
        shutil.copy(folder / "tiny-r02.tfrecords", folder / "other-r02.tfrecords")
        assert "several data sets (other, tiny); move each" in refusal(folder)

    @pytest.mark.parametrize("resolution", [2, 12, 32])
    def test_no_such_level(self, folder, resolution):
        assert f"data.resolution = {resolution}: " in refusal(folder, resolution=resolution)
        assert "has the resolutions 4, 8, 16; set one" in refusal(folder, resolution=resolution)

    @pytest.mark.parametrize("length", [COUNT - 1, COUNT + 1])
    def test_labels_of_another_length(self, folder, length):
        write_labels(folder / "tiny-rxx.labels", np.eye(3, dtype=np.float32)[np.zeros(length, int)])
        assert f"has {length} labels for 12 images" in refusal(folder)

    @pytest.mark.parametrize("row", [[0, 0, 0], [1, 1, 0], [0.5, 0.5, 0], [2, 0, 0], [float("nan"), 1, 0]])
    def test_labels_that_are_not_one_hot(self, folder, row):
        rows = np.eye(3, dtype=np.float32)[np.zeros(COUNT, int)]
        rows[7] = row
        write_labels(folder / "tiny-rxx.labels", rows)
        assert "tiny-rxx.labels row 7 is not one-hot" in refusal(folder)

    @pytest.mark.parametrize("content", ["text", "empty", "truncated", "pickled", "zipped", "flat", "words"])
    def test_labels_that_are_no_table(self, folder, content):
        path = folder / "tiny-rxx.labels"
        if content == "truncated":
            os.truncate(path, path.stat().st_size - 4)
        elif content == "zipped":
            with path.open("wb") as file:
                np.savez(file, labels=np.eye(COUNT))
        elif content == "flat":
            write_labels(path, np.zeros(COUNT))
        elif content == "words":
            write_labels(path, np.array([["a", "b"]] * COUNT))
        elif content == "pickled":
            with path.open("wb") as file:
                np.save(file, np.array([[Trap()]] * COUNT, object), allow_pickle=True)
        else:
            path.write_text("labels" if content == "text" else "")
        assert "tiny-rxx.labels is no .npy file of one row per image" in refusal(folder)

    def test_two_labels_files(self, folder):
        shutil.copy(folder / "tiny-rxx.labels", folder / "more.labels")
        assert "several .labels files (more.labels, tiny-rxx.labels)" in refusal(folder)


class Trap:
    """Fails the test if it is ever unpickled."""

    def __reduce__(self):
        return pytest.fail, ("the labels file was unpickled",)


def test_a_header_that_promises_too_much(tmp_path):
    """A correct checksum over a nonsense length: the file is no whole number of such records."""
    length = struct.pack("<Q", 2**40)
    (tmp_path / "a-r02.tfrecords").write_bytes(length + masked_crc(length) + bytes(100))
    assert "is truncated" in refusal(tmp_path)


def test_labels_of_todays_numpy(folder):
    with (folder / "tiny-rxx.labels").open("wb") as file:
        np.save(file, np.eye(COUNT, dtype=np.float32))
    assert TFRecordsSource(str(folder)).label(COUNT - 1) == COUNT - 1
