"""Files that grow row by row equal those of np.save, also after an interruption."""

import zlib

import numpy as np
import pytest

from pggan_jax.data.preparation.npy_writer import ArrayFile, checksum


def write(path, array, cuts=()):
    """Write an array in parts."""
    file = ArrayFile(path, array.shape[1:], dtype=array.dtype)
    for part in np.split(array, cuts):
        file.append(part)
    return file


def saved(path, array):
    np.save(path, array)
    return path.read_bytes()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(7 * 2 * 3 * 3).reshape(7, 2, 3, 3).astype(np.uint8),
        np.arange(12345, dtype=np.int32),
        np.zeros((0, 4, 4, 1), np.uint8),
    ],
    ids=["images", "labels", "nothing"],
)
def test_the_same_bytes_as_numpy_writes(tmp_path, array):
    file = write(tmp_path / "a.npy", array, cuts=[len(array) // 3, len(array) // 3, len(array) // 2])
    assert file.shape == array.shape
    file.finish()
    assert (tmp_path / "a.npy").read_bytes() == saved(tmp_path / "b.npy", array)
    assert file.checksum == zlib.crc32(array.tobytes())
    reported = []
    assert checksum(tmp_path / "a.npy", reported.append) == file.checksum
    assert sum(reported) == array.nbytes


def test_rows_of_a_larger_array_and_of_another_type(tmp_path):
    array = np.arange(60).reshape(5, 12)
    file = ArrayFile(tmp_path / "a.npy", (4,), dtype=np.uint8)
    file.append(array[:, ::3])
    file.finish()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array[:, ::3])


def test_continues_behind_what_is_good(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (50, 3, 5), np.uint8)
    first = write(tmp_path / "a.npy", array[:20])
    good = first.checksum
    first.append(array[30:37])  # Written, but not vouched for.
    first.close()
    second = ArrayFile(tmp_path / "a.npy", (3, 5), dtype=np.uint8, rows=20, checksum=good)
    assert (tmp_path / "a.npy").stat().st_size == 128 + 20 * 15
    second.append(array[20:])
    second.finish()
    assert (tmp_path / "a.npy").read_bytes() == saved(tmp_path / "b.npy", array)
    assert second.checksum == zlib.crc32(array.tobytes())


def test_a_finished_file_can_be_continued_too(tmp_path):
    array = np.arange(10, dtype=np.int32)
    first = write(tmp_path / "a.npy", array[:4])
    first.finish()
    second = ArrayFile(tmp_path / "a.npy", (), dtype=np.int32, rows=4, checksum=first.checksum)
    second.append(array[4:])
    second.finish()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)


def test_a_file_shorter_than_it_should_be_is_not_continued(tmp_path):
    file = write(tmp_path / "a.npy", np.zeros((9, 10), np.uint8))
    file.close()
    with pytest.raises(OSError, match=r"a\.npy is shorter than it was"):
        ArrayFile(tmp_path / "a.npy", (10,), dtype=np.uint8, rows=10)
    with pytest.raises(FileNotFoundError):
        ArrayFile(tmp_path / "b.npy", (10,), dtype=np.uint8, rows=10)


def test_without_rows_the_file_is_begun_anew(tmp_path):
    write(tmp_path / "a.npy", np.ones((9, 10), np.uint8)).close()
    file = ArrayFile(tmp_path / "a.npy", (2,), dtype=np.int32)
    file.finish()
    assert np.load(tmp_path / "a.npy").shape == (0, 2)


class Trickle:
    """A file that takes a few bytes at a time, as a nearly full disk or a signal makes it."""

    def __init__(self, file):
        self.file = file

    def write(self, content):
        return self.file.write(content[:7])

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_short_writes_are_continued(tmp_path):
    array = np.arange(100, dtype=np.uint8).reshape(10, 10)
    file = ArrayFile(tmp_path / "a.npy", (10,), dtype=np.uint8)
    file._file = Trickle(file._file)
    file.append(array)
    file._file = file._file.file
    file.finish()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
