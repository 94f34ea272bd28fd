"""File names: stored without loss, printed on one line, never leading out of their folder."""

import pickle

import pytest

from pggan_jax.data.sources.file_names import CompactNames, FileFilter, printable, relative_path
from pggan_jax.system.image_files import FORMATS, detect_format

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


def test_image_names_are_accepted_and_unreadable_ones_counted():
    found = FileFilter()
    names = [b"a.png", b"b.JPEG", b"c.txt", b"d.HEIC", b"e.heic", b"png", b"f.dng", b"g.json", b"h.\xff", b"i.jfif", b"j.PGM"]
    assert [name for name in names if found.accepts(name, lambda path: path)] == [
        b"a.png",
        b"b.JPEG",
        b"i.jfif",
        b"j.PGM",
    ]
    assert found.problems() == [
        "1 file ends in .dng, which cannot be read (f.dng); convert it to PNG or JPEG",
        "2 files end in .heic, which cannot be read (such as d.HEIC); convert them to PNG or JPEG",
    ]
    (note,) = found.notes()
    assert note.startswith("skipped 4 files whose content is no image: ")
    assert "1 .json (g.json), 1 .txt (c.txt), 1 others" in note


HEADS = {
    b"JPEG": b"\xff\xd8\xff\xe0",
    b"TIFF": b"II*\0\x08\0\0\0\0\0",
    b"PPM": b"P6\n# made by hand\n8 8 255\n",
    b"HEIC": b"\0\0\0\x18ftypheic\0\0\0\0",
    b"PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    b"ICO": b"\0\0\1\0\1\0",
}


@pytest.mark.parametrize("suffix", [b"", b".heic", b".txt", b".dat"])
@pytest.mark.parametrize("kind", HEADS)
def test_content_decides_where_the_name_says_nothing(suffix, kind):
    found = FileFilter()
    accepts = found.accepts(b"a" + suffix, lambda _path: HEADS[kind])
    assert accepts == (kind in (b"JPEG", b"TIFF", b"PPM"))
    assert bool(found.problems()) == (not accepts)


def test_targa_files_begin_like_icons_and_are_none():
    assert detect_format(b"\0\0\2\0\1\0\x20\x20") == "ICO"
    assert detect_format(b"\0\0\2" + b"\0" * 9 + b"\x20\0\x20\0\x18\x20") == ""


def test_previews_in_camera_files_are_no_images():
    found = FileFilter()
    assert not found.accepts(b"a.dng", lambda _path: HEADS[b"TIFF"])
    assert not found.accepts(b"a.tmp", lambda _path: b"II*\0\x10\0\0\0CR\2\0")
    assert found.accepts(b"a.nef", lambda _path: HEADS[b"JPEG"])


@pytest.mark.parametrize(
    "text", [b"BM is a maker of cars", b"P1 is the first page", b"P5\tas in five", b"GIF files", b"<html>", b"MM and II"]
)
def test_texts_are_not_taken_for_images(text):
    assert detect_format(text) not in FORMATS


def test_a_note_of_many_kinds_is_short():
    found = FileFilter()
    for number in range(100):
        found.accepts(b"x" * 200 + b"." + str(number).encode() * 40, lambda _path: b"text")
    for number in range(9):
        found.skip_folder(b"y" * 200 + str(number).encode() + b"/", "the workdir of a run")
    assert all(len(line) <= 300 for line in found.notes())
    assert "skipped 100 files" in " ".join(found.notes())
