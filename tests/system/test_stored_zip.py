"""Archives that grow, and what `zipfile` reads in them."""

from __future__ import annotations

import zipfile
import zlib

import pytest

from pggan_jax.system.stored_zip import StoredZip, read_comment


def contents(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}, archive.comment


def write(path, *, size=0, members=(), comment=b""):
    archive = StoredZip(path, size=size)
    archive.add(members)
    archive.finish(comment)


MEMBERS = [("a.txt", b"one"), ("b/\u010d.txt", b""), ("c.txt", bytes(70_000))]


def test_is_read_by_zipfile(tmp_path):
    write(tmp_path / "x.zip", members=MEMBERS, comment=b"written here")
    assert contents(tmp_path / "x.zip") == (dict(MEMBERS), b"written here")
    assert read_comment(tmp_path / "x.zip") == b"written here"


def test_more_members_than_16_bits_count(tmp_path):
    write(tmp_path / "x.zip", members=((f"{number}", b"") for number in range(70_000)))
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.namelist() == [str(number) for number in range(70_000)]


def test_sizes_and_offsets_above_4_gib(tmp_path):
    """The large member is a hole in the file."""
    size = 5 * 2**30
    archive = StoredZip(tmp_path / "x.zip")
    archive.begin("large", size)
    archive.size += size
    archive.add([("small", b"content")])
    archive.finish()
    with zipfile.ZipFile(tmp_path / "x.zip") as opened:
        large, small = opened.infolist()
        assert (large.filename, large.file_size, large.header_offset) == ("large", size, 0)
        assert small.header_offset > size
        assert opened.read("small") == b"content"


def test_a_member_in_chunks_and_a_late_checksum(tmp_path):
    archive = StoredZip(tmp_path / "x.zip")
    archive.begin("first", 6)
    archive.append(b"abc")
    archive.append(b"def")
    archive.set_first_checksum(zlib.crc32(b"abcdef"))
    archive.add_chunks("second", lambda: iter([b"1", b"", b"23"]))
    archive.finish()
    assert contents(tmp_path / "x.zip")[0] == {"first": b"abcdef", "second": b"123"}


def test_continues_after_a_complete_member(tmp_path):
    write(tmp_path / "whole.zip", members=MEMBERS)
    archive = StoredZip(tmp_path / "x.zip")
    archive.add(MEMBERS[:2])
    size = archive.size
    archive.append(b"half a member")
    archive.close()
    write(tmp_path / "x.zip", size=size, members=MEMBERS[2:])
    assert (tmp_path / "x.zip").read_bytes() == (tmp_path / "whole.zip").read_bytes()
    with pytest.raises(OSError, match="shorter than it was"):
        StoredZip(tmp_path / "x.zip", size=10**6)


@pytest.mark.parametrize("cut", [0, 3, 30, -1, -12])
def test_a_truncated_archive_has_no_comment(tmp_path, cut):
    write(tmp_path / "x.zip", members=MEMBERS[:1], comment=b"written here")
    whole = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(whole[:cut])
    with pytest.raises(ValueError, match="end"):
        read_comment(tmp_path / "x.zip")
