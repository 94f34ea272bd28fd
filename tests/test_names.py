"""Names of files: kept without loss, printed on one line, and never leading out of their folder."""

import pickle

import pytest

from pggan_jax.data.names import CompactNames, ImageSieve, printable, relative_path

NAMES = [b"", b"a.png", "käse/1.png".encode(), b"\xff\xfe.jpg", b"line\nend.png"]


class TestCompactNames:
    def test_gives_back_what_it_got(self):
        kept = CompactNames(iter(NAMES))
        assert list(kept) == NAMES
        assert [kept[index] for index in range(len(kept))] == NAMES
        assert kept[-1] == NAMES[-1]
        assert not CompactNames([])
        with pytest.raises(IndexError):
            kept[len(NAMES)]

    def test_a_copy_costs_little_more_than_the_letters(self):
        names = [b"folder/image_%06d.png" % number for number in range(10_000)]
        copy = pickle.dumps(CompactNames(names))
        assert len(copy) < sum(map(len, names)) + 9 * len(names)
        assert list(pickle.loads(copy)) == names


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("käse.png".encode(), "käse.png"),
        (b"\xff.png", "\\xff.png"),
        (b"a\nb.png", "a\\nb.png"),
        (b"\x1b[31m", "\\x1b[31m"),
        ("\u2028".encode(), "\\u2028"),
        (b"", ""),
    ],
)
def test_every_name_prints_on_one_line(name, shown):
    assert printable(name) == shown
    shown.encode()


@pytest.mark.parametrize(
    ("written", "path"),
    [("a/b.png", b"a/b.png"), ("./a//b.png", b"a/b.png"), ("a\\b.png", b"a/b.png"), ("..a/b..png", b"..a/b..png"), ("./", b"")],
)
def test_paths_are_joined_by_slashes(written, path):
    assert relative_path(written) == path


def test_bytes_that_are_no_utf8_survive():
    assert relative_path("\udcff.png") == b"\xff.png"


@pytest.mark.parametrize(
    "written", ["/a", "\\a", "C:\\a", "c:a", "C:/a", "..", "a/../b", "a\\..\\b", "../a", "\\\\host\\a", "\ud800"]
)
def test_paths_that_lead_elsewhere_are_refused(written):
    with pytest.raises(ValueError, match=r"absolute|leads out|no file name"):
        relative_path(written)


def test_only_images_pass_the_sieve_and_unreadable_ones_are_counted():
    sieve = ImageSieve()
    names = [b"a.png", b"b.JPEG", b"c.txt", b"d.HEIC", b"e.heic", b"png", b"f.dng", b"g.json", b"h.\xff"]
    assert [name for name in names if sieve.takes(name)] == [b"a.png", b"b.JPEG"]
    assert sieve.complaints() == [
        "1 file ends in .dng, which cannot be read; convert it to PNG or JPEG",
        "2 files end in .heic, which cannot be read; convert them to PNG or JPEG",
    ]
